"use strict";
/**
 * Frames: a 4-byte big-endian length, then that many bytes.
 *
 * The length is checked before a byte of the body is kept. Pure: bytes in, bodies out.
 */

const { ProtocolError } = require("../errors.js");

/** Bytes in the body of a frame, at most. Both sides refuse more. */
const MAX_FRAME = 16 * 1024 * 1024;

const HEADER = 4;

/** Room for a few hundred small frames; a body that does not fit gets a buffer of its own. */
const SLAB = 64 * 1024;

/** Cuts whatever chunks arrive into frames. Any chunking of the same bytes gives the same frames. */
class FrameDecoder {
  #maxFrame;
  /** Bytes of a frame that has begun: its header first, then header and body in one buffer. */
  #buffer = Buffer.alloc(HEADER);
  #filled = 0;
  #needed = HEADER;

  constructor(maxFrame = MAX_FRAME) {
    this.#maxFrame = maxFrame;
  }

  /** True while a frame has begun and is not complete; the caller's clock decides how long that may last. */
  get partial() {
    return this.#filled > 0;
  }

  /**
   * Gives the bodies of the frames that `chunk` completes, in order; throws ProtocolError at a bad length.
   * A body may be a view of `chunk`: read it before the chunk's memory is used again.
   * @param {Buffer} chunk
   * @returns {Buffer[]}
   */
  feed(chunk) {
    const bodies = [];
    let at = 0;
    while (at < chunk.length) {
      if (this.#filled === 0 && chunk.length - at >= HEADER) {
        const end = at + HEADER + this.#checked(chunk.readUInt32BE(at));
        if (end <= chunk.length) {
          bodies.push(chunk.subarray(at + HEADER, end));
          at = end;
          continue;
        }
      }
      at += this.#keep(chunk, at);
      if (this.#filled === this.#needed && this.#needed > HEADER) bodies.push(this.#complete());
    }
    return bodies;
  }

  /** Takes what the frame that has begun still needs, and says how much that was. */
  #keep(chunk, at) {
    const taken = chunk.copy(this.#buffer, this.#filled, at, at + this.#needed - this.#filled);
    this.#filled += taken;
    if (this.#filled === HEADER && this.#needed === HEADER) {
      const header = this.#buffer;
      this.#needed = HEADER + this.#checked(header.readUInt32BE(0));
      this.#buffer = Buffer.allocUnsafeSlow(this.#needed);
      header.copy(this.#buffer, 0, 0, HEADER);
    }
    return taken;
  }

  #complete() {
    const body = this.#buffer.subarray(HEADER);
    this.#buffer = Buffer.alloc(HEADER);
    this.#filled = 0;
    this.#needed = HEADER;
    return body;
  }

  #checked(length) {
    if (length === 0 || length > this.#maxFrame) {
      throw new ProtocolError(`frame of ${length} bytes announced; allowed are 1 to ${this.#maxFrame}`);
    }
    return length;
  }
}

/** Collects frames so that many leave in one write. */
class FrameBatch {
  #slab = Buffer.alloc(0);
  #start = 0;
  #end = 0;
  #full = [];
  /** Frames in the batch. */
  count = 0;

  /** Copies `body` into the batch with its length in front. The caller has checked its size. */
  add(body) {
    const size = HEADER + body.length;
    if (this.#end + size > this.#slab.length) this.#renew(size);
    this.#slab.writeUInt32BE(body.length, this.#end);
    this.#slab.set(body, this.#end + HEADER);
    this.#end += size;
    this.count++;
  }

  /** Gives the bytes collected, to be written in this order, and starts anew. They are never changed again. */
  take() {
    const chunks = this.#full;
    if (this.#end > this.#start) chunks.push(this.#slab.subarray(this.#start, this.#end));
    this.#start = this.#end;
    this.#full = [];
    this.count = 0;
    return chunks;
  }

  #renew(size) {
    if (this.#end > this.#start) this.#full.push(this.#slab.subarray(this.#start, this.#end));
    this.#slab = Buffer.allocUnsafeSlow(Math.max(size, SLAB));
    this.#start = this.#end = 0;
  }
}

module.exports = { MAX_FRAME, FrameDecoder, FrameBatch };
