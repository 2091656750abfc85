import { defineHandler } from "@jobhost/sdk";

/** Greets `data.name`. */
export default defineHandler({ description: "A greeting from Node", timeout: "10s" }, async (job, ctx) => {
  const name = job.data.name ?? "world";
  for (const percent of [25, 50, 75, 100]) await ctx.progress(percent);
  console.log(`greeting ${name}`); // a log line of this job: `jobhost jobs logs ID`
  return `Good day, ${name}!`;
});
