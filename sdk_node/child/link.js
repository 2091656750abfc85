"use strict";
/**
 * The pump between the descriptors and the pure peer: reads chunks, writes batches, keeps the one clock of the wire.
 */

const net = require("node:net");
const { ProtocolError, callError } = require("../errors.js");
const { decodeJson } = require("../json_values.js");
const { FrameBatch } = require("../wire/frames.js");
const { Peer } = require("../wire/peer.js");

/** Frames in one write. Without a cap host and child take turns; with it both are busy (79 k against 140 k frames/s). */
const BATCH = 16;

/** One read takes at most this much; the memory is used again for the next. */
const CHUNK = 64 * 1024;

/** A frame that has begun must be complete within this time. */
const FRAME_DEADLINE = 30_000;

class Link {
  #peer;
  #batch = new FrameBatch();
  #writer;
  #onCall;
  #onFatal;
  #flushDue = false;
  #frameTimer = null;
  #frameDeadline;

  /**
   * @param {{read: number, write: number}} wire
   * @param {object} handlers
   * @param {(id: number | null, method: string, params: object) => void} handlers.onCall
   * @param {() => void} handlers.onEnd the host is gone
   * @param {(error: Error) => void} handlers.onViolation
   * @param {number} [frameDeadline] milliseconds
   */
  constructor(wire, { onCall, onEnd, onViolation }, frameDeadline = FRAME_DEADLINE) {
    this.#onCall = onCall;
    this.#onFatal = onViolation;
    this.#frameDeadline = frameDeadline;
    this.#peer = new Peer((body) => this.#add(body));
    const isDuplex = wire.read === wire.write;
    const onread = { buffer: Buffer.allocUnsafeSlow(CHUNK), callback: (size, buffer) => this.#receive(buffer.subarray(0, size)) };
    const reader = new net.Socket({ fd: wire.read, readable: true, writable: isDuplex, onread });
    this.#writer = isDuplex ? reader : new net.Socket({ fd: wire.write, readable: false, writable: true });
    for (const socket of new Set([reader, this.#writer])) socket.on("error", onEnd).on("close", onEnd);
    reader.on("end", onEnd);
    reader.resume();
  }

  /** Bytes that wait because the host does not read. */
  get backlog() {
    return this.#writer.writableLength;
  }

  /** The largest frame the host takes; it says so when it initializes the child. */
  set maxFrame(bytes) {
    this.#peer.maxFrame = bytes;
  }

  /** Asks the host; the promise is rejected with a CallError if it refuses. */
  call(method, params) {
    return new Promise((resolve, reject) => {
      this.#peer.request(method, params, (error, result) => (error === null ? resolve(result) : reject(callError(error, factsOf(error)))));
    });
  }

  notify(method, params) {
    this.#peer.notify(method, params);
  }

  result(id, result) {
    this.#peer.result(id, result);
  }

  error(id, error) {
    this.#peer.error(id, error);
  }

  /** Writes what is collected; `done` is called when the system has taken it. */
  flush(done) {
    this.#flushDue = false;
    for (const chunk of this.#batch.take()) this.#writer.write(chunk);
    if (done) this.#writer.write("", done);
  }

  /** Fulfilled when the host has read enough that more may be written. */
  async drained() {
    if (this.#writer.writableNeedDrain) await new Promise((resolve) => this.#writer.once("drain", resolve));
  }

  #add(body) {
    this.#batch.add(body);
    if (this.#batch.count >= BATCH) {
      this.flush();
    } else if (!this.#flushDue) {
      // After the reads of this turn and all that follows from them, before the loop waits again.
      this.#flushDue = true;
      setImmediate(() => this.flush());
    }
  }

  #receive(chunk) {
    try {
      this.#peer.receive(chunk, this.#onCall);
      this.#watchFrame();
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.#onFatal(error);
    }
    return true;
  }

  #watchFrame() {
    clearTimeout(this.#frameTimer);
    this.#frameTimer = null;
    if (!this.#peer.partial) return;
    // A handler that blocked the loop delays the timer and the read alike: look again after the reads of this turn.
    const expire = () => setImmediate(() => this.#frameTimer === timer && this.#onFatal(lateFrame(this.#frameDeadline)));
    const timer = setTimeout(expire, this.#frameDeadline).unref();
    this.#frameTimer = timer;
  }
}

function lateFrame(deadline) {
  return new ProtocolError(`a frame is not complete after ${deadline} ms`);
}

function factsOf({ data }) {
  return data instanceof Uint8Array ? decodeJson(data) : null;
}

module.exports = { Link };
