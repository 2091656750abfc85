"use strict";
/** Runs in a child: results, errors, several at once, cancellation. */

const assert = require("node:assert/strict");
const test = require("node:test");
const { Host, gate } = require("./host.js");

const failureOf = async (promise) => {
  const { failure } = await promise.then(assert.fail, (error) => error);
  return { ...failure, data: failure.data && JSON.parse(failure.data) };
};

test("E1: every form runs", async () => {
  const files = ["defined.mjs", "several.mjs", "plain.cjs", "welcome.js", "metadata.mjs", "compiled.js", "star.js", "awaits.mjs", "syntax_is_esm.js"];
  const { host } = await Host.start(files);
  assert.deepEqual(await host.run("image.thumb", { width: 3 }), { width: 3 });
  assert.deepEqual([await host.run("mail.first"), await host.run("mail.second")], [1, 2]);
  assert.equal((await host.run("plain", { a: 1 })).job.data.a, 1);
  assert.equal(await host.run("welcomeMessage", { name: "Ada" }), "Hello, Ada");
  assert.deepEqual(await host.run("dataExport", { rows: 3 }), { rows: 3, aborted: false });
  assert.equal(await host.run("compiled"), "compiled");
  assert.equal(await host.run("*", null, { job: { name: "whatever" } }), "any: whatever");
  assert.equal(await host.run("awaits"), "top-level await");
  assert.equal(await host.run("syntax_is_esm"), "an ES module in a .js file");
  assert.equal((await host.stop()).stderr, "");
});

test("F1: a run knows its job, flow, step, attempt and deadline", async () => {
  const { host } = await Host.start(["context.js"]);
  const job = { id: "42", queue: "images", attempt: 2, max_attempts: 5, priority: 3, metadata: Buffer.from('{"tenant":"x"}') };
  const context = { flow_id: "f1", flow_name: "orders", step_name: "charge", step_id: "f1__charge__attempt-2", timeout_ms: 60_000, traceparent: "00-ab" };
  const seen = await host.run("context", null, { job, context });
  assert.deepEqual(seen.job, ["42", "context", "images", 2, 5, 3, "2025-10-09T08:53:20.000Z", { tenant: "x" }]);
  const opts = { attempts: 5, priority: 3, timestamp: 1_760_000_000_000, jobId: "42" };
  assert.deepEqual(seen.bullmq, ["images", 1, 2, 1_760_000_000_000, opts, "42"]);
  assert.deepEqual(seen.flow, ["f1", "orders", "charge", "f1__charge__attempt-2", "00-ab"]);
  assert.deepEqual(seen.run, [2, false, null, "default:7:1760000000000", false]);
  assert.equal(seen.deadline, true);
  const without = await host.run("context");
  assert.deepEqual([without.deadline, without.flow], [null, [null, null, null, null, null]]);
  const absolute = await host.run("context", null, { context: { deadline_ms: Date.now() + 60_000 } });
  assert.equal(absolute.deadline, true);
  await host.hangUp();
});

test("E1: many runs are in one child at once and end in any order", async () => {
  const { host } = await Host.start(["gate.js"]);
  const gates = new Map();
  host.answers["ctx.state.get"] = ({ run }) => {
    const held = gate();
    gates.set(run, held.open);
    return held.opened;
  };
  const tokens = Array.from({ length: 40 }, (_, index) => `run-${index}`);
  const results = tokens.map((token) => host.run("gate", null, { token, job: { id: token } }));
  await host.until(() => gates.size === tokens.length);
  for (const token of tokens.toReversed()) gates.get(token)(Buffer.from(`"opened ${token}"`));
  const expected = tokens.map((token) => ({ id: token, value: `opened ${token}` }));
  assert.deepEqual(await Promise.all(results), expected);
  await host.hangUp();
});

test("G4: what a handler throws travels to the host", async () => {
  const { host } = await Host.start(["throws.js"]);
  const thrown = (kind) => failureOf(host.run("throws", kind));
  const error = await thrown("error");
  assert.deepEqual([error.type, error.message, error.retry, error.data], ["RangeError", "too far", null, null]);
  assert.match(error.stack, /throws\.js:4/);
  assert.doesNotMatch(error.stack, /sdk_node/);
  assert.deepEqual((await thrown("text")).message, "thrown: just text");
  assert.deepEqual((await thrown("unrecoverable")).retry, false);
  assert.deepEqual((await thrown("later")).retry, 300_000);
  assert.deepEqual((await thrown("attributes")).data, { code: "E42", cause: { type: "TypeError", message: "inner", cause: null } });
  await host.hangUp();
});

test("G4: data that does not satisfy the schema fails without a retry, with its fields", async () => {
  const { host } = await Host.start(["input.js", "many_inputs.js"]);
  assert.equal(await host.run("input", { width: 4 }), 4);
  const many = await failureOf(host.run("many_inputs", [1, 2, 3, 4, 5, 6]));
  assert.match(many.message, /^\[0\]: .*; \[4\]: .* \(and 1 more\)$/);
  const failure = await failureOf(host.run("input", { width: "4" }));
  assert.deepEqual([failure.type, failure.retry], ["InvalidJobDataError", false]);
  assert.deepEqual(failure.data.fields.map(({ field }) => field), ["width"]);
  assert.match(failure.message, /^width: /);
  await host.hangUp();
});

