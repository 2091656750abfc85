"use strict";
/**
 * Runs the tests and fails under 80 % of lines or branches of sdk_node, vendored code aside.
 *
 * Node merges what its test processes and the children they start have covered; which files count is decided here,
 * because Node 20 cannot be told.
 */

const { spawnSync } = require("node:child_process");
const fs = require("node:fs");
const path = require("node:path");

const GATE = 80;
const SDK = path.join(__dirname, "..", "..", "sdk_node") + path.sep;

const tests = fs.readdirSync(__dirname).filter((name) => name.endsWith(".test.js"));
const options = ["--test", "--test-timeout=60000", "--experimental-test-coverage"];
const reporters = ["--test-reporter=dot", "--test-reporter-destination=stderr", "--test-reporter=lcov", "--test-reporter-destination=stdout"];
const { status, stdout } = spawnSync(process.execPath, [...options, ...reporters, ...tests], {
  cwd: __dirname,
  encoding: "utf8",
  maxBuffer: 1 << 28,
  stdio: ["ignore", "pipe", "inherit"],
});

const total = { LF: 0, LH: 0, BRF: 0, BRH: 0 };
for (const record of stdout.split("end_of_record\n")) {
  const [, name] = /^SF:(.*)$/m.exec(record) ?? [];
  if (name === undefined) continue;
  const file = path.resolve(__dirname, name);
  if (!file.startsWith(SDK) || file.startsWith(path.join(SDK, "vendor"))) continue;
  const counts = Object.keys(total).map((key) => Number(new RegExp(`^${key}:(\\d+)$`, "m").exec(record)?.[1] ?? 0));
  Object.keys(total).forEach((key, index) => (total[key] += counts[index]));
  console.log(`${file.slice(SDK.length).padEnd(24)} lines ${percent(counts[1], counts[0])}  branches ${percent(counts[3], counts[2])}`);
}

const lines = share(total.LH, total.LF);
const branches = share(total.BRH, total.BRF);
console.log(`${"sdk_node".padEnd(24)} lines ${percent(total.LH, total.LF)}  branches ${percent(total.BRH, total.BRF)}`);
if (lines < GATE || branches < GATE) console.error(`under the gate of ${GATE} %`);
process.exitCode = status !== 0 || lines < GATE || branches < GATE ? 1 : 0;

function share(hit, found) {
  return found === 0 ? 100 : (100 * hit) / found;
}

function percent(hit, found) {
  return `${share(hit, found).toFixed(1).padStart(5)} %`;
}
