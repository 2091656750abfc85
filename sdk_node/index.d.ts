/** What a handler file imports: `import { defineHandler } from "@jobhost/sdk"`. */

/** A number with a unit: "500ms", "30s", "2m", "1h", "7d". A bare number is refused. */
export type Duration = `${number}${"ms" | "s" | "m" | "h" | "d"}`;

/**
 * A value that JSON can carry. What a handler returns is checked when it runs, not by this type: an `interface` would
 * not be assignable to it.
 */
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** A JSON Schema: draft 2020-12, or the one its `$schema` names (2019-09, 7, 4). */
export type JsonSchema = { [keyword: string]: unknown };

export interface HandlerSettings {
  /** The job name it serves; by default the file's stem. `"*"` serves every job that no other name serves. */
  name?: string;
  /** Where producers send by default; "default" if not given. */
  queue?: string;
  /** How long one run may take; "1h" if not given. */
  timeout?: Duration | "none";
  /** Most runs at once in one host. */
  concurrency?: number;
  /** Most attempts of one job, the first included. */
  attempts?: number;
  backoff?: Backoff;
  description?: string;
  /** Such as "1.0.0". */
  version?: string;
  author?: string;
  /** `job.data` must satisfy it; if not, the job fails with InvalidJobDataError and is not retried. */
  input?: JsonSchema;
  /** What it returns must satisfy it; if not, the job fails with InvalidJobDataError and is not retried. */
  result?: JsonSchema;
  /** Functions around it, the first the outermost. */
  middleware?: Middleware[];
  flow?: FlowSettings;
  /** Which errors are retried; see `[handlers."NAME"]` of jobhost.toml. */
  /** By the class of an error, one it derives from, its `code`, or `*`. */
  retry?: { [error: string]: "never" | Duration | (Partial<Backoff> & { attempts?: number }) };
  /** The name of one of `[breakers]` of jobhost.toml, or one of its own. */
  breaker?: string | { failures?: number; share?: number; within?: Duration; open_for?: Duration; errors?: string[] };
  /** Names of handlers this one depends on. */
  requires?: string[];
  /** Where in a job's data or metadata the key is by which its jobs take turns: `"data.customer_id"`. */
  key?: string | string[];
  /** Limits over all hosts. */
  per_key?: { concurrency?: number; rate_limit?: RateLimit };
  rate_limit?: RateLimit;
  global_concurrency?: number;
}

export interface RateLimit {
  max: number;
  every: Duration;
}

export interface Backoff {
  type: "fixed" | "exponential" | (string & {});
  /** Before the first retry. */
  delay?: Duration;
  /** 0 to 1: the part of the delay that is random. */
  jitter?: number;
}

export interface FlowSettings {
  /** The flow's name. */
  name: string;
  /** The step's name; by default the handler's. */
  step?: string;
  /** Triggers that start this step; none: it starts with the flow. */
  subscribes?: string[];
  /** Triggers it may emit; as an object, each with the schema that its payloads must satisfy, or null. */
  emits?: string[] | { [trigger: string]: JsonSchema | null };
  /** "all": wait for every trigger it subscribes to, and get their payloads keyed by trigger. */
  join?: "each" | "all";
  /** Whether the flow has failed when this step has; "fail" if not given. */
  on_failure?: "fail" | "continue";
  /** Whether this step may lead back to itself. */
  cycles?: boolean;
}

/** A unit of work, as a producer enqueued it. */
export interface Job<Data = any> {
  /** Unique in its queue. */
  readonly id: string;
  /** The name it was enqueued under; for a handler named `*` not the handler's. */
  readonly name: string;
  readonly queue: string;
  data: Data;
  /** 1 for the first attempt. */
  readonly attempt: number;
  readonly maxAttempts: number;
  /** BullMQ's: none or 0 runs first, then 1, 2, … */
  readonly priority: number;
  /** When it was enqueued. */
  readonly createdAt: Date;
  /** What the producer added beside the data; null if nothing. */
  readonly metadata: any;

  /** BullMQ: the name of the queue. */
  readonly queueName: string;
  /** BullMQ: attempts before this one. */
  readonly attemptsMade: number;
  /** BullMQ: attempts, this one included. */
  readonly attemptsStarted: number;
  /** BullMQ: Unix milliseconds of `createdAt`. */
  readonly timestamp: number;
  /** BullMQ: some of the options it was added with. */
  readonly opts: { attempts: number; priority: number; timestamp: number; jobId: string };
  /** The last progress reported in this run; 0 before. */
  readonly progress: any;
  /** Reports progress: a number or any JSON value. */
  updateProgress(value: unknown): Promise<void>;
  /** Adds a line to the job's log. */
  log(line: string): Promise<void>;
  /** The results of the job's child jobs, keyed by child. */
  getChildrenValues<Result = any>(): Promise<{ [child: string]: Result }>;
  /** Replaces the data, for later attempts too. Throws ConfigurationError where the queue cannot. */
  updateData(data: Data): Promise<void>;
  /**
   * Moves the job to delayed until `timestamp` (Unix milliseconds); throw a DelayedError afterwards. `RetryLater` does the
   * same on every queue. Throws ConfigurationError where the queue cannot.
   */
  moveToDelayed(timestamp: number, token?: unknown): Promise<void>;
  /** Whether the job now waits for its children; throw a WaitingChildrenError then. Throws ConfigurationError where the queue cannot. */
  moveToWaitingChildren(token?: unknown): Promise<boolean>;
  toJSON(): { [key: string]: any };
  asJSON(): { [key: string]: any };
}

