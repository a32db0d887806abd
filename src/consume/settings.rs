//! The settings, worked out: a switch outdoes a variable, that a file, that one of Huey's variables, and
//! all of them the default.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use tracing_subscriber::filter::LevelFilter;

use super::args::Args;
use super::error::SettingsError;
use super::file::File;
use super::key::Key;
use super::said::{Layer, Place, Said};
use super::variables::Variables;
use crate::store::url::advise;

const URL_DEFAULT: &str = "sqlite:votive.db";
const NAME_DEFAULT: &str = "consumer";
const QUEUE_DEFAULT: &str = "default";

const COUNT: &str = "a number from 1";

/// The settings of a process that consumes, or enqueues, worked out from switches, variables and a file.
///
/// Later reads of the environment or the file change nothing of it.
#[derive(Debug, Clone)]
pub struct Settings {
    pub(super) consume: Option<Place>,
    pub(super) url: Address,
    pub(super) logfile: Option<(PathBuf, Place)>,
    pub(super) log_level: LevelFilter,
    pub(super) queues: Queues,
    pub(super) consumers: Vec<ConsumerSettings>,
    pub(super) warnings: Vec<String>,
}

/// The URL of a store, which may hold a password, and where it was said.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) url: String,
    pub(super) place: Place,
}

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the URL from {}", self.place)
    }
}

/// The queues that a file declares. If it declares none, any will do.
#[derive(Debug, Clone, Default)]
pub(super) struct Queues {
    pub(super) declared: BTreeMap<String, Declared>,
    /// Whether one that is not declared is taken for the first.
    first: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Declared {
    pub(super) url: Address,
    concurrent_limit: Option<usize>,
}

/// One consumer of the process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ConsumerSettings {
    pub(super) name: String,
    pub(super) lanes: Vec<(String, usize)>,
    pub(super) threads: Option<usize>,
    pub(super) retry_max_count: Option<u32>,
    pub(super) no_periodic: bool,
    pub(super) timeout: Option<Duration>,
    pub(super) stop_timeout: Option<Duration>,
}

impl Settings {
    /// Reads the variables of this process, and the file that one of them names.
    ///
    /// # Errors
    /// What was said cannot be followed; the message says where that was.
    pub fn from_env() -> Result<Self, SettingsError> {
        Self::from_args(&Args::default())
    }

    /// Reads switches, the variables of this process, and the file that one of them names.
    ///
    /// # Errors
    /// What was said cannot be followed; the message says where that was.
    pub fn from_args(args: &Args) -> Result<Self, SettingsError> {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self::read(args, std::env::vars_os().filter_map(text))
    }

