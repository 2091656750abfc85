"use strict";
/** The host's side of the wire, for tests: starts a child, answers its calls, waits for what it sends. */

const { spawn } = require("node:child_process");
const { once } = require("node:events");
const path = require("node:path");
const { afterEach } = require("node:test");
const { FrameBatch, FrameDecoder } = require("../../sdk_node/wire/frames.js");
const { REQUEST, RESPONSE, decodeMessage, encodeMessage } = require("../../sdk_node/wire/messages.js");

const MAIN = path.join(__dirname, "..", "..", "sdk_node", "child", "main.js");
const FIXTURES = path.join(__dirname, "fixtures");

/** Longer than anything here takes; a test that hangs names itself. */
const PATIENCE = 30_000;

const live = new Set();

// A test that fails leaves its child behind, and that would keep the test process waiting.
afterEach(() => {
  for (const process of live) process.kill("SIGKILL");
});

class Host {
  /** What the child sent that was no answer: `{method, params}`, bins as text. */
  notifications = [];
  /** The same for its requests. */
  requests = [];
  /** Answers to the child's requests: method -> `(params) => result`, which may be a promise or throw `{type, message}`. */
  answers = {};
  stderr = "";
  stdout = "";
  #waiting = new Map();
  #watchers = new Set();
  #decoder = new FrameDecoder();
  #nextId = 0;

