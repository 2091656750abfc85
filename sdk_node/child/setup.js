"use strict";
/** The `setup(ctx)` and `teardown(ctx)` of a bundle's files: once per child, in the order of the files and back. */

const { Logger } = require("../logger.js");
const { asServices } = require("../services.js");

class Setup {
  #bundle;
  #context;
  services = asServices({});

  /**
   * @param {{setups: Function[], teardowns: Function[]}} bundle
   * @param {(level: string, message: string, fields: object | null) => void} log
   */
  constructor(bundle, log) {
    this.#bundle = bundle;
    this.#context = { services: {}, logger: new Logger(log) };
  }

  /** Services are what `setup` puts on `ctx.services` and the members of the object it returns. */
  async run() {
    for (const setup of this.#bundle.setups) {
      const provided = await setup(this.#context);
      if (typeof provided === "object" && provided !== null) Object.assign(this.#context.services, provided);
    }
    this.services = asServices(this.#context.services);
  }

  /** A teardown that fails is logged: the others still run, and the child ends either way. */
  async undo() {
    for (const teardown of this.#bundle.teardowns.toReversed()) {
      try {
        await teardown(this.#context);
      } catch (error) {
        this.#context.logger.error(`teardown failed: ${error?.stack ?? error}`);
      }
    }
  }
}

module.exports = { Setup };
