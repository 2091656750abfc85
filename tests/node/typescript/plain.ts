import type { Job } from "@jobhost/sdk";

export default async (job: Job<number>): Promise<number> => job.data satisfies number;
export const config = { queue: "typed" };
