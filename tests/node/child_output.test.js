"use strict";
/** What handlers print and log, what ends a child from within, and that nothing but the SDK reaches the wire. */

const assert = require("node:assert/strict");
const test = require("node:test");
const { Host, MAIN, gate } = require("./host.js");

test("F1: what several runs print at once is told apart", async () => {
  const { host } = await Host.start(["prints.js"]);
  const held = gate();
  host.answers["ctx.state.get"] = () => held.opened;
  const ids = ["a", "b", "c"];
  const runs = ids.map((id) => host.run("prints", null, { token: `run-${id}`, job: { id } }));
  await host.until(() => host.requests.length === 3);
  held.open(null);
  await Promise.all(runs);
  for (const id of ids) {
    const mine = host.lines.filter(([run]) => run === `run-${id}`).map(([, ...line]) => line);
    assert.deepEqual(mine, [
      ["stdout", "info", `${id} begins and ends`],
      ["stderr", "warning", `${id} warns`],
      ["stdout", "info", "without an end"],
    ]);
  }
  assert.equal(host.lines.length, 9);
  assert.deepEqual([(await host.stop()).stderr, host.stdout], ["", ""]);
});

test("F1: lines printed while loading belong to no run", async () => {
  const { host } = await Host.start(["prints_while_loading.js"]);
  assert.deepEqual(host.lines, [[null, "stdout", "info", "loading"]]);
  await host.hangUp();
});

test("F1: a flood of lines is bounded and counted", async () => {
  const { host } = await Host.start(["floods.js"], { options: { log_rate: 1, log_burst: 50 } });
  await host.run("floods");
  const messages = host.lines.map(([, , , message]) => message);
  const dropped = messages.map((message) => /^(\d+) log lines dropped$/.exec(message)).filter(Boolean);
  const kept = messages.length - dropped.length;
  assert.ok(kept >= 50 && kept < 1000, `${kept} lines kept`);
  assert.equal(kept + dropped.reduce((sum, [, count]) => sum + Number(count), 0), 50_000);
  await host.hangUp();
});

test("F1: lines and progress leave before a handler blocks the loop for good", async () => {
  const { host } = await Host.start(["spins.js"]);
  host.run("spins", null, { token: "r" }).catch(() => {});
  await host.until(() => host.notifications.length === 2);
  assert.deepEqual(host.lines, [["r", "stdout", "info", "before the loop"]]);
  host.process.kill("SIGKILL");
  await host.exited;
});

test("F1: ending standard output is no end", async () => {
  const { host } = await Host.start(["ends_stdout.js"]);
  assert.deepEqual(await host.run("ends_stdout"), [1, 2]);
  assert.deepEqual(host.lines.map(([, , , message]) => message), ["one", "two"]);
  await host.hangUp();
});

test("E1: an exception outside of the run's promise ends the child, with the stack in the log and on fd 2", async () => {
  for (const [file, text] of [["uncaught", "nobody catches this"], ["rejects_aside", "nobody awaits this"]]) {
    const { host } = await Host.start([`${file}.js`]);
    host.answers["ctx.state.get"] = () => new Promise(() => {});
    host.run(file, null, { token: "r" }).catch(() => {});
    const { code, stderr } = await host.exited;
    assert.equal(code, 1);
    assert.match(stderr, new RegExp(`RangeError: ${text}\n {4}at `));
    const [[run, source, level, message]] = host.lines;
    assert.deepEqual([run, source, level], ["r", "handler", "error"]);
    assert.match(message, new RegExp(`^uncaught: RangeError: ${text}\n {4}at `));
  }
});

test("E1: process.exit in a handler ends the child with that code and its last lines", async () => {
  const { host } = await Host.start(["exits.js"]);
  host.run("exits", null, { token: "r" }).catch(() => {});
  assert.equal((await host.exited).code, 3);
  assert.deepEqual(host.lines.map(([, , , message]) => message), ["leaving", "last words"]);
});

test("E2: neither user code nor a grandchild can write to the wire (descriptors given)", async () => {
  const { host } = await Host.start(["writes_raw.js"]);
  const fds = [3, 4, 5, 6, 7, 8];
  assert.deepEqual(await host.run("writes_raw", [3, 4]), { refused: 2, env: null });
  await host.run("writes_raw", fds);
  assert.deepEqual(await host.ask("ping"), {});
  const { stderr } = await host.stop();
  assert.ok(stderr.includes("raw on fd 2") && host.stdout.includes("raw on fd 1"));
});

test("E2: neither user code nor a grandchild can write to the wire (fd 0 and 1, pipes)", async () => {
  const command = ["bash", "-c", `cat | "${process.execPath}" "${MAIN}" 2> >(cat >&2) | cat`];
  const { host } = await Host.start(["writes_raw.js", "echo.js"], { wire: "stdio", command });
  await host.run("writes_raw", [1, 3, 4, 5, 6, 7, 8]);
  assert.equal(await host.run("echo", "still in step"), "still in step");
  const { stderr } = await host.stop();
  assert.ok(stderr.includes("raw on fd 1") && stderr.includes("raw on fd 2"));
});

test("E2: pipes on high descriptors are taken out of reach too", async () => {
  const redirect = `cat | JOBHOST_RPC_FD=20,21 "${process.execPath}" "${MAIN}" 20<&0 21>&1 0</dev/null 1>&2 | cat`;
  const { host } = await Host.start(["writes_raw.js", "echo.js"], { wire: "stdio", command: ["bash", "-c", redirect] });
  await host.run("writes_raw", Array.from({ length: 25 }, (_, index) => index + 3));
  assert.equal(await host.run("echo", "still in step"), "still in step");
  assert.equal((await host.stop()).code, 0);
});

test("E2: a socket on a high descriptor cannot be protected and is refused", async () => {
  const redirect = `JOBHOST_RPC_FD=20 exec "${process.execPath}" "${MAIN}" 20<&3 3<&-`;
  const { code, stderr } = await new Host({ wire: "socket", command: ["bash", "-c", redirect] }).exited;
  assert.equal(code, 70);
  assert.match(stderr, /pass the wire on descriptors up to 15/);
});