export type StateChange =
  | [op: "set", key: string, value: unknown, options?: { ttl?: Duration | null }]
  | [op: "incr", key: string, by?: number]
  | [op: "delete", key: string];

/** Durable values that outlive the run. */
export interface State {
  /** The stored value, or `fallback` (undefined) if there is none. A stored null is null. */
  get<Value = any>(key: string): Promise<Value | undefined>;
  get<Value = any>(key: string, fallback: Value): Promise<Value>;
  /** Stores a JSON value; durable once fulfilled. `ttl`: after which it is gone. */
  set(key: string, value: unknown, options?: { ttl?: Duration | null }): Promise<void>;
  /** Removes a value; true if there was one. */
  delete(key: string): Promise<boolean>;
  has(key: string): Promise<boolean>;
  /** Adds to an integer (0 if nothing is stored) and gives the sum. Atomic: two runs never lose one. */
  incr(key: string, by?: number): Promise<number>;
  /**
   * Stores `value` if the stored one is `expected`; true if it did. `undefined` for either means no value. Values are compared as the
   * JSON they are written as: the members of objects have to be in the same order.
   */
  compareAndSet(key: string, expected: unknown, value: unknown, options?: { ttl?: Duration | null }): Promise<boolean>;
  /** Makes up to 100 changes in one step, all or none; gives the result of each, as the single calls do. */
  batch(changes: Iterable<StateChange>): Promise<(null | boolean | number)[]>;
  /** All keys of this scope. */
  keys(): Promise<string[]>;
  /** The state of another scope, where the bundle is granted it. */
  of(scope: "job" | "flow" | "handler" | "global"): State;
}

export type LogLevel = "debug" | "info" | "warning" | "error";

/** Lines kept with the job. Never throws, never waits; what is over the limits is dropped and counted. */
export interface Logger {
  debug(message: unknown, fields?: object): void;
  info(message: unknown, fields?: object): void;
  warning(message: unknown, fields?: object): void;
  /** The same as `warning`. */
  warn(message: unknown, fields?: object): void;
  error(message: unknown, fields?: object): void;
  log(level: LogLevel, message: unknown, fields?: object | null): void;
}

export interface Flow {
  /**
   * Gives every handler that subscribes to `trigger` one job with `payload`, when this run succeeds.
   * `key` tells two emits of one trigger apart over attempts; without it their order does. `immediate` sends at once,
   * whatever becomes of the run. Throws FlowError at a trigger outside of the handler's `emits`, InvalidJobDataError at a
   * payload that its schema there refuses.
   */
  emit(trigger: string, payload?: unknown, options?: { key?: string | null; immediate?: boolean }): Promise<void>;
  /**
   * Starts a flow under this one when the run succeeds, and gives its id. This flow ends no sooner than that one, whose end emits
   * `flow:NAME`, or `flow:NAME:failed`, into this one. Throws FlowError if no handler begins such a flow.
   */
  start(name: string, data?: unknown, options?: { key?: string | null; immediate?: boolean }): Promise<string>;
}

/** What `setup(ctx)` provided. Name the members by declaration merging; reading a missing one throws ConfigurationError. */
export interface Services {
  [name: string]: any;
}

/** All a handler may ask of the host. */
export interface Context<Data = any> {
  readonly job: Job<Data>;
  /** The scope of the flow if the job is part of one, else of the job. */
  readonly state: State;
  readonly logger: Logger;
  readonly flow: Flow;
  readonly services: Services;
  /** 1 for the first attempt. */
  readonly attempt: number;
  /** When the host will cancel this run; null if it has no timeout. */
  readonly deadline: Date | null;
  /** The run is to stop. */
  readonly cancelled: boolean;
  readonly cancelReason: CancelReason | null;
  /** Aborts when the run is to stop, with a CancelledError as its reason. */
  readonly signal: AbortSignal;
  /** `<queue>:<id>:<created at, ms>`: the same for every attempt of this job, and never that of another. */
  readonly idempotencyKey: string;
  readonly flowId: string | null;
  readonly flowName: string | null;
  readonly stepName: string | null;
  /** `<flow id>__<job name>__attempt-<n>`: a label, not a key. */
  readonly stepId: string | null;
  /** The W3C trace context of the producer, if it gave one. */
  readonly traceparent: string | null;
  /** Reports progress: a number or any JSON value. Fulfilled once the host has room for more. */
  progress(value: unknown): Promise<void>;
  /** The results of the job's child jobs, keyed by child. */
  children<Result = any>(): Promise<{ [child: string]: Result }>;
}

