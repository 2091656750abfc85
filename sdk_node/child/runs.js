"use strict";
/** The runs that are live in this child: start, answer, cancel, and whose code is running now. */

const { AsyncLocalStorage } = require("node:async_hooks");
const { Context } = require("../context.js");
const { checkInput, checkOutput } = require("../contract.js");
const { CancelledError, InvalidJobDataError, InvalidValueError, isNamed } = require("../errors.js");
const { Job } = require("../job.js");
const { decodeJson, encodeJson } = require("../json_values.js");
const { toFailure } = require("./failure.js");
const { Run } = require("./run.js");
const { Stacks } = require("./stacks.js");

class Runs {
  #child;
  /** @type {Map<string, Run>} */
  #live = new Map();
  #storage = new AsyncLocalStorage();
  #stacks = new Stacks();

  /** @param {object} child see Run */
  constructor(child) {
    this.#child = child;
  }

  /** The run whose code runs now (perhaps over by now), or null. */
  current() {
    return this.#storage.getStore() ?? null;
  }

  /** The only live run, or null. */
  only() {
    if (this.#live.size !== 1) return null;
    const [run] = this.#live.values();
    return run;
  }

  isLive(token) {
    return this.#live.has(token);
  }

  /**
   * Starts a run at once; request `id` is answered when the handler settles.
   * @param {number} id
   * @param {import("../discovery.js").Handler} handler
   * @param {{run: string, job: object, context: object}} params checked
   */
  start(id, handler, params) {
    const run = new Run(params.run, handler, this.#child);
    this.#live.set(run.token, run);
    if (Number.isFinite(params.context.deadline_ms)) this.#stacks.expect(run, params.context.deadline_ms);
    try {
      const data = readData(params.job.data);
      checkInput(handler.contract, data);
      const job = new Job(params.job, data, run);
      const context = new Context(job, params.context, run);
      const returned = this.#storage.run(run, invoke, handler, job, context, run);
      if (typeof returned?.then === "function") this.#await(id, run, returned);
      else this.#finish(id, run, returned);
    } catch (error) {
      this.#fail(id, run, error);
    }
  }

  /** Tells a handler that its run is cancelled. What it does then is its own affair; the run is answered when it settles. */
  cancel(token, reason) {
    const run = this.#live.get(token);
    // A recall is for runs that wait for their turn, and here every run starts when it comes.
    if (run === undefined || reason === "recall") return;
    this.#storage.run(run, () => run.cancel(reason));
  }

  #await(id, run, promise) {
    Promise.resolve(promise).then(
      (value) => this.#finish(id, run, value),
      (error) => this.#fail(id, run, error),
    );
  }

  #finish(id, run, value) {
    let json;
    try {
      json = encodeJson(value, "result", run.lenient);
      checkOutput(run.handler.contract.result, json, "the result", "result");
    } catch (error) {
      this.#fail(id, run, error);
      return;
    }
    this.#end(run);
    try {
      this.#child.link.result(id, json);
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      const tooLarge = new InvalidValueError("result", error.message);
      this.#child.link.error(id, toFailure(tooLarge), tooLarge);
    }
  }

  #fail(id, run, error) {
    const isCancellation = run.cancelReason !== null && (isNamed(error, "AbortError") || isNamed(error, "CancelledError"));
    const cause = isCancellation ? new CancelledError(run.cancelReason) : error;
    const failure = toFailure(cause);
    this.#end(run);
    this.#child.link.error(id, failure, cause); // the wire takes the failure, a test the error itself
  }

  #end(run) {
    this.#child.output.finish(run);
    run.end();
    this.#stacks.forget(run);
    this.#live.delete(run.token);
  }
}

/** What is no JSON fails the job at once, as what its schema refuses does. */
function readData(text) {
  try {
    return decodeJson(text);
  } catch (error) {
    throw new InvalidJobDataError(`the data of the job cannot be read: ${error.message}`);
  }
}

function invoke({ run: handle, wantsSignal }, job, context, run) {
  return wantsSignal ? handle(job, context, run.signal) : handle(job, context);
}

module.exports = { Runs };
