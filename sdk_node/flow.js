"use strict";
/** `ctx.flow`: the emits that start the next steps. */

const { checkOutput } = require("./contract.js");
const { encodeJson } = require("./json_values.js");

class Flow {
  #port;
  #emitted;

  /** `emitted` is called with each emit: the run is part of a flow from the first on. */
  constructor(port, emitted) {
    this.#port = port;
    this.#emitted = emitted;
  }

  /**
   * Starts the subscribers of `trigger` when the run succeeds; with `immediate`, at once.
   * Emits of one trigger are told apart by `key`, or by their order.
   */
  async emit(trigger, payload = null, options = {}) {
    if (typeof trigger !== "string" || !trigger.isWellFormed()) throw new TypeError("flow.emit: the trigger must be a string");
    const schema = this.#port.handler?.contract.payloads?.get(trigger);
    await this.#call("ctx.flow.emit", trigger, payload, options, schema);
  }

  /**
   * Starts a flow under this one when the run succeeds, and gives its id, the same for every attempt. This flow ends no sooner than
   * that one, whose end emits `flow:NAME`, or `flow:NAME:failed`, into this one.
   */
  async start(name, data = null, options = {}) {
    if (typeof name !== "string" || !name.isWellFormed()) throw new TypeError("flow.start: the name must be a string");
    return (await this.#call("ctx.flow.start", name, data, options)).flow_id;
  }

  async #call(method, trigger, payload, { key = null, immediate = false }, schema = null) {
    const json = encodeJson(payload, "payload", this.#port.lenient);
    checkOutput(schema, json, `the payload of "${trigger}"`, "payload");
    const answer = await this.#port.call(method, {
      trigger,
      payload: json,
      key: key === null ? null : String(key).toWellFormed(),
      immediate: Boolean(immediate),
    });
    this.#emitted();
    return answer;
  }
}

module.exports = { Flow };
