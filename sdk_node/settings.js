"use strict";
/** What a handler may say of itself. The host validates the values; only the names are checked here. */

const SETTINGS = [
  "name",
  "queue",
  "timeout",
  "concurrency",
  "attempts",
  "backoff",
  "description",
  "version",
  "author",
  "input",
  "result",
  "middleware",
  "flow",
  "retry",
  "breaker",
  "requires",
  "key",
  "per_key",
  "rate_limit",
  "global_concurrency",
];

/** Throws TypeError at a name that is no setting: a misspelt timeout would be no timeout. */
function checkSettings(settings) {
  for (const key of Object.keys(settings)) {
    if (!SETTINGS.includes(key)) throw new TypeError(`unknown setting "${key}" of a handler; there are: ${SETTINGS.join(", ")}`);
  }
}

/** The settings among the members of `source`. */
function pickSettings(source) {
  const picked = {};
  for (const key of SETTINGS) {
    if (source[key] !== undefined) picked[key] = source[key];
  }
  return picked;
}

module.exports = { checkSettings, pickSettings };
