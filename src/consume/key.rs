//! The settings: their one table. What they are called in a file, as a switch and as a variable follows
//! from it.

/// One thing that can be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Config,
    Consumer,
    Consume,
    Url,
    UnknownQueue,
    Logfile,
    LogLevel,
    Name,
    Queue,
    Threads,
    ConcurrentLimit,
    RetryMaxCount,
    NoPeriodic,
    Timeout,
    StopTimeout,
}

impl Key {
    pub(super) const ALL: [Self; 15] = [
        Self::Config,
        Self::Consumer,
        Self::Consume,
        Self::Url,
        Self::UnknownQueue,
        Self::Logfile,
        Self::LogLevel,
        Self::Name,
        Self::Queue,
        Self::Threads,
        Self::ConcurrentLimit,
        Self::RetryMaxCount,
        Self::NoPeriodic,
        Self::Timeout,
        Self::StopTimeout,
    ];

    /// What can be set of each queue of a file.
    pub(super) const OF_QUEUES: [Self; 2] = [Self::Url, Self::ConcurrentLimit];

    /// Returns its name in a file.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Consumer => "consumer",
            Self::Consume => "consume",
            Self::Url => "url",
            Self::UnknownQueue => "unknown_queue",
            Self::Logfile => "logfile",
            Self::LogLevel => "log_level",
            Self::Name => "name",
            Self::Queue => "queue",
            Self::Threads => "threads",
            Self::ConcurrentLimit => "concurrent_limit",
            Self::RetryMaxCount => "retry_max_count",
            Self::NoPeriodic => "no_periodic",
            Self::Timeout => "timeout",
            Self::StopTimeout => "stop_timeout",
        }
    }

    /// Returns its switch.
    pub(super) fn switch(self) -> String {
        format!("--{}", self.name().replace('_', "-"))
    }

    /// Returns its variable.
    pub(super) fn variable(self) -> String {
        format!("{}{}", super::variables::PREFIX, self.name().to_uppercase())
    }

    /// Returns the variable of Huey that stands in for it.
    pub(super) fn huey(self) -> Option<&'static str> {
        match self {
            Self::Consume => Some("HUEY_CONSUMER"),
            Self::Url => Some("HUEY_TASKQUEUE_URL"),
            Self::LogLevel => Some("HUEY_LOG_LEVEL"),
            Self::Threads => Some("HUEY_WORKERS"),
            _ => None,
        }
    }

    /// Whether a file may set it for the whole process.
    pub(super) fn is_in_files(self) -> bool {
        !matches!(self, Self::Config | Self::Consumer)
    }

    /// Whether each consumer has its own.
    pub(super) fn is_of_consumers(self) -> bool {
        self >= Self::Name
    }

    /// Whether it has several values, which a variable parts by commas.
    pub(super) fn is_list(self) -> bool {
        matches!(self, Self::Consumer | Self::Queue)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_switch_and_a_variable_are_called_as_in_a_file() {
        assert_eq!(Key::RetryMaxCount.switch(), "--retry-max-count");
        assert_eq!(Key::RetryMaxCount.variable(), "VOTIVE_RETRY_MAX_COUNT");
    }
}
