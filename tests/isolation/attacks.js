"use strict";
/** Attacks in Node.js, as attacks.py has them: functions of `t` that give what they got, or throw. */

const { execFileSync } = require("node:child_process");
const dgram = require("node:dgram");
const fs = require("node:fs");
const net = require("node:net");
const { Worker } = require("node:worker_threads");

const ATTACKS = {
  readsASecret: async (t) => fs.readFileSync(t.secret, "utf8"),
  readsAFile: async (t) => fs.readFileSync(t.file, "utf8"),
  writesAFile: async (t) => fs.writeFileSync(`${t.folder}/by-node`, "x") ?? true,
  changesItsOwnCode: async () => fs.appendFileSync(__filename, "\n// changed\n") ?? true,
  readsTheEnvironmentOfTheHost: async (t) => fs.readFileSync(`/proc/${t.host}/environ`, "latin1").includes(t.variable),
  signalsTheHost: async (t) => process.kill(t.host, 0),
  endsAnotherProcess: async (t) => process.kill(t.victim, "SIGTERM"),
  runsAnotherProgram: async (t) => execFileSync("/bin/cat", [t.secret], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }),
  readsInAThread: (t) =>
    new Promise((resolve, reject) => {
      const code = 'require("node:worker_threads").parentPort.postMessage(require("node:fs").readFileSync(process.argv[2], "utf8"))';
      new Worker(code, { eval: true, argv: [t.secret] }).on("message", resolve).on("error", reject);
    }),
  connectsToTheMachine: (t) =>
    new Promise((resolve, reject) => {
      const one = net.connect(t.port, "127.0.0.1", () => resolve(one.destroy() && true)).on("error", reject);
    }),
  connectsToAUnixSocket: (t) =>
    new Promise((resolve, reject) => {
      const one = net.connect(t.socket, () => resolve(one.destroy() && true)).on("error", reject);
    }),
  listens: () =>
    new Promise((resolve, reject) => {
      const one = net.createServer().listen(0, "127.0.0.1", () => resolve(one.close() && true)).on("error", reject);
    }),
  sendsADatagram: (t) =>
    new Promise((resolve, reject) => {
      const one = dgram.createSocket("udp4").on("error", reject);
      one.send("out", t.port, "127.0.0.1", (error) => (one.close(), error ? reject(error) : resolve(true)));
    }),
};

module.exports = async (job) => {
  try {
    return { got: await ATTACKS[job.data.attack](job.data.t) };
  } catch (error) {
    return { got: null, held: String(error.message) };
  }
};
module.exports.attacks = Object.keys(ATTACKS);
