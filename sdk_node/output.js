"use strict";
/**
 * `console.log`, `process.stdout` and `process.stderr` as log lines of the run that wrote them.
 *
 * Two writable streams take the place of the process's own, made when first used. The run is the one whose
 * asynchronous context the write happens in, so several runs may print at once. Lines that are not complete wait per
 * run; what bypasses these streams (a grandchild, native code) is text on fd 1 and 2 and the host's to attribute.
 */

const LEVELS = { stdout: "info", stderr: "warning" };

class Output {
  #owner;
  #emit;
  #maxLine;
  /** Begun lines: owner -> {stdout, stderr}. Owners are run objects, or this object for what is outside of any run. */
  #begun = new Map();

  /**
   * @param {() => object | null} owner the run in whose context the code runs, null outside of any
   * @param {(owner: object | null, source: string, level: string, line: string) => void} emit
   * @param {number} maxLine characters after which a line without an end is cut into two
   */
  constructor(owner, emit, maxLine) {
    this.#owner = owner;
    this.#emit = emit;
    this.#maxLine = maxLine;
  }

  /** Puts the two streams in place. */
  install() {
    this.#replace("stdout", 1);
    this.#replace("stderr", 2);
  }

  /** Takes printed text of the code that runs now. */
  write(source, chunk, encoding) {
    const owner = this.#owner();
    const key = owner ?? this;
    let begun = this.#begun.get(key);
    if (begun === undefined) this.#begun.set(key, (begun = new BegunLines()));
    const lines = begun.add(source, chunk, encoding, this.#maxLine);
    for (const line of lines) this.#emit(owner, source, LEVELS[source], line);
  }

  /** Sends the lines that `owner` has begun, because it will not end them. */
  finish(owner) {
    const key = owner ?? this;
    const begun = this.#begun.get(key);
    if (begun === undefined) return;
    this.#begun.delete(key);
    for (const source of ["stdout", "stderr"]) {
      if (begun[source] !== "") this.#emit(owner, source, LEVELS[source], begun[source]);
    }
  }

  /** Sends every begun line: the process ends. */
  finishAll() {
    for (const key of [...this.#begun.keys()]) this.finish(key === this ? null : key);
  }

  #replace(name, fd) {
    let stream = null;
    const make = () => (stream ??= lineStream((chunk, encoding) => this.write(name, chunk, encoding), fd));
    Object.defineProperty(process, name, { get: make, configurable: true, enumerable: true });
  }
}

/** The begun line of each stream of one run. */
class BegunLines {
  stdout = "";
  stderr = "";
  #decoders = {};

  /** Gives the lines that `chunk` completes. */
  add(source, chunk, encoding, maxLine) {
    const text = this[source] + this.#text(source, chunk, encoding);
    const lines = [];
    let start = 0;
    for (let end = text.indexOf("\n"); end !== -1; end = text.indexOf("\n", start)) {
      cut(text.slice(start, text[end - 1] === "\r" ? end - 1 : end), maxLine, lines);
      start = end + 1;
    }
    this[source] = cutBegun(text.slice(start), maxLine, lines);
    return lines;
  }

  #text(source, chunk, encoding) {
    if (typeof chunk === "string") {
      return encoding === "utf8" || encoding === "utf-8" ? chunk : Buffer.from(chunk, encoding).toString();
    }
    // A character may be cut in two by the chunks of a pipe.
    const { StringDecoder } = require("node:string_decoder");
    const decoder = (this.#decoders[source] ??= new StringDecoder("utf8"));
    return decoder.write(chunk);
  }
}

function cut(line, maxLine, lines) {
  lines.push(cutBegun(line, maxLine, lines));
}

function cutBegun(line, maxLine, lines) {
  let start = 0;
  for (; line.length - start > maxLine; start += maxLine) lines.push(line.slice(start, start + maxLine));
  return start === 0 ? line : line.slice(start);
}

function lineStream(write, fd) {
  const { Writable } = require("node:stream");
  const stream = new Writable({
    decodeStrings: false,
    write(chunk, encoding, done) {
      write(chunk, encoding);
      done();
    },
  });
  stream.fd = fd;
  stream._isStdio = true;
  // As with the process's own streams, ending them is no end: later code still prints.
  stream.end = (chunk, encoding, done) => {
    if (typeof chunk === "string" || ArrayBuffer.isView(chunk)) stream.write(chunk, encoding);
    const callback = [chunk, encoding, done].find((argument) => typeof argument === "function");
    if (callback) process.nextTick(callback);
    return stream;
  };
  stream.destroy = () => stream;
  return stream;
}

module.exports = { Output };
