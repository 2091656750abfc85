"""BullMQ's own Lua scripts, as the pinned PyPI package `bullmq` carries them, and the few of ours.

Files are named `NAME-K.lua`, K being the number of keys. Which keys and arguments each takes changes between minor releases of BullMQ:
the calls in this folder are those of the pinned one, and a test compares them with its own Python calls.
"""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from jobhost.errors import ConfigurationError

PINNED = "3.4.4"
"""The release of the PyPI package whose scripts are called here."""


@dataclass(slots=True, frozen=True)
class Script:
    """`sha` is its name in `EVALSHA`."""

    name: str
    text: str
    keys: int
    sha: str


def _script(name: str, text: str, keys: int) -> Script:
    return Script(name, text, keys, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


def folder() -> Path:
    """Where the package keeps its scripts. Raises ConfigurationError if it is missing."""
    spec = importlib.util.find_spec("bullmq")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigurationError("queues on Redis need an extra: pip install 'jobhost[redis]'")
    return Path(next(iter(spec.submodule_search_locations))) / "commands"


@cache
def bullmq(name: str) -> Script:
    """One of BullMQ's scripts."""
    [file] = folder().glob(f"{name}-*.lua")
    return _script(name, file.read_text("utf-8"), int(file.stem.rpartition("-")[2]))


@cache
def adding(name: str) -> Script:
    """One of BullMQ's scripts that add a job, and our fields of the new job in the same step, as one more argument."""
    script = bullmq(name)
    last = "return jobId"
    text = script.text.rstrip()
    if not text.endswith(last):
        raise ConfigurationError(
            f"bullmq's script {name} is not the one of release {PINNED}: install 'jobhost[redis]' anew"
        )
    ours = "if ARGV[#ARGV] ~= '' then rcall('HSET', jobIdKey, 'jh', ARGV[#ARGV]) end\n"
    return _script(f"{name}+jh", text.removesuffix(last) + ours + last, script.keys)


_PART = """
local function part(list, from, to)
  local some = {}
  for index = from, to do some[#some + 1] = list[index] end
  return some
end
"""


def _inside(name: str, script: Script) -> str:
    """A script as a function of its keys and arguments: Redis lets no script call another."""
    return f"local function {name}(KEYS, ARGV)\n{script.text}\nend\n"


@cache
def failing() -> Script:
    """BullMQ's `moveToFinished`, and in the same step what it has no argument for: an attempt that was not used, a dead letter.

    KEYS: its own, then those of `addStandardJob`. ARGV: how many arguments it gets, those, `1` if no attempt was used, then those
    of the job to add, if one is.
    """
    theirs, added = bullmq("moveToFinished"), adding("addStandardJob")
    text = f"""{_PART}{_inside("finish", theirs)}{_inside("add_job", added)}
local count = tonumber(ARGV[1])
{_ENDING.format(theirs=theirs.keys, first="count + 3")}
return reply
"""
    return _script("moveToFinished+", text, theirs.keys + added.keys)


_ENDING = """
local reply = finish(part(KEYS, 1, {theirs}), part(ARGV, 2, count + 1))
if type(reply) == 'number' and reply < 0 then return reply end
if ARGV[count + 2] == '1' and redis.call('EXISTS', KEYS[12]) == 1 then redis.call('HINCRBY', KEYS[12], 'atm', -1) end
if ARGV[{first}] then add_job(part(KEYS, {theirs} + 1, #KEYS), part(ARGV, {first}, #ARGV)) end
"""


@cache
def ending_in_flow() -> Script:
    """As `failing`, for any end of a job of a flow, and the flow in the same step.

    ARGV: as there, but between the sign of the attempt and the job to add the prefix, the time (ms) and what `ended` of flow.lua takes.
    Gives the triggers that nobody subscribes to, or `moveToFinished`'s negative number.
    """
    theirs, added = bullmq("moveToFinished"), adding("addStandardJob")
    text = f"""{_PART}{_inside("finish", theirs)}{_inside("add_job", added)}{_flows("flow")}
local count = tonumber(ARGV[1])
{_ENDING.format(theirs=theirs.keys, first="count + 6")}
P, now = ARGV[count + 3], ARGV[count + 4]
local unmatched = ended(cmsgpack.unpack(ARGV[count + 5]))
finish_flows()
return unmatched
"""
    return _script("moveToFinished+flow", text, theirs.keys + added.keys)


@cache
def finishing_many() -> Script:
    """Many plain completed jobs at once, those of flows too: see `lua/parts/finish.lua`."""
    text = _inside("add_job", adding("addStandardJob")) + _flows("flow") + _flows("finish")
    return _script("finish", text, 8)


@cache
def adding_in_flow(name: str) -> Script:
    """As `adding`, of a job that belongs to a flow. ARGV: as there, then the prefix, the time (ms) and `{flow, name, queue, id}`."""
    theirs = adding(name)
    text = f"""{_PART}{_inside("add_theirs", theirs)}{_inside("add_job", adding("addStandardJob"))}{_flows("flow")}
P, now = ARGV[6], ARGV[7]
local what = cmsgpack.unpack(ARGV[8])
local there = what.id ~= '' and rcall('EXISTS', P .. ':' .. what.queue .. ':' .. what.id) == 1
local id = add_theirs(KEYS, part(ARGV, 1, 5))
if not there then
  has(what.flow, what.name or nil)
  joins_flow(what.flow, what.queue, id)
  finish_flows()
end
return id
"""
    return _script(f"{name}+flow", text, theirs.keys)


@cache
def firing() -> Script:
    """The jobs that are due of a schedule: see `lua/parts/fire.lua`."""
    text = (
        _PART + _inside("add_plain", adding("addStandardJob")) + _inside("add_prioritized", adding("addPrioritizedJob"))
    )
    return _script("fire", text + _flows("fire"), 2)


@cache
def asking_flows() -> Script:
    """What is asked of flows beside the ends of jobs. KEYS: one under the prefix, to find the server."""
    text = _inside("add_job", adding("addStandardJob")) + _flows("flow") + _flows("flow_ask")
    return _script("flow_ask", text, 1)


_LETTER = """
local rcall = redis.call
local function letter()
  if (rcall('HGET', KEYS[10], 'timestamp') or '') ~= ARGV[2] then return 'changed' end
  if rcall('EXISTS', KEYS[7]) == 0 then return 'missing' end
  {check}
  local where = rcall('LREM', KEYS[1], 1, ARGV[1]) + rcall('LREM', KEYS[2], 1, ARGV[1])
  for set = 3, 6 do where = where + rcall('ZREM', KEYS[set], ARGV[1]) end
  if where == 0 then return 'missing' end
  rcall('DEL', KEYS[7], KEYS[8])
  rcall('XADD', KEYS[9], '*', 'event', 'removed', 'jobId', ARGV[1], 'prev', 'waiting')
end
local problem = letter()
if problem then return problem end
"""
"""Takes a dead letter away. KEYS: the two lists and four sets it may be in, its job, its logs, its queue's events, the original. ARGV: its
id, the original's time as it was seen. Gives why not, or goes on."""
_LETTER_KEYS = 10


@cache
def replaying_in_place() -> Script:
    """A dead letter's original runs again by BullMQ's `reprocessJob`. KEYS: as above, then its own. ARGV: as above, then the original's id,
    its data, our fields of it, the key of requests to cancel."""
    theirs = bullmq("reprocessJob")
    check = "if not rcall('ZSCORE', KEYS[13], ARGV[3]) then return 'alive' end"
    text = f"""{_PART}{_inside("reprocess", theirs)}{_LETTER.format(check=check)}
rcall('HSET', KEYS[10], 'data', ARGV[4], 'jh', ARGV[5])
rcall('HDEL', KEYS[10], 'stc', 'stacktrace')
rcall('HDEL', ARGV[6], ARGV[3])
reprocess(part(KEYS, {_LETTER_KEYS} + 1, #KEYS), {{ARGV[3], 'LPUSH', 'failedReason', 'failed', '1', '0'}})
return ARGV[3]
"""
    return _script("reprocessJob+letter", text, _LETTER_KEYS + theirs.keys)


@cache
def replaying_anew(name: str, in_flow: bool) -> Script:
    """A dead letter's job is added anew. KEYS and ARGV: as above, then those of the script that adds it."""
    theirs = adding_in_flow(name) if in_flow else adding(name)
    text = f"""{_PART}{_inside("add_again", theirs)}{_LETTER.format(check="")}
return add_again(part(KEYS, {_LETTER_KEYS} + 1, #KEYS), part(ARGV, 3, #ARGV))
"""
    return _script(f"{theirs.name}+letter", text, _LETTER_KEYS + theirs.keys)


def _flows(name: str) -> str:
    return (Path(__file__).with_name("lua") / "parts" / f"{name}.lua").read_text("utf-8")


@cache
def handing_back() -> Script:
    """BullMQ's `moveJobFromActiveToWait`, and fields of the job in the same step. ARGV: its three, then fields and values."""
    theirs = bullmq("moveJobFromActiveToWait")
    text = f"""{_PART}{_inside("hand_back", theirs)}
local reply = hand_back(KEYS, part(ARGV, 1, 3))
if reply >= 0 then
  for index = 4, #ARGV, 2 do redis.call('HSET', ARGV[3], ARGV[index], ARGV[index + 1]) end
end
return reply
"""
    return _script("moveJobFromActiveToWait+", text, theirs.keys)


@cache
def own(name: str) -> Script:
    """One of ours; the first line tells the number of its keys: `-- keys: 3`."""
    text = (Path(__file__).with_name("lua") / f"{name}.lua").read_text("utf-8")
    return _script(name, text, int(text.split("\n", 1)[0].removeprefix("-- keys: ")))


def all_own() -> list[Script]:
    """Every one of ours."""
    return [own(file.stem) for file in sorted((Path(__file__).with_name("lua")).glob("*.lua"))]
