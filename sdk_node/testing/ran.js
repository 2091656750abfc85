"use strict";
/** What a run under test did. */

const { decodeJson } = require("../json_values.js");

class Ran {
  /** @type {unknown} what the handler threw, or null */
  error = null;
  progress = [];
  logs = [];
  /** Every emit, whatever became of the run. */
  emitted = [];
  /** @type {string | null} why it was told to stop */
  cancelled = null;
  #json = null;
  #failed = false;

  /** @param {import("./store.js").Store} store the state after it, for a run that goes on from there */
  constructor(store) {
    this.store = store;
  }

  end(json, error) {
    this.#failed = json === null;
    this.#json = json;
    this.error = error;
  }

  /** What the handler returned, as it is after the way through JSON. Throws what the handler threw. */
  get result() {
    if (this.#failed) throw this.error;
    return this.#json === null ? null : decodeJson(this.#json);
  }

  /** What would be delivered: of a run that failed the immediate ones alone. */
  get emits() {
    return this.emitted.filter(({ immediate }) => !this.#failed || immediate);
  }

  /** What the scope holds that `ctx.state` itself is. */
  get state() {
    return this.store.values();
  }
}

module.exports = { Ran };
