import { defineHandler, UnrecoverableError } from "@jobhost/sdk";

/** Takes the money. A payment service that knows the idempotency key takes it once, however often this runs. */
export default defineHandler(
  {
    name: "order.charge",
    flow: { name: "orders", step: "charge", subscribes: ["order.placed"], emits: ["order.paid"] },
  },
  async (job, ctx) => {
    const order = await ctx.state.get("order");
    if (order.card === "declined") throw new UnrecoverableError("the card was declined");
    ctx.logger.info("charged", { total: job.data.total, key: ctx.idempotencyKey });
    await ctx.flow.emit("order.paid", { charge: `ch-${job.id.slice(0, 8)}`, total: job.data.total });
    return { charge: `ch-${job.id.slice(0, 8)}` };
  },
);
