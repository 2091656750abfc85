"use strict";
/** `@jobhost/sdk/testing`: one handler in a test, without a host, and as a child would run it. */

const assert = require("node:assert/strict");
const path = require("node:path");
const test = require("node:test");
const sdk = require("../../sdk_node");
const { runHandler, Store } = require("../../sdk_node/testing");

const { defineHandler, RetryLater, UnrecoverableError } = sdk;
const FIXTURES = path.join(__dirname, "fixtures");

const place = defineHandler(
  { name: "order.place", queue: "orders", attempts: 5, flow: { name: "orders", step: "place", emits: ["placed"] } },
  async (job, ctx) => {
    ctx.logger.info("placing", { customer: job.data.customer });
    await ctx.progress(50);
    await ctx.state.set("order", job.data);
    await ctx.flow.emit("placed", { total: 3 }, { key: "a" });
    return { customer: job.data.customer, step: ctx.stepId, none: undefined };
  },
);

test("P1: result, logs, progress, emits and state of one run, with no host", async () => {
  const ran = await runHandler(place, { customer: "Ada" }, { flowId: "f1" });
  assert.deepEqual(ran.result, { customer: "Ada", step: "f1__order.place__attempt-1" });
  assert.deepEqual(ran.logs, [{ level: "info", message: "placing", fields: { customer: "Ada" } }]);
  assert.deepEqual(ran.progress, [50]);
  assert.deepEqual(ran.emits, [{ trigger: "placed", payload: { total: 3 }, key: "a", immediate: false, starts: false }]);
  assert.deepEqual(ran.state, { order: { customer: "Ada" } });
  assert.equal(ran.error, null);
});

test("P1: every form of a handler", async () => {
  class Triple {
    execute(job) {
      return job.data * 3;
    }
  }
  assert.equal((await runHandler((job) => job.data * 2, 2)).result, 4);
  assert.equal((await runHandler(Triple, 2)).result, 6);
  assert.equal((await runHandler({ name: "x", execute: (job) => job.data + 1 }, 2)).result, 3);
  assert.equal((await runHandler({ default: (job) => job.name, config: { name: "n" } })).result, "n");
  assert.equal((await runHandler(() => {})).result, null);
  assert.deepEqual((await runHandler(path.join(FIXTURES, "echo.js"), 7)).error, null);
});

test("P1: the job is what the test says", async () => {
  const facts = (job, ctx) => [job.id, job.name, job.queue, job.attempt, job.maxAttempts, job.metadata, ctx.idempotencyKey];
  const options = { id: "7", name: "n", queue: "q", attempt: 2, maxAttempts: 9, metadata: { a: 1 }, createdAt: new Date(12) };
  assert.deepEqual((await runHandler(facts, null, options)).result, ["7", "n", "q", 2, 9, { a: 1 }, "q:7:12"]);
  const { result } = await runHandler(defineHandler({ queue: "mail", attempts: 4 }, facts));
  assert.deepEqual(result.slice(2, 5), ["mail", 1, 4]);
});

test("P1: what JSON cannot carry fails with its path", async () => {
  const ran = await runHandler(defineHandler(() => ({ items: [{ when: new Date() }] })));
  assert.throws(() => ran.result, { name: "InvalidValueError", message: "result.items[0].when: Date is not a JSON value" });
  await assert.rejects(runHandler(place, { n: NaN }), { name: "InvalidValueError", path: "data.n" });
  const state = await runHandler(defineHandler((job, ctx) => ctx.state.set("k", 1n)));
  assert.equal(state.error.path, 'state["k"]');
});

test("P1: an emit that is not declared throws in the handler", async () => {
  const wrong = defineHandler({ name: "wrong", flow: { name: "orders", emits: ["placed"] } }, (job, ctx) => ctx.flow.emit(job.data));
  const { error } = await runHandler(wrong, "palced");
  assert.equal(error.name, "FlowError");
  assert.equal(error.message, 'wrong may not emit "palced": its flow says emits = ["placed"]');
  for (const trigger of ["step:x", "", "x".repeat(257)]) assert.match((await runHandler(wrong, trigger)).error.name, /^Flow/);
});

