//! Store URLs: `scheme:path` or `scheme://host/path`, with parameters after `?`.
//!
//! This module owns the syntax, and that no password is ever shown; it knows no backend.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use url::Url;

/// How alike two names must be for one to be suggested for the other.
const LIKENESS_MIN: f64 = 0.7;

/// How `file:` is known to the parser: of a scheme by the name `file` it takes every path for absolute.
const FILE_INSIDE: &str = "votive+file:";

/// The address of a store.
///
/// Its `Display` and `Debug` show `***` for a password.
///
/// ```
/// use votive::store::url::StoreUrl;
///
/// let url: StoreUrl = "sqlite:tasks.db?busy_timeout=5s".parse()?;
/// assert_eq!(url.scheme(), "sqlite");
/// assert_eq!(url.file()?.to_str(), Some("tasks.db"));
/// assert_eq!(url.duration("busy_timeout")?.map(|d| d.as_secs()), Some(5));
/// # Ok::<(), votive::store::url::UrlError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct StoreUrl {
    url: Url,
    parameters: BTreeMap<String, String>,
}

/// What is wrong with a URL. Nothing was opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UrlError {
    /// It does not begin with a scheme.
    #[error("it has no scheme: it must begin with a name and `:`")]
    NoScheme,
    /// It is not a URL.
    #[error("it is not a URL")]
    Malformed(#[source] url::ParseError),
    /// It has a part that such a URL does not have.
    #[error("`{url}` has {part}: {advice}")]
    Superfluous {
        /// The URL, without its password.
        url: String,
        /// The part, with its article.
        part: &'static str,
        /// What to write instead.
        advice: String,
    },
    /// It names no file.
    #[error("`{url}` names no file: write `{scheme}:relative/path` or `{scheme}:///absolute/path`")]
    NoFile {
        /// The URL.
        url: String,
        /// Its scheme.
        scheme: String,
    },
    /// Its path is not UTF-8 once its `%` escapes are read.
    #[error("the path of `{0}` is not UTF-8")]
    NotUtf8(String),
    /// A parameter that this kind of store does not know.
    #[error("unknown parameter `{name}`: {advice}")]
    UnknownParameter {
        /// The parameter.
        name: String,
        /// What may have been meant, and what is known.
        advice: String,
    },
    /// A parameter that is there twice.
    #[error("the parameter `{0}` is given twice")]
    RepeatedParameter(String),
    /// A parameter whose value cannot be read.
    #[error("the parameter `{name}` must be {expected}")]
    BadParameter {
        /// The parameter.
        name: String,
        /// What its value must be, with an example.
        expected: &'static str,
    },
}

impl FromStr for StoreUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let inside = text
            .get(..5)
            .filter(|start| start.eq_ignore_ascii_case("file:"));
        let inside = inside.and_then(|start| text.get(start.len()..));
        let inside = inside.map(|rest| format!("{FILE_INSIDE}{rest}"));
        let parsed = Url::parse(inside.as_deref().unwrap_or(text));
        let url = parsed.map_err(|error| match error {
            url::ParseError::RelativeUrlWithoutBase => UrlError::NoScheme,
            error => UrlError::Malformed(error),
        })?;
        let mut parameters = BTreeMap::new();
        for (name, value) in url.query_pairs() {
            let name = name.into_owned();
            if parameters
                .insert(name.clone(), value.into_owned())
                .is_some()
            {
                return Err(UrlError::RepeatedParameter(name));
            }
        }
        let parsed = Self { url, parameters };
        match parsed.url.fragment() {
            None => Ok(parsed),
            Some(_) => Err(parsed.superfluous("a fragment", "write `%23` for `#`".to_owned())),
        }
    }
}

impl StoreUrl {
    /// Returns the scheme, which says which kind of store it is; lower case.
    #[must_use]
    pub fn scheme(&self) -> &str {
        match self.url.scheme() {
            scheme if FILE_INSIDE.strip_suffix(':') == Some(scheme) => "file",
            scheme => scheme,
        }
    }

    /// Lends the parsed URL, password included, for a backend that connects to a server.
    #[must_use]
    pub fn as_url(&self) -> &Url {
        &self.url
    }

    /// Returns the file that the URL names: absolute after `scheme://`, else relative to the current
    /// folder. Escapes such as `%20` are read.
    ///
    /// # Errors
    /// The URL names a host, or no file.
    pub fn file(&self) -> Result<PathBuf, UrlError> {
        self.path().and_then(|path| {
            if path.ends_with('/') {
                return Err(self.no_file());
            }
            Ok(PathBuf::from(path))
        })
    }

