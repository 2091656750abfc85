"use strict";
/** The child from its first frame to its exit. */

const assert = require("node:assert/strict");
const path = require("node:path");
const test = require("node:test");
const { version } = require("../../sdk_node/package.json");
const { FIXTURES, Host, MAIN, json } = require("./host.js");

test("E2: initialize tells protocol, SDK, language, process, handlers and problems", async () => {
  const { host, result, handlers, problems } = await Host.start(["echo.js", "broken_syntax.js"]);
  assert.equal(result.protocol, 1);
  assert.equal(result.sdk, `jobhost-sdk-node ${version}`);
  assert.equal(result.language, `node ${process.versions.node}`);
  assert.equal(result.pid, host.process.pid);
  assert.deepEqual(handlers, [{ name: "echo", file: "echo.js", line: null, kind: "async" }]);
  assert.deepEqual(problems.map(({ file, line }) => [file, line]), [["broken_syntax.js", 4]]);
  assert.deepEqual((await host.stop()).code, 0);
});

for (const wire of ["pipes", "socket", "stdio"]) {
  test(`E2: the wire may be ${wire}`, async () => {
    const { host } = await Host.start(["echo.js"], { wire });
    assert.deepEqual(await host.run("echo", { a: ["é"] }), { a: ["é"] });
    assert.deepEqual(await host.ask("ping"), {});
    assert.equal((await host.stop()).code, 0);
  });
}

test("E2: end of file ends the child, whatever its handlers do", async () => {
  const { host } = await Host.start(["gate.js"]);
  host.answers["ctx.state.get"] = () => new Promise(() => {});
  host.run("gate").catch(() => {});
  await host.untilAsked("ctx.state.get");
  const { code, signal } = await host.hangUp();
  assert.deepEqual([code, signal], [1, null]);
});

test("A9: setup provides services, a missing one is a ConfigurationError, teardown runs at shutdown", async () => {
  const { host } = await Host.start(["services.js", "teardown_fails.js"]);
  assert.deepEqual(await host.run("uses"), ["rows", 12]);
  await assert.rejects(host.run("misses"), /ConfigurationError: no service "mailer": setup\(ctx\) provides db, clock/);
  assert.equal((await host.stop()).code, 0);
  const messages = host.lines.map(([run, , level, message]) => [run, level, message.split("\n")[0]]);
  assert.deepEqual(messages, [
    [null, "info", "setting up"],
    [null, "error", "teardown failed: Error: already closed"],
    [null, "info", "closing db,clock"],
  ]);
});

test("A9: a setup that fails is the answer to initialize", async () => {
  const host = new Host();
  await assert.rejects(host.initialize(["setup_fails.js"]), /RangeError: no database/);
  await host.hangUp();
});

test("A9: without setup, services are empty and say so", async () => {
  const { host } = await Host.start(["services.js"]);
  await assert.rejects(host.run("misses"), (error) => error.failure.type === "ConfigurationError");
  await host.hangUp();
});

test("G4: validate lists the problems of data", async () => {
  const { host } = await Host.start(["input.js", "echo.js"]);
  const problems = async (handler, data) => JSON.parse((await host.ask("validate", { handler, data: json(data) })).problems);
  assert.deepEqual(await problems("input", {}), [{ field: "width", message: "is required" }]);
  assert.deepEqual(await problems("input", { width: 1 }), []);
  assert.deepEqual(await problems("echo", 5), []);
  await host.hangUp();
});

test("E2: unknown methods and wrong params are refused, unknown notifications ignored", async () => {
  const { host } = await Host.start(["echo.js"]);
  const refusal = async (method, params) => (await host.exchange(method, params)).error;
  assert.equal((await refusal("dance", {})).type, "UnknownMethodError");
  assert.equal((await refusal("initialize", {})).type, "InvalidParamsError");
  assert.equal((await refusal("validate", { handler: "echo", data: "text" })).message, "data must be a json");
  assert.equal((await refusal("validate", { handler: "echo", data: Buffer.from("{") })).type, "InvalidParamsError");
  assert.equal((await refusal("execute", { run: "r", handler: "echo", job: [], context: {} })).message, "job must be a map");
  await assert.rejects(host.run("nobody"), /InvalidParamsError: no handler "nobody"/);
  host.send([2, "dance", {}], [2, "cancel", {}], [2, "cancel", { run: "not live", reason: "cancelled" }], [2, "execute", {}]);
  assert.deepEqual(await host.ask("ping"), {});
  await host.hangUp();
});

const VIOLATIONS = {
  "garbage": [Buffer.from("GET / HTTP/1.1\r\n\r\n"), /frame of \d+ bytes announced/],
  "a frame that is no message": [Buffer.from("0000000163", "hex"), /a message is not an array/],
  "an answer to nothing": [Buffer.from("000000059401cd03e7c0c0".replace("05", "07"), "hex"), /an answer to request 999/],
};

for (const [name, [bytes, reason]] of Object.entries(VIOLATIONS)) {
  test(`E2: ${name} ends the child with code 70 and the reason`, async () => {
    const { host } = await Host.start(["echo.js"]);
    host.writer.write(bytes);
    const { code, stderr } = await host.exited;
    assert.equal(code, 70);
    assert.match(stderr, reason);
  });
}

test("E2: the first call must be initialize", async () => {
  const host = new Host();
  host.exchange("ping", {}).catch(() => {});
  const { code, stderr } = await host.exited;
  assert.equal(code, 70);
  assert.match(stderr, /ping before initialize is answered/);
});

test("E2: a frame that has begun must be complete in time", async () => {
  const host = new Host({ wire: "socket", command: [process.execPath, path.join(FIXTURES, "impatient_child.js")] });
  host.send([2, "cancel", {}]);
  host.writer.write(Buffer.from("00000005940000", "hex"));
  const { code, stderr } = await host.exited;
  assert.deepEqual([code, stderr], [70, "a frame is not complete after 50 ms\n"]);
});

test("E2: a wire that is not one is refused", async () => {
  const reasons = { text: /JOBHOST_RPC_FD is "text"/, "99,98": /EBADF/, 7: /Unsupported fd type: FILE/ };
  for (const [fd, reason] of Object.entries(reasons)) {
    const command = ["bash", "-c", `exec "${process.execPath}" "${MAIN}" 7<"${MAIN}"`];
    const { code, stderr } = await new Host({ command, env: { JOBHOST_RPC_FD: fd } }).exited;
    assert.equal(code, 70);
    assert.match(stderr, reason);
  }
});
