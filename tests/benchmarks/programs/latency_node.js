"use strict";
/**
 * BullMQ on an idle worker, in one process: `node latency_node.js '{"url", "prefix", "jobs"}'`.
 * Prints {"p50_ms": from add to the start of the processor, "result_ms": from add to the result}, medians.
 */

const path = require("node:path");
const { Queue, QueueEvents, Worker } = require(path.join(__dirname, "..", "..", "node", "node_modules", "bullmq"));

const { url, prefix, jobs } = JSON.parse(process.argv[2]);
const { hostname: host, port } = new URL(url);
const open = { prefix, connection: { host, port: Number(port), maxRetriesPerRequest: null } };
const now = () => Number(process.hrtime.bigint()) / 1e6;
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const median = (values) => values.sort((a, b) => a - b)[values.length >> 1];

async function main() {
  const queue = new Queue("latency", open);
  const events = new QueueEvents("latency", open);
  const began = new Map();
  const worker = new Worker("latency", async (job) => void began.set(job.data.n, now()), open);
  await Promise.all([events.waitUntilReady(), worker.waitUntilReady()]);
  const starts = [];
  const results = [];
  for (let n = 0; n < jobs; n += 1) {
    await sleep(5 + Math.random() * 195);
    const sent = now();
    const job = await queue.add("stamp", { n });
    await job.waitUntilFinished(events);
    results.push(now() - sent);
    starts.push(began.get(n) - sent);
  }
  process.stdout.write(`${JSON.stringify({ p50_ms: median(starts), result_ms: median(results) })}\n`, () => process.exit(0));
}

main();
