// What a user writes against the types; it has to compile, and each line marked as an error must be one.
import { CancelledError, RetryLater, StateLimitError, UnrecoverableError, defineHandler } from "@jobhost/sdk";
import type { Context, HandlerSettings, Job, Middleware, ObjectHandler, SetupContext, State } from "@jobhost/sdk";

interface Resize {
  width: number;
  path: string;
}

export default defineHandler<Resize>({ name: "image.thumb", queue: "images", timeout: "30s", attempts: 3 }, async (job, ctx, signal) => {
  const width: number = job.data.width;
  ctx.logger.info("resizing", { width });
  await ctx.progress({ done: 1, of: 2 });
  const last = await ctx.state.get<string>("last");
  const count: number = await ctx.state.get("count", 0);
  const total: number = await ctx.state.of("flow").incr("count", 2);
  await ctx.state.set("last", job.id, { ttl: "1h" });
  await ctx.flow.emit("image.resized", { id: job.id }, { key: job.id });
  const results = await ctx.children<number>();
  const sum = Object.values(results).reduce((a, b) => a + b, 0);
  signal.throwIfAborted();
  if (ctx.deadline !== null && ctx.deadline.getTime() < Date.now()) throw new RetryLater("5m");
  const { db } = ctx.services;
  return { last: last?.toUpperCase(), count, total, sum, rows: db.rows };
});

export const several = defineHandler(async (job: Job<{ to: string }>) => job.data.to);

export const config: HandlerSettings = {
  backoff: { type: "exponential", delay: "1s", jitter: 0.5 },
  flow: { name: "orders", subscribes: ["order.placed"], emits: ["order.paid"], join: "all" },
  input: { type: "object", required: ["width"] },
};

const timed: Middleware<Resize> = async (job, ctx, next) => {
  const result: unknown = await next();
  ctx.logger.info("done", { width: job.data.width });
  return result;
};

export const contracts: HandlerSettings = {
  result: { type: "object", required: ["ok"] },
  flow: { name: "orders", emits: { "order.paid": { type: "object" }, "order.noted": null } },
  middleware: [timed, (job, ctx, next) => next()],
  requires: ["image.thumb"],
};

export async function setup(ctx: SetupContext) {
  ctx.services["db"] = { rows: 1 };
  ctx.logger.warning("ready");
}

export class Export implements ObjectHandler<{ rows: number }> {
  name = "dataExport";

  async execute(job: Job<{ rows: number }>, ctx: Context<{ rows: number }>) {
    const state: State = ctx.state;
    await state.delete("x").catch((error: unknown) => {
      if (error instanceof StateLimitError) throw new UnrecoverableError(error.type, { cause: error.data });
      if (error instanceof CancelledError && error.reason === "timeout") throw error;
    });
    await job.updateProgress(1);
    return job.attemptsMade + job.data.rows;
  }
}

// @ts-expect-error a bare number is no duration
defineHandler({ timeout: 30 }, () => 1);
// @ts-expect-error a misspelt setting
defineHandler({ timeuot: "30s" }, () => 1);
// @ts-expect-error no unit
new RetryLater("5");
// @ts-expect-error not a scope
export const wrong = (ctx: Context) => ctx.state.of("everything");
// @ts-expect-error no function
defineHandler({ middleware: [7] }, () => 1);
