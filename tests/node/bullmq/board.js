"use strict";
/**
 * bull-board in a real browser, for tests: `node board.js HOST PORT PREFIX CHROMIUM QUEUE…`, JSON lines as in peer.js.
 * The board is served on a free port of the loopback and looked at in headless Chromium.
 */

const { mkdtempSync, rmSync } = require("node:fs");
const { tmpdir } = require("node:os");
const { join } = require("node:path");
const { createInterface } = require("node:readline");
const { createBullBoard } = require("@bull-board/api");
const { BullMQAdapter } = require("@bull-board/api/bullMQAdapter");
const { ExpressAdapter } = require("@bull-board/express");
const { Queue } = require("bullmq");
const express = require("express");
const { chromium } = require("playwright-core");

const [host, port, prefix, executablePath, ...names] = process.argv.slice(2);
const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const PATIENCE = 20_000;

async function serve() {
  const connection = { host, port: Number(port), maxRetriesPerRequest: null };
  const adapter = new ExpressAdapter();
  createBullBoard({ queues: names.map((name) => new BullMQAdapter(new Queue(name, { prefix, connection }))), serverAdapter: adapter });
  const app = express();
  app.use("/", adapter.getRouter());
  return new Promise((resolve) => {
    const server = app.listen(0, "127.0.0.1", () => resolve(`http://127.0.0.1:${server.address().port}`));
  });
}

async function main() {
  const url = await serve();
  const profile = mkdtempSync(join(tmpdir(), "jobhost-board-"));
  const browser = await chromium.launchPersistentContext(profile, { executablePath, headless: true, args: FLAGS, viewport: { width: 1400, height: 1000 } });
  const page = browser.pages()[0] ?? (await browser.newPage());
  page.setDefaultTimeout(PATIENCE);
  const DO = {
    open: async ({ path }) => void (await page.goto(url + path, { waitUntil: "networkidle" })),
    text: async () => page.locator("body").innerText(),
    see: async ({ text }) => void (await page.getByText(text).first().waitFor()),
    press: async ({ text }) => void (await page.getByText(text, { exact: true }).first().click()),
    // A job's buttons are icons without a name; the first one behind the bar of its list is its retry.
    retryFirst: async () => void (await page.locator('button:has-text("Clean all") >> xpath=following::button[1]').click()),
    screenshot: async ({ file }) => void (await page.screenshot({ path: file, fullPage: true })),
  };
  process.stdout.write(`${JSON.stringify({ ok: url })}\n`);
  for await (const line of createInterface({ input: process.stdin })) {
    let answer;
    try {
      const { do: what, ...params } = JSON.parse(line);
      answer = { ok: (await DO[what](params)) ?? null };
    } catch (error) {
      answer = { error: error.message };
    }
    process.stdout.write(`${JSON.stringify(answer)}\n`);
  }
  await browser.close();
  rmSync(profile, { recursive: true, force: true });
  process.exit(0);
}

main();
