"use strict";
/**
 * Runs one handler in a test, without a host: the run, `job` and `ctx` are those of a child, over a link that keeps what the handler does.
 *
 *     const ran = await runHandler(resize, { width: 80 });
 *     assert.deepEqual(ran.result, { ok: true });
 */

const path = require("node:path");
const { fileURLToPath } = require("node:url");
const { Runs } = require("../child/runs.js");
const { Setup } = require("../child/setup.js");
const { Bundle, discover } = require("../discovery.js");
const { milliseconds } = require("../durations.js");
const { ConfigurationError } = require("../errors.js");
const { encodeJson } = require("../json_values.js");
const { Logs } = require("../logs.js");
const { asServices } = require("../services.js");
const { Link } = require("./link.js");
const { Ran } = require("./ran.js");
const { Store } = require("./store.js");

const TOKEN = "test";
const METHODS = new Set();
const SILENT = { finish() {} };

/**
 * @param {any} handler what a handler file exports, or the path or URL of one
 * @param {any} data a JSON value
 * @param {import("./index.d.ts").RunOptions} [options]
 * @returns {Promise<Ran>} what it did; what the handler throws is in `error`, and thrown by `result`
 */
async function runHandler(handler, data = null, options = {}) {
  const { bundle, chosen } = await load(handler, options.name);
  const store = options.state instanceof Store ? options.state : new Store(options.state);
  store.begin(options.flowId !== undefined);
  const ran = new Ran(store);
  let runs;
  const cancel = (reason) => {
    ran.cancelled ??= reason;
    runs.cancel(TOKEN, reason);
  };
  const look = () => {
    if (ran.cancelled === null && options.cancelWhen?.(ran)) cancel("cancelled");
  };
  const link = new Link(ran, chosen, encodeJson(options.children ?? {}, "children"), look);
  const logs = new Logs(link);
  const setup = new Setup(bundle, (level, message, fields) => logs.write(logs.bucket(null), "handler", level, message, fields));
  if (options.services === undefined) await setup.run();
  const child = {
    link,
    logs,
    methods: METHODS,
    services: options.services === undefined ? setup.services : asServices(options.services),
    output: SILENT,
    notify: (method, params) => link.notify(method, params),
    log: (run, source, level, message, fields) => {
      if (run.live) logs.write(run.bucket, source, level, message, fields);
    },
  };
  runs = new Runs(child);
  const params = { run: TOKEN, job: jobOf(chosen, data, options), context: {} };
  params.context = contextOf(chosen, params.job, options);
  const timer = options.timeout === undefined ? null : setTimeout(() => cancel("timeout"), milliseconds(options.timeout));
  try {
    runs.start(1, chosen, params);
    await link.answered;
  } finally {
    clearTimeout(timer);
    if (options.services === undefined) await setup.undo();
  }
  return ran;
}

async function load(handler, name) {
  const bundle = await bundleOf(handler);
  if (bundle.problems.length > 0) {
    const [{ file, line, error }] = bundle.problems;
    throw new ConfigurationError(`${line === null ? file : `${file}:${line}`}: ${error}`);
  }
  const all = [...bundle.handlers.values()];
  const fitting = all.filter((one) => name === undefined || one.name === name || one.name === "*");
  const unnamed = typeof handler !== "string" && all.length === 1 ? all : fitting;
  if (unnamed.length !== 1) {
    const known = all.map((one) => one.name).join(", ") || "none";
    throw new ConfigurationError(`there are ${unnamed.length} handlers that fit, not one: say \`name\`, one of ${known}`);
  }
  return { bundle, chosen: unnamed[0] };
}

async function bundleOf(handler) {
  if (typeof handler === "string" || handler instanceof URL) {
    const file = path.resolve(handler instanceof URL || handler.startsWith("file:") ? fileURLToPath(handler) : handler);
    return discover(path.dirname(file), [path.basename(file)]);
  }
  const bundle = new Bundle(process.cwd());
  bundle.add(`${handler?.name || "handler"}.js`, handler);
  return bundle;
}

function jobOf(handler, data, options) {
  return {
    id: options.id ?? "1",
    name: options.name ?? handler.name,
    queue: options.queue ?? handler.listing.queue ?? "default",
    data: encodeJson(data, "data"),
    attempt: options.attempt ?? 1,
    max_attempts: options.maxAttempts ?? handler.listing.attempts ?? 3,
    priority: options.priority ?? 0,
    created_at: options.createdAt?.getTime() ?? Date.now(),
    ...(options.metadata === undefined ? {} : { metadata: encodeJson(options.metadata, "metadata") }),
  };
}

function contextOf(handler, job, { flowId, flowName, timeout }) {
  const { flow } = handler.listing;
  return {
    attempt: job.attempt,
    idempotency_key: `${job.queue}:${job.id}:${job.created_at}`,
    ...(timeout === undefined ? {} : { timeout_ms: milliseconds(timeout) }),
    ...(flowId === undefined
      ? {}
      : {
          flow_id: flowId,
          flow_name: flowName ?? flow?.name,
          step_name: flow?.step ?? job.name,
          step_id: `${flowId}__${job.name}__attempt-${job.attempt}`,
        }),
  };
}

module.exports = { runHandler, Ran, Store };