test("P1: input schemas are checked", async () => {
  const wants = defineHandler({ input: { type: "object", required: ["a"] } }, () => 1);
  const { error } = await runHandler(wants, {});
  assert.equal(error.name, "InvalidJobDataError");
  assert.deepEqual(error.fields, [{ field: "a", message: "is required" }]);
});

test("P1: a run that fails emits only what was immediate", async () => {
  const ran = await runHandler(async (job, ctx) => {
    await ctx.flow.emit("later", 1);
    await ctx.flow.emit("now", 2, { immediate: true });
    await ctx.flow.start("other", 3);
    throw new RetryLater("5m");
  });
  assert.deepEqual(ran.emits.map(({ trigger }) => trigger), ["now"]);
  assert.deepEqual(ran.emitted.map(({ starts }) => starts), [false, false, true]);
  assert.equal(ran.error.delayMs, 300_000);
  assert.throws(() => ran.result, RetryLater);
});

test("P1: a run that is over reaches nothing", async () => {
  let kept;
  const ran = await runHandler((job, ctx) => void (kept = ctx));
  kept.logger.info("too late");
  assert.deepEqual(ran.logs, []);
  await assert.rejects(kept.state.get("x"), { name: "RunNotLiveError" });
});

const failing = async (call) => {
  try {
    await call();
    return "none";
  } catch (error) {
    return error.name;
  }
};

test("P1: state has the rules of a host", async () => {
  const { result, store } = await runHandler(async (job, { state }) => [
    await state.get("a", "none"),
    await state.set("a", null),
    await state.get("a", "none"),
    await state.delete("a"),
    await state.has("a"),
    await state.incr("n", 5),
    await state.compareAndSet("c", undefined, { x: 1 }),
    await state.compareAndSet("c", { x: 1 }, undefined),
    await state.compareAndSet("n", 4, 1),
    await state.batch([["set", "s", 1], ["incr", "s", 2], ["delete", "c"]]),
    await state.keys(),
    await failing(() => state.batch([["set", "half", 1], ["incr", "text"], ["set", "text", "t"], ["incr", "text"]])),
    await state.has("half"),
    await failing(() => state.batch([])),
    await failing(() => state.set("", 1)),
    await failing(() => state.set("big", "x".repeat(1024 * 1024))),
    await failing(() => state.incr("n", Number.MAX_SAFE_INTEGER)),
    await failing(() => state.of("flow").get("x")),
    await failing(() => state.of("nowhere").get("x")),
    await state.of("global").incr("shared"),
  ]);
  assert.deepEqual(result, [
    "none", null, null, true, false, 5, true, true, false, [null, 3, false], ["n", "s"], "StateTypeError", false, "CallError",
    "StateLimitError", "StateLimitError", "StateTypeError", "StateScopeError", "StateScopeError", 1,
  ]);
  assert.deepEqual(store.values("global"), { shared: 1 });
});

test("P1: a second attempt goes on from the state of the first", async () => {
  const counting = async (job, ctx) => {
    for (let n = await ctx.state.get("done", 0); n < 4; n++) {
      if (n === 2 && job.attempt === 1) throw new Error("gone");
      await ctx.state.set("done", n + 1);
      await ctx.progress(n);
    }
    return ctx.state.get("done");
  };
  const first = await runHandler(counting);
  assert.equal(first.error.message, "gone");
  const second = await runHandler(counting, null, { state: first.store, attempt: 2 });
  assert.deepEqual([second.result, second.progress], [4, [2, 3]]);
  assert.deepEqual((await runHandler(counting, null, { state: { done: 3 } })).progress, [3]);
});

