//! effectum: SQLite with a rollback journal, whatever its pragma says; it commits up to 50 operations together.

use std::path::Path;
use std::sync::Arc;

use effectum::{Job, JobRunner, Queue, RunningJob, Worker};
use votive_peers::{Asked, Meter, Result, payload};

fn job() -> Job {
    Job::builder("noop").payload(payload().into_bytes()).build()
}

async fn noop(_: RunningJob, meter: Arc<Meter>) -> std::result::Result<(), effectum::Error> {
    meter.tick();
    Ok(())
}

#[tokio::main]
async fn main() -> Result<()> {
    let asked = Asked::read()?;
    let queue = Arc::new(Queue::new(&Path::new(&asked.folder).join("effectum.db")).await?);
    let meter = Arc::new(Meter::new(asked));
    let size = meter.asked().size();
    if meter.asked().work == "W1" {
        meter.begin();
        for _ in 0..size {
            let (queue, meter) = (Arc::clone(&queue), Arc::clone(&meter));
            tokio::spawn(async move {
                while !meter.is_over() {
                    queue.add_job(job()).await.expect("a job is added");
                    meter.tick();
                }
            });
        }
        return meter.finish().await;
    }
    let count = meter.asked().count;
    for _ in 0..count.div_ceil(1000) {
        queue.add_jobs((0..1000).map(|_| job()).collect()).await?;
    }
    let runner = JobRunner::builder("noop", noop).build();
    let worker = Worker::builder(&queue, Arc::clone(&meter)).jobs([runner]);
    let _worker = worker.max_concurrency(u16::try_from(size)?).build().await?;
    meter.finish().await
}
