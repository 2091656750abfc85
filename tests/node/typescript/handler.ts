import { defineHandler, type Job } from "@jobhost/sdk";

enum Greeting {
  Hello = "Hello",
}

export default defineHandler({ name: "typed" }, async (job: Job<{ name: string }>) => `${Greeting.Hello}, ${job.data.name}`);
