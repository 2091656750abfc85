"use strict";
/** Loads the files of a bundle in order and lists what they define; a file that fails is a problem and does not stop the rest. */

const path = require("node:path");
const { pathToFileURL } = require("node:url");
const { contractOf } = require("./contract.js");
const { recognise } = require("./forms.js");
const { encodeJson } = require("./json_values.js");
const { Loader } = require("./loading.js");
const { wrapped } = require("./middleware.js");
const { clip } = require("./text.js");

/** A problem is one line that people read. */
const MAX_PROBLEM = 2000;

/**
 * @typedef {object} Handler
 * @property {string} name
 * @property {string} file relative to the bundle's root
 * @property {number | null} line
 * @property {Function} run
 * @property {boolean} lenient
 * @property {boolean} wantsSignal it may look at a third argument
 * @property {import("./contract.js").Contract} contract the checks of its values
 * @property {object} listing its entry in the answer to `initialize`
 */

class Bundle {
  /** @type {Map<string, Handler>} */
  handlers = new Map();
  /** @type {{file: string, line: number | null, error: string}[]} */
  problems = [];
  /** @type {Function[]} */
  setups = [];
  /** @type {Function[]} */
  teardowns = [];

  #schemas;

  /**
   * @param {string} root absolute
   * @param {object} schemas what the host's file says of the values of handlers, by name; "" stands for those without an entry
   */
  constructor(root, schemas = {}) {
    this.root = root;
    this.#schemas = schemas;
  }

  /** The handler that serves a job of this name. */
  serving(name) {
    return this.handlers.get(name) ?? this.handlers.get("*");
  }

  /** Takes what one file defines. */
  add(file, exported) {
    const { handlers, setup, teardown } = recognise(exported);
    for (const found of handlers) {
      try {
        this.#register(describe(found, file, this.root, this.#schemas));
      } catch (error) {
        this.report(file, error);
      }
    }
    if (setup !== null) this.setups.push(setup);
    if (teardown !== null) this.teardowns.push(teardown);
  }

  report(file, error) {
    const line = lineIn(error?.stack, path.join(this.root, file));
    this.problems.push({ file, line, error: oneLine(error) });
  }

  #register(handler) {
    const other = this.handlers.get(handler.name);
    if (other !== undefined) {
      throw new Error(`the handler "${handler.name}" is defined twice: in ${other.file} and in ${handler.file}`);
    }
    this.handlers.set(handler.name, handler);
  }
}

/**
 * @param {string} root absolute path of the bundle
 * @param {string[]} files relative to it
 * @param {object} schemas see Bundle
 * @returns {Promise<Bundle>}
 */
async function discover(root, files, schemas = {}) {
  const bundle = new Bundle(root, schemas);
  const loader = new Loader(root);
  for (const file of files) {
    try {
      bundle.add(file, await loader.load(path.join(root, file)));
    } catch (error) {
      bundle.report(file, error);
    }
  }
  return bundle;
}

/** @returns {Handler} */
function describe(found, file, root, schemas) {
  const name = found.settings.name ?? path.parse(file).name;
  if (typeof name !== "string" || name === "") throw new TypeError("the name of a handler must be a string that is not empty");
  const line = lineIn(found.definedAt, path.join(root, file));
  const { middleware, ...settings } = found.settings;
  const contract = overruled(contractOf(settings), schemas, name);
  const listing = { ...settings, ...contract.told(settings.flow), name, file, line, kind: "async" };
  encodeJson(listing, `handler "${name}"`);
  const { run, lenient, signature = run } = found;
  return { name, file, line, run: wrapped(run, middleware), lenient, wantsSignal: wantsSignal(signature), contract, listing };
}

function overruled(contract, schemas, name) {
  const said = Object.hasOwn(schemas, name) ? schemas[name] : schemas[""];
  if (said === undefined) return contract;
  try {
    return contract.overruled(said);
  } catch (error) {
    throw new TypeError(`[handlers."${name}"] of the host's file: ${error.message}`);
  }
}

/**
 * An AbortSignal costs more than the rest of a short run, so it is made for those who can see it: three parameters, or
 * a list that `length` does not count (defaults, rest, `arguments`).
 */
function wantsSignal(run) {
  if (run.length > 2) return true;
  const source = Function.prototype.toString.call(run);
  const parameters = source.slice(0, source.search(/\)\s*(=>|\{)/));
  return /=|\.\.\./.test(parameters) || /\barguments\b/.test(source);
}

/** The line of `file` that a stack names first. */
function lineIn(stack, file) {
  if (typeof stack !== "string") return null;
  for (const place of [file, pathToFileURL(file).href]) {
    const at = stack.indexOf(`${place}:`);
    if (at !== -1) return Number.parseInt(stack.slice(at + place.length + 1), 10) || null;
  }
  return null;
}

function oneLine(error) {
  const isError = typeof error === "object" && error !== null && "message" in error;
  const text = isError ? `${error.name ?? "Error"}: ${error.message}` : `thrown: ${String(error)}`;
  // Node appends "Require stack:" and such on lines of their own.
  return clip(text.split("\n")[0], MAX_PROBLEM);
}

module.exports = { Bundle, discover };
