"use strict";
/**
 * What a handler declares of its values: `input`, `result`, and the payloads of its emits.
 *
 * The file of the host (`[handlers."NAME"]` of jobhost.toml) may say it too: its schema takes the place of the code's.
 */

const { InvalidJobDataError } = require("./errors.js");
const { decodeJson, encodeJson } = require("./json_values.js");

/** Invalid fields named in a message; `fields` has them all. */
const MAX_TOLD = 5;

class Contract {
  #declared;

  /**
   * Throws where something is no JSON Schema.
   * @param {{input?: object, result?: object, emits?: object}} declared `emits`: from trigger to schema, or null for any payload
   * @param {object | undefined} checked what payloads are checked by, if not by `declared.emits`
   */
  constructor(declared, checked = declared.emits) {
    this.#declared = declared;
    this.input = schemaOf(declared.input, "input");
    this.result = schemaOf(declared.result, "result");
    /** @type {Map<string, import("./schema.js").Schema> | null} */
    this.payloads = payloadsOf(checked);
  }

  /** The settings that tell it to the host; `flow` are the author's own. */
  told(flow) {
    const { input, result, emits } = this.#declared;
    return {
      input: tellable(input),
      result: tellable(result),
      flow: emits === undefined ? flow : { ...flow, emits: Object.fromEntries(Object.entries(emits).map(([k, v]) => [k, tellable(v) ?? null])) },
    };
  }

  /** This contract with what the host's file says of it. */
  overruled(given) {
    const { input, result, emits } = this.#declared;
    return new Contract({ input: given.input ?? input, result: given.result ?? result, emits }, given.emits ?? emits);
  }
}

/** @param {object} settings of a handler, as the author wrote them */
function contractOf({ input, result, flow }) {
  const emits = flow?.emits;
  const isTable = typeof emits === "object" && emits !== null && !Array.isArray(emits);
  return new Contract({ input: input ?? undefined, result: result ?? undefined, emits: isTable ? emits : undefined });
}

function schemaOf(declared, what) {
  if (declared === undefined || declared === null) return null;
  if (typeof declared !== "object" && typeof declared !== "boolean") throw new TypeError(`\`${what}\` must be a JSON Schema`);
  // Loaded here: most handlers have no schema, and a child should start fast.
  const { Schema } = require("./schema.js");
  return new Schema(declared);
}

function payloadsOf(emits) {
  if (emits === undefined) return null;
  const payloads = new Map();
  for (const [trigger, declared] of Object.entries(emits)) {
    const schema = schemaOf(declared, `emits.${trigger}`);
    if (schema !== null) payloads.set(trigger, schema);
  }
  return payloads.size === 0 ? null : payloads;
}

/** A schema as it is told to the host; true where JSON cannot carry it. */
function tellable(schema) {
  if (schema === undefined || schema === null) return undefined;
  try {
    encodeJson(schema, "");
    return schema;
  } catch {
    return true;
  }
}

/** Throws InvalidJobDataError if `data` is not what the handler takes. */
function checkInput({ input }, data) {
  if (input !== null) refuse(input.problems(data), "");
}

/**
 * Throws InvalidJobDataError if what goes out is not what was declared.
 * @param {import("./schema.js").Schema | null | undefined} schema
 * @param {Uint8Array} json the value as it goes out
 * @param {string} what `the result`
 * @param {string} root begins the fields: `result`
 */
function checkOutput(schema, json, what, root) {
  if (schema === null || schema === undefined) return;
  const problems = schema.problems(decodeJson(json));
  const placed = problems.map(({ field, message }) => ({ field: below(root, field), message }));
  refuse(placed, `${what} was refused: `);
}

function refuse(fields, what) {
  if (fields.length === 0) return;
  const told = fields.slice(0, MAX_TOLD).map(({ field, message }) => (field === "" ? message : `${field}: ${message}`));
  const more = fields.length > MAX_TOLD ? ` (and ${fields.length - MAX_TOLD} more)` : "";
  throw new InvalidJobDataError(what + told.join("; ") + more, fields);
}

function below(root, path) {
  return path === "" || path.startsWith("[") ? root + path : `${root}.${path}`;
}

module.exports = { contractOf, checkInput, checkOutput };
