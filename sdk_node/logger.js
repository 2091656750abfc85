"use strict";
/** `ctx.logger`: lines with fields, kept with the job. Never throws, never waits. */

const LEVELS = new Set(["debug", "info", "warning", "error"]);

class Logger {
  #write;

  /** @param {(level: string, message: string, fields: object | null) => void} write */
  constructor(write) {
    this.#write = write;
  }

  /** Levels are debug, info, warning and error; an unknown one is info. */
  log(level, message, fields = null) {
    this.#write(LEVELS.has(level) ? level : "info", message, fields);
  }

  debug(message, fields) {
    this.log("debug", message, fields);
  }

  info(message, fields) {
    this.log("info", message, fields);
  }

  warning(message, fields) {
    this.log("warning", message, fields);
  }

  /** `warning`, under the name that other loggers in Node have. */
  warn(message, fields) {
    this.log("warning", message, fields);
  }

  error(message, fields) {
    this.log("error", message, fields);
  }
}

module.exports = { Logger };
