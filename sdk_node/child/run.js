"use strict";
/** One run: its token, whether it is live, its cancellation, and its way to the host. */

const { RunNotLiveError, CancelledError, ConfigurationError } = require("../errors.js");
const { decodeJson, encodeJson } = require("../json_values.js");

/** This is the `port` of `Job`, `Context` and their parts. */
class Run {
  live = true;
  /** @type {string | null} */
  cancelReason = null;
  #controller = null;
  #child;
  #bucket = null;

  /**
   * @param {string} token
   * @param {import("../discovery.js").Handler} handler
   * @param {object} child the link, the logs, the services and the methods that all runs of the child share
   */
  constructor(token, handler, child) {
    this.token = token;
    this.handler = handler;
    this.#child = child;
  }

  get lenient() {
    return this.handler.lenient;
  }

  get services() {
    return this.#child.services;
  }

  get signal() {
    if (this.#controller === null) {
      this.#controller = new AbortController();
      if (this.cancelReason !== null) this.#controller.abort(new CancelledError(this.cancelReason));
    }
    return this.#controller.signal;
  }

  /** The run's allowance of log lines, made when the first one comes. */
  get bucket() {
    return (this.#bucket ??= this.#child.logs.bucket(this.token));
  }

  cancel(reason) {
    this.cancelReason ??= reason;
    this.#controller?.abort(new CancelledError(this.cancelReason));
  }

  /** The run is answered: nothing more can be asked in its name. */
  end() {
    if (this.#bucket !== null) this.#child.logs.settle(this.#bucket);
    this.live = false;
  }

  async call(method, params) {
    if (!this.live) throw new RunNotLiveError(`${method}: the run is over`);
    return this.#child.link.call(method, { run: this.token, ...params });
  }

  /** A method that not every host has. */
  async optionalCall(method, params) {
    if (!this.#child.methods.has(method)) throw new ConfigurationError(`${method} is not available on this queue`);
    return this.call(method, params);
  }

  log(level, message, fields) {
    this.#child.log(this, "handler", level, message, fields);
  }

  /** The promise is fulfilled when the host has read enough for more. */
  progress(value) {
    const json = encodeJson(value, "progress", this.lenient);
    if (this.live) this.#child.notify("ctx.progress", { run: this.token, value: json });
    return this.#child.link.drained();
  }

  async children() {
    return decodeJson(await this.call("job.children", {}));
  }
}

module.exports = { Run };
