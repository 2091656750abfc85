"use strict";
/**
 * BullMQ itself, for tests: `node peer.js HOST PORT PREFIX`, one JSON command a line on stdin, one JSON answer a line on stdout.
 * {"do": name, …} is answered with {"ok": value} or {"error": text}.
 */

const { createInterface } = require("node:readline");
const { FlowProducer, Queue, QueueEvents, Worker, UnrecoverableError } = require("bullmq");

const [host, port, prefix] = process.argv.slice(2);
const connection = { host, port: Number(port), maxRetriesPerRequest: null };
const open = { prefix, connection };

const queues = new Map();
const listeners = new Map();
const workers = [];

function queue(name) {
  if (!queues.has(name)) queues.set(name, new Queue(name, open));
  return queues.get(name);
}

async function events(name) {
  if (!listeners.has(name)) {
    const listener = new QueueEvents(name, open);
    const heard = [];
    for (const type of ["added", "waiting", "active", "progress", "completed", "failed", "delayed", "stalled", "drained", "removed"]) {
      listener.on(type, (event) => heard.push({ type, ...event }));
    }
    listeners.set(name, { listener, heard });
    await listener.waitUntilReady();
  }
  return listeners.get(name);
}

/** Handlers of this peer's own workers, by job name. */
const HANDLERS = {
  echo: async (job) => job.data,
  facts: async (job) => ({ id: job.id, name: job.name, attemptsMade: job.attemptsMade, opts: job.opts, priority: job.priority }),
  fail: async (job) => {
    throw new Error(`no luck on attempt ${job.attemptsMade + 1}`);
  },
  hopeless: async () => {
    throw new UnrecoverableError("there is no card");
  },
  talk: async (job) => {
    await job.updateProgress({ page: 2 });
    await job.log("hello from node");
    return null;
  },
};

const DO = {
  add: async ({ queue: name, name: job, data, opts }) => (await queue(name).add(job, data, opts)).id,
  addBulk: async ({ queue: name, jobs }) => (await queue(name).addBulk(jobs)).map((job) => job.id),
  flow: async ({ tree }) => {
    const producer = new FlowProducer(open);
    try {
      return (await producer.add(tree)).job.id;
    } finally {
      await producer.close();
    }
  },
  job: async ({ queue: name, id }) => {
    const job = await queue(name).getJob(id);
    if (!job) return null;
    const { logs } = await queue(name).getJobLogs(id);
    const { returnvalue, failedReason, stacktrace, attemptsMade, attemptsStarted, progress, opts, processedBy, data } = job;
    const { finishedOn, processedOn, timestamp, delay, priority, stalledCounter } = job;
    return {
      state: await job.getState(), name: job.name, data, returnvalue, failedReason, stacktrace, attemptsMade, attemptsStarted, progress, opts,
      processedBy, logs, finishedOn, processedOn, timestamp, delay, priority, stalledCounter,
    };
  },
  counts: async ({ queue: name }) => queue(name).getJobCounts(),
  listen: async ({ queue: name }) => void (await events(name)),
  heard: async ({ queue: name }) => (await events(name)).heard,
  wait: async ({ queue: name, id, ms }) => {
    const job = await queue(name).getJob(id);
    return job.waitUntilFinished((await events(name)).listener, ms ?? 20_000);
  },
  work: async ({ queue: name, concurrency, opts }) => {
    const worker = new Worker(name, (job) => HANDLERS[job.name](job), { ...open, concurrency: concurrency ?? 1, ...opts });
    worker.on("error", () => {});
    workers.push(worker);
    await worker.waitUntilReady();
  },
  rest: async () => {
    await Promise.all(workers.splice(0).map((worker) => worker.close()));
  },
  workers: async ({ queue: name }) => (await queue(name).getWorkers()).map(({ name: worker, rawname }) => ({ worker, rawname })),
  metrics: async ({ queue: name, type }) => queue(name).getMetrics(type),
  pause: async ({ queue: name }) => queue(name).pause(),
  resume: async ({ queue: name }) => queue(name).resume(),
  retry: async ({ queue: name, id }) => (await queue(name).getJob(id)).retry(),
  promote: async ({ queue: name, id }) => (await queue(name).getJob(id)).promote(),
  remove: async ({ queue: name, id }) => queue(name).remove(id),
  concurrency: async ({ queue: name, n }) => queue(name).setGlobalConcurrency(n),
  rateLimit: async ({ queue: name, max, ms }) => queue(name).setGlobalRateLimit(max, ms),
  limitFor: async ({ queue: name, ms }) => queue(name).rateLimit(ms),
  limitTtl: async ({ queue: name, max }) => queue(name).getRateLimitTtl(max),
  retryAll: async ({ queue: name, opts }) => queue(name).retryJobs(opts),
  promoteAll: async ({ queue: name }) => queue(name).promoteJobs(),
  drain: async ({ queue: name, delayed }) => queue(name).drain(delayed),
  clean: async ({ queue: name, grace, limit, type }) => queue(name).clean(grace, limit, type),
  obliterate: async ({ queue: name, force }) => queue(name).obliterate({ force }),
  schedulers: async ({ queue: name }) => queue(name).getJobSchedulers(),
  schedule: async ({ queue: name, id, repeat, template }) => (await queue(name).upsertJobScheduler(id, repeat, template)).id,
};

async function answer(line) {
  try {
    const { do: what, ...params } = JSON.parse(line);
    return { ok: (await DO[what](params)) ?? null };
  } catch (error) {
    return { error: error.message };
  }
}

async function main() {
  for await (const line of createInterface({ input: process.stdin })) process.stdout.write(`${JSON.stringify(await answer(line))}\n`);
  await DO.rest();
  process.exit(0);
}

main();
