"use strict";
/** The params of the host's calls, checked before they are used. */

const { decodeJson } = require("../json_values.js");

class InvalidParams extends Error {
  name = "InvalidParamsError";
}

const SHAPES = {
  str: (value) => typeof value === "string",
  int: (value) => Number.isSafeInteger(value),
  map: (value) => typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Uint8Array),
  json: (value) => value instanceof Uint8Array,
};

const JOB = {
  id: "str",
  name: "str",
  queue: "str",
  data: "json",
  attempt: "int",
  max_attempts: "int",
  priority: "int",
  created_at: "int",
};

/** Throws InvalidParams unless `params` has every key of `shape` with a value of its kind. */
function expect(params, shape, where = "") {
  for (const key in shape) {
    if (!SHAPES[shape[key]](params[key])) throw new InvalidParams(`${where}${key} must be a ${shape[key]}`);
  }
}

function expectExecute(params) {
  expect(params, { run: "str", handler: "str", job: "map", context: "map" });
  expect(params.job, JOB, "job.");
  expect(params.context, { idempotency_key: "str" }, "context.");
}

/** Decodes a `json` param. */
function json(params, key, where = "") {
  try {
    return decodeJson(params[key]);
  } catch (error) {
    throw new InvalidParams(`${where}${key} is not JSON: ${error.message}`);
  }
}

module.exports = { InvalidParams, expect, expectExecute, json };
