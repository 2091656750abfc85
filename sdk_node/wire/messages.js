"use strict";
/**
 * Messages: one MessagePack array in each frame, checked so strictly that nothing a peer sends can surprise the receiver.
 *
 * `[0, id, method, params]`, `[1, id, error, result]`, `[2, method, params]`. The user's values are JSON text in a
 * `bin`, so the envelope is small and flat.
 */

const { isUtf8 } = require("node:buffer");
const { ProtocolError } = require("../errors.js");
const { Decoder, Encoder } = require("../vendor/msgpack.cjs");

const REQUEST = 0;
const RESPONSE = 1;
const NOTIFICATION = 2;

/** Elements of one array or map in the envelope. Long lists travel as JSON. */
const MAX_ITEMS = 64;
const MAX_DEPTH = 16;

const FLOAT_32 = 0xca;
const FLOAT_64 = 0xcb;

class StrictDecoder extends Decoder {
  // The package takes invalid UTF-8 for other characters; the protocol calls it a violation.
  decodeUtf8String(byteLength, headerOffset) {
    const { bytes } = this;
    const start = this.pos + headerOffset;
    const end = Math.min(start + byteLength, bytes.length);
    for (let at = start; at < end; at++) {
      if (bytes[at] < 0x80) continue;
      if (!isUtf8(bytes.subarray(start, end))) throw new ProtocolError("a string is not UTF-8");
      break;
    }
    return super.decodeUtf8String(byteLength, headerOffset);
  }
}

const noExtensions = {
  decode: (_data, type) => refuse(`extension type ${type} in a message`),
  tryToEncode: () => null,
};

const decoder = new StrictDecoder({
  extensionCodec: noExtensions,
  maxArrayLength: MAX_ITEMS,
  maxMapLength: MAX_ITEMS,
  mapKeyConverter: (key) => (typeof key === "string" ? key : refuse("a map in a message has a key that is not a string")),
});

let encoder = new Encoder({ extensionCodec: noExtensions });

/** An encoder keeps the buffer of its largest message; after one of this size it is replaced. */
const LARGE = 1024 * 1024;

/**
 * Decodes and checks one message; throws ProtocolError, and nothing else, at whatever is not one.
 * A `bin` in it is a view of `body`.
 * @param {Buffer} body
 * @returns {any[]}
 */
function decodeMessage(body) {
  const message = unpack(body);
  if (!Array.isArray(message)) refuse("a message is not an array");
  const [kind] = message;
  if (kind === REQUEST && message.length === 4) {
    checkId(message[1], body);
    checkCall(message[2], message[3]);
  } else if (kind === RESPONSE && message.length === 4) {
    checkId(message[1], body);
    checkOutcome(message[2], message[3]);
  } else if (kind === NOTIFICATION && message.length === 3) {
    checkCall(message[1], message[2]);
  } else {
    const type = typeof kind === "number" ? kind : "that is not a number";
    refuse(`no message has a type ${type} and ${message.length} elements`);
  }
  // JavaScript has one kind of number; only the byte tells that 0.0 was sent for 0.
  if (isFloat(body[typeAt(body)])) refuse("the type of a message is not an integer");
  return message;
}

function unpack(body) {
  try {
    return decoder.decode(body);
  } catch (error) {
    if (error instanceof ProtocolError) throw error;
    return refuse(`not one MessagePack value: ${String(error?.message).split("\n")[0].slice(0, 200)}`);
  }
}

function checkId(id, body) {
  const isInteger = Number.isSafeInteger(id) && id >= 0 && !isFloat(body[typeAt(body) + 1]);
  if (!isInteger) refuse("the id of a message is not an integer from 0 to 2^53-1");
}

function checkCall(method, params) {
  if (typeof method !== "string") refuse("the method of a message is not a string");
  if (!isMap(params)) refuse("the params of a message are not a map");
  checkDepth(params, 2);
}

function checkOutcome(error, result) {
  if (error === null) {
    checkDepth(result, 2);
    return;
  }
  if (!isMap(error) || typeof error.type !== "string") refuse("the error of a response is not a map with a type");
  if (result !== null) refuse("a response has both an error and a result");
  checkDepth(error, 2);
}

function checkDepth(value, depth) {
  if (typeof value !== "object" || value === null || value instanceof Uint8Array) return;
  if (depth > MAX_DEPTH) refuse(`a message nests over ${MAX_DEPTH} deep`);
  for (const key in value) {
    if (typeof value[key] === "object") checkDepth(value[key], depth + 1);
  }
}

function isMap(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Uint8Array);
}

/** Where the type of a message stands: behind an array header of 1, 3 or 5 bytes. */
function typeAt(body) {
  if (body[0] === 0xdc) return 3;
  return body[0] === 0xdd ? 5 : 1;
}

function isFloat(byte) {
  return byte === FLOAT_32 || byte === FLOAT_64;
}

function refuse(reason) {
  throw new ProtocolError(reason);
}

/**
 * Encodes a message as the body of a frame. The bytes are the encoder's own: copy them before the next call.
 * @param {any[]} message
 * @returns {Uint8Array}
 */
function encodeMessage(message) {
  const body = encoder.encodeSharedRef(message);
  if (body.length > LARGE) encoder = new Encoder({ extensionCodec: noExtensions });
  return body;
}

module.exports = { REQUEST, RESPONSE, NOTIFICATION, decodeMessage, encodeMessage };
