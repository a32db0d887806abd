//! An application whose binary has the command `consume`. Try
//!
//! ```console
//! $ cargo run --features consume --example consume -- consume --help
//! ```
//!
//! Without arguments it shows itself: it enqueues tasks in a temporary SQLite file, has a process of this
//! same program run them, asks that to stop, and looks at what is left.

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use votive::handler::DuplicateKind;
use votive::store::{Filter, Interest};
use votive::task::{Options, State};
use votive::{Context, Queue, Registry, Task, TransactionManager};

type Failure = Box<dyn Error + Send + Sync>;

#[derive(Serialize, Deserialize)]
struct Greet(String);

impl Task for Greet {
    const KIND: &'static str = "greet";

    /// Kept for an hour when it is done, to be looked at.
    fn options() -> Options {
        Options {
            retention: Some(Duration::from_secs(3_600)),
            ..Options::default()
        }
    }
}

fn greet(task: Greet, context: &mut Context<'_>) -> Result<(), &'static str> {
    let (Greet(name), attempt) = (task, context.attempt().number);
    if name.is_empty() {
        return Err("there is nobody to greet");
    }
    tracing::info!(attempt, "hello {name}");
    Ok(())
}

fn registry() -> Result<Registry, DuplicateKind> {
    let mut registry = Registry::new();
    registry.register(greet)?;
    Ok(registry)
}

votive::main!(registry, demonstrate);

/// What the program does unless it is told to `consume`.
fn demonstrate() -> Result<(), Failure> {
    const GREETED: usize = 3;
    let folder = tempfile::tempdir()?;
    let url = format!("sqlite://{}", folder.path().join("tasks.db").display());
    let store = votive::open(&url)?;
    let queue = Queue::new(store.clone(), "greetings")?;
    TransactionManager::new().run(3, |txn| {
        let names = ["Ada", "Grace", "Edsger"].map(|name| Greet(name.to_owned()));
        names
            .iter()
            .try_for_each(|task| queue.enqueue(txn, task).map(drop))
    })?;

    let mut consumer = Command::new(std::env::current_exe()?)
        .args(["consume", "--queue", "greetings=2", "--name", "example"])
        .env("VOTIVE_URL", &url)
        .stderr(Stdio::piped())
        .spawn()?;
    let said = BufReader::new(consumer.stderr.take().ok_or("it has no standard error")?);
    let mut said = said.lines();
    let ready = said.find(|line| line.as_ref().is_ok_and(|line| line.contains("ready")));
    println!("{}", ready.ok_or("it never was ready")??);

    let done = Filter {
        states: Some(votive::task::StateSet::of(&[State::Done])),
        ..Filter::default()
    };
    let nothing = [Interest::Ready("nothing".to_owned())];
    while store.scan(&done, None, 10)?.tasks.len() < GREETED {
        store.wait(&nothing, Duration::from_millis(20))?;
    }
    let process = consumer.id().to_string();
    let asked = Command::new("kill")
        .args(["-s", "TERM", &process])
        .status()?;
    assert!(asked.success());
    let rest: Vec<String> = said.collect::<Result<_, _>>()?;
    assert!(rest.iter().any(|line| line.contains("stopped")), "{rest:?}");
    assert_eq!(consumer.wait()?.code(), Some(0));
    println!("{GREETED} greetings are done, and the consumer has stopped");
    Ok(())
}
