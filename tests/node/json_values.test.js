"use strict";
/** What a handler may take and return: JSON values, and the path of what is not one. */

const assert = require("node:assert/strict");
const test = require("node:test");
const vm = require("node:vm");
const { decodeJson, encodeJson } = require("../../sdk_node/json_values.js");

const roundTrip = (value, lenient) => decodeJson(encodeJson(value, "result", lenient));

test("E1: JSON values come back as they were", () => {
  const values = [null, true, "é\u{1f600}", 0, -1.5, 2 ** 53 - 1, 1e300, [], {}, [1, [2, { a: [null] }]], { "a b": { c: "d" } }];
  for (const value of values) assert.deepEqual(roundTrip(value), value);
});

test("E1: members that are undefined are dropped, elements become null", () => {
  assert.deepEqual(roundTrip({ a: undefined, b: 1 }), { b: 1 });
  assert.deepEqual(roundTrip([undefined, 1]), [null, 1]);
  assert.equal(roundTrip(undefined), null);
});

test("E1: objects without a prototype and from another realm are plain", () => {
  assert.deepEqual(roundTrip(Object.assign(Object.create(null), { a: 1 })), { a: 1 });
  assert.deepEqual(roundTrip(vm.runInNewContext("({ a: [1] })")), { a: [1] });
});

const looped = { a: {} };
looped.a.b = looped;
class Point {
  x = 1;
}

const REFUSED = [
  ["a Date", { items: [{}, { when: new Date(0) }] }, "result.items[1].when: Date is not a JSON value"],
  ["a BigInt", { n: 1n }, "result.n: bigint is not a JSON value"],
  ["NaN", [NaN], "result[0]: NaN is not a JSON value"],
  ["an infinity", -Infinity, "result: -Infinity is not a JSON value"],
  ["a Map", { "a b": new Map() }, 'result["a b"]: Map is not a JSON value'],
  ["a Set", new Set(), "result: Set is not a JSON value"],
  ["a function", { f() {} }, "result.f: function is not a JSON value"],
  ["a symbol", { s: Symbol("s") }, "result.s: symbol is not a JSON value"],
  ["a class instance", [new Point()], "result[0]: Point is not a JSON value"],
  ["a nameless class", [new (class {})()], "result[0]: an object of a class is not a JSON value"],
  ["a Buffer", { bytes: Buffer.from("x") }, "result.bytes: Buffer is not a JSON value"],
  ["an integer too large", { id: 2 ** 53 }, "result.id: the integer 9007199254740992 is beyond ±(2^53-1)"],
  ["a lone surrogate", { text: "\ud800" }, "result.text: a lone surrogate is not a JSON value"],
  ["a key with a lone surrogate", { "\udc00": 1 }, 'result["\\udc00"]: a key with a lone surrogate'],
  ["an object with toJSON", { a: { toJSON: () => 1 } }, "result.a.toJSON: function is not a JSON value"],
];

for (const [name, value, message] of REFUSED) {
  test(`E1: ${name} is refused with its path`, () => {
    assert.throws(() => encodeJson(value, "result"), { name: "InvalidValueError", message });
  });
}

test("E1: what holds itself is refused with the beginning of its path", () => {
  assert.throws(() => encodeJson(looped, "result"), /^InvalidValueError: result\.a\.b\.a\.b.*…: nests over 200 deep or holds itself$/);
});

test("E1: in a BullMQ processor Date and toJSON pass, the rest does not", () => {
  assert.deepEqual(roundTrip({ at: new Date(0), x: { toJSON: () => [1] } }, true), { at: "1970-01-01T00:00:00.000Z", x: [1] });
  assert.throws(() => encodeJson({ m: new Map() }, "result", true), { message: "result.m: Map is not a JSON value" });
  assert.throws(() => encodeJson({ x: { toJSON: () => NaN } }, "result", true), { message: "result.x: NaN is not a JSON value" });
});
