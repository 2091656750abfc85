"use strict";
/**
 * Loads one file, whatever kind of module it is, and gives every file the same `@jobhost/sdk`: this folder.
 *
 * `require` is the fast way and `import()` the general one, so a file goes to `require` unless it looks like an ES
 * module. A wrong guess costs time, not correctness: `import()` loads CommonJS too, and what `require` refuses goes on
 * to `import()`.
 */

const fs = require("node:fs");
const Module = require("node:module");
const path = require("node:path");

const SDK = "@jobhost/sdk";
const SDK_MAIN = path.join(__dirname, "index.js");

const ES_SYNTAX = /^\s*(?:import\b\s*[\w${*"']|export\b\s*(?:[{*]|default\b|const\b|let\b|var\b|function\b|async\b|class\b))/m;

/** An import of anything but Node's own modules: only then can the SDK be asked for. */
const FOREIGN_IMPORT = /\b(?:import|from)\b\s*\(?\s*["'](?!node:)/;

/** What `require` says of a file that is an ES module after all. */
const NOT_COMMONJS = new Set(["ERR_REQUIRE_ESM", "ERR_REQUIRE_ASYNC_MODULE"]);

class Loader {
  #root;
  #tsx = false;

  /** @param {string} root absolute path of the bundle */
  constructor(root) {
    this.#root = root;
    lendToRequire();
    silenceLoadingNotes();
  }

  /**
   * @param {string} file absolute
   * @returns {Promise<any>} what the file exports
   */
  async load(file) {
    const exit = process.exit;
    process.exit = refuseToExit;
    try {
      return await this.#load(file);
    } finally {
      process.exit = exit;
    }
  }

  async #load(file) {
    if (/\.[cm]?ts$/.test(file)) return this.#loadTypeScript(file);
    if (file.endsWith(".cjs")) return require(file);
    const source = fs.readFileSync(file, "utf8");
    if (file.endsWith(".mjs") || ES_SYNTAX.test(source) || isModulePackage(file)) return this.#import(file, source);
    try {
      return require(file);
    } catch (error) {
      if (NOT_COMMONJS.has(error?.code)) return this.#import(file, source);
      throw error;
    }
  }

  async #import(file, source) {
    if (FOREIGN_IMPORT.test(source)) lendToImport();
    const { pathToFileURL } = require("node:url");
    try {
      return await import(pathToFileURL(file).href);
    } catch (error) {
      throw error instanceof SyntaxError ? explained(error, file) : error;
    }
  }

  async #loadTypeScript(file) {
    if (!process.features.typescript) await this.#useTsx(file);
    return this.#import(file, fs.readFileSync(file, "utf8"));
  }

  /** The bundle's own tsx, where this Node does not load TypeScript itself. */
  async #useTsx(file) {
    if (this.#tsx) return;
    const bundleRequire = Module.createRequire(path.join(this.#root, "_"));
    let found;
    try {
      found = ["tsx/cjs/api", "tsx/esm/api"].map((name) => bundleRequire.resolve(name));
    } catch {
      const extension = path.extname(file);
      throw new Error(`Node ${process.version} cannot load ${extension}: use Node 22.18 or later, or add "tsx" to the bundle's package.json`);
    }
    lendToImport();
    const [forRequire, forImport] = found;
    bundleRequire(forRequire).register();
    // Its CommonJS build does not find its own loader; the ES module lies beside it.
    const { pathToFileURL } = require("node:url");
    const api = await import(pathToFileURL(forImport.replace(/\.cjs$/, ".mjs")).href);
    api.register();
    this.#tsx = true;
  }
}

/** A script that lies among the handlers is a problem of that file, not the end of the child. */
function refuseToExit(code = 0) {
  throw new Error(`the file called process.exit(${code}) while it was loaded`);
}

/** `require("@jobhost/sdk")` is this folder, from wherever it is asked for. */
function lendToRequire() {
  const resolve = Module._resolveFilename;
  if (resolve.lendsSdk) return;
  Module._resolveFilename = function (request, ...rest) {
    return request === SDK ? SDK_MAIN : resolve.call(this, request, ...rest);
  };
  Module._resolveFilename.lendsSdk = true;
}

let lentToImport = false;

/**
 * `import … from "@jobhost/sdk"` is this folder too. Before Node 22.15 it takes a loader thread (about 60 ms), so it is
 * done when a file may need it.
 */
function lendToImport() {
  if (lentToImport) return;
  lentToImport = true;
  const { pathToFileURL } = require("node:url");
  const url = pathToFileURL(SDK_MAIN).href;
  if (Module.registerHooks) {
    const lent = { url, format: "commonjs", shortCircuit: true };
    Module.registerHooks({ resolve: (name, context, next) => (name === SDK ? lent : next(name, context)) });
  } else {
    Module.register(pathToFileURL(path.join(__dirname, "child", "esm_hooks.mjs")).href, { data: { name: SDK, url } });
  }
}

/** Does the nearest package.json say that its .js files are ES modules? */
function isModulePackage(file) {
  for (let folder = path.dirname(file); ; folder = path.dirname(folder)) {
    const text = readIfThere(path.join(folder, "package.json"));
    if (text !== null) return /"type"\s*:\s*"module"/.test(text);
    if (folder === path.dirname(folder)) return false;
  }
}

function readIfThere(file) {
  try {
    return fs.readFileSync(file, "utf8");
  } catch {
    return null;
  }
}

/** Adds to a syntax error of an ES module what Node tells only when nobody catches it. */
function explained(error, file) {
  const isMissed = file.endsWith(".js") && /import statement|Unexpected token 'export'/.test(error.message);
  // Node before 20.19 does not look at the syntax of a .js file.
  if (isMissed) error.message += ` (Node ${process.version}: name the file .mjs, or put "type": "module" into its package.json)`;
  if (!error.stack.includes(file)) error.stack = `${placeOf(file)}\n${error.stack}`;
  return error;
}

/** `file:line` of the syntax error of an ES module. Its message and stack have no line; a second Node has to say it. */
function placeOf(file) {
  const { spawnSync } = require("node:child_process");
  const { stderr } = spawnSync(process.execPath, ["--check", file], { encoding: "utf8", timeout: 5000 });
  const line = /:(\d+)$/m.exec(String(stderr).split("\n")[0]);
  return line === null ? "" : `${file}:${line[1]}`;
}

/** Notes that would greet the user at every start of a child, about forms that are explicitly allowed. */
const LOADING_NOTES = /type stripping is an experimental feature|module type of .* is not specified/i;

function silenceLoadingNotes() {
  const emit = process.emitWarning;
  if (emit.skipsLoadingNotes) return;
  process.emitWarning = function (warning, ...rest) {
    if (!LOADING_NOTES.test(String(warning?.message ?? warning))) emit.call(process, warning, ...rest);
  };
  process.emitWarning.skipsLoadingNotes = true;
}

module.exports = { Loader };
