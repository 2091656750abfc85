"use strict";
/**
 * The user's values as JSON text, and the path of the first value that JSON cannot carry.
 *
 * `JSON.stringify` alone is too lenient: it turns NaN into null, a Map into {} and a Date into a string, and nobody
 * notices until the value is read back. So a value is walked first, and only what comes back equal is let through.
 */

const { isUtf8 } = require("node:buffer");
const { InvalidValueError } = require("./errors.js");

/** Levels of arrays and objects. Deeper text is refused or crashes readers in other languages; a cycle ends here too. */
const MAX_DEPTH = 200;

/** Steps of a path that are shown; what holds itself has hundreds. */
const MAX_STEPS = 20;

/** @typedef {{steps: string[], problem: string}} Fault what is wrong, and the way to it from the inside out */

/** From here on a number is written with an exponent ("1e+21"), which every JSON reader takes as a float. */
const EXPONENT = 1e21;

/**
 * Encodes `value`; throws InvalidValueError with a path that starts with `name`.
 * @param {unknown} value `undefined` becomes null; members that are `undefined` are dropped, as in JSON
 * @param {string} name what the value is to the user: "result", "payload"
 * @param {boolean} [lenient] let Date and objects with toJSON pass (BullMQ processor files)
 * @returns {Buffer} JSON text in UTF-8
 */
function encodeJson(value, name, lenient = false) {
  if (value === undefined || value === null) return Buffer.from("null");
  const fault = findFault(value, lenient, 0);
  if (fault !== null) throw new InvalidValueError(pathOf(name, fault.steps), fault.problem);
  return Buffer.from(JSON.stringify(value));
}

/**
 * @param {Uint8Array} bytes JSON text in UTF-8
 * @returns {any}
 */
function decodeJson(bytes) {
  // Decoding would put a replacement for what is no UTF-8, and the handler would get another text than was stored.
  if (!isUtf8(bytes)) throw new SyntaxError("not UTF-8");
  return JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("utf8"));
}

// The path is put together only on the way out of a fault: building it on the way in would be most of the walk's cost.
function findFault(value, lenient, depth) {
  switch (typeof value) {
    case "boolean":
    case "undefined":
      return null;
    case "string":
      return value.isWellFormed() ? null : fault("a lone surrogate is not a JSON value");
    case "number":
      return numberFault(value);
    case "object":
      return value === null ? null : objectFault(value, lenient, depth);
    default:
      return fault(`${typeof value} is not a JSON value`);
  }
}

function numberFault(value) {
  if (Number.isSafeInteger(value)) return null;
  if (!Number.isFinite(value)) return fault(`${value} is not a JSON value`);
  const isWritten = Number.isInteger(value) && Math.abs(value) < EXPONENT;
  return isWritten ? fault(`the integer ${value} is beyond ±(2^53-1)`) : null;
}

function objectFault(value, lenient, depth) {
  if (depth >= MAX_DEPTH) return fault(`nests over ${MAX_DEPTH} deep or holds itself`);
  if (Array.isArray(value)) {
    for (let index = 0; index < value.length; index++) {
      const found = findFault(value[index], lenient, depth + 1);
      if (found !== null) return within(found, `[${index}]`);
    }
    return null;
  }
  if (lenient && typeof value.toJSON === "function") return findFault(value.toJSON(), lenient, depth + 1);
  if (!isPlain(value)) return fault(`${className(value)} is not a JSON value`);
  for (const key of Object.keys(value)) {
    const found = key.isWellFormed() ? findFault(value[key], lenient, depth + 1) : fault("a key with a lone surrogate");
    if (found !== null) return within(found, memberStep(key));
  }
  return null;
}

/** An object literal, one without a prototype, or one from another realm (`vm`), whose Object is not ours. */
function isPlain(value) {
  const proto = Object.getPrototypeOf(value);
  return proto === Object.prototype || proto === null || Object.getPrototypeOf(proto) === null;
}

function className(value) {
  return Object.getPrototypeOf(value).constructor?.name || "an object of a class";
}

/** @returns {Fault} */
function fault(problem) {
  return { steps: [], problem };
}

function within(found, step) {
  found.steps.push(step);
  return found;
}

function memberStep(key) {
  return /^[A-Za-z_$][\w$]*$/.test(key) ? `.${key}` : `[${JSON.stringify(key)}]`;
}

function pathOf(name, steps) {
  const outermost = steps.slice(-MAX_STEPS).reverse().join("");
  return name + outermost + (steps.length > MAX_STEPS ? "…" : "");
}

module.exports = { encodeJson, decodeJson };
