//! Settings from switches.

use super::key::Key;
use super::said::{Layer, Place};

/// The switches of the `consume` command. Flatten it into a command line of your own, or have
/// [`main`](super::main) make one.
///
/// They are kept as they were typed, and judged together with all other settings.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
#[non_exhaustive]
pub struct Args {
    /// The store, such as `sqlite:tasks.db` [default: sqlite:votive.db]
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// A TOML file with settings
    #[arg(long, value_name = "FILE")]
    pub config: Option<String>,
    /// Run only this consumer of the file; may be repeated
    #[arg(long, value_name = "NAME")]
    pub consumer: Vec<String>,
    /// What people see beside the consumer's tasks [default: consumer]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// A queue to serve, and how many of its tasks may run at once; may be repeated [default: default]
    #[arg(long, short, value_name = "NAME[=LIMIT]")]
    pub queue: Vec<String>,
    /// How many worker threads all queues share [default: the sum of the limits]
    #[arg(long, short, value_name = "COUNT")]
    pub threads: Option<String>,
    /// How many tasks of a queue may run at once if it has no limit of its own [default: 1]
    #[arg(long, value_name = "COUNT")]
    pub concurrent_limit: Option<String>,
    /// How many conflicts are retried at once before they count as a failed attempt [default: 10]
    #[arg(long, value_name = "COUNT")]
    pub retry_max_count: Option<String>,
    /// Do not enqueue periodic tasks
    #[arg(long, short)]
    pub no_periodic: bool,
    /// How long a task may take that does not say so itself [default: as long as it likes]
    #[arg(long, value_name = "DURATION")]
    pub timeout: Option<String>,
    /// How long a stop waits for running tasks [default: 30s]
    #[arg(long, value_name = "DURATION")]
    pub stop_timeout: Option<String>,
    /// What a queue that the file does not declare is taken for: `refuse` or `first` [default: refuse]
    #[arg(long, value_name = "WHAT")]
    pub unknown_queue: Option<String>,
    /// Where to write the log, instead of standard error; SIGHUP opens it anew
    #[arg(long, short, value_name = "FILE")]
    pub logfile: Option<String>,
    /// What to log: error, warning, info, debug or trace [default: info]
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
}

impl Args {
    pub(super) fn layer(&self) -> Layer {
        let one = |value: &Option<String>| value.iter().cloned().collect::<Vec<_>>();
        let no_periodic = self.no_periodic.then(|| "true".to_owned());
        let said = [
            (Key::Url, one(&self.url)),
            (Key::Config, one(&self.config)),
            (Key::Consumer, self.consumer.clone()),
            (Key::Name, one(&self.name)),
            (Key::Queue, self.queue.clone()),
            (Key::Threads, one(&self.threads)),
            (Key::ConcurrentLimit, one(&self.concurrent_limit)),
            (Key::RetryMaxCount, one(&self.retry_max_count)),
            (Key::NoPeriodic, one(&no_periodic)),
            (Key::Timeout, one(&self.timeout)),
            (Key::StopTimeout, one(&self.stop_timeout)),
            (Key::UnknownQueue, one(&self.unknown_queue)),
            (Key::Logfile, one(&self.logfile)),
            (Key::LogLevel, one(&self.log_level)),
        ];
        let mut layer = Layer::default();
        for (key, values) in said {
            if !values.is_empty() {
                layer.say(key, values, Place::Switch(key.switch()));
            }
        }
        layer
    }
}
