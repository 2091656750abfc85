/** Tests of the handler in JavaScript, as a project of yours would have them: `node --test` in this folder. */
import assert from "node:assert/strict";
import test from "node:test";
import { runHandler } from "@jobhost/sdk/testing";

const WELCOME = new URL("handlers/welcome_message.js", import.meta.url);

test("it greets in English", async () => {
  const ran = await runHandler(WELCOME, { name: "Ada", first_step: "Begin with the tour." });
  assert.deepEqual(ran.result, {
    subject: "Welcome, Ada",
    text: "Hello Ada,\n\ngood to have you at jobhost. Begin with the tour.\n",
  });
  assert.deepEqual(ran.progress, [100]);
  assert.deepEqual(ran.logs, [{ level: "info", message: "writing", fields: { language: "en" } }]);
});

test("it greets in German", async () => {
  const { result } = await runHandler(WELCOME, { name: "Grace", language: "de" });
  assert.equal(result.subject, "Willkommen, Grace");
});

test("a name with a dollar is a name", async () => {
  const { result } = await runHandler(WELCOME, { name: "$company" });
  assert.equal(result.subject, "Welcome, $company");
});

test("data that is no user is refused", async () => {
  const { error } = await runHandler(WELCOME, {});
  assert.deepEqual(error.fields, [{ field: "name", message: "is required" }]);
});
