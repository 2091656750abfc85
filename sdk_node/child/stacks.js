"use strict";
/**
 * Where the main thread is when a run's time is over, on fd 2: a handler that never lets the loop turn can't be asked, so a worker
 * thread looks from outside, as a debugger does. The thread is started with the first run that has a deadline, and costs some 6 MiB.
 *
 * It says `Main thread (most recent call first):` and a line for each call, or `Main thread waits for: …` where no code runs.
 */

const fs = require("node:fs");
const path = require("node:path");
const { Worker, isMainThread, workerData } = require("node:worker_threads");

/** Milliseconds for the main thread to stop. Code that runs stops at its next loop or call; where none runs nothing stops. */
const PATIENCE = 200;
const CALLS = 100;
/** Places in the shared memory: how often the deadline has come nearer, and the deadline (ms; 0: none). */
const CHANGES = 0;
const DEADLINE = 1;

/** Calls of Node and of this package. */
const OURS = new RegExp(`\\((node:|\\?:|${path.dirname(__dirname).replace(/[^\w/]/g, "\\$&")}/)`);

class Stacks {
  #shared = null;
  /** @type {Map<object, number>} */
  #deadlines = new Map();

  /** A run has begun that is to end by `deadline`, in ms of Unix time. */
  expect(run, deadline) {
    if (this.#shared === null) this.#start();
    this.#deadlines.set(run, deadline);
    const { times, numbers } = this.#shared;
    if (times[DEADLINE] !== 0 && times[DEADLINE] <= deadline) return;
    times[DEADLINE] = deadline;
    Atomics.add(numbers, CHANGES, 1);
    Atomics.notify(numbers, CHANGES);
  }

  /** A run has ended. The thread is not woken: when the old time comes it sees the new one. */
  forget(run) {
    if (!this.#deadlines.delete(run)) return;
    this.#shared.times[DEADLINE] = this.#deadlines.size === 0 ? 0 : Math.min(...this.#deadlines.values());
  }

  #start() {
    const memory = new SharedArrayBuffer(16);
    this.#shared = views(memory);
    const worker = new Worker(__filename, { workerData: { jobhost: memory }, env: {}, execArgv: [] });
    worker.on("error", () => {}); // without it a deadline goes by unseen, and the host says that it passed
    worker.unref();
  }
}

function views(memory) {
  return { numbers: new Int32Array(memory), times: new Float64Array(memory) };
}

async function watch(memory) {
  const { numbers, times } = views(memory);
  setInterval(() => {}, 0x7fffffff); // a wait alone does not keep a thread
  for (;;) {
    const changes = Atomics.load(numbers, CHANGES);
    const deadline = times[DEADLINE];
    const wait = deadline === 0 ? Number.POSITIVE_INFINITY : deadline - Date.now();
    if (wait > 0) {
      const waiting = Atomics.waitAsync(numbers, CHANGES, changes, wait);
      if (waiting.async) await waiting.value;
      continue;
    }
    // Once for each deadline. A run may have ended, or a nearer deadline come, meanwhile.
    if (times[DEADLINE] === deadline) times[DEADLINE] = 0;
    await tell();
  }
}

/** Stop the main thread for a moment and say where it is. */
function tell() {
  const { Session } = require("node:inspector");
  const session = new Session();
  const files = new Map();
  session.connectToMainThread();
  return new Promise((resolve) => {
    const end = (text) => {
      clearTimeout(timer);
      session.disconnect();
      fs.writeSync(2, `${text}\n`);
      resolve();
    };
    const ask = () => {
      session.post("Debugger.disable"); // or it would stop in what is evaluated now
      session.post("Runtime.evaluate", { expression: "process.getActiveResourcesInfo().join(', ')" }, (_error, answer) => {
        end(`Main thread waits for: ${answer?.result?.value || "nothing"}`);
      });
    };
    const timer = setTimeout(ask, PATIENCE);
    session.on("Debugger.scriptParsed", ({ params }) => files.set(params.scriptId, params.url));
    session.on("Debugger.paused", ({ params }) => {
      const calls = params.callFrames.slice(0, CALLS).map((call) => place(call, files));
      session.post("Debugger.resume");
      if (calls.some((call) => !OURS.test(call))) end(`Main thread (most recent call first):\n    at ${calls.join("\n    at ")}`);
      else ask(); // the host's own word that the time is over has just come
    });
    session.post("Debugger.enable");
    session.post("Debugger.pause");
  });
}

function place({ functionName, location, url }, files) {
  const file = (files.get(location.scriptId) ?? url).replace(/^file:\/\//, "") || "?";
  return `${functionName || "(anonymous)"} (${file}:${location.lineNumber + 1}:${location.columnNumber + 1})`;
}

if (!isMainThread && workerData?.jobhost !== undefined) watch(workerData.jobhost);

module.exports = { Stacks };
