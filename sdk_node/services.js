"use strict";
/** What `setup(ctx)` made for the handlers of a child: `ctx.services`, where a missing name is an error and not `undefined`. */

const { ConfigurationError } = require("./errors.js");

/**
 * @param {object} provided
 * @returns {object} the same members; reading another one throws ConfigurationError
 */
function asServices(provided) {
  return new Proxy(provided, {
    get(target, name, receiver) {
      // Symbols and `then` are asked for by the language itself (printing, await).
      if (typeof name === "symbol" || name === "then" || name in target) return Reflect.get(target, name, receiver);
      const known = Object.keys(target).join(", ") || "nothing";
      throw new ConfigurationError(`no service "${name}": setup(ctx) provides ${known}`);
    },
  });
}

module.exports = { asServices };
