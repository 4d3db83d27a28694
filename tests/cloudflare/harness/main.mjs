// The harness: one command a line in, one answer a line out, until its input ends.

import { createInterface } from "node:readline";
import { Miniflare } from "miniflare";
import { SERVANT, run } from "./d1.mjs";
import { Isolate, milliseconds } from "./isolate.mjs";

// Answers alone go to the output; what libraries have to say goes to the errors.
console.log = console.info = console.debug = console.error;

// What an isolate that is ending throws into an event of its own is nobody else's end.
for (const event of ["unhandledRejection", "uncaughtException"]) {
  process.on(event, (error) => console.error(event, error));
}

const platform = new Miniflare({
  modules: true,
  script: SERVANT,
  compatibilityDate: "2026-04-20",
  host: "127.0.0.1",
  d1Databases: { DB: "harness" },
});
await platform.ready;
let isolate;

function spent(began) {
  const { most, calls, queries, fetches } = isolate.connections;
  return { most, calls, queries, fetches, cpu: milliseconds(process.cpuUsage(began)) };
}

const commands = {
  // A new isolate; the database stays. What the old one was doing is lost, as when it is evicted.
  async start({ folders, vars, module }) {
    isolate = await Isolate.start({ folders, vars, platform });
    return module ? isolate.load(module) : null;
  },
  async apply({ statements }) {
    await run(platform, statements.map((sql) => ({ sql, values: [] })));
  },
  async sql({ sql, values }) {
    return (await run(platform, [{ sql, values }]))[0].results;
  },
  async tick({ cron, time, times }) {
    isolate.connections.reset(times);
    const began = process.cpuUsage();
    const ticks = Array.from({ length: times }, () => isolate.scheduled(cron, time));
    const settled = Promise.allSettled(ticks);
    const failed = settled.then((all) => all.flatMap(({ reason }) => reason ?? []));
    const errors = await Promise.race([failed, isolate.ended.then((reason) => [reason])]);
    return { errors: errors.map(String), ...spent(began) };
  },
  async fetch({ request }) {
    return isolate.fetch(request);
  },
  async python({ code }) {
    const value = await isolate.python(code);
    return typeof value === "string" ? JSON.parse(value) : null;
  },
  async measure({ code }) {
    isolate.connections.reset();
    const began = process.cpuUsage();
    const errors = await isolate.python(code).then(() => [], (error) => [String(error)]);
    return { errors, ...spent(began) };
  },
  async cut_off_after({ calls }) {
    isolate.cutOffAfter(calls);
  },
  async break_fetches({ numbers, when }) {
    isolate.connections.breakFetches(numbers, when);
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { command, ...parameters } = JSON.parse(line);
  const answer = {};
  try {
    answer.value = (await commands[command](parameters)) ?? null;
  } catch (error) {
    answer.error = String(error?.stack ?? error);
  }
  answer.logs = isolate?.logs.splice(0) ?? [];
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
await platform.dispose();
process.exit(0);
