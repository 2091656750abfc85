"use strict";
/**
 * `ctx`: all a handler may ask of the host.
 *
 * Its parts are made when they are first used, since most handlers use few of them and a run is short.
 */

const { Flow } = require("./flow.js");
const { Logger } = require("./logger.js");
const { State } = require("./state.js");

class Context {
  #port;
  #fields;
  #deadlineMs;
  #state = null;
  #logger = null;
  #flow = null;
  #emitted = false;

  /**
   * @param {import("./job.js").Job} job
   * @param {object} fields the `context` of an `execute`
   * @param {object} port how it reaches the host, and the run's cancellation
   */
  constructor(job, fields, port) {
    this.job = job;
    this.#port = port;
    this.#fields = fields;
    const { timeout_ms: timeoutMs, deadline_ms: deadlineMs } = fields;
    this.#deadlineMs = Number.isInteger(timeoutMs) ? Date.now() + timeoutMs : (deadlineMs ?? null);
  }

  get state() {
    return (this.#state ??= new State(this.#port));
  }

  get logger() {
    return (this.#logger ??= new Logger((level, message, fields) => this.#port.log(level, message, fields)));
  }

  get flow() {
    return (this.#flow ??= new Flow(this.#port, () => (this.#emitted = true)));
  }

  /** What `setup(ctx)` provided; reading what it did not throws ConfigurationError. */
  get services() {
    return this.#port.services;
  }

  get attempt() {
    return this.job.attempt;
  }

  /** When the host will cancel the run; null without a timeout. */
  get deadline() {
    return this.#deadlineMs === null ? null : new Date(this.#deadlineMs);
  }

  get cancelled() {
    return this.#port.cancelReason !== null;
  }

  /** "timeout", "cancelled", "lease_lost" or "shutdown" once `cancelled` is true, else null. */
  get cancelReason() {
    return this.#port.cancelReason;
  }

  /** Aborts when the run is cancelled, with a CancelledError as its reason. */
  get signal() {
    return this.#port.signal;
  }

  /** The same for every attempt of the job, and for no other job. */
  get idempotencyKey() {
    return this.#fields.idempotency_key;
  }

  /** The flow of the job; outside of one null, until the first emit begins `job-<idempotency key>`. */
  get flowId() {
    return this.#fields.flow_id ?? (this.#emitted ? `job-${this.idempotencyKey}` : null);
  }

  get flowName() {
    return this.#fields.flow_name ?? null;
  }

  get stepName() {
    return this.#fields.step_name ?? null;
  }

  /** `<flow id>__<job name>__attempt-<n>`: a label, not a key. */
  get stepId() {
    return this.#fields.step_id ?? null;
  }

  /** The W3C trace context of the producer, if it gave one. */
  get traceparent() {
    return this.#fields.traceparent ?? null;
  }

  /** Reports progress: a number or any JSON value. */
  progress(value) {
    return this.job.updateProgress(value);
  }

  /** The results of the job's child jobs, an object from child key to result. */
  children() {
    return this.#port.children();
  }
}

module.exports = { Context };
