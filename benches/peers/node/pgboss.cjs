// pg-boss: jobs are fetched and completed in a loop, SIZE at a time; its own workers poll every half second.
'use strict';
const { PgBoss } = require('pg-boss');
const { Drained, COUNT, PAYLOAD, SIZE, URL, WORK, produce } = require('./peer.cjs');

const boss = new PgBoss({ connectionString: URL, max: 10 });
boss.on('error', () => {});

const main = async () => {
  await boss.start();
  await boss.createQueue('q');
  if (WORK === 'W1') return produce(() => boss.send('q', { PAYLOAD }));
  for (let at = 0; at < COUNT; at += 1000) {
    await boss.insert('q', Array.from({ length: Math.min(1000, COUNT) }, () => ({ data: { PAYLOAD } })));
  }
  const drained = new Drained();
  const drain = async () => {
    for (;;) {
      const jobs = await boss.fetch('q', { batchSize: SIZE });
      if (!jobs?.length) return;
      for (const _ of jobs) drained.ran();
      await boss.complete('q', jobs.map(job => job.id));
    }
  };
  drain();
  return drained.say();
};
main();
