// BullMQ: jobs are removed when they complete; a worker is asynchronous, in this process.
'use strict';
const { Queue, Worker } = require('bullmq');
const { Drained, COUNT, PAYLOAD, SIZE, URL, WORK, now, pace, produce, sleep } = require('./peer.cjs');

const { hostname: host, port } = new globalThis.URL(URL);
const connection = { host, port: Number(port), maxRetriesPerRequest: null };
const opts = { removeOnComplete: true };
const queue = new Queue('q', { connection });
const work = (concurrency, run) => new Worker('q', run, { connection, concurrency });

const main = async () => {
  await queue.waitUntilReady();
  await queue.obliterate({ force: true });
  if (WORK === 'W1') return produce(() => queue.add('noop', PAYLOAD, opts));
  if (WORK === 'W3') {
    const job = { name: 'noop', data: PAYLOAD, opts };
    for (let at = 0; at < COUNT; at += 1000) await queue.addBulk(Array(Math.min(1000, COUNT)).fill(job));
    const drained = new Drained();
    work(SIZE, async () => drained.ran());
    return drained.say();
  }
  const started = [];
  const worker = work(1, async job => { started[job.data.number] = now(); });
  await worker.waitUntilReady();
  await sleep(1);
  return pace(number => queue.add('stamp', { number, PAYLOAD }, opts), started);
};
main();
