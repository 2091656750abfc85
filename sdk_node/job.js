"use strict";
/**
 * The job as a handler sees it: jobhost's own names, and BullMQ's for the processors written against it.
 *
 * `port` is how it reaches the host: `call(method, params)` gives a promise, `notify(method, params)` does not wait.
 */

const { encodeJson, decodeJson } = require("./json_values.js");

class Job {
  #port;

  /**
   * @param {object} fields the `job` of an `execute`
   * @param {any} data the decoded `job.data`
   * @param {object} port
   */
  constructor(fields, data, port) {
    this.#port = port;
    this.id = fields.id;
    this.name = fields.name;
    this.queue = fields.queue;
    this.data = data;
    this.attempt = fields.attempt;
    this.maxAttempts = fields.max_attempts;
    this.priority = fields.priority;
    this.timestamp = fields.created_at;
    /** The last value reported in this run. */
    this.progress = 0;
    this.metadata = fields.metadata ? decodeJson(fields.metadata) : null;
  }

  get createdAt() {
    return new Date(this.timestamp);
  }

  get queueName() {
    return this.queue;
  }

  get attemptsMade() {
    return this.attempt - 1;
  }

  get attemptsStarted() {
    return this.attempt;
  }

  get opts() {
    return { attempts: this.maxAttempts, priority: this.priority, timestamp: this.timestamp, jobId: this.id };
  }

  /**
   * Reports progress: a number or any JSON value. What is not one is thrown at once and not by the promise, which many
   * leave alone: an unhandled rejection would end the whole child.
   */
  updateProgress(value) {
    const sent = this.#port.progress(value);
    this.progress = value;
    return sent;
  }

  /** Adds a line to the job's log. */
  async log(line) {
    this.#port.log("info", line, null);
  }

  /** The results of the job's child jobs, keyed by child. */
  getChildrenValues() {
    return this.#port.children();
  }

  /** Replaces the data of the job, for later attempts too. */
  async updateData(data) {
    await this.#port.optionalCall("job.updateData", { data: encodeJson(data, "data", this.#port.lenient) });
    this.data = data;
  }

  /** Moves the job to delayed until `timestamp` (Unix milliseconds); throw a DelayedError afterwards, as with BullMQ. */
  async moveToDelayed(timestamp) {
    await this.#port.optionalCall("job.moveToDelayed", { timestamp: Math.ceil(timestamp) });
  }

  /** Lets the job wait for its children; true if it does. Throw a WaitingChildrenError then, as with BullMQ. */
  async moveToWaitingChildren() {
    return this.#port.optionalCall("job.moveToWaitingChildren", {});
  }

  toJSON() {
    const { id, name, queueName, data, opts, progress, attemptsMade, attemptsStarted, timestamp } = this;
    return { id, name, queueName, data, opts, progress, attemptsMade, attemptsStarted, timestamp };
  }

  asJSON() {
    return this.toJSON();
  }
}

module.exports = { Job };