    /// Reads switches, these variables, and the file that one of them names.
    ///
    /// # Errors
    /// What was said cannot be followed; the message says where that was.
    pub fn read(
        args: &Args,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, SettingsError> {
        let (switches, variables) = (args.layer(), Variables::of(variables));
        let named = switches.find(Key::Config);
        let named = named.or_else(|| variables.own.find(Key::Config));
        let file = named.map(File::read).transpose()?;
        let file = file.unwrap_or_default();
        Sources {
            switches,
            variables,
            file,
        }
        .settle()
    }

    /// Whether this process is to consume: unless `consume`, `VOTIVE_CONSUME` or `HUEY_CONSUMER` says no.
    #[must_use]
    pub fn is_consumer(&self) -> bool {
        self.consume.is_none()
    }

    /// Returns what may not be meant as it was said, for people.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

/// All that was said, by rank.
struct Sources {
    switches: Layer,
    variables: Variables,
    file: File,
}

/// The rank of what a consumer of a file says for itself.
const RANK_CONSUMER: usize = 2;

impl Sources {
    /// Returns what outdoes all others, with its rank; `own` is what a consumer says for itself.
    fn ranked<'s>(&'s self, own: Option<&'s Layer>, key: Key) -> Option<(usize, &'s Said)> {
        let layers = [
            Some(&self.switches),
            Some(&self.variables.own),
            own,
            Some(&self.file.top),
            Some(&self.variables.huey),
        ];
        let mut ranked = layers.into_iter().enumerate();
        ranked.find_map(|(rank, layer)| Some((rank, layer?.find(key)?)))
    }

    fn find<'s>(&'s self, own: Option<&'s Layer>, key: Key) -> Option<&'s Said> {
        self.ranked(own, key).map(|(_, said)| said)
    }

    fn settle(self) -> Result<Settings, SettingsError> {
        let url = match self.find(None, Key::Url) {
            Some(said) => address(said)?,
            None => Address {
                url: URL_DEFAULT.to_owned(),
                place: Place::Nowhere,
            },
        };
        let queues = self.queues(&url)?;
        let mut warnings = self.variables.warnings();
        let chosen = self.chosen()?;
        let consumers = chosen
            .into_iter()
            .map(|own| self.consumer(own, &queues, &mut warnings));
        let consumers = consumers.collect::<Result<_, _>>()?;
        Ok(Settings {
            consume: self.refusal()?,
            logfile: self.logfile()?,
            log_level: self.log_level()?,
            url,
            queues,
            consumers,
            warnings,
        })
    }

    /// Returns where it was said that this process does not consume.
    fn refusal(&self) -> Result<Option<Place>, SettingsError> {
        let Some(said) = self.find(None, Key::Consume) else {
            return Ok(None);
        };
        let huey =
            matches!(&said.place, Place::Variable(name) if Some(&**name) == Key::Consume.huey());
        let consumes = if huey {
            said.values
                .iter()
                .all(|it| ["1", "True", "true", "on"].contains(&&**it))
        } else {
            truth(said)?
        };
        Ok((!consumes).then(|| said.place.clone()))
    }

    fn logfile(&self) -> Result<Option<(PathBuf, Place)>, SettingsError> {
        let said = self.find(None, Key::Logfile);
        said.map(|said| Ok((PathBuf::from(said.text()?), said.place.clone())))
            .transpose()
    }

    fn log_level(&self) -> Result<LevelFilter, SettingsError> {
        let said = self.find(None, Key::LogLevel);
        let level = said.map(|said| said.read("error, warning, info, debug, trace or off", level));
        Ok(level.transpose()?.unwrap_or(LevelFilter::INFO))
    }

    fn queues(&self, url: &Address) -> Result<Queues, SettingsError> {
        let mut queues = Queues::default();
        for (name, layer) in &self.file.queues {
            let declared = Declared {
                url: layer
                    .find(Key::Url)
                    .map_or_else(|| Ok(url.clone()), address)?,
                concurrent_limit: layer.find(Key::ConcurrentLimit).map(count).transpose()?,
            };
            queues.declared.insert(name.clone(), declared);
        }
        if let Some(said) = self.find(None, Key::UnknownQueue) {
            queues.first = said.read("`refuse` or `first`", |text| match text {
                "refuse" => Some(false),
                "first" => Some(true),
                _ => None,
            })?;
        }
        Ok(queues)
    }

    /// Returns the consumers that are to run, by what they say for themselves: those of the file, or
    /// those of them that were chosen, or one if there is none.
    fn chosen(&self) -> Result<Vec<Option<&Layer>>, SettingsError> {
        let mut consumers: Vec<_> = self.file.consumers.iter().map(Some).collect();
        if consumers.is_empty() {
            consumers.push(None);
        }
        if let Some(said) = self.find(None, Key::Consumer) {
            consumers = choose(said, &consumers)?;
        }
        let outside = [&self.switches, &self.variables.own];
        let mut of_one = [Key::Name, Key::Queue]
            .iter()
            .filter_map(|key| outside.iter().find_map(|layer| layer.find(*key)));
        if let (Some(said), 2..) = (of_one.next(), consumers.len()) {
            return Err(SettingsError::Ambiguous {
                place: said.place.to_string(),
                key: said.key.name(),
                count: consumers.len(),
            });
        }
        Ok(consumers)
    }

    fn consumer(
        &self,
        own: Option<&Layer>,
        queues: &Queues,
        warnings: &mut Vec<String>,
    ) -> Result<ConsumerSettings, SettingsError> {
        let find = |key| self.find(own, key);
        let retries = |said: &Said| said.read("a number from 0", |text| text.parse().ok());
        Ok(ConsumerSettings {
            name: find(Key::Name).map_or_else(|| Ok(NAME_DEFAULT.to_owned()), Said::text)?,
            lanes: self.lanes(own, queues, warnings)?,
            threads: find(Key::Threads).map(count).transpose()?,
            retry_max_count: find(Key::RetryMaxCount).map(retries).transpose()?,
            no_periodic: find(Key::NoPeriodic).map_or(Ok(false), truth)?,
            timeout: find(Key::Timeout).map(duration).transpose()?,
            stop_timeout: find(Key::StopTimeout).map(duration).transpose()?,
        })
    }

    fn lanes(
        &self,
        own: Option<&Layer>,
        queues: &Queues,
        warnings: &mut Vec<String>,
    ) -> Result<Vec<(String, usize)>, SettingsError> {
        let by_default = Said {
            key: Key::Queue,
            values: vec![QUEUE_DEFAULT.to_owned()],
            place: Place::Nowhere,
        };
        let served = self.ranked(own, Key::Queue);
        let (rank, said) = served.unwrap_or((usize::MAX, &by_default));
        let general = match self.ranked(own, Key::ConcurrentLimit) {
            Some((rank, said)) => Some((rank, count(said)?)),
            None => None,
        };
        let (mut lanes, mut names) = (Vec::new(), BTreeSet::new());
        for written in &said.values {
            let (name, limit) = lane(said, written)?;
            let name = queues.find(&name, &said.place, warnings)?;
            let outdone = general
                .filter(|(general, _)| *general < rank)
                .map(|(_, limit)| limit);
            let limit = outdone.or(limit).or_else(|| queues.limit(&name, general));
            if names.insert(name.clone()) {
                lanes.push((name, limit.unwrap_or(1)));
            }
        }
        Ok(lanes)
    }
}

impl Queues {
    /// Returns the queue that is meant by a name; what is not declared is refused, or else is the first
    /// one that is, with a warning.
    pub(super) fn find(
        &self,
        name: &str,
        place: &Place,
        warnings: &mut Vec<String>,
    ) -> Result<String, SettingsError> {
        if self.declared.is_empty() || self.declared.contains_key(name) {
            return Ok(name.to_owned());
        }
        let known: Vec<&str> = self.declared.keys().map(String::as_str).collect();
        if let (true, Some(first)) = (self.first, known.first()) {
            warnings.push(format!(
                "{place}: there is no queue `{name}`; taken for `{first}`"
            ));
            return Ok((*first).to_owned());
        }
        Err(SettingsError::UnknownQueue {
            place: place.to_string(),
            queue: name.to_owned(),
            advice: advise(name, &known),
        })
    }

