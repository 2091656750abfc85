"use strict";
/**
 * Log lines on their way to the host: bounded, never a reason to wait.
 *
 * Each run has a token bucket. What is over it, or comes while the host does not read, is dropped and counted; the
 * count goes out as a line of its own before the next line that passes, or when the run ends.
 */

const { encodeJson } = require("./json_values.js");
const { clip } = require("./text.js");

/** Bytes waiting in the wire from which on lines are dropped rather than kept in memory. */
const BACKLOG = 1024 * 1024;

/** Ends a line of which the rest was dropped. */
const CUT = "… [cut]";

const DEFAULTS = { rate: 1000, burst: 5000, maxLine: 16 * 1024 };

class Logs {
  #link;
  #limits;
  #now;

  /**
   * @param {{notify: Function, backlog: number}} link what sends, and how many bytes wait in it
   * @param {{rate?: number, burst?: number, maxLine?: number}} [limits] lines a second, lines at once, bytes a line
   * @param {() => number} [now] Unix milliseconds
   */
  constructor(link, limits = {}, now = Date.now) {
    this.#link = link;
    this.#limits = { ...DEFAULTS };
    for (const key in DEFAULTS) {
      if (Number.isSafeInteger(limits[key]) && limits[key] > 0) this.#limits[key] = limits[key];
    }
    this.#now = now;
  }

  get maxLine() {
    return this.#limits.maxLine;
  }

  /** A bucket for one run (or, with a null token, for the lines that belong to none). */
  bucket(token) {
    return { token, left: this.#limits.burst, filledAt: this.#now(), dropped: 0 };
  }

  /**
   * Sends one line, or counts it as dropped.
   * @param {{token: string | null}} bucket
   * @param {string} source "handler", "stdout", "stderr"
   * @param {string} level
   * @param {unknown} message
   * @param {object | null} fields
   */
  write(bucket, source, level, message, fields) {
    const now = this.#now();
    if (!this.#admit(bucket, now)) {
      bucket.dropped++;
      return;
    }
    this.settle(bucket, now);
    const text = cut(textOf(message), this.#limits.maxLine);
    this.#notify(bucket, source, level, text, this.#encodeFields(fields), now);
  }

  /** Says how many lines were dropped since this was last said, if any. */
  settle(bucket, now = this.#now()) {
    if (bucket.dropped === 0) return;
    const message = `${bucket.dropped} log lines dropped`;
    bucket.dropped = 0;
    this.#notify(bucket, "handler", "warning", message, null, now);
  }

  #admit(bucket, now) {
    const { rate, burst } = this.#limits;
    if (bucket.left < burst) {
      bucket.left = Math.min(burst, bucket.left + (Math.max(0, now - bucket.filledAt) * rate) / 1000);
    }
    bucket.filledAt = now;
    if (bucket.left < 1 || this.#link.backlog > BACKLOG) return false;
    bucket.left--;
    return true;
  }

  #notify(bucket, source, level, message, fields, ts) {
    this.#link.notify("ctx.logger.log", { run: bucket.token, level, message, fields, ts, source });
  }

  #encodeFields(fields) {
    if (typeof fields !== "object" || fields === null) return null;
    const json = encodeFields(fields);
    return json.length <= this.#limits.maxLine ? json : encodeJson({ fields: `${json.length} bytes, dropped` }, "fields");
  }
}

/** A field that is no JSON value is logged as text: a log line is never a reason to fail. */
function encodeFields(fields) {
  try {
    return encodeJson(fields, "fields", true);
  } catch {
    const readable = {};
    for (const key of Object.keys(fields)) readable[key.toWellFormed()] = readableField(fields, key);
    return encodeJson(readable, "fields");
  }
}

function readableField(fields, key) {
  let value;
  try {
    value = fields[key];
    return JSON.parse(encodeJson(value, key, true).toString());
  } catch {
    return textOf(value);
  }
}

function cut(text, maxLine) {
  const kept = clip(text, maxLine);
  return kept.length < text.length ? kept + CUT : kept;
}

function textOf(value) {
  if (typeof value === "string") return value.toWellFormed();
  try {
    return require("node:util").inspect(value, { depth: 2, breakLength: Infinity }).toWellFormed();
  } catch {
    return "(something that cannot be shown)";
  }
}

module.exports = { Logs, BACKLOG };
