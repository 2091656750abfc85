"use strict";
/** What a handler declares of its values, and its middleware. */

const assert = require("node:assert/strict");
const test = require("node:test");
const { Host, json } = require("./host.js");

async function failureOf(run) {
  const { failure } = await run.then(assert.fail, (error) => error);
  return { ...failure, data: failure.data && JSON.parse(failure.data) };
}

test("G4: a result that its schema refuses fails without a retry, with its fields", async () => {
  const { host } = await Host.start(["contract.js"]);
  host.answers["ctx.flow.emit"] = () => ({});
  assert.deepEqual(await host.run("contract", { result: { items: [{ price: 1 }] } }), { items: [{ price: 1 }] });
  const failure = await failureOf(host.run("contract", { result: { items: [{ price: 1 }, {}] } }));
  assert.deepEqual([failure.type, failure.retry], ["InvalidJobDataError", false]);
  assert.equal(failure.message, "the result was refused: result.items[1].price: is required");
  assert.deepEqual(failure.data.fields, [{ field: "result.items[1].price", message: "is required" }]);
  const whole = await failureOf(host.run("contract", { result: [] }));
  assert.deepEqual(whole.data.fields.map(({ field }) => field), ["result"]);
  await host.hangUp();
});

test("G4: a payload that its schema refuses throws at the emit, and the host is not asked", async () => {
  const { host } = await Host.start(["contract.js"]);
  host.answers["ctx.flow.emit"] = () => ({});
  const failure = await failureOf(host.run("contract", { emit: 5, result: {} }));
  assert.equal(failure.type, "InvalidJobDataError");
  assert.match(failure.message, /^the payload of "a" was refused: payload: /);
  assert.deepEqual(host.requests, []);
  assert.deepEqual(await host.run("contract", { emit: "text", result: {} }), {});
  assert.deepEqual(host.requests.map(({ params }) => [params.trigger, params.payload]), [["a", '"text"'], ["b", "7"]]);
  await host.hangUp();
});

test("G4: what the host's file says takes the place of the code's", async () => {
  const schemas = {
    contract: { result: { type: "array" }, emits: { b: { type: "string" } }, input: true },
    "": { input: { type: "integer" } },
  };
  const { host, handlers } = await Host.start(["contract.js", "echo.js"], { options: { schemas: json(schemas) } });
  host.answers["ctx.flow.emit"] = () => ({});
  assert.deepEqual(handlers[0].result, { type: "array" });
  assert.deepEqual(handlers[0].flow.emits, { a: { type: "string" }, b: null });
  const failure = await failureOf(host.run("contract", { emit: 5, result: {} }));
  assert.match(failure.message, /^the payload of "b" was refused/);
  assert.equal((await failureOf(host.run("echo", "text"))).type, "InvalidJobDataError");
  assert.equal(await host.run("echo", 5), 5);
  await host.hangUp();
});

test("G4, M2: what is no schema and no middleware is a problem of its file", async () => {
  const { host, handlers, problems } = await Host.start(["bad_contracts.js", "echo.js"]);
  assert.deepEqual(handlers.map(({ name }) => name), ["echo"]);
  const told = problems.map(({ error }) => error);
  assert.deepEqual(told, [
    "TypeError: `result` must be a JSON Schema",
    "TypeError: `emits.a` must be a JSON Schema",
    "TypeError: `middleware` must be a list of functions (job, ctx, next)",
  ]);
  await host.hangUp();
});

test("M2: middleware is around the handler, the first outermost; the handler keeps its signal", async () => {
  const { host, handlers } = await Host.start(["wrapped.js"]);
  assert.equal("middleware" in handlers[0], false);
  assert.deepEqual(await host.run("wrapped", "x"), ["outer", false]);
  assert.deepEqual(await host.run("wrapped", "closed"), ["outer", "not today"]);
  await host.hangUp();
});
