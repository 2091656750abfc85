"use strict";
/** Which handlers the files of a bundle define. Each fixture is one form. */

const assert = require("node:assert/strict");
const path = require("node:path");
const test = require("node:test");
const { defineHandler } = require("../../sdk_node/define.js");
const { discover } = require("../../sdk_node/discovery.js");
const { FIXTURES } = require("./host.js");

const listingOf = async (file) => {
  const bundle = await discover(FIXTURES, [file]);
  assert.deepEqual(bundle.problems, []);
  return [...bundle.handlers.values()].map(({ listing }) => JSON.parse(JSON.stringify(listing)));
};

const problemOf = async (file) => {
  const bundle = await discover(FIXTURES, [file]);
  assert.equal(bundle.handlers.size, 0);
  assert.equal(bundle.problems.length, 1);
  return bundle.problems[0];
};

const RESULT = { type: "object", properties: { items: { items: { required: ["price"] } } } };

const FORMS = {
  "defined.mjs": [
    { name: "image.thumb", line: 3, queue: "images", timeout: "30s", attempts: 2, flow: { name: "orders", subscribes: ["order.placed"] } },
  ],
  "defined.js": [{ name: "defined", line: 3, timeout: "1m" }],
  "several.mjs": [{ name: "mail.first", line: 3 }, { name: "mail.second", line: 4 }],
  "syntax_is_esm.js": [{ name: "syntax_is_esm", line: 3, queue: "images" }],
  "awaits.mjs": [{ name: "awaits", line: null, queue: "slow" }],
  "plain.cjs": [{ name: "plain", line: null, queue: "images", timeout: "30s", description: "a plain function" }],
  "compiled.js": [{ name: "compiled", line: null, queue: "compiled" }],
  "bullmq.js": [{ name: "bullmq", line: null }],
  "bullmq_esm.mjs": [{ name: "bullmq_esm", line: null }],
  "star.js": [{ name: "*", line: 3 }],
  "input.js": [
    { name: "input", line: 5, input: { type: "object", required: ["width"], properties: { width: { type: "integer" } } } },
  ],
  "contract.js": [{ name: "contract", line: null, input: true, result: RESULT, flow: { name: "f", emits: { a: { type: "string" }, b: null } } }],
  "nested/echo.js": [{ name: "echo", line: null }],
  "esm_package/typed.js": [{ name: "typed", line: null }],
};

for (const [file, expected] of Object.entries(FORMS)) {
  test(`A2, E1: ${file}`, async () => {
    const found = await listingOf(file);
    assert.deepEqual(found.sort(byName), expected.map((entry) => ({ ...entry, file, kind: "async" })));
  });
}

test("A3: an object with metadata and execute", async () => {
  const [found] = await listingOf("welcome.js");
  assert.deepEqual(found, { name: "welcomeMessage", description: "Greets", version: "1.2.0", author: "Ada", file: "welcome.js", line: null, kind: "async" });
});

test("A3, A10: a class with execute and getMetadata, settings from config", async () => {
  const [found] = await listingOf("metadata.mjs");
  const metadata = { name: "dataExport", description: "Exports", version: "2.0.0", author: "Grace", timeout: "5m" };
  assert.deepEqual(found, { ...metadata, file: "metadata.mjs", line: null, kind: "async" });
});

test("A2: a file that defines no handler is ignored", async () => {
  assert.deepEqual(await listingOf("library.js"), []);
});

test("A5: a broken handler file does not stop the rest", async () => {
  const bundle = await discover(FIXTURES, ["broken_syntax.js", "throws_while_loading.js", "missing.js", "broken_syntax.mjs", "script.js", "echo.js"]);
  assert.deepEqual([...bundle.handlers.keys()], ["echo"]);
  const [syntax, throwing, missing, esm, script] = bundle.problems;
  assert.deepEqual([syntax.file, syntax.line], ["broken_syntax.js", 4]);
  assert.match(syntax.error, /^SyntaxError: /);
  assert.deepEqual([throwing.file, throwing.line], ["throws_while_loading.js", 3]);
  assert.equal(throwing.error, "TypeError: Cannot read properties of undefined (reading 'handler')");
  assert.match(missing.error, /ENOENT/);
  assert.deepEqual([esm.file, esm.line], ["broken_syntax.mjs", 3]);
  assert.deepEqual([script.line, script.error], [2, "Error: the file called process.exit(0) while it was loaded"]);
});

test("A4: two handlers of one name are a problem that names both files", async () => {
  const bundle = await discover(FIXTURES, ["echo.js", "nested/echo.js"]);
  assert.equal(bundle.problems.length, 1);
  assert.equal(bundle.problems[0].error, 'Error: the handler "echo" is defined twice: in echo.js and in nested/echo.js');
  assert.equal(bundle.handlers.get("echo").file, "echo.js");
});

test("A12: a handler named * serves what no other name serves", async () => {
  const bundle = await discover(FIXTURES, ["star.js", "echo.js"]);
  assert.equal(bundle.serving("echo").name, "echo");
  assert.equal(bundle.serving("anything").name, "*");
});

test("A5: wrong settings are problems that say what is wrong", async () => {
  const misspelt = await problemOf("misspelt.js");
  assert.match(misspelt.error, /^TypeError: unknown setting "timeuot" of a handler; there are: name, queue, timeout/);
  assert.equal(misspelt.line, 3);
  assert.match((await problemOf("misspelt_config.js")).error, /unknown setting "ques"/);
  assert.match((await problemOf("nameless.js")).error, /the name of a handler must be a string/);
  assert.match((await problemOf("schema_of_text.js")).error, /`input` must be a JSON Schema/);
  assert.match((await problemOf("unsayable.js")).error, /handler "unsayable".requires: Set is not a JSON value/);
});

test("A7: defineHandler says what is wrong with its arguments", () => {
  assert.throws(() => defineHandler({ queue: "x" }), /second argument must be a function/);
  assert.throws(() => defineHandler(null, () => 1), /settings must be an object/);
  const run = () => 1;
  assert.deepEqual(defineHandler(run).settings, {});
  assert.equal(defineHandler(run).run, run);
});

test("E1: the signal is made for handlers that can see it", async () => {
  const bundle = await discover(FIXTURES, ["echo.js", "obedient.js", "metadata.mjs", "welcome.js"]);
  const wanting = [...bundle.handlers.values()].filter((handler) => handler.wantsSignal);
  assert.deepEqual(wanting.map(({ name }) => name), ["obedient", "dataExport"]);
});

test("A9: setup and teardown of the files, in their order", async () => {
  const bundle = await discover(FIXTURES, ["services.js", "teardown_fails.js", "setup_fails.js"]);
  assert.deepEqual([bundle.setups.length, bundle.teardowns.length], [2, 2]);
});

test("E1: every file gets the SDK of the host", () => {
  const { Loader } = require("../../sdk_node/loading.js");
  new Loader(FIXTURES);
  assert.equal(require("@jobhost/sdk"), require("../../sdk_node/index.js"));
  assert.equal(require.resolve("@jobhost/sdk"), path.resolve(__dirname, "../../sdk_node/index.js"));
});

function byName(a, b) {
  return a.name < b.name ? -1 : 1;
}