    /// Returns the folder that the URL names, as [`file`](Self::file) does a file; it may end with `/`.
    ///
    /// # Errors
    /// The URL names a host, or no folder.
    pub fn folder(&self) -> Result<PathBuf, UrlError> {
        let path = self.path()?;
        match path.trim_end_matches('/') {
            "" => Err(self.no_file()),
            path => Ok(PathBuf::from(path)),
        }
    }

    fn path(&self) -> Result<String, UrlError> {
        let path = percent_decode_str(self.url.path()).decode_utf8();
        let path = path.map_err(|_| UrlError::NotUtf8(self.to_string()))?;
        let host = self.url.host_str().unwrap_or_default();
        if !host.is_empty() || self.url.has_authority() && !self.url.username().is_empty() {
            let scheme = self.scheme();
            let advice = format!(
                "write `{scheme}:{host}{path}` for a relative path, or `{scheme}:///{host}{path}` for \
                 an absolute one"
            );
            return Err(self.superfluous("a host", advice));
        }
        if path.is_empty() {
            return Err(self.no_file());
        }
        Ok(path.into_owned())
    }

    fn no_file(&self) -> UrlError {
        UrlError::NoFile {
            url: self.to_string(),
            scheme: self.scheme().to_owned(),
        }
    }

    /// Refuses a URL that says where: for stores that are in no place.
    ///
    /// # Errors
    /// The URL has a host or a path.
    pub fn nowhere(&self) -> Result<(), UrlError> {
        let is_empty = self.url.host_str().unwrap_or_default().is_empty();
        if is_empty && matches!(self.url.path(), "" | "/") {
            return Ok(());
        }
        let advice = format!("write `{}://`", self.scheme());
        Err(self.superfluous("a name", advice))
    }

    /// Refuses parameters that are not among `known`, suggesting one that is.
    ///
    /// # Errors
    /// [`UrlError::UnknownParameter`].
    pub fn allow(&self, known: &[&str]) -> Result<(), UrlError> {
        let is_unknown = |name: &&String| !known.contains(&name.as_str());
        let Some(name) = self.parameters.keys().find(is_unknown) else {
            return Ok(());
        };
        Err(UrlError::UnknownParameter {
            name: name.clone(),
            advice: advise(name, known),
        })
    }

    /// Reads a parameter; `None` if it is not given. `expected` says what its value must be.
    ///
    /// # Errors
    /// [`UrlError::BadParameter`].
    pub fn parameter<T: FromStr>(
        &self,
        name: &str,
        expected: &'static str,
    ) -> Result<Option<T>, UrlError> {
        let bad = |_| bad_parameter(name, expected);
        let value = self.parameters.get(name);
        value.map(|value| value.parse().map_err(bad)).transpose()
    }

    /// Reads a duration: a whole number with `ms`, `s`, `m` or `h` after it.
    ///
    /// # Errors
    /// [`UrlError::BadParameter`].
    pub fn duration(&self, name: &str) -> Result<Option<Duration>, UrlError> {
        let bad = || bad_parameter(name, "a duration such as `500ms`, `5s` or `2m`");
        let value = self.parameters.get(name);
        value
            .map(|value| duration(value).ok_or_else(bad))
            .transpose()
    }

    fn superfluous(&self, part: &'static str, advice: String) -> UrlError {
        UrlError::Superfluous {
            url: self.to_string(),
            part,
            advice,
        }
    }
}

fn bad_parameter(name: &str, expected: &'static str) -> UrlError {
    UrlError::BadParameter {
        name: name.to_owned(),
        expected,
    }
}

fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(digits)?;
    let number: u64 = number.parse().ok()?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    Some(Duration::from_millis(number.checked_mul(millis)?))
}

/// Says which of the `known` names was probably meant by `name`, and names them all.
pub(crate) fn advise(name: &str, known: &[&str]) -> String {
    let alike = |known: &&str| strsim::jaro_winkler(&name.to_lowercase(), known);
    let best = known.iter().max_by(|a, b| alike(a).total_cmp(&alike(b)));
    let best = best.filter(|best| alike(best) >= LIKENESS_MIN);
    let all = known.iter().map(|known| format!("`{known}`"));
    let all = all.collect::<Vec<_>>().join(", ");
    match best {
        Some(best) => format!("did you mean `{best}`? Known are {all}"),
        None if known.is_empty() => "none is known".to_owned(),
        None => format!("known are {all}"),
    }
}

