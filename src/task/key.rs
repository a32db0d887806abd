//! Keys: what two producers call the same thing without having spoken about it.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use super::{OnDuplicate, Payload, PayloadError, PayloadLimits, Task, Unique};

/// The longest key, in bytes.
const KEY_MAX: usize = 255;

/// Names a thing that tasks of one kind are about: the same in every process, and unlike the names that
/// other kinds give. As a group it has no two tasks of the kind run on the same thing at the same time.
///
/// What would be longer than 255 bytes is a digest instead.
///
/// ```
/// # use serde::{Deserialize, Serialize};
/// use votive::Task;
/// use votive::task::{Options, kind_key};
///
/// #[derive(Serialize, Deserialize)]
/// struct Verify {
///     worksheet: i64,
/// }
///
/// impl Task for Verify {
///     const KIND: &'static str = "verify";
/// }
///
/// let options = Options {
///     group: Some(kind_key::<Verify>("worksheet/7")),
///     ..Verify::options()
/// };
/// assert_eq!(options.group.as_deref(), Some("6:verify:worksheet/7"));
/// ```
#[must_use]
pub fn kind_key<T: Task>(context: &str) -> String {
    bounded(format!("{}:{}:{context}", T::KIND.len(), T::KIND))
}

impl Unique {
    /// Makes a task the only one of its kind about this thing that waits to be started; a second one
    /// merges into it.
    ///
    /// ```
    /// # use serde::{Deserialize, Serialize};
    /// # use votive::Task;
    /// # #[derive(Serialize, Deserialize)]
    /// # struct Verify;
    /// # impl Task for Verify {
    /// #     const KIND: &'static str = "verify";
    /// # }
    /// use votive::task::Unique;
    ///
    /// let unique = Unique::by_kind_and::<Verify>("worksheet/7");
    /// assert_ne!(unique, Unique::by_kind_and::<Verify>("worksheet/8"));
    /// ```
    #[must_use]
    pub fn by_kind_and<T: Task>(context: &str) -> Self {
        Self::new(kind_key::<T>(context))
    }

    /// Makes a task the only one of its kind with this value that waits to be started; a second one
    /// merges into it. See [`by_payload`](Self::by_payload), of which this is a short form.
    ///
    /// # Errors
    /// The value cannot be encoded.
    pub fn by_arguments<T: Task>(task: &T) -> Result<Self, PayloadError> {
        let payload = Payload::encode(task, PayloadLimits::default())?;
        Ok(Self::by_payload(T::KIND, &payload))
    }

    /// Makes a task the only one of its kind with this payload that waits to be started; a second one
    /// merges into it. The key is the kind, and a digest (SHA-256, FIPS 180-4) of the payload with its version and
    /// format: nobody can make two payloads of one key.
    ///
    /// Equal values must be encoded alike: a `HashMap` is not, a `BTreeMap` is.
    #[must_use]
    pub fn by_payload(kind: &str, payload: &Payload) -> Self {
        let (version, format) = (payload.version.to_be_bytes(), payload.format.name());
        let digest = digest(&[&version, format.as_bytes(), b"/", &payload.bytes]);
        Self::new(bounded(format!("{}:{kind}#{digest}", kind.len())))
    }

    /// In what way a task of this kind is unique of which nothing else is said.
    pub(crate) fn of_kind<T: Task>(payload: &Payload) -> Option<Self> {
        let key = || Self::by_payload(T::KIND, payload).key;
        T::UNIQUE.map(|uniqueness| uniqueness.by(key()))
    }

    /// Has the transaction that enqueues a second task refused.
    #[must_use]
    pub fn or_refuse(mut self) -> Self {
        self.on_duplicate = OnDuplicate::Refuse;
        self
    }
}

/// A key as it is, or a digest of one that is too long. A key begins with a number, a digest with `#`.
fn bounded(key: String) -> String {
    if key.len() <= KEY_MAX {
        return key;
    }
    format!("#{}", digest(&[key.as_bytes()]))
}

fn digest(parts: &[&[u8]]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part);
    }
    let mut text = String::with_capacity(64);
    for byte in hasher.finalize() {
        write!(text, "{byte:02x}").unwrap_or_default(); // a String takes everything
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::task::Format;

    #[derive(Serialize, Deserialize)]
    struct Short(String);

    #[derive(Serialize, Deserialize)]
    struct Longer(String);

    impl Task for Short {
        const KIND: &'static str = "a";
    }

    impl Task for Longer {
        const KIND: &'static str = "a:b";
    }

    fn by_payload(kind: &str, version: u32, bytes: &[u8]) -> String {
        let payload = Payload {
            format: Format::Postcard,
            version,
            bytes: bytes.into(),
        };
        Unique::by_payload(kind, &payload).key
    }

    #[test]
    fn a_key_by_payload_is_the_same_in_every_program() {
        let digest = "eb591492e71bfec6924c33bfd71adb252d8f81e6e56bd3ae73dcff16ec82c1b0";
        assert_eq!(by_payload("mail", 0, b"a"), format!("4:mail#{digest}"));
    }

    #[test]
    fn a_key_by_payload_differs_with_kind_version_and_bytes() {
        let keys = [
            by_payload("mail", 0, b"a"),
            by_payload("fax", 0, b"a"),
            by_payload("mail", 1, b"a"),
            by_payload("mail", 0, b"b"),
            by_payload(&"k".repeat(255), 0, b"a"),
            by_payload(&"l".repeat(255), 0, b"a"),
        ];
        let different: BTreeSet<_> = keys.iter().collect();
        assert_eq!(different.len(), keys.len());
        assert!(keys.iter().all(|key| key.len() <= KEY_MAX));
    }

    fn arguments<T: Task>(task: &T) -> String {
        Unique::by_arguments(task).unwrap().key
    }

    #[test]
    fn kinds_and_things_that_look_alike_together_have_different_keys() {
        assert_ne!(kind_key::<Short>("b:c"), kind_key::<Longer>("c"));
        assert_eq!(kind_key::<Short>("b:c"), "1:a:b:c");
    }

    #[test]
    fn a_key_that_would_be_too_long_is_a_digest_that_tells_things_apart() {
        let long = |last: &str| kind_key::<Short>(&format!("{}{last}", "x".repeat(300)));
        assert_eq!(long("a").len(), 65);
        assert_eq!(long("a"), long("a"));
        assert_ne!(long("a"), long("b"));
    }

    #[test]
    fn equal_arguments_have_one_key_and_others_another() {
        let one = arguments(&Short("x".into()));
        assert_eq!(one, arguments(&Short("x".into())));
        assert_ne!(one, arguments(&Short("y".into())));
        assert_ne!(one, arguments(&Longer("x".into())));
    }

    #[test]
    fn a_digest_is_that_of_the_standard() {
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest(&[b"a", b"bc"]), abc);
    }
}