test("E1: a result that is no JSON value fails with its path, a Date passes from a BullMQ processor", async () => {
  const { host } = await Host.start(["date_result.js", "bullmq.js"]);
  const failure = await failureOf(host.run("date_result"));
  assert.deepEqual([failure.type, failure.message, failure.retry], ["InvalidValueError", "result.items[0].when: Date is not a JSON value", false]);
  host.answers["job.children"] = () => Buffer.from("{}");
  assert.equal((await host.run("bullmq")).at, "1970-01-01T00:00:00.000Z");
  await host.hangUp();
});

test("A1: an unchanged BullMQ processor runs", async () => {
  const { host } = await Host.start(["bullmq.js", "bullmq_esm.mjs"]);
  host.answers["job.children"] = () => Buffer.from('{"bull:q:1":[1]}');
  const result = await host.run("bullmq", { x: 1 }, { token: "t", job: { id: "9" } });
  assert.deepEqual(result, { at: "1970-01-01T00:00:00.000Z", data: { x: 1 }, children: { "bull:q:1": [1] }, made: 0, of: 3 });
  assert.equal(await host.run("bullmq_esm", null, { job: { queue: "mail" } }), "mail");
  const [progress, line] = host.notifications;
  assert.deepEqual(progress, { method: "ctx.progress", params: { run: "t", value: "42" } });
  assert.deepEqual([line.params.level, line.params.message], ["info", "processing bullmq 9"]);
  await host.hangUp();
});

test("A1: BullMQ's moves are calls where the host has them, and clear errors where not", async () => {
  const methods = ["job.updateData", "job.moveToDelayed", "job.moveToWaitingChildren"];
  const { host } = await Host.start(["moves.js"], { options: { methods: Buffer.from(JSON.stringify(methods)) } });
  let waits = true;
  host.answers["job.updateData"] = host.answers["job.moveToDelayed"] = () => null;
  host.answers["job.moveToWaitingChildren"] = () => waits;
  assert.equal(await host.run("moves"), "waits");
  waits = false;
  assert.equal((await failureOf(host.run("moves", null, { token: "t" }))).type, "DelayedError");
  const moves = host.requests.filter(({ params }) => params.run === "t").map(({ method, params: { run, ...rest } }) => [method, rest]);
  assert.deepEqual(moves, [["job.updateData", { data: '{"step":2}' }], ["job.moveToWaitingChildren", {}], ["job.moveToDelayed", { timestamp: 1_760_000_000_001 }]]);
  await host.hangUp();

  const { host: other } = await Host.start(["moves.js"]);
  const failure = await failureOf(other.run("moves"));
  assert.deepEqual([failure.type, failure.message], ["ConfigurationError", "job.updateData is not available on this queue"]);
  await other.hangUp();
});

test("E1: cancel aborts the signal; the run is answered when the handler has settled", async () => {
  const { host } = await Host.start(["obedient.js"]);
  const answer = failureOf(host.run("obedient", null, { token: "r" }));
  await host.until(() => host.lines.length === 1);
  host.cancel("r", "recall");
  assert.deepEqual(await host.ask("ping"), {});
  host.cancel("r", "timeout");
  const failure = await answer;
  assert.deepEqual([failure.type, failure.message], ["CancelledError", "the run was cancelled: timeout"]);
  await host.hangUp();
});

test("E1: a handler that ignores its cancellation goes on and sees it", async () => {
  const { host } = await Host.start(["stubborn.js", "cancelled_then_fails.js"]);
  const held = gate();
  host.answers["ctx.state.get"] = () => held.opened;
  const stubborn = host.run("stubborn", null, { token: "r" });
  const failing = failureOf(host.run("cancelled_then_fails", null, { token: "f" }));
  await host.until(() => host.requests.length === 2);
  host.cancel("r", "lease_lost");
  host.cancel("r", "shutdown");
  host.cancel("f", "shutdown");
  assert.deepEqual(await host.ask("ping"), {});
  held.open(null);
  const why = "the run was cancelled: lease_lost";
  assert.deepEqual(await stubborn, { before: false, after: true, reason: "lease_lost", aborted: true, why });
  assert.equal((await failing).type, "TypeError");
  await host.hangUp();
});

