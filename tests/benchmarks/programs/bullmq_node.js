"use strict";
/**
 * BullMQ itself: `node bullmq_node.js '{"url", "prefix", "jobs", "concurrency", "sandboxed": file or null}'`.
 * Prints {"add_per_s", "per_s"}; the clock starts when a tenth of the jobs is done.
 */

const path = require("node:path");
const { Queue, Worker } = require(path.join(__dirname, "..", "..", "node", "node_modules", "bullmq"));

const { url, prefix, jobs, concurrency, sandboxed } = JSON.parse(process.argv[2]);
const { hostname: host, port } = new URL(url);
const open = { prefix, connection: { host, port: Number(port), maxRetriesPerRequest: null } };

async function main() {
  const queue = new Queue("bench", open);
  const began = process.hrtime.bigint();
  for (let from = 0; from < jobs; from += 1000) {
    await queue.addBulk(Array.from({ length: Math.min(1000, jobs - from) }, (_, n) => ({ name: "noop", data: { n: from + n, text: "x".repeat(40) } })));
  }
  const addPerS = jobs / seconds(began);
  let done = 0;
  let first = null;
  const count = () => {
    done += 1;
    if (done === Math.floor(jobs / 10)) first = process.hrtime.bigint();
    if (done < jobs) return;
    process.stdout.write(`${JSON.stringify({ add_per_s: addPerS, per_s: (jobs - Math.floor(jobs / 10)) / seconds(first) })}\n`, () => process.exit(0));
  };
  new Worker("bench", sandboxed ?? (async () => null), { ...open, concurrency }).on("completed", count);
}

function seconds(since) {
  return Number(process.hrtime.bigint() - since) / 1e9;
}

main();
