// graphile-worker: as it comes, or (SIZE of 500) with its local queue and completions in batches.
'use strict';
const { Logger, makeWorkerUtils, run } = require('graphile-worker');
const { Pool } = require('pg');
const { Drained, COUNT, PAYLOAD, SIZE, URL, WORK, now, pace, produce, sleep } = require('./peer.cjs');

const logger = new Logger(() => () => {});
const pool = new Pool({ connectionString: URL });
const batched = { localQueue: { size: 500, refetchDelay: { durationMs: 10 } }, completeJobBatchDelay: 0, failJobBatchDelay: 0 };

const work = (concurrentJobs, taskList, more) => {
  const worker = { connectionString: URL, concurrentJobs, maxPoolSize: 10, ...more };
  return run({ preset: { worker }, logger, noHandleSignals: true, taskList });
};

const main = async () => {
  const utils = await makeWorkerUtils({ pgPool: pool, logger });
  await utils.migrate();
  if (WORK === 'W1') return produce(() => utils.addJob('noop', { PAYLOAD }));
  if (WORK === 'W3') {
    const job = { identifier: 'noop', payload: { PAYLOAD } };
    for (let at = 0; at < COUNT; at += 1000) await utils.addJobs(Array(Math.min(1000, COUNT)).fill(job));
    await pool.query('VACUUM ANALYZE graphile_worker._private_jobs');
    const drained = new Drained();
    const isBatched = SIZE === 500;
    await work(isBatched ? 4 : SIZE, { noop: async () => drained.ran() }, isBatched ? batched : {});
    return drained.say();
  }
  const started = [];
  await work(1, { stamp: async job => { started[job.number] = now(); } }, {});
  await sleep(1);
  return pace(number => utils.addJob('stamp', { number, PAYLOAD }), started);
};
main();
