"use strict";
/** Stands for the link of a child: answers as a host does, and keeps what the handler does. */

const { FlowError, FlowLimitError, UnknownMethodError } = require("../errors.js");
const { decodeJson } = require("../json_values.js");

/** Bytes of an emit's trigger, key and payload. */
const MAX_TRIGGER = 256;
const MAX_KEY = 1024;
const MAX_PAYLOAD = 1024 * 1024;
const MOST_EMITS = 10_000;

class Link {
  /** Bytes that wait: none ever do. */
  backlog = 0;
  #ran;
  #handler;
  #children;
  #look;
  #answer;

  /**
   * @param {import("./ran.js").Ran} ran
   * @param {import("../discovery.js").Handler} handler
   * @param {Buffer} children
   * @param {() => void} look called after each call
   */
  constructor(ran, handler, children, look) {
    this.#ran = ran;
    this.#handler = handler;
    this.#children = children;
    this.#look = look;
    this.answered = new Promise((resolve) => (this.#answer = resolve));
  }

  result(_id, json) {
    this.#ran.end(json, null);
    this.#answer();
  }

  error(_id, _failure, error) {
    this.#ran.end(null, error);
    this.#answer();
  }

  drained() {
    return Promise.resolve();
  }

  notify(method, params) {
    if (method === "ctx.progress") this.#ran.progress.push(decodeJson(params.value));
    else this.#ran.logs.push(lineOf(params));
    this.#look();
  }

  async call(method, params) {
    const answer = this.#answerTo(method, params);
    this.#look();
    return answer;
  }

  #answerTo(method, params) {
    if (method.startsWith("ctx.state.")) return this.#ran.store.answer(method, params);
    if (method === "job.children") return this.#children;
    if (method === "ctx.flow.emit") {
      this.#allow(params.trigger);
      this.#emit(params, false);
      return {};
    }
    if (method === "ctx.flow.start") {
      this.#emit(params, true);
      return { flow_id: `flow-${this.#ran.emitted.length}` };
    }
    throw new UnknownMethodError(`the host has no method ${method}`);
  }

  #allow(trigger) {
    const size = Buffer.byteLength(trigger);
    if (size === 0 || size > MAX_TRIGGER) throw new FlowLimitError(`a trigger has 1 to ${MAX_TRIGGER} bytes`);
    if (/^(step|flow|start):/.test(trigger)) {
      throw new FlowError(`${trigger}: triggers that begin with step:, flow: or start: are jobhost's own`);
    }
    const { flow } = this.#handler.listing;
    const emits = Array.isArray(flow?.emits) ? flow.emits : Object.keys(flow?.emits ?? {});
    if (flow === undefined || emits.includes(trigger)) return;
    throw new FlowError(`${this.#handler.name} may not emit "${trigger}": its flow says emits = ${JSON.stringify(emits)}`);
  }

  #emit({ trigger, key, payload, immediate }, starts) {
    if (key !== null && Buffer.byteLength(key) > MAX_KEY) throw new FlowLimitError(`the key of an emit has at most ${MAX_KEY} bytes`);
    if (this.#ran.emitted.length >= MOST_EMITS) throw new FlowLimitError(`a run emits at most ${MOST_EMITS} times`);
    if (payload.length > MAX_PAYLOAD) {
      throw new FlowLimitError(`the payload of "${trigger}" has ${payload.length} bytes; ${MAX_PAYLOAD} are the most`);
    }
    this.#ran.emitted.push({ trigger, payload: decodeJson(payload), key, immediate, starts });
  }
}

function lineOf({ level, message, fields }) {
  return { level, message, fields: fields === null || fields === undefined ? {} : decodeJson(fields) };
}

module.exports = { Link };
