import { readFile } from "node:fs/promises";

/** The same handler in JavaScript: an object with its metadata and `execute`. */
export default {
  name: "welcomeMessage.node",
  description: "Writes the message that greets a new user.",
  version: "1.0.0",
  author: "jobhost",
  input: {
    type: "object",
    required: ["name"],
    properties: { name: { type: "string", minLength: 1 }, language: { enum: ["en", "de"] } },
  },

  async execute(job, ctx) {
    const user = { language: "en", company: "jobhost", first_step: "", ...job.data };
    ctx.logger.info("writing", { language: user.language });
    const template = await readFile(new URL(`templates/${user.language}.txt`, import.meta.url), "utf8");
    const message = template.replace(/\$(\w+)/g, (_, key) => user[key]);
    const end = message.indexOf("\n");
    await ctx.progress(100);
    return { subject: message.slice(0, end), text: message.slice(end + 1) };
  },
};