test("E2: state goes to the host and back", async () => {
  const { host } = await Host.start(["state.js"]);
  const page = (keys, cursor) => ({ keys: Buffer.from(JSON.stringify(keys)), cursor });
  host.answers = {
    "ctx.state.set": () => null,
    "ctx.state.get": ({ key }) => ({ a: Buffer.from('{"n":1}'), null: Buffer.from("null") })[key] ?? null,
    "ctx.state.has": () => true,
    "ctx.state.incr": ({ by }) => 10 + by,
    "ctx.state.keys": ({ cursor }) => (cursor === null ? page(["a", "b"], "next") : page(["c"], null)),
    "ctx.state.delete": () => true,
  };
  const result = await host.run("state", null, { token: "r" });
  const expected = { got: { n: 1 }, stored: null, missing: "fallback", has: true, sum: 12, one: 11, keys: ["a", "b", "c"], deleted: true };
  assert.deepEqual(result, expected);
  assert.deepEqual(host.requests[0].params, { run: "r", key: "a", scope: null, value: '{"n":1}', ttl: 3_600_000 });
  assert.deepEqual(host.requests[1].params, { run: "r", key: "b", scope: "job", value: "null", ttl: null });
  assert.deepEqual(host.requests.find(({ method }) => method === "ctx.state.keys").params, { run: "r", scope: "global", cursor: null });
  await host.hangUp();
});

test("E2: misuse of ctx is refused before it reaches the host", async () => {
  const { host } = await Host.start(["state_misuse.js"]);
  assert.deepEqual(await host.run("state_misuse"), [
    "a state key must be a string of valid Unicode",
    "a state key must be a string of valid Unicode",
    '60 has no unit: write "60s" for seconds or "60ms" for milliseconds',
    'state["a"]: NaN is not a JSON value',
    "state.incr: 1.5 is not an integer",
    "flow.emit: the trigger must be a string",
    "payload: bigint is not a JSON value",
  ]);
  assert.deepEqual(host.requests, []);
  await host.hangUp();
});

test("E2: a refusal of the host is an error in the handler", async () => {
  const { host } = await Host.start(["refused.js"]);
  host.answers["ctx.state.set"] = () => {
    throw { type: "StateLimitError", message: "over 64 KiB", data: Buffer.from('{"limit":65536}') };
  };
  assert.deepEqual(await host.run("refused"), ["StateLimitError", "StateLimitError", "over 64 KiB", { limit: 65536 }]);
  host.answers["ctx.state.set"] = () => {
    throw { type: "OutOfDiskError", message: "full" };
  };
  assert.deepEqual(await host.run("refused"), ["CallError", "OutOfDiskError", "full", null]);
  await host.hangUp();
});

test("F5, D5: emits, progress and children", async () => {
  const { host } = await Host.start(["emits.js"]);
  host.answers = { "ctx.flow.emit": () => ({}), "job.children": () => Buffer.from('{"c":1}') };
  assert.deepEqual(await host.run("emits", null, { token: "r" }), { c: 1 });
  assert.deepEqual(host.requests.slice(0, 2).map(({ params }) => params), [
    { run: "r", trigger: "order.paid", payload: '{"id":1}', key: null, immediate: false },
    { run: "r", trigger: "order.paid", payload: '{"id":2}', key: "2", immediate: true },
  ]);
  assert.deepEqual(host.notifications, [{ method: "ctx.progress", params: { run: "r", value: '{"done":1,"of":2}' } }]);
  await host.hangUp();
});

test("E2: nothing can be asked in the name of a run that is over", async () => {
  const { host } = await Host.start(["orphan.js", "gate.js"]);
  assert.equal(await host.run("orphan"), "left");
  assert.equal(await host.run("orphan", "finish", { token: "other" }), "RunNotLiveError");
  assert.deepEqual(host.requests, []);
  const expected = [[null, "handler", "info", "logged late"], [null, "stdout", "info", "printed late"]];
  assert.deepEqual(host.lines, expected);
  await host.hangUp();
});

test("E2: more calls than may be open at once wait for their turn", async () => {
  const { host } = await Host.start(["burst.js"]);
  host.answers["ctx.state.get"] = () => null;
  assert.equal(await host.run("burst"), 3000);
  await host.hangUp();
});

test("E2: a run token that is live cannot be used twice", async () => {
  const { host } = await Host.start(["gate.js"]);
  const held = gate();
  host.answers["ctx.state.get"] = () => held.opened;
  const first = host.run("gate", null, { token: "r" });
  await assert.rejects(host.run("gate", null, { token: "r" }), /InvalidParamsError: the run is live already/);
  held.open(null);
  assert.equal((await first).value, undefined);
  await host.hangUp();
});

test("H3: a result that does not fit into a frame fails its run, and only it", async () => {
  const { host } = await Host.start(["large.js"], { options: { max_frame: 2000 } });
  const failure = await failureOf(host.run("large", 3000));
  assert.deepEqual([failure.type, failure.retry], ["InvalidValueError", false]);
  assert.match(failure.message, /^result: 30\d\d bytes do not fit into a frame of at most 2000$/);
  assert.equal((await host.run("large", 1000)).length, 1000);
  await host.hangUp();
});

test("E2: megabytes travel both ways", async () => {
  const { host } = await Host.start(["echo.js"]);
  const text = "é".repeat(2_000_000);
  assert.equal(await host.run("echo", text), text);
  await host.hangUp();
});