/// Whether the value of a parameter is nobody's business.
fn is_secret(name: &str) -> bool {
    let name = name.to_lowercase();
    ["pass", "secret", "token"]
        .iter()
        .any(|word| name.contains(word))
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = self.url.clone();
        if shown.password().is_some() && shown.set_password(Some("***")).is_err() {
            return f.write_str("***");
        }
        if self.parameters.keys().any(|name| is_secret(name)) {
            let pairs = self.parameters.iter().map(|(name, value)| {
                let shown = if is_secret(name) { "***" } else { value };
                (name, shown)
            });
            shown.query_pairs_mut().clear().extend_pairs(pairs);
        }
        if let Some(rest) = shown.as_str().strip_prefix(FILE_INSIDE) {
            return write!(f, "file:{rest}");
        }
        shown.fmt(f)
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoreUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> StoreUrl {
        text.parse().unwrap()
    }

    fn file(text: &str) -> Result<String, String> {
        let file = parsed(text).file().map_err(|error| error.to_string())?;
        Ok(file.to_str().unwrap().to_owned())
    }

    #[test]
    fn a_path_is_absolute_after_two_slashes_and_else_relative() {
        assert_eq!(file("sqlite:///var/lib/a.db").unwrap(), "/var/lib/a.db");
        assert_eq!(file("sqlite:/var/lib/a.db").unwrap(), "/var/lib/a.db");
        assert_eq!(file("sqlite:a.db").unwrap(), "a.db");
        assert_eq!(file("sqlite:../up/a.db").unwrap(), "../up/a.db");
    }

    #[test]
    fn a_folder_is_absolute_after_two_slashes_and_else_relative() {
        let folder = |text: &str| parsed(text).folder().unwrap();
        assert_eq!(
            folder("file:///var/lib/queue").to_str(),
            Some("/var/lib/queue")
        );
        assert_eq!(folder("file:queue/").to_str(), Some("queue"));
        assert_eq!(folder("FILE:../up/queue").to_str(), Some("../up/queue"));
        assert_eq!(parsed("file:queue").to_string(), "file:queue");
        assert!(parsed("file:///").folder().is_err());
    }

    #[test]
    fn a_path_may_hold_any_character() {
        assert_eq!(file("sqlite:a%20b%23%3F.db").unwrap(), "a b#?.db");
        assert_eq!(file("sqlite:///tmp/größe ä.db").unwrap(), "/tmp/größe ä.db");
    }

    #[test]
    fn a_host_is_refused_with_the_right_forms() {
        let error = file("sqlite://tmp/x.sqlite").unwrap_err();
        assert_eq!(
            error,
            "`sqlite://tmp/x.sqlite` has a host: write `sqlite:tmp/x.sqlite` for a relative path, \
             or `sqlite:///tmp/x.sqlite` for an absolute one"
        );
    }

    #[test]
    fn a_url_without_a_file_is_refused() {
        for text in ["sqlite:", "sqlite://", "sqlite:///", "sqlite:folder/"] {
            assert!(file(text).unwrap_err().contains("names no file"), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_url_says_why() {
        let error = |text: &str| text.parse::<StoreUrl>().unwrap_err();
        assert_eq!(error("tasks.db"), UrlError::NoScheme);
        assert!(matches!(error("redis://host:port"), UrlError::Malformed(_)));
        assert!(error("sqlite:a#b").to_string().contains("`%23`"));
        let repeated = error("sqlite:a?create=true&create=false");
        assert_eq!(repeated, UrlError::RepeatedParameter("create".to_owned()));
    }

    #[test]
    fn an_unknown_parameter_is_refused_with_a_suggestion() {
        let url = parsed("sqlite:a.db?busytimeout=5s");
        let error = url.allow(&["busy_timeout", "create"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "unknown parameter `busytimeout`: did you mean `busy_timeout`? Known are \
             `busy_timeout`, `create`"
        );
        assert!(url.allow(&["busytimeout"]).is_ok());
    }

    #[test]
    fn parameters_are_read_or_refused() {
        let url = parsed("x:y?a=500ms&b=soon&c=7&d=99999999999999999h");
        assert_eq!(url.duration("a"), Ok(Some(Duration::from_millis(500))));
        assert_eq!(url.parameter("c", "a number"), Ok(Some(7)));
        assert_eq!(url.duration("none"), Ok(None));
        for bad in ["b", "c", "d"] {
            assert!(url.duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_password_is_never_shown() {
        let url = parsed("redis://ann:geheim@host:1/0?passphrase=geheim&db=1");
        let shown = format!("{url} {url:?} {}", url.file().unwrap_err());
        assert!(!shown.contains("geheim"), "{shown}");
        assert!(shown.contains("ann:***@host") && shown.contains("db=1"));
        assert_eq!(url.as_url().password(), Some("geheim"));
    }
}
