"use strict";
/**
 * Takes the wire's descriptors out of everybody else's reach, before any user code is loaded.
 *
 * Node cannot duplicate a descriptor or set its flags. It marks the inherited descriptors up to 15 as close-on-exec when
 * it starts; of a higher one, or of fd 0 and 1, a new one is opened through /proc (always close-on-exec) and the old
 * one closed.
 */

const fs = require("node:fs");

const O_CLOEXEC = 0o2000000;

/** Node's start marks these, whatever is open. */
const MARKED_BY_NODE = 15;

/**
 * @param {NodeJS.ProcessEnv} env JOBHOST_RPC_FD is removed from it
 * @returns {{read: number, write: number}} equal if they are one duplex socket
 */
function takeWire(env) {
  const named = env.JOBHOST_RPC_FD;
  delete env.JOBHOST_RPC_FD;
  if (named === undefined) return takeStandardStreams();
  const match = /^(\d+)(?:,(\d+))?$/.exec(named);
  if (match === null) throw new Error(`JOBHOST_RPC_FD is "${named}"; allowed are "N" and "R,W"`);
  const read = closeOnExec(Number(match[1]), "r");
  return { read, write: match[2] === undefined ? read : closeOnExec(Number(match[2]), "w") };
}

/** The wire is on fd 0 and 1: /dev/null takes the place of the one, fd 2 of the other. */
function takeStandardStreams() {
  const read = reopen(0, "r");
  const write = reopen(1, "w");
  // A socket cannot be opened a second time. It stays where it is; `process.stdout` leads elsewhere all the same.
  if (read === null || write === null) return { read: read ?? 0, write: write ?? 1 };
  fs.closeSync(0);
  fs.openSync("/dev/null", "r");
  fs.closeSync(1);
  if (reopen(2, "a") === null) fs.openSync("/dev/null", "w");
  return { read, write };
}

function closeOnExec(fd, mode) {
  fs.fstatSync(fd); // throws EBADF if it is not open
  if (fd <= MARKED_BY_NODE || hasFlag(fd)) return fd;
  const own = reopen(fd, mode);
  if (own === null) throw new Error(`a grandchild could write to fd ${fd}: pass the wire on descriptors up to ${MARKED_BY_NODE}`);
  fs.closeSync(fd);
  return own;
}

function hasFlag(fd) {
  try {
    const [, octal] = /^flags:\s*(\d+)/m.exec(fs.readFileSync(`/proc/self/fdinfo/${fd}`, "utf8"));
    return (Number.parseInt(octal, 8) & O_CLOEXEC) !== 0;
  } catch {
    return false;
  }
}

/** A new descriptor of the same pipe or file, or null: no /proc, a socket, or another user's pipe. */
function reopen(fd, mode) {
  try {
    return fs.openSync(`/proc/self/fd/${fd}`, mode);
  } catch {
    return null;
  }
}

module.exports = { takeWire };
