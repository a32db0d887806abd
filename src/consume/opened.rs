//! Settings put to use: stores that are open, and consumers that run.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::error::SettingsError;
use super::said::Place;
use super::settings::{Address, ConsumerSettings, Settings};
use crate::consumer::{Builder, Consumer, Running, Stopped};
use crate::handler::Registry;
#[cfg(all(feature = "macros", feature = "periodic"))]
use crate::handler::periodic_declarations;
use crate::open::Schemes;
#[cfg(all(feature = "macros", feature = "periodic"))]
use crate::queue::Periodic;
use crate::queue::Queue;
use crate::store::Store;
use crate::txn::TransactionManager;

/// The stores that settings name, open. For those who enqueue, and for those who consume.
pub struct Opened {
    settings: Settings,
    /// By URL: queues of one store share it.
    stores: BTreeMap<String, Arc<dyn Store>>,
    manager: TransactionManager,
}

impl Settings {
    /// Opens the stores that the settings name.
    ///
    /// # Errors
    /// A store cannot be opened; those that could be are closed again.
    pub fn open(&self) -> Result<Opened, SettingsError> {
        self.open_with(&Schemes::default())
    }

    /// Opens the stores that the settings name, by these kinds of URLs.
    ///
    /// # Errors
    /// A store cannot be opened; those that could be are closed again.
    pub fn open_with(&self, schemes: &Schemes) -> Result<Opened, SettingsError> {
        let declared = self.queues.declared.values().map(|queue| &queue.url);
        let mut addresses: Vec<&Address> = declared.collect();
        if addresses.is_empty() {
            addresses.push(&self.url);
        }
        let mut stores = BTreeMap::new();
        for address in addresses {
            if !stores.contains_key(&address.url) {
                stores.insert(address.url.clone(), open(schemes, address)?);
            }
        }
        Ok(Opened {
            settings: self.clone(),
            stores,
            manager: TransactionManager::new(),
        })
    }
}

fn open(schemes: &Schemes, address: &Address) -> Result<Arc<dyn Store>, SettingsError> {
    let huey = matches!(&address.place, Place::Variable(name) if name.starts_with("HUEY_"));
    let hint = if huey {
        ": votive does not use what Huey has made; give it a store of its own by VOTIVE_URL"
    } else {
        ""
    };
    schemes
        .open(&address.url)
        .map_err(|source| SettingsError::Store {
            place: address.place.to_string(),
            hint,
            source: source.into(),
        })
}

impl Opened {
    /// Returns a queue to enqueue in. Without a name that is the first declared one in the order of the
    /// alphabet, or `default` if none is declared.
    ///
    /// # Errors
    /// The settings declare queues and this is none of them, unless they say that it is taken for the
    /// first one; or the name makes no sense.
    pub fn queue(&self, name: Option<&str>) -> Result<Queue, SettingsError> {
        let queues = &self.settings.queues;
        let mut warnings = Vec::new();
        let name = name.unwrap_or_else(|| queues.usual());
        let name = queues.find(name, &Place::Nowhere, &mut warnings)?;
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        let store = self.store(&name).ok_or_else(|| self.unknown(&name))?;
        let queue = Queue::new(Arc::clone(store), name);
        queue.map_err(|error| SettingsError::Queue(error.into()))
    }

    /// Returns the manager that all consumers begin their transactions with. Register an application's
    /// databases with it before they start.
    #[must_use]
    pub fn manager(&self) -> &TransactionManager {
        &self.manager
    }

    /// Starts all consumers, none if the settings say that this process is no consumer. `adjust` may
    /// set further what settings cannot say, such as hooks. Periodic tasks that are declared in the program by
    /// `#[votive::periodic]`, and that the registry handles, are in the timetable of the store of their queue.
    ///
    /// # Errors
    /// One did not start; those that did were stopped again.
    pub fn start(
        &self,
        registry: impl Into<Arc<Registry>>,
        adjust: impl Fn(Builder) -> Builder,
    ) -> Result<Consumers, SettingsError> {
        let registry = registry.into();
        let mut consumers = Consumers(Vec::new());
        if self.settings.is_consumer() {
            for settings in &self.settings.consumers {
                let builder = adjust(self.builder(settings, &registry)?);
                let started = builder.start().map_err(|source| SettingsError::Start {
                    consumer: settings.name.clone(),
                    source: source.into(),
                });
                consumers.0.push(started?);
            }
        }
        Ok(consumers)
    }

