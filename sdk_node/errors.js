"use strict";
/**
 * Errors a handler may throw or meet, and the one the wire throws.
 *
 * They are told apart by name, never by `instanceof`: a bundle may hold another copy of this package, and BullMQ's own
 * `UnrecoverableError` or `DelayedError` mean the same as ours.
 */

const { milliseconds } = require("./durations.js");

/** Something went wrong in jobhost. */
class JobhostError extends Error {
  constructor(message, options) {
    super(message, options);
    // Not enumerable, as in the language's own errors: what is enumerable travels as the user's attributes.
    Object.defineProperty(this, "name", { value: new.target.name, configurable: true, writable: true });
  }
}

/** A setting is wrong, or a service a handler needs was not set up. */
class ConfigurationError extends JobhostError {}

/** The peer sent what the protocol does not allow. */
class ProtocolError extends JobhostError {}

/** A handler said how its job should end. */
class HandlerError extends JobhostError {}

/** The job fails now, whatever attempts are left. */
class UnrecoverableError extends HandlerError {}

/**
 * The job comes back later and no attempt is used. `delay` is a duration such as "5m", at least 100 ms. With `attempt: true` it counts as
 * an attempt, and fails the job after the last one: for a server that says when to try again (`Retry-After`).
 */
class RetryLater extends HandlerError {
  constructor(delay, message, { attempt = false } = {}) {
    super(message || `come back in ${delay}`);
    hidden(this, "delayMs", milliseconds(delay));
    hidden(this, "usesAttempt", attempt === true);
  }
}

/** The data of a job is not what its handler takes. `fields` is a list of `{field, message}`. */
class InvalidJobDataError extends UnrecoverableError {
  constructor(message, fields = []) {
    super(message);
    this.fields = fields;
  }
}

/** A value is not a JSON value. `path` says where: `result.items[3].when`. */
class InvalidValueError extends UnrecoverableError {
  constructor(path, problem) {
    super(`${path}: ${problem}`);
    this.path = path;
  }
}

/** The run was cancelled. `reason`: timeout, cancelled, lease_lost or shutdown. */
class CancelledError extends JobhostError {
  constructor(reason = "cancelled") {
    super(`the run was cancelled: ${reason}`);
    this.reason = reason;
  }
}

/** The host refused a call of `ctx`. `type` is the name of the error the host gave, `data` its facts. */
class CallError extends JobhostError {
  constructor(message, type, data = null) {
    super(message);
    hidden(this, "type", type ?? this.name);
    hidden(this, "data", data);
  }
}

/** The run this call is made for has ended. */
class RunNotLiveError extends CallError {}

/** The host does not know this call. */
class UnknownMethodError extends CallError {}

/** A key or a value is larger than state may hold. */
class StateLimitError extends CallError {}

/** `incr` of a value that is not an integer. */
class StateTypeError extends CallError {}

/** This bundle was not granted that scope of state. */
class StateScopeError extends CallError {}

/** The job belongs to another host by now. */
class LeaseLostError extends CallError {}

/** The queue's backend failed. */
class BackendError extends CallError {}

/** An emit was refused. */
class FlowError extends CallError {}

/** A run emits too much, or a payload, key or trigger is too long; the message names the limit. */
class FlowLimitError extends CallError {}

const CALL_ERRORS = {
  RunNotLiveError,
  UnknownMethodError,
  StateLimitError,
  StateTypeError,
  StateScopeError,
  LeaseLostError,
  BackendError,
  FlowError,
  FlowLimitError,
};

/** Makes the error of a response as the wire carries it; a type that has no class here is a plain CallError. */
function callError({ type, message }, data) {
  const Kind = Object.hasOwn(CALL_ERRORS, type) ? CALL_ERRORS[type] : CallError;
  return new Kind(String(message ?? ""), type, data);
}

/** BullMQ's: the processor has moved its job to delayed. */
class DelayedError extends HandlerError {}

/** BullMQ's: the processor has moved its job to wait for its children. */
class WaitingChildrenError extends HandlerError {}

/** BullMQ's: the queue is over its rate limit. */
class RateLimitError extends HandlerError {}

function hidden(object, key, value) {
  Object.defineProperty(object, key, { value, configurable: true, writable: true });
}

/**
 * Says whether `error` is of a class of this name or of one derived from it, whichever copy of a package it came from.
 * @param {unknown} error
 * @param {string} name
 */
function isNamed(error, name) {
  if (typeof error !== "object" || error === null) return false;
  if (error.name === name) return true;
  for (let proto = Object.getPrototypeOf(error); proto !== null; proto = Object.getPrototypeOf(proto)) {
    if (proto.constructor?.name === name) return true;
  }
  return false;
}

module.exports = {
  JobhostError,
  ConfigurationError,
  ProtocolError,
  HandlerError,
  UnrecoverableError,
  RetryLater,
  InvalidJobDataError,
  InvalidValueError,
  CancelledError,
  CallError,
  ...CALL_ERRORS,
  DelayedError,
  WaitingChildrenError,
  RateLimitError,
  callError,
  isNamed,
};
