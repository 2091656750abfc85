"""`jobhost jobs show`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from jobhost.cli.lazy import examples
from jobhost.cli.lines import log_text
from jobhost.cli.output import line_of, print_json, when
from jobhost.cli.session import Store, json_option, queue_option, store_options, with_client
from jobhost.client import Client
from jobhost.listings import Listing
from jobhost.logs import printable

_LOG_LINES = 20
"""Log lines that are shown; `jobs logs` prints them all."""


@click.command("show", epilog=examples("jobhost jobs show 7", "jobhost jobs show order-12 -q orders --json"))
@click.argument("id")
@store_options
@queue_option
@json_option
def command(store: Store, id: str, queue: str, as_json: bool) -> None:
    """Show all of one job: state, attempts, times, data, result, error with its stack, and the end of its log."""

    async def work(jobs: Client) -> tuple[Listing, list[Listing]]:
        job = await jobs.get(id, queue)
        return job, [] if as_json else [line for _number, line in await jobs.logs(id, queue)]

    job, log = with_client(store, work)
    if as_json:
        print_json(job)
        return
    for line in (*_facts(job), *error_lines(job["error"]), *_log(log)):
        click.echo(line)


def _facts(job: Listing) -> Iterator[str]:
    yield f"job {line_of(job['id'])} of queue {line_of(job['queue'])}"
    tried = f"{job['attempts_made']} of {job['max_attempts']}" if job["max_attempts"] else str(job["attempts_made"])
    facts: dict[str, Any] = {
        "name": job["name"],
        "state": job["state"],
        "attempts": tried,
        "priority": job["priority"] or None,
        "timeout": job["timeout"],
        "progress": job["progress"],
        "created": when(job["created_at"]),
        "due": when(job["delay_until"]) if job["delay_until"] else None,
        "started": when(job["started_at"]) if job["started_at"] else None,
        "finished": when(job["finished_at"]) if job["finished_at"] else None,
        "host": job["host"],
        "flow": job["flow_id"],
        "metadata": job["metadata"],
    }
    for label, fact in facts.items():
        if fact is not None:
            yield fact_line(label, fact)
    yield fact_line("data", job["data"])
    if job["state"] == "completed":
        yield fact_line("result", "null" if job["result"] is None else job["result"])
    if isinstance(job["receipt"], dict):
        yield fact_line("cost", _cost(job["receipt"]))


def fact_line(label: str, fact: Any) -> str:
    return f"  {label:<10}{line_of(fact)}"


def _cost(receipt: dict[str, Any]) -> str:
    """What the last run took. A member that another version left out is left out."""
    told = {
        "{} ms": receipt.get("wall_ms"),
        "cpu {} ms": receipt.get("cpu_ms"),
        "memory {} MiB": _mebibytes(receipt.get("memory")),
        "{} calls": receipt.get("calls"),
        "{} bytes in": receipt.get("received"),
        "{} bytes out": receipt.get("sent"),
        "child {}": receipt.get("pid"),
        "which started in {} ms": receipt.get("start_ms"),
        "code {}": receipt.get("code"),
        "isolation {}": receipt.get("level"),
    }
    beside = ", with other runs in the child" if receipt.get("shared") else ""
    return ", ".join(text.format(value) for text, value in told.items() if value is not None) + beside


def _mebibytes(size: Any) -> int | None:
    return None if not isinstance(size, int) else size >> 20


def _dossier(dossier: dict[str, Any]) -> Iterator[str]:
    """How a run ended that timed out or died."""
    facts = {name: dossier.get(name) for name in ("signal", "exit_code", "limit", "last_call")}
    yield "dossier"
    for name, fact in facts.items():
        if fact is not None:
            yield fact_line(name.replace("_", " "), fact)
    for title, texts in (
        ("stacks before its end", dossier.get("stacks")),
        ("last lines of stderr", dossier.get("stderr")),
    ):
        if texts:
            yield title
            for text in texts:
                yield from _block(str(text))


def error_lines(error: Any) -> Iterator[str]:
    """An error whole: its message may quote the last lines of a child's stderr."""
    if not isinstance(error, dict):
        return
    origin = f" (said by the {error['origin']})" if error.get("origin") else ""
    yield f"error{origin}"
    yield from _block(f"{error.get('type')}: {error.get('message')}")
    for entry in error.get("fields") or ():
        yield from _block(f"{entry.get('field')}: {entry.get('message')}")
    if error.get("stack"):
        yield "stack"
        yield from _block(str(error["stack"]))
    if error.get("cause"):
        yield "cause"
        yield from _block(error["cause"] if isinstance(error["cause"], str) else line_of(error["cause"]))
    data = error.get("data")
    if isinstance(data, dict) and isinstance(data.get("dossier"), dict):
        yield from _dossier(data["dossier"])
    elif data is not None:
        yield "error data"
        yield from _block(line_of(data))


def _block(text: str) -> Iterator[str]:
    yield from (f"  {line}" for line in printable(text).rstrip().split("\n"))


def _log(log: list[Listing]) -> Iterator[str]:
    if log:
        yield (
            f"log, {len(log)} line{'s' if len(log) > 1 else ''}"
            if len(log) <= _LOG_LINES
            else f"log, the last {_LOG_LINES} of {len(log)} lines"
        )
        yield from (f"  {log_text(line)}" for line in log[-_LOG_LINES:])
