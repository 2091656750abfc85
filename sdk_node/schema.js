"use strict";
/** A JSON Schema, and the fields of a value that do not satisfy it. */

/** Problems listed for one value; the first few tell the story. */
const MAX_PROBLEMS = 20;

/** Reports of the validator that are looked at; a list of a million wrong items has millions. */
const MAX_REPORTS = 500;

class Schema {
  #validator;

  /** @param {object | boolean} schema JSON Schema (2020-12, 2019-09, 7 or 4, by its `$schema`; 2020-12 without) */
  constructor(schema) {
    // Loaded here: most handlers have no schema, and a child should start fast.
    const { Validator } = require("./vendor/json-schema.cjs");
    this.#validator = new Validator(schema, draftOf(schema), false);
  }

  /**
   * @param {any} data
   * @returns {{field: string, message: string}[]} empty if the data is fine
   */
  problems(data) {
    const errors = this.#validator.validate(data).errors.slice(0, MAX_REPORTS);
    const causes = errors.filter((error) => !errors.some((other) => isWithin(other, error)));
    return causes.slice(0, MAX_PROBLEMS).map(problemOf);
  }
}

function draftOf(schema) {
  const declared = String(schema?.$schema ?? "");
  if (declared.includes("draft-04")) return "4";
  if (declared.includes("draft-07")) return "7";
  return declared.includes("2019-09") ? "2019-09" : "2020-12";
}

/** The validator reports a failed member once for itself and once for each keyword around it. */
function isWithin(inner, outer) {
  return inner !== outer && inner.keywordLocation.startsWith(`${outer.keywordLocation}/`);
}

function problemOf({ keyword, instanceLocation, error }) {
  const place = fieldOf(instanceLocation);
  if (keyword !== "required") return { field: place, message: error };
  // A missing member has no place of its own; the one it should have is what the reader looks for.
  const missing = /"(.*)"/s.exec(error)[1];
  return { field: place === "" ? missing : `${place}.${missing}`, message: "is required" };
}

/** "#/items/3/when" -> "items[3].when" */
function fieldOf(pointer) {
  let field = "";
  for (const step of pointer.split("/").slice(1)) {
    const key = decodeURIComponent(step).replaceAll("~1", "/").replaceAll("~0", "~");
    field += /^\d+$/.test(key) ? `[${key}]` : `${field === "" ? "" : "."}${key}`;
  }
  return field;
}

module.exports = { Schema };
