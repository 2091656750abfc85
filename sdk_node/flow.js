"use strict";
/** `ctx.flow`: the emits that start the next steps. */

const { encodeJson } = require("./json_values.js");

class Flow {
  #port;

  constructor(port) {
    this.#port = port;
  }

  /**
   * Starts the subscribers of `trigger` when the run succeeds; with `immediate`, at once.
   * Emits of one trigger are told apart by `key`, or by their order.
   */
  async emit(trigger, payload = null, { key = null, immediate = false } = {}) {
    if (typeof trigger !== "string" || !trigger.isWellFormed()) throw new TypeError("flow.emit: the trigger must be a string");
    const json = encodeJson(payload, "payload", this.#port.lenient);
    await this.#port.call("ctx.flow.emit", {
      trigger,
      payload: json,
      key: key === null ? null : String(key).toWellFormed(),
      immediate: Boolean(immediate),
    });
  }
}

module.exports = { Flow };