/** What `setup(ctx)` and `teardown(ctx)` of a file get, once per child. */
export interface SetupContext {
  /** Put services here, or return them as an object. */
  services: { [name: string]: any };
  logger: Logger;
}

export type CancelReason = "timeout" | "cancelled" | "lease_lost" | "shutdown";

/** The work of one attempt. Its result must be a JSON value; members that are undefined are dropped. */
export type HandlerFunction<Data = any, Result = unknown> = (
  job: Job<Data>,
  ctx: Context<Data>,
  signal: AbortSignal,
) => Result | Promise<Result>;

/** Stands around a handler: calls `next` for its result, and gives what it makes of it. */
export type Middleware<Data = any> = (job: Job<Data>, ctx: Context<Data>, next: () => Promise<any>) => unknown;

export interface DefinedHandler<Data = any, Result = unknown> {
  readonly settings: Readonly<HandlerSettings>;
  readonly run: HandlerFunction<Data, Result>;
}

/** The object form: `export default { name, execute }`, or a class with `execute`. */
export interface ObjectHandler<Data = any, Result = unknown> extends HandlerSettings {
  execute(job: Job<Data>, ctx: Context<Data>, signal: AbortSignal): Result | Promise<Result>;
  getMetadata?(): HandlerSettings;
}

/** Makes a function a handler. Export it from a file of the bundle, under any name. Throws TypeError at an unknown setting. */
export function defineHandler<Data = any, Result = unknown>(
  settings: HandlerSettings,
  run: HandlerFunction<Data, Result>,
): DefinedHandler<Data, Result>;
export function defineHandler<Data = any, Result = unknown>(
  run: HandlerFunction<Data, Result>,
): DefinedHandler<Data, Result>;

export class JobhostError extends Error {}

/** A setting is wrong, or a service a handler needs was not set up. */
export class ConfigurationError extends JobhostError {}

/** A handler said how its job should end. */
export class HandlerError extends JobhostError {}

/** The job fails now, whatever attempts are left. */
export class UnrecoverableError extends HandlerError {}

/** The job comes back later and no attempt is used, unless it is asked for. */
export class RetryLater extends HandlerError {
  /** `delay`: at least "100ms". `attempt`: it counts as an attempt, for a server that says when to try again (`Retry-After`). */
  constructor(delay: Duration, message?: string, options?: { attempt?: boolean });
  /** Milliseconds. */
  readonly delayMs: number;
  readonly usesAttempt: boolean;
}

/** The data of a job is not what its handler takes. */
export class InvalidJobDataError extends UnrecoverableError {
  constructor(message?: string, fields?: { field: string; message: string }[]);
  fields: { field: string; message: string }[];
}

/** A value is not a JSON value. */
export class InvalidValueError extends UnrecoverableError {
  constructor(path: string, problem: string);
  /** Such as `result.items[3].when`. */
  path: string;
}

/** The run was cancelled. */
export class CancelledError extends JobhostError {
  constructor(reason?: CancelReason);
  reason: CancelReason;
}

/** The host refused a call of `ctx`. */
export class CallError extends JobhostError {
  constructor(message?: string, type?: string, data?: any);
  /** The name of the error the host gave. */
  readonly type: string;
  readonly data: any;
}

/** The run this call is made for has ended. */
export class RunNotLiveError extends CallError {}
/** The host does not know this call. */
export class UnknownMethodError extends CallError {}
/** A key or a value is larger than state may hold. */
export class StateLimitError extends CallError {}
/** `incr` of a value that is not an integer. */
export class StateTypeError extends CallError {}
/** This bundle was not granted that scope of state. */
export class StateScopeError extends CallError {}
/** The job belongs to another host by now. */
export class LeaseLostError extends CallError {}
/** The queue's backend failed. */
export class BackendError extends CallError {}
/** An emit was refused. */
export class FlowError extends CallError {}
/** A run emits too much, or a payload, key or trigger is too long; the message names the limit. */
export class FlowLimitError extends CallError {}

/** BullMQ's: the processor has moved its job to delayed. */
export class DelayedError extends HandlerError {}
/** BullMQ's: the processor has moved its job to wait for its children. */
export class WaitingChildrenError extends HandlerError {}
/** BullMQ's: the queue is over its rate limit. */
export class RateLimitError extends HandlerError {}
