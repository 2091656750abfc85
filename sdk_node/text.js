"use strict";
/** Text within a limit of bytes. */

/**
 * Cuts `text` to at most `limit` bytes of UTF-8, never inside a character, and makes it valid Unicode.
 * @param {string} text
 * @param {number} limit bytes
 */
function clip(text, limit) {
  // A character takes one to three bytes for each of its UTF-16 units: what is short needs no counting, and of what is
  // long only the first `limit` units can count.
  if (text.length * 3 <= limit) return text.toWellFormed();
  const bytes = Buffer.from(text.slice(0, limit));
  let end = Math.min(limit, bytes.length);
  while (end > 0 && (bytes[end] & 0xc0) === 0x80) end--;
  return bytes.toString("utf8", 0, end);
}

module.exports = { clip };
