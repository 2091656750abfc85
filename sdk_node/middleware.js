"use strict";
/**
 * Middleware of a handler: functions around it, each called as `(job, ctx, next)`.
 *
 *     async (job, ctx, next) => {
 *       const began = Date.now();
 *       try {
 *         return await next();
 *       } finally {
 *         ctx.logger.info("done", { ms: Date.now() - began });
 *       }
 *     }
 *
 * The first of the list is the outermost.
 */

/**
 * The handler `run` with its middleware around it.
 * @param {Function} run `(job, ctx, signal) => result`
 * @param {unknown} declared
 */
function wrapped(run, declared) {
  if (declared === undefined || declared === null) return run;
  if (!Array.isArray(declared) || declared.some((one) => typeof one !== "function")) {
    throw new TypeError("`middleware` must be a list of functions (job, ctx, next)");
  }
  return declared.reduceRight(around, run);
}

function around(inner, one) {
  // What a middleware throws at once becomes a rejection, as that of the handler around which it stands.
  return async (job, ctx, signal) => one(job, ctx, async () => inner(job, ctx, signal));
}

module.exports = { wrapped };
