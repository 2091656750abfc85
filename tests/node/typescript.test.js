"use strict";
/** TypeScript: handlers in it, and the types for those who write them. Needs `npm ci` in this folder. */

const assert = require("node:assert/strict");
const { spawnSync } = require("node:child_process");
const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");
const test = require("node:test");
const { Host } = require("./host.js");

const HANDLERS = path.join(__dirname, "typescript");
const STRIPS_TYPES = Boolean(process.features.typescript);

test("P4: a project that uses the SDK type-checks", () => {
  const tsc = require.resolve("typescript/bin/tsc");
  const { status, stdout } = spawnSync(process.execPath, [tsc, "-p", path.join(__dirname, "consumer")], { encoding: "utf8" });
  assert.equal(status, 0, stdout);
});

test("E1: .ts handlers run, by Node itself or with the bundle's own tsx", async () => {
  const files = STRIPS_TYPES ? ["plain.ts"] : ["plain.ts", "handler.ts"];
  const { host, problems } = await Host.start(files, { root: HANDLERS });
  assert.deepEqual(problems, []);
  assert.equal(await host.run("plain", 5), 5);
  if (!STRIPS_TYPES) assert.equal(await host.run("typed", { name: "Ada" }), "Hello, Ada");
  assert.equal((await host.stop()).stderr, "");
});

test("A5: a .ts file that cannot be loaded says what would help", async () => {
  const root = fs.mkdtempSync(path.join(os.tmpdir(), "jobhost-"));
  fs.copyFileSync(path.join(HANDLERS, "handler.ts"), path.join(root, "handler.ts"));
  const { host, problems } = await Host.start(["handler.ts"], { root });
  fs.rmSync(root, { recursive: true });
  const reason = STRIPS_TYPES ? /enum is not supported/ : /cannot load \.ts: use Node 22\.18 or later, or add "tsx"/;
  assert.match(problems[0].error, reason);
  await host.hangUp();
});