    fn builder(
        &self,
        settings: &ConsumerSettings,
        registry: &Arc<Registry>,
    ) -> Result<Builder, SettingsError> {
        let mut stores = Vec::new();
        for (queue, _) in &settings.lanes {
            stores.push(self.store(queue).ok_or_else(|| self.unknown(queue))?);
        }
        let several = || SettingsError::SeveralStores {
            consumer: settings.name.clone(),
        };
        let store = stores.first().ok_or_else(several)?;
        if stores.iter().any(|other| !Arc::ptr_eq(other, store)) {
            return Err(several());
        }
        let mut builder = Consumer::builder(Arc::clone(store), Arc::clone(registry))
            .manager(self.manager.clone())
            .name(&*settings.name);
        for (queue, limit) in &settings.lanes {
            builder = builder.queue(&**queue).concurrent_limit(*limit);
        }
        #[cfg(all(feature = "macros", feature = "periodic"))]
        for entry in self.declared(store, registry)? {
            builder = builder.periodic(entry);
        }
        Ok(settings.apply(builder))
    }

    /// Returns the periodic tasks that are declared in the program, that `registry` handles, and whose queue is in
    /// `store`.
    #[cfg(all(feature = "macros", feature = "periodic"))]
    fn declared(
        &self,
        store: &Arc<dyn Store>,
        registry: &Registry,
    ) -> Result<Vec<Periodic>, SettingsError> {
        let mut entries = Vec::new();
        let declarations = periodic_declarations().into_iter();
        for declaration in declarations.filter(|declared| registry.handles(declared.kind)) {
            let entry = declaration.entry();
            let entry = entry.map_err(|source| SettingsError::Periodic(Box::new(source)))?;
            let queue = entry.queue_name();
            let home = self.store(queue).ok_or_else(|| self.unknown(queue))?;
            if Arc::ptr_eq(home, store) {
                entries.push(entry);
            }
        }
        Ok(entries)
    }

    fn store(&self, queue: &str) -> Option<&Arc<dyn Store>> {
        let declared = self.settings.queues.declared.get(queue);
        let address = declared.map_or(&self.settings.url, |queue| &queue.url);
        self.stores.get(&address.url)
    }

    fn unknown(&self, queue: &str) -> SettingsError {
        SettingsError::UnknownQueue {
            place: self.settings.url.place.to_string(),
            queue: queue.to_owned(),
            advice: "it was not declared".to_owned(),
        }
    }
}

impl ConsumerSettings {
    fn apply(&self, mut builder: Builder) -> Builder {
        if let Some(threads) = self.threads {
            builder = builder.threads(threads);
        }
        if let Some(count) = self.retry_max_count {
            builder = builder.retry_max_count(count);
        }
        if let Some(timeout) = self.timeout {
            builder = builder.timeout(timeout);
        }
        if let Some(timeout) = self.stop_timeout {
            builder = builder.stop_timeout(timeout);
        }
        if self.no_periodic {
            builder = without_periodic(builder);
        }
        builder
    }
}

#[cfg(feature = "periodic")]
fn without_periodic(builder: Builder) -> Builder {
    builder.no_periodic()
}

/// Without the feature there are no periodic tasks to leave to others.
#[cfg(not(feature = "periodic"))]
fn without_periodic(builder: Builder) -> Builder {
    builder
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened")
            .field("settings", &self.settings)
            .field("stores", &self.stores.len())
            .finish_non_exhaustive()
    }
}

/// The consumers of a process at work. Dropping them stops them, one after the other.
#[must_use = "dropping them stops the consumers"]
#[derive(Debug)]
pub struct Consumers(Vec<Running>);

impl Consumers {
    /// Returns the consumers.
    pub fn running(&self) -> &[Running] {
        &self.0
    }

    /// Whether each of them is alive, as [`Running::is_alive`] says.
    #[must_use]
    pub fn are_alive(&self) -> bool {
        self.0.iter().all(Running::is_alive)
    }

    /// Stops all of them together, as [`Running::stop`] does.
    ///
    /// # Blocking
    /// For at most the longest stop timeout, and if that passes the longest grace and a few seconds more.
    #[expect(
        clippy::must_use_candidate,
        reason = "most callers have nothing left to do about it"
    )]
    pub fn stop(self) -> Vec<Stopped> {
        self.stop_hurried_by(|| false)
    }

    /// Stops all of them together, as [`Running::stop_hurried_by`] does.
    ///
    /// # Blocking
    /// As [`stop`](Self::stop), but for a few seconds at most once it is hurried.
    pub fn stop_hurried_by(self, hurried: impl Fn() -> bool + Sync) -> Vec<Stopped> {
        Running::stop_together(self.0, &hurried)
    }
}
