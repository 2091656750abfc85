"use strict";
/** `defineHandler`: marks a function as a handler and keeps its settings beside it. */

const { checkSettings } = require("./settings.js");

/** Registered, so that a handler made by another copy of this package is known too. */
const DEFINED = Symbol.for("jobhost.handler");

/**
 * @param {object} settings as written by the author; the host validates them
 * @param {Function} run `(job, ctx, signal) => result`
 * @returns {{settings: object, run: Function}}
 */
function defineHandler(settings, run) {
  if (typeof settings === "function" && run === undefined) return defineHandler({}, settings);
  if (typeof settings !== "object" || settings === null) throw new TypeError("defineHandler: settings must be an object");
  if (typeof run !== "function") throw new TypeError("defineHandler: the second argument must be a function (job, ctx)");
  checkSettings(settings);
  return Object.freeze({ [DEFINED]: true, settings: { ...settings }, run, definedAt: callSites() });
}

function isDefined(value) {
  return typeof value === "object" && value !== null && value[DEFINED] === true;
}

/** The stack of the call: discovery finds the line of the handler's file in it. */
function callSites() {
  const holder = {};
  Error.captureStackTrace(holder, defineHandler);
  return holder.stack;
}

module.exports = { defineHandler, isDefined };
