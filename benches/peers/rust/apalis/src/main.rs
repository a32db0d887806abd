//! apalis: its store in memory, which is a channel. What is taken from it is nowhere else.

use std::sync::Arc;

use apalis::prelude::{Data, MemoryStorage, TaskSink, WorkerBuilder, WorkerBuilderExt as _};
use votive_peers::{Asked, Meter, Result, payload};

async fn noop(_: String, meter: Data<Arc<Meter>>) {
    meter.tick();
}

#[tokio::main]
async fn main() -> Result<()> {
    let meter = Arc::new(Meter::new(Asked::read()?));
    let mut store = MemoryStorage::new();
    if meter.asked().work == "W1" {
        meter.begin();
        while !meter.is_over() {
            store.push(payload()).await?;
            meter.tick();
        }
        return meter.finish().await;
    }
    for _ in 0..meter.asked().count {
        store.push(payload()).await?;
    }
    let worker = WorkerBuilder::new("noop")
        .backend(store)
        .data(Arc::clone(&meter))
        .concurrency(meter.asked().size())
        .build(noop);
    tokio::spawn(worker.run());
    meter.finish().await
}