test("P1: stores can be given, restricted and told the time", async () => {
  const keep = async (job, ctx) => {
    await ctx.state.set("brief", 1, { ttl: "1h" });
    return ctx.state.of("global").get("limit");
  };
  const store = new Store();
  store.put({ limit: 5 }, "global");
  assert.equal((await runHandler(keep, null, { state: store })).result, 5);
  assert.deepEqual(store.values(), { brief: 1 });
  store.advance("1h");
  assert.deepEqual(store.values(), {});
  const refused = await runHandler(keep, null, { state: new Store({}, { scopes: ["job"] }) });
  assert.equal(refused.error.name, "StateScopeError");
});

test("P1: children and services are the test's", async () => {
  const gather = async (job, ctx) => [await ctx.children(), ctx.services.rate];
  assert.deepEqual((await runHandler(gather, null, { children: { a: 1 }, services: { rate: 2 } })).result, [{ a: 1 }, 2]);
  assert.equal((await runHandler(gather)).error.name, "ConfigurationError");
  const setUp = { default: gather, setup: () => ({ rate: 3 }) };
  assert.deepEqual((await runHandler(setUp)).result, [{}, 3]);
});

test("P1: files with no, several or broken handlers are told", async () => {
  const two = { a: defineHandler({ name: "a" }, () => 1), b: defineHandler({ name: "b" }, () => 2) };
  assert.equal((await runHandler(two, null, { name: "b" })).result, 2);
  await assert.rejects(runHandler(two), { name: "ConfigurationError", message: /one of a, b/ });
  await assert.rejects(runHandler(path.join(FIXTURES, "library.js")), { name: "ConfigurationError", message: /0 handlers/ });
  await assert.rejects(runHandler(path.join(FIXTURES, "broken_syntax.js")), { name: "ConfigurationError", message: /SyntaxError/ });
});

test("P1: the test cancels when it wants", async () => {
  const ran = await runHandler(
    async (job, ctx) => {
      for (let n = 0; ; n++) {
        await ctx.progress(n);
        ctx.signal.throwIfAborted();
      }
    },
    null,
    { cancelWhen: ({ progress }) => progress.at(-1) === 3 },
  );
  assert.deepEqual(ran.progress, [0, 1, 2, 3]);
  assert.deepEqual([ran.error.name, ran.error.reason, ran.cancelled], ["CancelledError", "cancelled", "cancelled"]);
});

test("P1: a timeout aborts the signal", async () => {
  const hang = (job, ctx, signal) => new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
  const ran = await runHandler(hang, null, { timeout: "20ms" });
  assert.deepEqual([ran.error.reason, ran.cancelled], ["timeout", "timeout"]);
});

test("P1: what a handler throws is the very error", async () => {
  const error = new UnrecoverableError("no");
  assert.equal((await runHandler(() => { throw error; })).error, error);
  const odd = await runHandler(() => Promise.reject(undefined));
  assert.throws(() => odd.result, (thrown) => thrown === undefined);
});

test("P1, G4: payloads and results are checked as in a real run", async () => {
  const PAID = { type: "object", required: ["total"] };
  const settings = { name: "pay", flow: { name: "orders", emits: { paid: PAID } }, result: { type: "string" } };
  const pay = defineHandler(settings, async (job, ctx) => {
    await ctx.flow.emit("paid", job.data);
    return job.data.text;
  });
  const good = await runHandler(pay, { total: 1, text: "ok" });
  assert.equal(good.result, "ok");
  assert.deepEqual(good.emits.map((one) => one.trigger), ["paid"]);
  for (const [data, message] of [
    [{ text: "ok" }, /payload\.total/],
    [{ total: 1, text: 2 }, /result/],
  ]) {
    const { error } = await runHandler(pay, data);
    assert.equal(error.name, "InvalidJobDataError");
    assert.match(error.message, message);
  }
  const other = defineHandler(settings, (job, ctx) => ctx.flow.emit("sent", 1));
  assert.equal((await runHandler(other)).error.name, "FlowError");
});
