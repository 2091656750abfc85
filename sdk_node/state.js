"use strict";
/** `ctx.state`: values that outlive the run, in the scope of the flow or the job unless another is asked for. */

const { milliseconds } = require("./durations.js");
const { encodeJson, decodeJson } = require("./json_values.js");

class State {
  #port;
  #scope;

  constructor(port, scope = null) {
    this.#port = port;
    this.#scope = scope;
  }

  /** The same operations in another scope: "job", "flow", "handler" or "global", where the bundle is granted it. */
  of(scope) {
    return new State(this.#port, scope);
  }

  /** Gives the value, or `fallback` if none is stored. A stored null is null. */
  async get(key, fallback = undefined) {
    const json = await this.#call("get", key);
    return json === null ? fallback : decodeJson(json);
  }

  /** Stores a JSON value; durable once the promise is fulfilled. `ttl` is a duration such as "1h". */
  async set(key, value, { ttl } = {}) {
    checkKey(key);
    const json = encodeJson(value, `state[${JSON.stringify(key)}]`, this.#port.lenient);
    const ttlMs = ttl === undefined || ttl === null ? null : milliseconds(ttl);
    await this.#call("set", key, { value: json, ttl: ttlMs });
  }

  /** Removes the value; true if there was one. */
  delete(key) {
    return this.#call("delete", key);
  }

  has(key) {
    return this.#call("has", key);
  }

  /** Adds `by` to an integer (0 if none is stored) and gives the new value. */
  async incr(key, by = 1) {
    if (!Number.isSafeInteger(by)) throw new TypeError(`state.incr: ${by} is not an integer`);
    return this.#call("incr", key, { by });
  }

  /**
   * Stores `value` if the stored one is `expected`; true if it did. `undefined` for either means no value. Values are compared as the
   * JSON they are written as: the members of objects have to be in the same order.
   */
  async compareAndSet(key, expected, value, { ttl } = {}) {
    const label = JSON.stringify(key);
    return this.#call("cas", key, {
      expected: expected === undefined ? null : encodeJson(expected, `expected[${label}]`, this.#port.lenient),
      value: value === undefined ? null : encodeJson(value, `state[${label}]`, this.#port.lenient),
      ttl: ttl === undefined || ttl === null ? null : milliseconds(ttl),
    });
  }

  /**
   * Makes up to 100 changes in one step, all or none: `["set", key, value, { ttl }]`, `["incr", key, by]` or `["delete", key]`. Gives
   * the result of each, as the single calls do.
   */
  async batch(changes) {
    const ops = Array.from(changes, (change) => this.#change(...change));
    return this.#port.call("ctx.state.batch", { ops, scope: this.#scope });
  }

  #change(op, key, value, { ttl } = {}) {
    checkKey(key);
    if (op === "delete") return { op, key };
    if (op === "incr") {
      const by = value ?? 1;
      if (!Number.isSafeInteger(by)) throw new TypeError(`state.batch: ${by} is not an integer`);
      return { op, key, by };
    }
    if (op !== "set") throw new TypeError(`state.batch: ${JSON.stringify(op)} is no change: "set", "incr" or "delete"`);
    const json = encodeJson(value, `state[${JSON.stringify(key)}]`, this.#port.lenient);
    return { op, key, value: json, ttl: ttl === undefined || ttl === null ? null : milliseconds(ttl) };
  }

  /** All keys of the scope. */
  async keys() {
    const keys = [];
    let cursor = null;
    do {
      const page = await this.#port.call("ctx.state.keys", { scope: this.#scope, cursor });
      keys.push(...decodeJson(page.keys));
      cursor = page.cursor;
    } while (cursor !== null && cursor !== undefined);
    return keys;
  }

  async #call(operation, key, more) {
    checkKey(key);
    return this.#port.call(`ctx.state.${operation}`, { key, scope: this.#scope, ...more });
  }
}

function checkKey(key) {
  if (typeof key !== "string" || !key.isWellFormed()) throw new TypeError("a state key must be a string of valid Unicode");
}

module.exports = { State };
