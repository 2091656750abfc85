"use strict";
/**
 * One side of a conversation: which ids are open, which messages are allowed now, how many requests may wait.
 *
 * Pure: it takes bytes and gives events, and hands each message it makes to `send`. The caller owns the pipe and the
 * clock.
 */

const { ProtocolError } = require("../errors.js");
const { MAX_FRAME, FrameDecoder } = require("./frames.js");
const { NOTIFICATION, REQUEST, RESPONSE, decodeMessage, encodeMessage } = require("./messages.js");

/** Requests of ours that may be unanswered at once; the host kills a child that has more. Further ones wait here. */
const MAX_OPEN = 1024;

/** @typedef {(error: object | null, result: any) => void} Answered */

class Peer {
  #send;
  #decoder;
  #maxFrame;
  #nextId = 0;
  /** @type {Map<number, Answered>} */
  #pending = new Map();
  #open = new Set();
  #waiting = [];

  /**
   * @param {(body: Uint8Array) => void} send takes the body of a frame; it must copy it at once
   * @param {number} [maxFrame] bytes
   */
  constructor(send, maxFrame = MAX_FRAME) {
    this.#send = send;
    this.#maxFrame = maxFrame;
    this.#decoder = new FrameDecoder(maxFrame);
  }

  /** A frame has begun and is not complete. */
  get partial() {
    return this.#decoder.partial;
  }

  /** The largest frame the other side takes, in bytes. */
  set maxFrame(bytes) {
    this.#maxFrame = bytes;
  }

  /** How many of our requests have no answer yet, the ones that wait to be sent included. */
  get pending() {
    return this.#pending.size + this.#waiting.length;
  }

  /**
   * Takes bytes as they came, and calls `onCall(id, method, params)` for each request and, with id null, for each
   * notification, in order. Throws ProtocolError at a violation.
   */
  receive(chunk, onCall) {
    for (const body of this.#decoder.feed(chunk)) {
      const message = decodeMessage(body);
      if (message[0] === REQUEST) {
        this.#admit(message[1]);
        onCall(message[1], message[2], message[3]);
      } else if (message[0] === RESPONSE) {
        this.#answer(message[1], message[2], message[3]);
      } else {
        onCall(null, message[1], message[2]);
      }
    }
  }

  /**
   * Sends a request, or keeps it until an earlier one is answered. Throws RangeError if it is too large for a frame.
   * @param {Answered} answered
   */
  request(method, params, answered) {
    if (this.#pending.size >= MAX_OPEN) {
      this.#waiting.push([method, params, answered]);
      return;
    }
    const id = this.#nextId;
    this.#emit([REQUEST, id, method, params]);
    this.#nextId = id + 1;
    this.#pending.set(id, answered);
  }

  /** Sends a notification. Throws RangeError if it is too large for a frame. */
  notify(method, params) {
    this.#emit([NOTIFICATION, method, params]);
  }

  /** Answers request `id`. Throws RangeError if the result is too large for a frame; the request stays open then. */
  result(id, result) {
    this.#respond([RESPONSE, id, null, result]);
  }

  /** Refuses request `id` with an error map. */
  error(id, error) {
    this.#respond([RESPONSE, id, error, null]);
  }

  #respond(message) {
    const id = message[1];
    if (!this.#open.has(id)) throw new ProtocolError(`request ${id} is not open: it was answered already`);
    this.#emit(message);
    this.#open.delete(id);
  }

  #admit(id) {
    if (this.#open.has(id)) throw new ProtocolError(`request ${id} came twice`);
    this.#open.add(id);
  }

  #answer(id, error, result) {
    const answered = this.#pending.get(id);
    if (answered === undefined) throw new ProtocolError(`an answer to request ${id}, which is not open`);
    this.#pending.delete(id);
    answered(error, result);
    const next = this.#waiting.shift();
    if (next !== undefined) this.#resend(next);
  }

  #resend([method, params, answered]) {
    try {
      this.request(method, params, answered);
    } catch (error) {
      answered({ type: error.name, message: error.message }, null);
    }
  }

  #emit(message) {
    const body = encodeMessage(message);
    if (body.length > this.#maxFrame) {
      throw new RangeError(`${body.length} bytes do not fit into a frame of at most ${this.#maxFrame}`);
    }
    this.#send(body);
  }
}

module.exports = { MAX_OPEN, Peer };
