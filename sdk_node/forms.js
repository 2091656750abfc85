"use strict";
/**
 * The forms a handler may have in a file, and nothing about where files come from.
 *
 * - `defineHandler(settings, fn)`, exported under any name, as often as wanted
 * - a default export that is a function, with an exported `config`
 * - a default export that is an object or a class with `execute(job, ctx)`, with its metadata as members or from `getMetadata()`
 * - an unchanged BullMQ processor: a default-exported function without `config`
 */

const { isDefined } = require("./define.js");
const { checkSettings, pickSettings } = require("./settings.js");

/**
 * @typedef {object} Found
 * @property {object} settings as the author wrote them, `name` and `input` among them
 * @property {Function} run `(job, ctx, signal) => result`
 * @property {Function} [signature] the author's own function, where `run` only calls it
 * @property {boolean} lenient Date and toJSON pass in what it returns (BullMQ processors)
 * @property {string} [definedAt] the stack of its `defineHandler` call
 */

/**
 * @param {any} exported what `require` or `import` of a file gave
 * @returns {{handlers: Found[], setup: Function | null, teardown: Function | null}}
 */
function recognise(exported) {
  const { main, named } = unwrap(exported);
  const handlers = definedHandlers([main, ...members(named)]);
  if (!isDefined(main)) {
    const found = undefinedHandler(main, named.config);
    if (found !== null) handlers.push(found);
  }
  return { handlers, setup: functionOf(named, "setup"), teardown: functionOf(named, "teardown") };
}

/** CommonJS, ES modules and compiled TypeScript (`exports.default`, also inside of another `default`) look alike afterwards. */
function unwrap(exported) {
  let named = exported ?? {};
  let main = isNamespace(named) ? named.default : named;
  while (isNamespace(main)) {
    named = main;
    main = main.default;
  }
  return { main, named };
}

function isNamespace(value) {
  const isObject = typeof value === "object" && value !== null;
  if (!isObject || isDefined(value) || typeof value.execute === "function") return false;
  return value[Symbol.toStringTag] === "Module" || value.__esModule === true || "default" in value;
}

function members(named) {
  return typeof named === "object" ? Object.values(named) : [];
}

function definedHandlers(values) {
  const unique = [...new Set(values.filter(isDefined))];
  return unique.map(({ settings, run, definedAt }) => ({ settings, run, definedAt, lenient: false }));
}

function undefinedHandler(main, config) {
  if (isClass(main)) return typeof main.prototype.execute === "function" ? objectHandler(new main(), config) : null;
  if (typeof main === "function") return functionHandler(main, config ?? main.config);
  const isObject = typeof main === "object" && main !== null;
  return isObject && typeof main.execute === "function" ? objectHandler(main, config) : null;
}

function functionHandler(run, config) {
  checkSettings(config ?? {});
  return { settings: { ...config }, run, lenient: config === undefined };
}

function objectHandler(object, config = {}) {
  checkSettings(config);
  const metadata = typeof object.getMetadata === "function" ? object.getMetadata() : {};
  const settings = { ...pickSettings(metadata), ...pickSettings(object), ...config };
  const run = (job, ctx, signal) => object.execute(job, ctx, signal);
  return { settings, run, signature: object.execute, lenient: false };
}

function functionOf(named, name) {
  return typeof named[name] === "function" ? named[name] : null;
}

function isClass(value) {
  return typeof value === "function" && /^class\b/.test(Function.prototype.toString.call(value));
}

module.exports = { recognise };
