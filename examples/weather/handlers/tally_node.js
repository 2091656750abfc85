import { createReadStream } from "node:fs";
import { createInterface } from "node:readline";
import { defineHandler } from "@jobhost/sdk";

/** Rows between two checkpoints: what a run that is cut off loses at most. */
const ROWS_AT_ONCE = 500;

/** Tallies a chunk of the days, by kind of weather, as `tally_python.py` does. */
export default defineHandler({ name: "tally.node", timeout: "1m" }, async (job, ctx) => {
  const { path, offset, rows } = job.data;
  const begun = (await ctx.state.get("tally")) ?? { rows: 0, kinds: {} };
  const { kinds } = begun;
  let row = 0;
  const file = createReadStream(path, { start: offset });
  for await (const line of createInterface({ input: file })) {
    row += 1;
    if (row > begun.rows) add(kinds, line.split(","));
    if (row > begun.rows && row % ROWS_AT_ONCE === 0) {
      await ctx.state.set("tally", { rows: row, kinds });
      await ctx.progress(Math.round((100 * row) / rows));
    }
    if (row === rows) break;
  }
  file.destroy();
  await ctx.progress(100);
  return { kinds, rows: row, resumed_at: begun.rows };
});

/** Adds one day: `[days, rain, high, hottest]` of its kind, in tenths. */
function add(kinds, [, rain, high, , , kind]) {
  const tenths = Math.round(Number(high) * 10);
  const tally = (kinds[kind] ??= [0, 0, 0, tenths]);
  tally[0] += 1;
  tally[1] += Math.round(Number(rain) * 10);
  tally[2] += tenths;
  tally[3] = Math.max(tally[3], tenths);
}
