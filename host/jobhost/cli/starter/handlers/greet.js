const { defineHandler } = require("@jobhost/sdk");

module.exports = defineHandler({ name: "greet", timeout: "30s" }, async (job, ctx) => {
  const names = job.data?.names ?? ["world"];
  for (const [index, name] of names.entries()) {
    ctx.logger.info("greeting", { name });
    await ctx.progress((100 * (index + 1)) / names.length);
  }
  return names.map((name) => `Hello, ${name}!`);
});
