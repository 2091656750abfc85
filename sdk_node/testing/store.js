"use strict";
/** State in memory: what `ctx.state` asks of a host, with the same rules. */

const { milliseconds } = require("../durations.js");
const { CallError, StateLimitError, StateScopeError, StateTypeError } = require("../errors.js");
const { decodeJson, encodeJson } = require("../json_values.js");

/** Bytes of a key, and of a value as JSON. */
const MAX_KEY = 1024;
const MAX_VALUE = 1024 * 1024;
/** Keys of a scope, changes of a batch, keys of one answer. */
const MOST_KEYS = 10_000;
const MOST_OPS = 100;
const PAGE = 1_000;
const SCOPES = ["flow", "job", "handler", "global"];

/** @typedef {{json: Buffer, until: number | null}} Value */

class Store {
  #granted;
  #first;
  #inFlow = false;
  #late = 0;
  /** @type {Map<string, Map<string, Value>>} */
  #scopes = new Map();

  /**
   * @param {object} [values] what the scope holds at first that `ctx.state` itself is
   * @param {{scopes?: string[]}} [options] the scopes that the bundle is granted
   */
  constructor(values = {}, { scopes = SCOPES } = {}) {
    this.#first = values;
    this.#granted = scopes;
  }

  /** A run begins. */
  begin(inFlow) {
    this.#inFlow = inFlow;
    this.put(this.#first);
    this.#first = {};
  }

  /** Stores values, as an earlier run would have. */
  put(values, scope) {
    const there = this.#of(scope);
    for (const [key, value] of Object.entries(values)) {
      there.set(key, { json: encodeJson(value, `state[${JSON.stringify(key)}]`), until: null });
    }
  }

  /** What a scope holds, the default one if none is named. */
  values(scope) {
    const there = this.#of(scope);
    return Object.fromEntries(this.#keys(there).map((key) => [key, decodeJson(there.get(key).json)]));
  }

  /** Lets so much time pass for what has a `ttl`. */
  advance(by) {
    this.#late += milliseconds(by);
  }

  /** The answer to a call whose method begins with `ctx.state.`. Throws CallErrors as a host does. */
  answer(method, params) {
    const verb = method.slice("ctx.state.".length);
    const there = this.#of(this.#allowed(params.scope));
    if (verb === "keys") return this.#page(there, params.cursor);
    if (verb === "batch") return this.#batch(there, params.ops);
    checkKey(params.key);
    if (verb === "has") return this.#find(there, params.key) !== undefined;
    if (verb === "get") return this.#find(there, params.key)?.json ?? null;
    return this.#changed(there, [{ op: verb, ...params }])[0];
  }

  #allowed(asked) {
    if (asked === null || asked === undefined) return undefined;
    if (!SCOPES.includes(asked)) throw new StateScopeError(`there is no state scope "${asked}": flow, job, handler or global`);
    if (!this.#granted.includes(asked)) throw new StateScopeError(`the bundle is not granted the state scope "${asked}"`);
    if (asked === "flow" && !this.#inFlow) throw new StateScopeError("this job is not part of a flow");
    return asked;
  }

  #of(scope = this.#inFlow ? "flow" : "job") {
    if (!this.#scopes.has(scope)) this.#scopes.set(scope, new Map());
    return this.#scopes.get(scope);
  }

  #now() {
    return Date.now() + this.#late;
  }

  #find(there, key) {
    const found = there.get(key);
    return found === undefined || (found.until !== null && found.until <= this.#now()) ? undefined : found;
  }

  #keys(there) {
    return [...there.keys()].filter((key) => this.#find(there, key) !== undefined).sort();
  }

  #page(there, cursor) {
    const keys = this.#keys(there).filter((key) => cursor === null || cursor === undefined || key > cursor);
    return { keys: encodeJson(keys.slice(0, PAGE), "keys"), cursor: keys.length > PAGE ? keys[PAGE - 1] : null };
  }

  #batch(there, ops) {
    if (ops.length === 0 || ops.length > MOST_OPS) throw new CallError(`a batch has 1 to ${MOST_OPS} changes`, "InvalidParamsError");
    return this.#changed(there, ops);
  }

  /** Makes changes, all or none. */
  #changed(there, ops) {
    const after = new Map([...there].filter(([key]) => this.#find(there, key) !== undefined));
    const results = ops.map((op) => this.#change(after, op));
    if (after.size > MOST_KEYS) throw new StateLimitError(`a state scope has at most ${MOST_KEYS} keys`);
    there.clear();
    for (const [key, value] of after) there.set(key, value);
    return results;
  }

  #change(there, { op, key, value: json = null, ttl = null, by, expected }) {
    checkKey(key);
    if (json !== null && json.length > MAX_VALUE) {
      throw new StateLimitError(`the value of "${key}" has ${json.length} bytes; a state value has at most ${MAX_VALUE}`);
    }
    const before = there.get(key);
    if (op === "incr") {
      const sum = incremented(before, by);
      there.set(key, { json: Buffer.from(String(sum)), until: before?.until ?? null });
      return sum;
    }
    if (op === "cas" && !isSame(before?.json ?? null, expected)) return false;
    if (json === null) there.delete(key);
    else there.set(key, { json, until: ttl === null ? null : this.#now() + ttl });
    return { set: null, delete: before !== undefined, cas: true }[op];
  }
}

function checkKey(key) {
  const size = Buffer.byteLength(key);
  if (size === 0 || size > MAX_KEY) throw new StateLimitError(`a state key has 1 to ${MAX_KEY} bytes; this one has ${size}`);
}

function isSame(one, other) {
  return one === null || other === null ? one === other : one.equals(other);
}

function incremented(before, by) {
  const value = before === undefined ? 0 : decodeJson(before.json);
  if (!Number.isSafeInteger(value)) throw new StateTypeError("incr needs an integer, and the stored value is none");
  if (!Number.isSafeInteger(value + by)) throw new StateTypeError("incr would leave the integers that JSON carries exactly, ±9007199254740991");
  return value + by;
}

module.exports = { Store };
