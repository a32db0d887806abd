// What every Node.js peer shares: its arguments come from the environment, its figure goes to standard output.
'use strict';
const fs = require('node:fs');
const { env, argv, exit, stdout } = process;

exports.WORK = argv[2];
exports.SIZE = Number(argv[3] ?? 1);
exports.COUNT = Number(env.PEER_COUNT);
exports.URL = env.PEER_URL;
exports.PAYLOAD = 'x'.repeat(100);
const SECONDS = Number(env.PEER_SECONDS);

const now = () => Number(process.hrtime.bigint()) / 1e9;
const sleep = seconds => new Promise(resolve => setTimeout(resolve, seconds * 1e3));
const flushes = () => Number(fs.readFileSync(env.PEER_FLUSHES, 'utf8').trim().split(/\s+/)[15]);
const say = figures => stdout.write(`${JSON.stringify(figures)}\n`, () => exit(0));
exports.now = now;
exports.sleep = sleep;

/** One task after the other, until all are done or the time is over. */
exports.produce = async enqueue => {
  const before = flushes();
  const start = now();
  let done = 0;
  for (; done < exports.COUNT && now() - start < SECONDS; done += 1) await enqueue();
  say({ value: done / (now() - start), flushes: (flushes() - before) / done });
};

/** Counts tasks that ran, from the first to the last. */
exports.Drained = class {
  count = 0;
  ran() {
    this.last = now();
    if (this.count === 0) [this.first, this.before] = [this.last, flushes()];
    this.count += 1;
  }
  async say() {
    while (this.count < exports.COUNT && !(this.count && now() - this.first > SECONDS)) await sleep(0.01);
    const value = (this.count - 1) / (this.last - this.first);
    say({ value, flushes: (flushes() - this.before) / this.count });
  }
};

/** From the return of each commit to the start of its task, in milliseconds, twenty times a second. */
exports.pace = async (enqueue, started) => {
  const committed = [];
  for (let number = 0; number < exports.COUNT; number += 1) {
    await sleep(0.05);
    await enqueue(number);
    committed.push(now());
  }
  await sleep(2);
  const times = committed.map((at, number) => Math.max(0, (started[number] - at) * 1e3));
  if (times.some(Number.isNaN)) throw new Error('tasks did not start');
  times.sort((one, other) => one - other);
  const at = share => times[Math.round((times.length - 1) * share)];
  say({ value: at(0.5), p99: at(0.99) });
};
