// The echo job in BullMQ.
//
//   node bullmq_echo.cjs work CONCURRENCY   a worker, until SIGTERM
//   node bullmq_echo.cjs all N              as producer.py, which see
//   node bullmq_echo.cjs lone N
//
// CommonJS, since NODE_PATH, which names the folder BullMQ is in, is only for
// `require`.
"use strict";

const { setTimeout: pause } = require("node:timers/promises");
const { Queue, QueueEvents, Worker } = require("bullmq");

const QUEUE = "echo";
// With the quotes of a JSON string, 100 bytes: what Homing's echo task has.
const PAYLOAD_DIGITS = 98;
const LONE_PAUSE_MS = 5;
const RESULT_MS_MAX = 30_000;
const BULK = Number(process.env.BULK);

const connection = { host: "127.0.0.1", port: Number(process.env.REDIS_PORT) };

const payload = (number) => String(number).padStart(PAYLOAD_DIGITS, "0");

const quantile = (ordered, share) => ordered[Math.max(Math.ceil(ordered.length * share) - 1, 0)];

function work(concurrency) {
  const worker = new Worker(QUEUE, async (job) => job.data, { connection, concurrency });
  worker.on("error", (error) => console.error(error));
  process.on("SIGTERM", () => worker.close().then(() => process.exit(0)));
}

async function enqueueAll(queue, jobs) {
  const payloads = Array.from({ length: jobs }, (_, number) => payload(number));
  const start = performance.now();
  for (let from = 0; from < jobs; from += BULK) {
    await queue.addBulk(payloads.slice(from, from + BULK).map((data) => ({ name: "echo", data })));
  }
  return { secs: (performance.now() - start) / 1e3 };
}

async function enqueueLone(queue, jobs) {
  const events = new QueueEvents(QUEUE, { connection });
  await events.waitUntilReady();
  const ms = [];
  for (let number = 0; number < jobs; number++) {
    await pause(LONE_PAUSE_MS);
    const wanted = payload(number);
    const start = performance.now();
    const job = await queue.add("echo", wanted);
    const result = await job.waitUntilFinished(events, RESULT_MS_MAX);
    ms.push(performance.now() - start);
    if (result !== wanted) throw new Error(`the result of job ${number} is ${result}, not its payload`);
  }
  await events.close();
  ms.sort((a, b) => a - b);
  return { lone: { p50_ms: quantile(ms, 0.5), p99_ms: quantile(ms, 0.99) } };
}

async function main(how, count) {
  if (how === "work") return work(count);
  const queue = new Queue(QUEUE, { connection });
  const report = await (how === "all" ? enqueueAll : enqueueLone)(queue, count);
  console.log(JSON.stringify(report));
  await queue.close();
}

main(process.argv[2], Number(process.argv[3])).catch((error) => {
  console.error(error);
  process.exit(1);
});
