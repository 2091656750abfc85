"use strict";
/** What was thrown, as the `error` of a response: type, message, stack, whether to retry, and the user's own facts. */

const path = require("node:path");
const { isNamed } = require("../errors.js");
const { encodeJson } = require("../json_values.js");
const { clip } = require("../text.js");

const SDK = path.dirname(__dirname) + path.sep;

const MAX_TYPE = 200;
const MAX_MESSAGE = 16 * 1024;
const MAX_STACK = 64 * 1024;
/** Bytes of all own attributes together. */
const MAX_DATA = 64 * 1024;
/** Links of a chain of causes; longer ones repeat themselves. */
const MAX_CAUSES = 8;
const MAX_KINDS = 16;

/** What every error has; everything else that is enumerable is the user's. */
const COMMON = new Set(["name", "message", "stack", "cause"]);

/**
 * @param {unknown} thrown
 * @returns {{type: string, message: string, stack: string, retry: null | false | number, data: Buffer | null}}
 */
function toFailure(thrown) {
  try {
    const failure = { ...typeAndMessage(thrown), stack: stackOf(thrown), retry: retryOf(thrown), data: dataOf(thrown) };
    return Object.assign(failure, moreOf(thrown));
  } catch {
    // Getters and proxies may throw in turn.
    return { type: "Error", message: "something was thrown that cannot be read", stack: "", retry: null, data: null };
  }
}

function typeAndMessage(thrown) {
  if (!isErrorLike(thrown)) return { type: "Error", message: clip(`thrown: ${shown(thrown)}`, MAX_MESSAGE) };
  const message = typeof thrown.message === "string" ? thrown.message : shown(thrown.message);
  return { type: clip(typeOf(thrown), MAX_TYPE), message: clip(message, MAX_MESSAGE) };
}

function isErrorLike(thrown) {
  return typeof thrown === "object" && thrown !== null && (thrown instanceof Error || typeof thrown.message === "string");
}

/** What the host refused is known by the host's name for it. A class that sets no `name` inherits "Error": then the constructor says more. */
function typeOf(error) {
  const { name } = error;
  if (name === "CallError" && typeof error.type === "string") return error.type;
  const hasName = typeof name === "string" && name !== "" && name !== "Error";
  return hasName ? name : String(error.constructor?.name || "Error");
}

function stackOf(thrown) {
  if (typeof thrown?.stack !== "string") return "";
  const lines = clip(thrown.stack, MAX_STACK).split("\n");
  return lines.filter((line) => !isOurFrame(line)).join("\n");
}

/** The author's frames are of interest, not those of the SDK that called them. */
function isOurFrame(line) {
  return /^\s+at /.test(line) && line.includes(SDK);
}

function retryOf(thrown) {
  if (isNamed(thrown, "UnrecoverableError")) return false;
  return isNamed(thrown, "RetryLater") && Number.isSafeInteger(thrown.delayMs) ? thrown.delayMs : null;
}

/** What few errors have: the classes between theirs and `Error`, by which jobs may be retried, and that coming back later counts as an attempt. */
function moreOf(thrown) {
  const more = {};
  const kinds = isErrorLike(thrown) ? kindsOf(thrown) : [];
  if (kinds.length > 0) more.kinds = kinds;
  if (isNamed(thrown, "RetryLater") && thrown.usesAttempt === true) more.uses_attempt = true;
  return more;
}

/** Node's own codes (`ECONNREFUSED`) are what its errors differ by: they count as classes. */
function kindsOf(error) {
  const kinds = [];
  if (typeof error.code === "string") kinds.push(clip(error.code, MAX_TYPE));
  for (let proto = Object.getPrototypeOf(error); proto !== null && kinds.length < MAX_KINDS; proto = Object.getPrototypeOf(proto)) {
    const name = proto.constructor?.name;
    if (typeof name === "string" && name !== "" && name !== "Object" && name !== typeOf(error)) kinds.push(clip(name, MAX_TYPE));
  }
  return kinds;
}

function dataOf(thrown) {
  if (!isErrorLike(thrown)) return null;
  const data = ownAttributes(thrown);
  if (thrown.cause !== undefined) data.cause = causeOf(thrown.cause, MAX_CAUSES);
  return Object.keys(data).length === 0 ? null : encodeJson(data, "data");
}

function causeOf(thrown, left) {
  const cause = isErrorLike(thrown) && thrown.cause !== undefined && left > 1 ? causeOf(thrown.cause, left - 1) : null;
  return { ...typeAndMessage(thrown), cause };
}

function ownAttributes(error) {
  const attributes = {};
  let room = MAX_DATA;
  for (const key of Object.keys(error)) {
    if (COMMON.has(key)) continue;
    const json = jsonOrNull(error[key], key);
    if (json === null || json.length + key.length > room) continue;
    room -= json.length + key.length;
    attributes[key] = JSON.parse(json.toString());
  }
  return attributes;
}

/** Sockets, requests and such hang on errors as often as plain facts; only the facts can travel. */
function jsonOrNull(value, key) {
  try {
    return key.isWellFormed() ? encodeJson(value, key) : null;
  } catch {
    return null;
  }
}

function shown(value) {
  return typeof value === "string" ? value : require("node:util").inspect(value, { depth: 2 });
}

module.exports = { toFailure };