  /**
   * @param {object} [settings]
   * @param {"pipes" | "socket" | "stdio"} [settings.wire]
   * @param {string[]} [settings.command] what starts the child, in place of node itself
   */
  constructor({ wire = "pipes", command = [process.execPath, MAIN], env = {} } = {}) {
    const layout = {
      pipes: { stdio: ["ignore", "pipe", "pipe", "pipe", "pipe"], fd: "3,4", read: 4, write: 3 },
      socket: { stdio: ["ignore", "pipe", "pipe", "pipe"], fd: "3", read: 3, write: 3 },
      stdio: { stdio: ["pipe", "pipe", "pipe"], fd: undefined, read: 1, write: 0 },
    }[wire];
    const childEnv = { ...process.env, ...env };
    if (layout.fd !== undefined) childEnv.JOBHOST_RPC_FD ??= layout.fd;
    this.process = spawn(command[0], command.slice(1), { stdio: layout.stdio, env: childEnv });
    live.add(this.process);
    this.process.once("exit", () => live.delete(this.process));
    this.writer = this.process.stdio[layout.write];
    this.writer.on("error", () => {}); // the child may be gone before the last write
    this.process.stdio[layout.read].on("data", (chunk) => this.#receive(chunk));
    this.process.stderr.on("data", (text) => this.#took("stderr", text));
    if (layout.read !== 1) this.process.stdout.on("data", (text) => this.#took("stdout", text));
    this.exited = once(this.process, "close").then(([code, signal]) => ({ code, signal, stderr: this.stderr }));
  }

  /** Starts a child and initializes it with fixture files; gives `{host, handlers, problems}`. */
  static async start(files, { root = FIXTURES, options = {}, ...settings } = {}) {
    const host = new Host(settings);
    const result = await host.initialize(files, options, root);
    return { host, result, handlers: parse(result.handlers), problems: parse(result.problems) };
  }

  async initialize(files, options = {}, root = FIXTURES) {
    return this.ask("initialize", { protocol: 1, bundle: { root, files: json(files) }, options });
  }

  /** Sends a request; gives its result or throws its error map. */
  async ask(method, params = {}) {
    const { error, result } = await this.exchange(method, params);
    if (error !== null) throw Object.assign(new Error(`${error.type}: ${error.message}`), { failure: error });
    return result;
  }

  /** Sends a request; gives `{error, result}`. */
  exchange(method, params) {
    const id = this.#nextId++;
    const answered = new Promise((resolve) => this.#waiting.set(id, resolve));
    this.send([REQUEST, id, method, params]);
    const gone = this.exited.then(({ code, stderr }) => {
      throw new Error(`the child is gone (exit ${code}): ${stderr}`);
    });
    gone.catch(() => {});
    return Promise.race([answered, gone]);
  }

  /** Starts a run; gives the promise of its decoded result, or of a rejection with `.failure`. */
  async run(handler, data = null, { token = `run-${handler}-${this.#nextId}`, job = {}, context = {} } = {}) {
    const params = {
      run: token,
      handler,
      job: { ...JOB, name: handler, ...job, data: json(data) },
      context: { ...CONTEXT, ...context },
    };
    return parse(await this.ask("execute", params));
  }

  cancel(token, reason = "cancelled") {
    this.send([2, "cancel", { run: token, reason }]);
  }

  send(...messages) {
    const batch = new FrameBatch();
    for (const message of messages) batch.add(encodeMessage(message));
    for (const chunk of batch.take()) this.writer.write(chunk);
  }

  /** The log lines so far, as `[run, source, level, message]`. */
  get lines() {
    const logs = this.notifications.filter(({ method }) => method === "ctx.logger.log");
    return logs.map(({ params }) => [params.run, params.source, params.level, params.message]);
  }

  /** Waits until `isThere(host)` gives something true, and gives that. */
  async until(isThere) {
    const now = isThere(this);
    if (now) return now;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`never: ${isThere}\n${this.stderr}`)), PATIENCE);
      const watcher = () => {
        const then = isThere(this);
        if (!then) return;
        clearTimeout(timer);
        this.#watchers.delete(watcher);
        resolve(then);
      };
      this.#watchers.add(watcher);
    });
  }

  /** Waits for a request of the child. */
  untilAsked(method) {
    return this.until(() => this.requests.find((request) => request.method === method));
  }

  /** Shuts the child down as a host does; gives how it exited. */
  async stop() {
    await this.ask("shutdown");
    this.writer.end();
    return this.exited;
  }

  /** Closes the wire, as a host that dies does; gives how the child exited. */
  async hangUp() {
    this.writer.destroy();
    return this.exited;
  }

  #took(stream, text) {
    this[stream] += text;
    this.#look();
  }

  #receive(chunk) {
    for (const body of this.#decoder.feed(chunk)) this.#take(decodeMessage(body));
    this.#look();
  }

  #take(message) {
    if (message[0] === RESPONSE) {
      this.#waiting.get(message[1])({ error: readable(message[2]), result: readable(message[3]) });
      this.#waiting.delete(message[1]);
    } else if (message[0] === REQUEST) {
      const request = { method: message[2], params: readable(message[3]) };
      this.requests.push(request);
      this.#answer(message[1], request);
    } else {
      this.notifications.push({ method: message[1], params: readable(message[2]) });
    }
  }

  async #answer(id, { method, params }) {
    try {
      const result = await this.answers[method](params);
      this.send([RESPONSE, id, null, result]);
    } catch (error) {
      this.send([RESPONSE, id, { type: error.type, message: error.message, data: error.data }, null]);
    }
  }

  #look() {
    for (const watcher of [...this.#watchers]) watcher();
  }
}

const JOB = { id: "7", name: "", queue: "default", attempt: 1, max_attempts: 3, priority: 0, created_at: 1_760_000_000_000, metadata: null };

const CONTEXT = {
  flow_id: null,
  flow_name: null,
  step_name: null,
  step_id: null,
  attempt: 1,
  deadline_ms: null,
  timeout_ms: null,
  idempotency_key: "default:7:1760000000000",
  traceparent: null,
};

/** A promise and what opens it, for a test that decides when a call is answered. */
function gate() {
  let open;
  const opened = new Promise((resolve) => (open = resolve));
  return { opened, open };
}

function json(value) {
  return Buffer.from(JSON.stringify(value));
}

function parse(text) {
  return JSON.parse(text);
}

/** Bins as text: they are JSON. */
function readable(value) {
  if (value instanceof Uint8Array) return Buffer.from(value).toString();
  if (Array.isArray(value)) return value.map(readable);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, readable(item)]));
}

module.exports = { Host, FIXTURES, MAIN, gate, json, readable };
