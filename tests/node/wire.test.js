"use strict";
/** The wire as a pure core: bytes in any chunking, messages that are what they say, and nothing else. */

const assert = require("node:assert/strict");
const test = require("node:test");
const { ProtocolError } = require("../../sdk_node/errors.js");
const { FrameBatch, FrameDecoder, MAX_FRAME } = require("../../sdk_node/wire/frames.js");
const { decodeMessage, encodeMessage } = require("../../sdk_node/wire/messages.js");
const { MAX_OPEN, Peer } = require("../../sdk_node/wire/peer.js");
const vectors = require("../wire/vectors.json");

test("E2: the valid vectors decode to their messages", async (t) => {
  for (const { name, hex, message } of vectors.valid) {
    await t.test(name, () => assert.deepEqual(decodeAll(hex).map(withBins), [message]));
  }
});

test("E2: the valid vectors survive encoding and decoding again", () => {
  for (const { name, hex, message } of vectors.valid) {
    const again = decodeMessage(Buffer.from(encodeMessage(decodeAll(hex)[0])));
    assert.deepEqual(withBins(again), message, name);
  }
});

test("E2: the invalid vectors are refused with a ProtocolError", async (t) => {
  for (const { name, hex } of vectors.invalid) {
    await t.test(name, () => assert.throws(() => decodeAll(hex), ProtocolError));
  }
});

test("E2: the stream gives its messages byte by byte", () => {
  const decoder = new FrameDecoder();
  const messages = [];
  for (const byte of Buffer.from(vectors.stream.hex, "hex")) {
    messages.push(...decoder.feed(Buffer.from([byte])).map(decodeMessage));
  }
  assert.deepEqual(messages.map(withBins), vectors.stream.messages);
  assert.equal(decoder.partial, false);
});

test("E2: any chunking gives the same frames", () => {
  for (let seed = 1; seed <= 200; seed++) {
    const random = randomFrom(seed);
    const bodies = Array.from({ length: 1 + (random() % 12) }, () => randomBytes(1 + (random() % 400), random));
    const stream = framed(bodies);
    const decoder = new FrameDecoder();
    const found = [];
    for (let at = 0; at < stream.length; ) {
      const size = 1 + (random() % 90);
      found.push(...decoder.feed(stream.subarray(at, at + size)).map((body) => Buffer.from(body)));
      at += size;
    }
    assert.deepEqual(found, bodies, `seed ${seed}`);
    assert.equal(decoder.partial, false);
  }
});

test("E2: random bytes give messages or a ProtocolError, never another error", () => {
  for (let seed = 1; seed <= 2000; seed++) {
    const random = randomFrom(seed);
    const body = randomBytes(1 + (random() % 60), random);
    if (random() % 2) body[0] = 0x94;
    try {
      decodeMessage(body);
    } catch (error) {
      assert.ok(error instanceof ProtocolError, `seed ${seed}: ${error.stack}`);
    }
  }
});

test("E2: a length is refused before the body is there", () => {
  for (const length of [0, MAX_FRAME + 1, 2 ** 32 - 1]) {
    const header = Buffer.alloc(4);
    header.writeUInt32BE(length);
    assert.throws(() => new FrameDecoder().feed(header), ProtocolError);
    const bytewise = new FrameDecoder();
    assert.throws(() => header.forEach((byte) => bytewise.feed(Buffer.from([byte]))), ProtocolError);
  }
});

test("E2: a batch keeps the order of small and large frames, and what it gave stays as it was", () => {
  const random = randomFrom(3);
  const batch = new FrameBatch();
  const bodies = [10, 70_000, 3, 30_000, 40_000, 5].map((size) => randomBytes(size, random));
  for (const body of bodies) batch.add(body);
  assert.equal(batch.count, 6);
  const first = Buffer.concat(batch.take());
  assert.deepEqual(batch.take(), []);
  batch.add(Buffer.from("later"));
  assert.equal(Buffer.concat(batch.take()).subarray(4).toString(), "later");
  assert.deepEqual(new FrameDecoder().feed(first), bodies);
});

