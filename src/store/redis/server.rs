//! What a server is and what its settings promise, as it says itself.

use redis::{Connection, RedisError, Value};

use super::error::Result;
use crate::store::Kind;

/// The oldest version of Redis that has what the scripts need.
const VERSION_MIN: u32 = 7;

/// What a server says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Server {
    /// The text of its version, such as `7.0.15`.
    pub(super) version: String,
    is_master: bool,
    /// `None` where it does not tell: hosted servers forbid to ask.
    settings: Option<Settings>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Settings {
    append_only: String,
    append_fsync: String,
    max_memory_policy: String,
}

impl Server {
    /// Refuses a server that is too old, before anything is asked of it.
    pub(super) fn refuse_old(&self) -> Result<()> {
        let major = self.version.split('.').next();
        let major = major.and_then(|major| major.parse::<u32>().ok());
        match major {
            Some(major) if major >= VERSION_MIN => Ok(()),
            _ => Err(Kind::Invalid(format!(
                "the server's version is {:?}, but Redis {VERSION_MIN}.0 or later, or Valkey, is needed",
                self.version
            ))
            .into()),
        }
    }

    /// Why this server may lose what it has acknowledged, each reason with the setting to change; empty
    /// if it does not.
    pub(super) fn risks(&self) -> Vec<String> {
        let mut risks = Vec::new();
        if !self.is_master {
            risks.push("the server is a replica: connect to its master".to_owned());
        }
        let Some(settings) = &self.settings else {
            risks.push(
                "the server does not tell its settings (CONFIG GET is forbidden), so it is not known \
                 whether `appendonly` is `yes`, `appendfsync` is `always` and `maxmemory-policy` is \
                 `noeviction`"
                    .to_owned(),
            );
            return risks;
        };
        for (name, is, should_be) in [
            ("appendonly", &settings.append_only, "yes"),
            ("appendfsync", &settings.append_fsync, "always"),
            (
                "maxmemory-policy",
                &settings.max_memory_policy,
                "noeviction",
            ),
        ] {
            if is != should_be {
                risks.push(format!(
                    "the server's `{name}` is `{is}` and must be `{should_be}`"
                ));
            }
        }
        risks
    }
}

/// Asks the server.
pub(super) fn look(connection: &mut Connection) -> std::result::Result<Server, RedisError> {
    let info: String = redis::cmd("INFO").arg("server").query(connection)?;
    let role: String = redis::cmd("INFO").arg("replication").query(connection)?;
    let field = |text: &str, name: &str| {
        let lines = text.lines().filter_map(|line| line.split_once(':'));
        let mut found = lines.filter(|(field, _)| *field == name);
        found.next().map(|(_, value)| value.trim().to_owned())
    };
    let version = field(&info, "valkey_version").or_else(|| field(&info, "redis_version"));
    Ok(Server {
        version: version.unwrap_or_default(),
        is_master: field(&role, "role").as_deref() == Some("master"),
        settings: settings(connection)?,
    })
}

/// Asks for the settings; `None` if the server does not let us.
fn settings(connection: &mut Connection) -> std::result::Result<Option<Settings>, RedisError> {
    let names = ["appendonly", "appendfsync", "maxmemory-policy"];
    let asked: std::result::Result<Value, _> = redis::cmd("CONFIG")
        .arg("GET")
        .arg(&names[..])
        .query(connection);
    let value = match asked {
        Ok(value) => value,
        Err(error) if super::error::breaks_connection(&error) => return Err(error),
        // Not permitted, renamed or unknown: all the same to us.
        Err(_) => return Ok(None),
    };
    let pairs: Vec<(String, String)> = redis::from_redis_value(value)?;
    let mut settings = Settings::default();
    for (name, value) in pairs {
        match name.as_str() {
            "appendonly" => settings.append_only = value,
            "appendfsync" => settings.append_fsync = value,
            "maxmemory-policy" => settings.max_memory_policy = value,
            _ => {}
        }
    }
    Ok(Some(settings))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(settings: Option<[&str; 3]>) -> Server {
        Server {
            version: "7.0.15".to_owned(),
            is_master: true,
            settings: settings.map(|[append_only, append_fsync, max_memory_policy]| Settings {
                append_only: append_only.to_owned(),
                append_fsync: append_fsync.to_owned(),
                max_memory_policy: max_memory_policy.to_owned(),
            }),
        }
    }

    #[test]
    fn each_setting_that_loses_what_was_acknowledged_is_named() {
        for (settings, name) in [
            (["no", "always", "noeviction"], "`appendonly` is `no`"),
            (
                ["yes", "everysec", "noeviction"],
                "`appendfsync` is `everysec`",
            ),
            (
                ["yes", "always", "allkeys-lru"],
                "`maxmemory-policy` is `allkeys-lru`",
            ),
        ] {
            let risks = server(Some(settings)).risks();
            assert!(
                matches!(&risks[..], [risk] if risk.contains(name)),
                "{risks:?}"
            );
        }
        assert!(
            server(Some(["yes", "always", "noeviction"]))
                .risks()
                .is_empty()
        );
    }

    #[test]
    fn settings_that_are_not_told_are_a_risk() {
        assert!(server(None).risks()[0].contains("CONFIG GET is forbidden"));
    }

    #[test]
    fn an_old_server_is_refused_by_its_version() {
        let mut old = server(None);
        "6.2.14".clone_into(&mut old.version);
        let refused = old.refuse_old().unwrap_err().during("open").to_string();
        assert!(
            refused.contains("6.2.14") && refused.contains("7.0"),
            "{refused}"
        );
    }
}
