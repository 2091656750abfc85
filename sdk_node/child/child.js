"use strict";
/** The child's side of the protocol: a method here for each that the host may call. */

const { ProtocolError } = require("../errors.js");
const { encodeJson } = require("../json_values.js");
const { Logs } = require("../logs.js");
const { Output } = require("../output.js");
const { toFailure } = require("./failure.js");
const { Link } = require("./link.js");
const { InvalidParams, expect, expectExecute, json } = require("./params.js");
const { Runs } = require("./runs.js");
const { Setup } = require("./setup.js");

const PROTOCOL = 1;
const SDK = "jobhost-sdk-node 0.1.0";

/** The exit code when the host is gone. */
const HANG_UP = 1;

/** Where printed text belongs whose run is over: to none, even if one other run is live. */
const OVER = Object.freeze({ live: false });

class Child {
  /** Names of the methods the host answers. */
  methods = new Set();
  #bundle = null;
  #setup = null;
  #isInitialized = false;
  #isEnding = false;
  #exit;

  /**
   * @param {{read: number, write: number}} wire
   * @param {(code: number, reason?: string) => void} exit ends the process, after writing the reason to fd 2
   */
  constructor(wire, exit) {
    this.#exit = exit;
    this.runs = new Runs(this);
    this.link = new Link(wire, {
      onCall: (id, method, params) => this.#dispatch(id, method, params),
      onEnd: () => exit(this.#isEnding ? 0 : HANG_UP),
      onViolation: (error) => exit(70, error.message),
    });
  }

  get services() {
    return this.#setup.services;
  }

  /** An error is about to end the process: says so in the log of the run it came from, where that is known. */
  reportUncaught(error) {
    const run = this.runs.current() ?? this.runs.only();
    const { type, message, stack } = toFailure(error);
    this.log(run, "handler", "error", `uncaught: ${stack || `${type}: ${message}`}`, null);
    this.sayLast();
  }

  /** Sends what was written and not sent: lines without an end, counts of dropped ones, the batch. */
  sayLast() {
    if (!this.#isInitialized) return;
    this.output.finishAll();
    this.logs.settle(this.looseBucket);
    this.link.flush();
  }

  /** One log line of `run`, or of none if it is null or over. */
  log(run, source, level, message, fields) {
    this.logs.write(run?.live ? run.bucket : this.looseBucket, source, level, message, fields);
  }

  /** With one run live a notification goes out at once: its handler may be about to block the loop for good. */
  notify(method, params) {
    this.link.notify(method, params);
    if (this.runs.only() !== null) this.link.flush();
  }

  /** Bytes that wait because the host does not read. */
  get backlog() {
    return this.link.backlog;
  }

  #dispatch(id, method, params) {
    if (this.#bundle === null && (this.#isInitialized || method !== "initialize")) {
      throw new ProtocolError(`${method} before initialize is answered`);
    }
    try {
      if (method === "execute" && id !== null) this.#execute(id, params);
      else if (method === "cancel") this.#cancel(params);
      else if (id !== null) this.#answer(id, this.#ask(method, params));
    } catch (error) {
      if (id !== null) this.link.error(id, toFailure(error));
    }
  }

  async #ask(method, params) {
    switch (method) {
      case "initialize":
        return this.#initialize(params);
      case "validate":
        return this.#validate(params);
      case "ping":
        return {};
      case "shutdown":
        return this.#shutdown();
      default:
        throw Object.assign(new Error(`no method ${method}`), { name: "UnknownMethodError" });
    }
  }

  async #answer(id, asked) {
    try {
      this.link.result(id, await asked);
    } catch (error) {
      this.link.error(id, toFailure(error));
    }
  }

  async #initialize(params) {
    if (this.#isInitialized) throw new InvalidParams("initialize came twice");
    expect(params, { protocol: "int", bundle: "map", options: "map" });
    expect(params.bundle, { root: "str", files: "json" }, "bundle.");
    this.#isInitialized = true;
    this.#take(params.options);
    const { discover } = require("../discovery.js");
    const { options } = params;
    const schemas = options.schemas instanceof Uint8Array ? json(options, "schemas", "options.") : {};
    const bundle = await discover(params.bundle.root, json(params.bundle, "files", "bundle."), schemas);
    this.#setup = new Setup(bundle, (level, message, fields) => this.log(null, "handler", level, message, fields));
    await this.#setup.run();
    this.#bundle = bundle;
    return {
      protocol: PROTOCOL,
      sdk: SDK,
      language: `node ${process.versions.node}`,
      pid: process.pid,
      handlers: encodeJson([...bundle.handlers.values()].map((handler) => handler.listing), "handlers"),
      problems: encodeJson(bundle.problems, "problems"),
    };
  }

  #take(options) {
    if (options.methods instanceof Uint8Array) this.methods = new Set(json(options, "methods", "options."));
    if (Number.isSafeInteger(options.max_frame)) this.link.maxFrame = options.max_frame;
    this.logs = new Logs(this, { rate: options.log_rate, burst: options.log_burst, maxLine: options.max_log_line });
    this.looseBucket = this.logs.bucket(null);
    const owner = () => {
      const run = this.runs.current();
      return run === null || run.live ? run : OVER;
    };
    const emit = (run, source, level, line) => this.log(run ?? this.runs.only(), source, level, line, null);
    this.output = new Output(owner, emit, this.logs.maxLine);
    this.output.install();
  }

  #execute(id, params) {
    expectExecute(params);
    if (this.runs.isLive(params.run)) throw new InvalidParams("the run is live already");
    const handler = this.#bundle.serving(params.handler);
    if (handler === undefined) throw new InvalidParams(`no handler "${params.handler}" in this bundle`);
    this.runs.start(id, handler, params);
  }

  #validate(params) {
    expect(params, { handler: "str", data: "json" });
    const data = json(params, "data");
    const problems = this.#bundle.serving(params.handler)?.contract.input?.problems(data) ?? [];
    return { problems: encodeJson(problems, "problems") };
  }

  #cancel({ run, reason }) {
    if (typeof run === "string" && typeof reason === "string") this.runs.cancel(run, reason);
  }

  async #shutdown() {
    await this.#setup.undo();
    this.#isEnding = true;
    this.sayLast();
    // After the answer, which is sent when this returns.
    setImmediate(() => this.link.flush(() => this.#exit(0)));
    return {};
  }
}

module.exports = { Child };
