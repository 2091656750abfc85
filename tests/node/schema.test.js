"use strict";
/** Input schemas and services. */

const assert = require("node:assert/strict");
const test = require("node:test");
const { Schema } = require("../../sdk_node/schema.js");
const { asServices } = require("../../sdk_node/services.js");

const IMAGE = {
  type: "object",
  required: ["width"],
  properties: { width: { type: "integer", minimum: 1 }, tags: { type: "array", items: { $ref: "#/$defs/tag" } }, "a/b": { type: "string" } },
  $defs: { tag: { type: "object", required: ["name"] } },
};

test("G4: fine data has no problems", () => {
  assert.deepEqual(new Schema(IMAGE).problems({ width: 2, tags: [{ name: "x" }] }), []);
});

test("G4: problems name the field, once each", () => {
  const problems = new Schema(IMAGE).problems({ width: 0, tags: [{ name: 1 }, {}], "a/b": 2 });
  assert.deepEqual(problems.map(({ field }) => field), ["width", "tags[1].name", "a/b"]);
  assert.equal(problems[1].message, "is required");
});

test("G4: a missing member and a wrong whole", () => {
  assert.deepEqual(new Schema(IMAGE).problems({}), [{ field: "width", message: "is required" }]);
  assert.deepEqual(new Schema(IMAGE).problems([]).map(({ field }) => field), [""]);
});

test("G4: many problems are cut to a list people read", () => {
  const schema = new Schema({ items: { type: "string" } });
  assert.equal(schema.problems(Array.from({ length: 5000 }, () => 1)).length, 20);
});

test("G4: the draft is the one the schema names", () => {
  const tuple = { items: [{ type: "string" }] };
  for (const draft of ["http://json-schema.org/draft-04/schema#", "http://json-schema.org/draft-07/schema#", "https://json-schema.org/draft/2019-09/schema"]) {
    assert.equal(new Schema({ $schema: draft, ...tuple }).problems([1]).length, 1);
  }
  assert.equal(new Schema({ prefixItems: [{ type: "string" }] }).problems([1]).length, 1);
});

test("A9: a service that was not set up is a ConfigurationError that names those that were", async () => {
  const services = asServices({ db: 1, missing: undefined });
  assert.equal(services.db, 1);
  assert.equal(services.missing, undefined);
  assert.throws(() => services.mailer, { name: "ConfigurationError", message: 'no service "mailer": setup(ctx) provides db, missing' });
  assert.throws(() => asServices({}).db, { message: 'no service "db": setup(ctx) provides nothing' });
  assert.equal(await services, services);
  assert.ok(String(require("node:util").inspect(services)).includes("db"));
});
