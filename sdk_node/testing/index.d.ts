/** What a test of a handler imports: `import { runHandler } from "@jobhost/sdk/testing"`. */

import type { CancelReason, DefinedHandler, Duration, HandlerFunction, LogLevel, ObjectHandler } from "../index.js";

/** What a handler file exports, or the path or URL of one. */
export type Runnable = string | URL | DefinedHandler<any, any> | HandlerFunction<any, any> | ObjectHandler<any, any> | object;

export interface RunOptions {
  /** The job's name; it chooses where a file holds several handlers. */
  name?: string;
  queue?: string;
  id?: string;
  /** 1 if not given. */
  attempt?: number;
  maxAttempts?: number;
  priority?: number;
  metadata?: { [key: string]: unknown };
  createdAt?: Date;
  /** The flow that the job is part of. */
  flowId?: string;
  flowName?: string;
  /** What `ctx.state` holds at first, or the store of a run before. */
  state?: { [key: string]: unknown } | Store;
  /** Results of child jobs. */
  children?: { [child: string]: unknown };
  /** By default what the `setup` of the file makes, whose `teardown` runs in the end. */
  services?: { [name: string]: unknown };
  /** After which the run is told to stop. */
  timeout?: Duration;
  /** Asked with each call of `ctx`: true cancels the run. */
  cancelWhen?: (ran: Ran) => unknown;
}

export interface RecordedLog {
  level: LogLevel;
  message: string;
  /** Empty if none were given. */
  fields: { [key: string]: any };
}

export interface RecordedEmit {
  trigger: string;
  payload: any;
  key: string | null;
  immediate: boolean;
  /** It starts a flow, whose name `trigger` is. */
  starts: boolean;
}

/** A run and what it came to. */
export interface Ran<Result = any> {
  /** What the handler returned, as it is after the way through JSON. Throws what the handler threw. */
  readonly result: Result;
  /** What the handler threw, or null. */
  readonly error: any;
  readonly progress: any[];
  readonly logs: RecordedLog[];
  /** What would be delivered: of a run that failed the immediate ones alone. */
  readonly emits: RecordedEmit[];
  /** Every emit, whatever became of the run. */
  readonly emitted: RecordedEmit[];
  /** What the scope holds that `ctx.state` itself is. */
  readonly state: { [key: string]: any };
  /** The state after it, for a run that goes on from there. */
  readonly store: Store;
  /** Why it was told to stop, or null. */
  readonly cancelled: CancelReason | null;
}

/** State in memory, with the rules of a host. */
export class Store {
  constructor(values?: { [key: string]: unknown }, options?: { scopes?: ("flow" | "job" | "handler" | "global")[] });
  /** Stores values, as an earlier run would have. */
  put(values: { [key: string]: unknown }, scope?: "flow" | "job" | "handler" | "global"): void;
  /** What a scope holds, the default one if none is named. */
  values(scope?: "flow" | "job" | "handler" | "global"): { [key: string]: any };
  /** Lets so much time pass for what has a `ttl`. */
  advance(by: Duration): void;
}

/**
 * Runs a handler once, to its end, with the checks of a real run; gives what it did. Rejects with InvalidValueError where data, state or
 * children are no JSON values, and with ConfigurationError where there is no handler.
 */
export function runHandler<Result = any>(handler: Runnable, data?: unknown, options?: RunOptions): Promise<Ran<Result>>;
