"use strict";
/** What a handler file imports: `import { defineHandler } from "@jobhost/sdk"`. */

const { defineHandler } = require("./define.js");
const {
  JobhostError,
  ConfigurationError,
  HandlerError,
  UnrecoverableError,
  RetryLater,
  InvalidJobDataError,
  InvalidValueError,
  CancelledError,
  CallError,
  RunNotLiveError,
  UnknownMethodError,
  StateLimitError,
  StateTypeError,
  StateScopeError,
  LeaseLostError,
  BackendError,
  FlowError,
  FlowLimitError,
  DelayedError,
  WaitingChildrenError,
  RateLimitError,
} = require("./errors.js");

// Written out name by name: that is what lets `import { … }` find them in a CommonJS file.
module.exports = {
  defineHandler,
  JobhostError,
  ConfigurationError,
  HandlerError,
  UnrecoverableError,
  RetryLater,
  InvalidJobDataError,
  InvalidValueError,
  CancelledError,
  CallError,
  RunNotLiveError,
  UnknownMethodError,
  StateLimitError,
  StateTypeError,
  StateScopeError,
  LeaseLostError,
  BackendError,
  FlowError,
  FlowLimitError,
  DelayedError,
  WaitingChildrenError,
  RateLimitError,
};