test("E2: a peer pairs answers with requests and calls with answers", () => {
  const { peer, sent, receive } = peerWithOutbox();
  const answers = [];
  peer.request("a", {}, (error, result) => answers.push([error, result]));
  peer.request("b", {}, (error) => answers.push([error.type]));
  receive([1, 1, { type: "X" }, null], [1, 0, null, 5]);
  assert.deepEqual(answers, [["X"], [null, 5]]);
  assert.equal(peer.pending, 0);
  assert.deepEqual(receive([0, 9, "execute", { run: "r" }], [2, "cancel", {}]), [[9, "execute", { run: "r" }], [null, "cancel", {}]]);
  peer.result(9, 1);
  peer.notify("ctx.progress", { run: "r" });
  assert.deepEqual(sent.slice(2), [[1, 9, null, 1], [2, "ctx.progress", { run: "r" }]]);
});

test("E2: a peer refuses answers nobody waits for and requests that are open", () => {
  const { peer, receive } = peerWithOutbox();
  assert.throws(() => receive([1, 0, null, null]), ProtocolError);
  peer.request("a", {}, () => {});
  receive([1, 0, null, null]);
  assert.throws(() => receive([1, 0, null, null]), /not open/);
  receive([0, 4, "ping", {}]);
  assert.throws(() => receive([0, 4, "ping", {}]), /came twice/);
  peer.error(4, { type: "X" });
  assert.throws(() => peer.result(4, null), /answered already/);
  receive([0, 4, "ping", {}]);
});

test("E2: requests over the limit wait for earlier ones to be answered", () => {
  const { peer, sent, receive } = peerWithOutbox();
  const answered = [];
  for (let index = 0; index < MAX_OPEN + 2; index++) peer.request("m", { index }, () => answered.push(index));
  assert.equal(sent.length, MAX_OPEN);
  assert.equal(peer.pending, MAX_OPEN + 2);
  receive([1, 5, null, null], [1, 7, null, null]);
  assert.deepEqual(sent.slice(MAX_OPEN).map((message) => message[3].index), [MAX_OPEN, MAX_OPEN + 1]);
  assert.deepEqual(answered, [5, 7]);
});

test("E2: what does not fit into a frame is not sent", () => {
  const { peer, sent, receive } = peerWithOutbox();
  peer.maxFrame = 100;
  const large = Buffer.alloc(100);
  assert.throws(() => peer.notify("m", { large }), RangeError);
  assert.throws(() => peer.request("m", { large }, () => {}), RangeError);
  receive([0, 1, "execute", {}]);
  assert.throws(() => peer.result(1, large), RangeError);
  peer.error(1, { type: "X" });
  assert.deepEqual(sent, [[1, 1, { type: "X" }, null]]);
});

test("E2: a request that waited and is too large is refused to its caller", () => {
  const { peer, receive } = peerWithOutbox();
  for (let index = 0; index < MAX_OPEN; index++) peer.request("m", {}, () => {});
  let refusal;
  peer.request("m", { large: Buffer.alloc(200) }, (error) => (refusal = error));
  peer.maxFrame = 100;
  receive([1, 0, null, null]);
  assert.equal(refusal.type, "RangeError");
});

test("E2: a message of megabytes is encoded, and the next small one too", () => {
  const large = Buffer.alloc(3 * 1024 * 1024, 1);
  const [, , , again] = decodeMessage(Buffer.from(encodeMessage([1, 1, null, large])));
  assert.ok(large.equals(again));
  assert.deepEqual(decodeMessage(Buffer.from(encodeMessage([1, 1, null, 2]))), [1, 1, null, 2]);
});

function peerWithOutbox() {
  const sent = [];
  const peer = new Peer((body) => sent.push(decodeMessage(Buffer.from(body))));
  const receive = (...messages) => {
    const calls = [];
    peer.receive(framed(messages.map((message) => Buffer.from(encodeMessage(message)))), (...call) => calls.push(call));
    return calls;
  };
  return { peer, sent, receive };
}

function decodeAll(hex) {
  return new FrameDecoder().feed(Buffer.from(hex, "hex")).map(decodeMessage);
}

function framed(bodies) {
  const batch = new FrameBatch();
  for (const body of bodies) batch.add(body);
  return Buffer.concat(batch.take());
}

/** Bins as the vectors write them. */
function withBins(value) {
  if (value instanceof Uint8Array) return { $bin: Buffer.from(value).toString() };
  if (Array.isArray(value)) return value.map(withBins);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, withBins(item)]));
}

/** The same numbers for the same seed (mulberry32). */
function randomFrom(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return (mixed ^ (mixed >>> 14)) >>> 0;
  };
}

function randomBytes(size, random) {
  return Buffer.from(Array.from({ length: size }, () => random() & 0xff));
}
