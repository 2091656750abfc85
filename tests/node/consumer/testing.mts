// A user's tests against the types; they have to compile, and each line marked as an error must be one.
import { defineHandler } from "@jobhost/sdk";
import { Store, runHandler } from "@jobhost/sdk/testing";
import type { Ran } from "@jobhost/sdk/testing";

const double = defineHandler<number, number>({ name: "double" }, async (job) => job.data * 2);

export async function check(): Promise<number> {
  const ran: Ran<number> = await runHandler<number>(double, 2, { attempt: 2, timeout: "5s", state: { done: 1 } });
  const again = await runHandler("handlers/double.js", 2, { state: ran.store, cancelWhen: ({ progress }) => progress.length > 1 });
  const names: string[] = again.emits.map(({ trigger }) => trigger);
  const store = new Store({ a: 1 }, { scopes: ["job"] });
  store.advance("1h");
  await runHandler((job: { data: number }) => job.data, 1, { state: store });
  // @ts-expect-error a bare number is no duration
  await runHandler(double, 2, { timeout: 5 });
  return ran.result + names.length;
}
