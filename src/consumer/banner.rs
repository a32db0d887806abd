//! What a consumer says of itself when it starts.

use std::fmt;
use std::time::Duration;

use super::builder::Settings;
use crate::handler::{KindInfo, Registry};
use crate::id::ConsumerId;
use crate::register::Tier;
use crate::store::Store;

/// A lease shorter than this is lost by a process that merely pauses.
const LEASE_SAFE: Duration = Duration::from_secs(5);

/// What a consumer says of itself when it starts: its settings, its kinds, and the guarantee of its
/// store. Shown by `Display`, a line each.
#[derive(Debug, Clone)]
pub struct Banner {
    id: ConsumerId,
    backend: &'static str,
    tier_max: Tier,
    caveats: Vec<String>,
    kinds: Vec<KindInfo>,
    fallback: bool,
    settings: Settings,
    /// What the consumer keeps of a timetable, an entry each.
    timetable: Vec<String>,
}

impl Banner {
    pub(super) fn new(
        id: &ConsumerId,
        store: &dyn Store,
        registry: &Registry,
        settings: &Settings,
    ) -> Self {
        let capabilities = store.capabilities();
        Self {
            id: id.clone(),
            backend: capabilities.backend,
            tier_max: capabilities.tier_max,
            caveats: capabilities.caveats.clone(),
            kinds: registry.infos().collect(),
            fallback: registry.has_fallback(),
            settings: settings.clone(),
            timetable: Vec::new(),
        }
    }

    /// Adds the entries of the timetable.
    #[cfg(feature = "periodic")]
    pub(super) fn with_timetable(self, entries: impl Iterator<Item = String>) -> Self {
        Self {
            timetable: entries.collect(),
            ..self
        }
    }

    /// Returns what does not fit together, for people; empty if all is well.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let settings = &self.settings;
        let mut warnings = self.caveats.clone();
        if self.kinds.is_empty() && !self.fallback {
            warnings.push("no handler is registered: every task will be given back".to_owned());
        }
        if let Some((what, timeout)) = self.longest_timeout()
            && timeout > settings.stop_timeout
        {
            let stop = settings.stop_timeout;
            warnings.push(format!(
                "{what} may take {timeout:?}, but a stop waits only {stop:?}: it may cut tasks short"
            ));
        }
        if settings.lease < LEASE_SAFE.max(settings.timeout_grace) {
            let (lease, grace) = (settings.lease, settings.timeout_grace);
            warnings.push(format!(
                "a lease of {lease:?} may run out during a short pause, or within the grace of \
                 {grace:?} after a timeout: tasks may run twice"
            ));
        }
        warnings.extend(self.thread_warning());
        warnings
    }

    /// Returns the consumer's name and its queues with their limits, in one line.
    #[must_use]
    pub fn line(&self) -> String {
        let lanes = self.settings.lanes.iter();
        let lanes = lanes.map(|lane| format!("{} ({})", lane.queue, lane.concurrent_limit));
        let lanes: Vec<String> = lanes.collect();
        format!(
            "{} serves {} of {}",
            self.id.name,
            lanes.join(", "),
            self.backend
        )
    }

    fn thread_warning(&self) -> Option<String> {
        let limits = self.settings.lanes.iter().map(|lane| lane.concurrent_limit);
        let (sum, threads) = (limits.sum::<usize>(), self.settings.threads);
        (threads > sum).then(|| {
            format!("{threads} threads for limits that add up to {sum}: the others will idle")
        })
    }

    fn longest_timeout(&self) -> Option<(String, Duration)> {
        let timeout = |info: &KindInfo| Some((format!("the kind `{}`", info.kind), info.timeout?));
        let default = self.settings.timeout;
        let default = default.map(|timeout| ("a task".to_owned(), timeout));
        let timeouts = self.kinds.iter().filter_map(timeout).chain(default);
        timeouts.max_by_key(|(_, timeout)| *timeout)
    }

    /// Writes the banner to the log.
    pub(super) fn announce(&self) {
        tracing::info!("{self}");
        for warning in self.warnings() {
            tracing::warn!(consumer = %self.id, "{warning}");
        }
    }
}

impl fmt::Display for Banner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let settings = &self.settings;
        writeln!(f, "consumer {}", self.id)?;
        writeln!(
            f,
            "  store    {}, up to the {} tier",
            self.backend, self.tier_max
        )?;
        for lane in &settings.lanes {
            writeln!(
                f,
                "  queue    {}, {} at once",
                lane.queue, lane.concurrent_limit
            )?;
        }
        let kinds: Vec<&str> = self.kinds.iter().map(|info| info.kind).collect();
        let others = if self.fallback { " and all others" } else { "" };
        writeln!(f, "  kinds    {}{others}", kinds.join(", "))?;
        for entry in &self.timetable {
            writeln!(f, "  periodic {entry}")?;
        }
        writeln!(f, "  threads  {}", settings.threads)?;
        let timeout = settings
            .timeout
            .map_or("none".to_owned(), |it| format!("{it:?}"));
        writeln!(
            f,
            "  timeout  {timeout}, grace {:?}",
            settings.timeout_grace
        )?;
        writeln!(f, "  lease    {:?}", settings.lease)?;
        writeln!(f, "  stop     within {:?}", settings.stop_timeout)?;
        let (conflicts, deaths) = (settings.retry_max_count, settings.reclaims_max);
        write!(
            f,
            "  limits   {conflicts} conflicts an attempt, {deaths} deaths of consumers a task"
        )
    }
}
