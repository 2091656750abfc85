"use strict";
/** Log lines: bounded, counted, attributed. */

const assert = require("node:assert/strict");
const test = require("node:test");
const { inspect } = require("node:util");
const { Logger } = require("../../sdk_node/logger.js");
const { BACKLOG, Logs } = require("../../sdk_node/logs.js");
const { Output } = require("../../sdk_node/output.js");

function logsWithClock(limits) {
  const clock = { now: 1000 };
  const sent = [];
  const link = { backlog: 0, notify: (_method, params) => sent.push(params) };
  const logs = new Logs(link, limits, () => clock.now);
  return { clock, sent, link, logs, bucket: logs.bucket("run") };
}

test("F1: a line has run, level, message, fields, time and source", () => {
  const { logs, bucket, sent } = logsWithClock();
  logs.write(bucket, "handler", "info", "hello", { a: 1 });
  assert.deepEqual(sent, [{ run: "run", level: "info", message: "hello", fields: Buffer.from('{"a":1}'), ts: 1000, source: "handler" }]);
});

test("F1: what is over the rate is dropped, counted and said", () => {
  const { logs, bucket, sent, clock } = logsWithClock({ rate: 10, burst: 3 });
  for (let index = 0; index < 8; index++) logs.write(bucket, "stdout", "info", `line ${index}`, null);
  clock.now += 100;
  logs.write(bucket, "stdout", "info", "later", null);
  logs.settle(bucket);
  assert.deepEqual(sent.map(({ message }) => message), ["line 0", "line 1", "line 2", "5 log lines dropped", "later"]);
  assert.equal(sent[3].level, "warning");
});

test("F1: lines are dropped while the host does not read", () => {
  const { logs, bucket, sent, link } = logsWithClock();
  link.backlog = BACKLOG + 1;
  logs.write(bucket, "stdout", "info", "lost", null);
  link.backlog = 0;
  logs.settle(bucket);
  assert.deepEqual(sent.map(({ message }) => message), ["1 log lines dropped"]);
});

test("F1: a clock that goes back gives no lines away", () => {
  const { logs, bucket, sent, clock } = logsWithClock({ rate: 1, burst: 1 });
  logs.write(bucket, "stdout", "info", "one", null);
  clock.now -= 5000;
  logs.write(bucket, "stdout", "info", "two", null);
  assert.equal(sent.length, 1);
});

test("F1: no field and no message is a reason to fail", () => {
  const { logs, bucket, sent } = logsWithClock({ maxLine: 100 });
  const fields = { when: new Date(0), bad: NaN, map: new Map([[1, 2]]), error: new TypeError("x"), "\ud800": 1 };
  Object.defineProperty(fields, "trap", { enumerable: true, get: () => assert.fail("not readable") });
  logs.write(bucket, "handler", "info", { not: "text" }, fields);
  logs.write(bucket, "handler", "info", "x".repeat(200), { long: "y".repeat(200) });
  logs.write(bucket, "handler", "info", "no fields", "text");
  logs.write(bucket, "handler", "info", { [inspect.custom]: () => assert.fail("not shown") }, null);
  const [odd, long, none, hidden] = sent;
  assert.equal(odd.message, "{ not: 'text' }");
  assert.match(odd.fields.toString(), /bytes, dropped/);
  assert.equal(long.message, `${"x".repeat(100)}… [cut]`);
  assert.equal(long.fields.toString(), '{"fields":"211 bytes, dropped"}');
  assert.equal(none.fields, null);
  assert.equal(hidden.message, "(something that cannot be shown)");
});

test("F1: odd fields are logged as text", () => {
  const { logs, bucket, sent } = logsWithClock();
  logs.write(bucket, "handler", "info", "m", { when: new Date(0), bad: NaN, fine: [1] });
  assert.deepEqual(JSON.parse(sent[0].fields.toString()), { when: "1970-01-01T00:00:00.000Z", bad: "NaN", fine: [1] });
});

test("F1: the logger knows four levels, and warn", () => {
  const lines = [];
  const logger = new Logger((...line) => lines.push(line));
  logger.debug("a");
  logger.info("b", { x: 1 });
  logger.warning("c");
  logger.warn("d");
  logger.error("e");
  logger.log("shout", "f");
  assert.deepEqual(lines.map(([level]) => level), ["debug", "info", "warning", "warning", "error", "info"]);
  assert.deepEqual(lines[1], ["info", "b", { x: 1 }]);
});

function outputOf(owners) {
  const lines = [];
  const current = { owner: null };
  const output = new Output(() => current.owner, (owner, source, level, line) => lines.push([owner?.name ?? null, source, level, line]), 10);
  const write = (owner, text, source = "stdout", encoding = "utf8") => {
    current.owner = owners?.[owner] ?? null;
    output.write(source, text, encoding);
  };
  return { lines, output, write };
}

test("F1: begun lines of several runs are kept apart", () => {
  const a = { name: "a" };
  const b = { name: "b" };
  const { lines, output, write } = outputOf({ a, b });
  write("a", "one ");
  write("b", "two ");
  write("a", "1\r\nrest");
  write("b", "2\n", "stdout");
  write("b", "err", "stderr");
  write(null, "outside");
  assert.deepEqual(lines, [["a", "stdout", "info", "one 1"], ["b", "stdout", "info", "two 2"]]);
  output.finish(a);
  output.finish(a);
  output.finishAll();
  assert.deepEqual(lines.slice(2), [["a", "stdout", "info", "rest"], ["b", "stderr", "warning", "err"], [null, "stdout", "info", "outside"]]);
});

test("F1: a line without an end is cut, so that memory stays bounded", () => {
  const { lines, write } = outputOf();
  write(null, "x".repeat(25));
  write(null, `${"y".repeat(12)}\n`);
  assert.deepEqual(lines.map(([, , , line]) => line), ["xxxxxxxxxx", "xxxxxxxxxx", "xxxxxyyyyy", "yyyyyyy"]);
});

test("F1: bytes may end inside a character, and other encodings are text too", () => {
  const { lines, write } = outputOf();
  const bytes = Buffer.from("é\n");
  write(null, bytes.subarray(0, 1), "stdout", "buffer");
  write(null, bytes.subarray(1), "stdout", "buffer");
  write(null, "w6kK", "stdout", "base64");
  assert.deepEqual(lines.map(([, , , line]) => line), ["é", "é"]);
});
