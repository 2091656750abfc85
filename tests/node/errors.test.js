"use strict";
/** Errors, durations, and what of a thrown value travels to the host. */

const assert = require("node:assert/strict");
const test = require("node:test");
const { toFailure } = require("../../sdk_node/child/failure.js");
const { milliseconds } = require("../../sdk_node/durations.js");
const sdk = require("../../sdk_node/index.js");
const { callError, isNamed } = require("../../sdk_node/errors.js");
const { clip } = require("../../sdk_node/text.js");

const dataOf = (thrown) => JSON.parse(toFailure(thrown).data.toString());

test("G1: durations have a unit", () => {
  const good = { "500ms": 500, "30s": 30_000, " 1.5 m ": 90_000, "2h": 7_200_000, "1d": 86_400_000 };
  for (const [text, ms] of Object.entries(good)) assert.equal(milliseconds(text), ms);
  assert.throws(() => milliseconds(30), { message: '30 has no unit: write "30s" for seconds or "30ms" for milliseconds' });
  for (const bad of ["30", "", "1 week", "-1s", null, undefined]) assert.throws(() => milliseconds(bad), /is not a duration/);
});

test("G4: an error travels with type, message and stack", () => {
  const failure = toFailure(new TypeError("no width"));
  assert.equal(failure.type, "TypeError");
  assert.equal(failure.message, "no width");
  assert.match(failure.stack, /^TypeError: no width\n {4}at .*errors\.test\.js/);
  assert.equal(failure.retry, null);
  assert.equal(failure.data, null);
});

test("G4: a class that sets no name is known by its constructor", () => {
  class PaymentDeclined extends Error {}
  assert.equal(toFailure(new PaymentDeclined("x")).type, "PaymentDeclined");
  assert.equal(toFailure(Object.assign(new Error("x"), { name: "Custom" })).type, "Custom");
});

test("G4: UnrecoverableError is known by name, from whichever package", () => {
  class UnrecoverableError extends Error {}
  class Worse extends UnrecoverableError {}
  for (const error of [new sdk.UnrecoverableError("x"), new UnrecoverableError("x"), new Worse("x"), new sdk.InvalidJobDataError("x")]) {
    assert.equal(toFailure(error).retry, false);
  }
  assert.equal(isNamed("UnrecoverableError", "UnrecoverableError"), false);
});

test("G4: RetryLater carries its delay, and nothing of it as data", () => {
  const failure = toFailure(new sdk.RetryLater("5m"));
  assert.deepEqual([failure.retry, failure.message, failure.data], [300_000, "come back in 5m", null]);
  assert.throws(() => new sdk.RetryLater(5), /has no unit/);
});

test("G4: BullMQ's errors keep their names", () => {
  for (const name of ["DelayedError", "WaitingChildrenError", "RateLimitError"]) {
    assert.deepEqual([toFailure(new sdk[name]()).type, toFailure(new sdk[name]()).retry], [name, null]);
  }
});

test("G4: the fields of invalid data, the cause and own attributes travel as data", () => {
  assert.deepEqual(dataOf(new sdk.InvalidJobDataError("x", [{ field: "a", message: "b" }])), { fields: [{ field: "a", message: "b" }] });
  const cause = new RangeError("deep", { cause: "text" });
  const error = Object.assign(new Error("x", { cause }), { code: "E1", socket: new Map(), when: new Date(0), big: "x".repeat(70_000) });
  assert.deepEqual(dataOf(error), {
    code: "E1",
    cause: { type: "RangeError", message: "deep", cause: { type: "Error", message: "thrown: text", cause: null } },
  });
});

test("G4: an endless chain of causes is cut", () => {
  const error = new Error("loop");
  error.cause = error;
  let depth = 0;
  for (let { cause } = dataOf(error); cause !== null; cause = cause.cause) depth++;
  assert.equal(depth, 8);
});

test("G4: what is no error can be thrown too", () => {
  const thrown = ["x", 7, null, undefined, { a: 1 }, Symbol("s")].map(toFailure);
  assert.deepEqual(thrown.map(({ message }) => message), ["x", "7", "null", "undefined", "{ a: 1 }", "Symbol(s)"].map((text) => `thrown: ${text}`));
  assert.ok(thrown.every(({ type, stack, data }) => type === "Error" && stack === "" && data === null));
  assert.equal(toFailure({ message: "like an error" }).message, "like an error");
  assert.equal(toFailure(Object.assign(new Error(), { message: { a: 1 } })).message, "{ a: 1 }");
});

test("G4: an error that cannot be read is still an answer", () => {
  const hostile = new Proxy(new Error("x"), {
    get() {
      throw new Error("no");
    },
  });
  assert.equal(toFailure(hostile).message, "something was thrown that cannot be read");
});

test("G4: long and broken text is cut to what the wire takes", () => {
  const error = new Error("é".repeat(20_000));
  error.name = "N".repeat(300);
  error.stack = "s".repeat(100_000);
  const failure = toFailure(error);
  assert.equal(Buffer.byteLength(failure.message), 16 * 1024);
  assert.equal(failure.type.length, 200);
  assert.equal(failure.stack.length, 64 * 1024);
  assert.equal(clip("a\ud800", 100), "a\ufffd");
  assert.equal(clip("aé", 2), "a");
  assert.equal(clip("aé", 3), "aé");
  assert.equal(clip("", 0), "");
});

test("G4: a refused call is an error of the host's type", () => {
  const error = callError({ type: "StateLimitError", message: "64 KiB" }, { limit: 1 });
  assert.ok(error instanceof sdk.StateLimitError);
  assert.deepEqual([error.name, error.type, error.message, error.data], ["StateLimitError", "StateLimitError", "64 KiB", { limit: 1 }]);
  const other = callError({ type: "Later", message: null }, null);
  assert.deepEqual([other.constructor, other.type, other.message], [sdk.CallError, "Later", ""]);
  assert.deepEqual([toFailure(other).type, toFailure(error).type, toFailure(error).data], ["Later", "StateLimitError", null]);
});