    /// Returns the name of the queue that is meant where none is named.
    pub(super) fn usual(&self) -> &str {
        self.declared
            .keys()
            .next()
            .map_or(QUEUE_DEFAULT, String::as_str)
    }

    /// Returns the limit of a queue that was named without one. What was said for one consumer goes
    /// before the queue's own, and that before what was said for all.
    fn limit(&self, name: &str, general: Option<(usize, usize)>) -> Option<usize> {
        let declared = self
            .declared
            .get(name)
            .and_then(|queue| queue.concurrent_limit);
        match (general, declared) {
            (Some((rank, limit)), _) if rank <= RANK_CONSUMER => Some(limit),
            (_, Some(limit)) | (Some((_, limit)), None) => Some(limit),
            (None, None) => None,
        }
    }
}

/// Returns the consumers of these names.
fn choose<'s>(
    said: &Said,
    consumers: &[Option<&'s Layer>],
) -> Result<Vec<Option<&'s Layer>>, SettingsError> {
    let name = |own: Option<&Layer>| match own.and_then(|own| own.find(Key::Name)) {
        Some(said) => said.text(),
        None => Ok(NAME_DEFAULT.to_owned()),
    };
    let names: Vec<String> = consumers
        .iter()
        .copied()
        .map(name)
        .collect::<Result<_, _>>()?;
    let mut chosen = Vec::new();
    for wanted in &said.values {
        let before = chosen.len();
        let found = names
            .iter()
            .zip(consumers)
            .filter(|(name, _)| *name == wanted);
        chosen.extend(found.map(|(_, own)| *own));
        if chosen.len() == before {
            return Err(SettingsError::UnknownConsumer {
                place: said.place.to_string(),
                name: wanted.clone(),
                advice: advise(
                    wanted,
                    &names.iter().map(String::as_str).collect::<Vec<_>>(),
                ),
            });
        }
    }
    Ok(chosen)
}

/// Reads `name` or `name=limit`.
fn lane(said: &Said, written: &str) -> Result<(String, Option<usize>), SettingsError> {
    let invalid = || said.invalid(written, "a queue, or `queue=limit` with a limit from 1");
    let (name, limit) = match written.rsplit_once('=') {
        Some((name, limit)) => (name, Some(positive(limit).ok_or_else(invalid)?)),
        None => (written, None),
    };
    if name.is_empty() {
        return Err(invalid());
    }
    Ok((name.to_owned(), limit))
}

fn address(said: &Said) -> Result<Address, SettingsError> {
    Ok(Address {
        url: said.text()?,
        place: said.place.clone(),
    })
}

fn count(said: &Said) -> Result<usize, SettingsError> {
    said.read(COUNT, positive)
}

fn positive(text: &str) -> Option<usize> {
    text.parse().ok().filter(|count| *count > 0)
}

fn duration(said: &Said) -> Result<Duration, SettingsError> {
    said.read("a duration such as `90s` or `5m`", |text| {
        humantime::parse_duration(text).ok()
    })
}

fn truth(said: &Said) -> Result<bool, SettingsError> {
    said.read("true or false", |text| match &*text.to_lowercase() {
        "1" | "true" | "on" | "yes" => Some(true),
        "0" | "false" | "off" | "no" => Some(false),
        _ => None,
    })
}

/// Reads a level by our names, or by those of Python's `logging`.
fn level(text: &str) -> Option<LevelFilter> {
    match &*text.to_lowercase() {
        "off" => Some(LevelFilter::OFF),
        "error" | "critical" | "fatal" => Some(LevelFilter::ERROR),
        "warn" | "warning" => Some(LevelFilter::WARN),
        "info" => Some(LevelFilter::INFO),
        "debug" => Some(LevelFilter::DEBUG),
        "trace" | "notset" => Some(LevelFilter::TRACE),
        _ => None,
    }
}
