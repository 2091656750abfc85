"use strict";
/**
 * Durations as people write them: "30s", "5m".
 *
 * A bare number is refused. Half the field counts milliseconds and half seconds, and a timeout that is wrong by a
 * factor of a thousand is found only in production.
 */

const PATTERN = /^\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)\s*$/;
const MS = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/**
 * Gives the milliseconds of a duration such as "30s"; throws a TypeError that says what to write instead.
 * @param {unknown} text
 * @returns {number}
 */
function milliseconds(text) {
  if (typeof text === "number") {
    throw new TypeError(`${text} has no unit: write "${text}s" for seconds or "${text}ms" for milliseconds`);
  }
  const match = typeof text === "string" ? PATTERN.exec(text) : null;
  if (match === null) {
    throw new TypeError(
      `${describe(text)} is not a duration: write a number and a unit, such as "500ms", "30s", "2m", "1h"`,
    );
  }
  return Math.round(Number(match[1]) * MS[match[2]]);
}

function describe(value) {
  return typeof value === "string" ? JSON.stringify(value) : String(value);
}

module.exports = { milliseconds };
