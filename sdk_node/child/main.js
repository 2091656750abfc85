"use strict";
/**
 * The child's entry point: `node child/main.js`, started by a host that speaks runtimes/PROTOCOL.md.
 *
 * Everything it needs later is loaded later: the time until the first answer is what users wait for.
 */

const fs = require("node:fs");
const { takeWire } = require("./descriptors.js");

/** The host's answer to a violation is to kill, ours is to go: sysexits' EX_SOFTWARE. */
const VIOLATION = 70;

/** Kept, because user code may replace it. */
const end = process.exit.bind(process);

function exit(code, reason) {
  if (reason !== undefined) fs.writeSync(2, `jobhost: ${reason}\n`);
  end(code);
}

function main() {
  let child;
  try {
    const wire = takeWire(process.env);
    const { Child } = require("./child.js");
    child = new Child(wire, exit);
  } catch (error) {
    exit(VIOLATION, error.message);
  }
  process.on("exit", () => child.sayLast());
  // Only watched: Node still prints the stack to fd 2 and exits as it would, unless the user's code says otherwise.
  process.on("uncaughtExceptionMonitor", (error) => child.reportUncaught(error));
}

main();
