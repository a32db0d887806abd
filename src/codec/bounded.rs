//! Bare values of the application's own types, which nobody here can trust to be small or flat.

use std::cell::Cell;
use std::io;
use std::sync::Arc;

use postcard::ser_flavors::Flavor;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::CodecError;
use super::depth::{Depth, Limited, read};

/// Encodes a value as postcard without a version byte, in at most `size_max` bytes.
///
/// Never holds more than `size_max` bytes, however large the value is.
///
/// # Errors
/// [`CodecError::TooLarge`], [`CodecError::TooDeep`], or [`CodecError::Malformed`] if the value
/// refuses to be serialized.
pub fn to_postcard<T: Serialize + ?Sized>(
    value: &T,
    size_max: usize,
    depth_max: usize,
) -> Result<Arc<[u8]>, CodecError> {
    let bounded = within(depth_max, |depth| {
        let value = Limited::new(value, depth);
        postcard::serialize_with_flavor(&value, Bounded::new(size_max))
    })?;
    bounded.checked()
}

/// Encodes a value as JSON, in at most `size_max` bytes.
///
/// Never holds more than `size_max` bytes, however large the value is.
///
/// # Errors
/// As [`to_postcard`].
pub fn to_json<T: Serialize + ?Sized>(
    value: &T,
    size_max: usize,
    depth_max: usize,
) -> Result<Arc<[u8]>, CodecError> {
    let mut bounded = Bounded::new(size_max);
    within(depth_max, |depth| {
        let value = Limited::new(value, depth);
        serde_json::to_writer(&mut bounded, &value)
    })?;
    bounded.checked()
}

/// Decodes what [`to_postcard`] gave.
///
/// # Errors
/// [`CodecError::TooDeep`] or [`CodecError::Malformed`], also when bytes are left over.
pub fn from_postcard<T: DeserializeOwned>(bytes: &[u8], depth_max: usize) -> Result<T, CodecError> {
    let (value, rest) = within(depth_max, |depth| {
        let mut from = postcard::Deserializer::from_bytes(bytes);
        let value = read(&mut from, depth)?;
        from.finalize().map(|rest| (value, rest.len()))
    })?;
    match rest {
        0 => Ok(value),
        _ => Err(CodecError::Malformed(
            format!("{rest} bytes too many").into(),
        )),
    }
}

/// Decodes one JSON text.
///
/// # Errors
/// [`CodecError::TooDeep`] or [`CodecError::Malformed`], also when text is left over.
pub fn from_json<T: DeserializeOwned>(text: &[u8], depth_max: usize) -> Result<T, CodecError> {
    within(depth_max, |depth| {
        let mut from = serde_json::Deserializer::from_slice(text);
        let value = read(&mut from, depth)?;
        from.end().map(|()| value)
    })
}

/// Runs `f` with a limit, and tells its error apart from the limit's.
fn within<T, E: Into<Box<dyn std::error::Error + Send + Sync>>>(
    max: usize,
    f: impl FnOnce(Depth<'_>) -> Result<T, E>,
) -> Result<T, CodecError> {
    let exceeded = Cell::new(false);
    f(Depth::new(max, &exceeded)).map_err(|error| {
        if exceeded.get() {
            CodecError::TooDeep { max }
        } else {
            CodecError::Malformed(error.into())
        }
    })
}

/// Room for the usual payload, so that it needs no memory but its own.
const SIZE_USUAL: usize = 128;

/// Keeps at most `max` bytes, or what is usual, and counts the others, so that an error can say how
/// many there were.
struct Bounded {
    usual: [u8; SIZE_USUAL],
    /// All bytes, once they are more than usual.
    large: Vec<u8>,
    size: usize,
    max: usize,
}

impl Bounded {
    fn new(max: usize) -> Self {
        Self {
            usual: [0; SIZE_USUAL],
            large: Vec::new(),
            size: 0,
            max,
        }
    }

    /// Returns all bytes, unless they are too many.
    fn checked(&self) -> Result<Arc<[u8]>, CodecError> {
        let (size, max) = (self.size, self.max);
        if size > max {
            return Err(CodecError::TooLarge { size, max });
        }
        Ok(self.kept().into())
    }

    fn kept(&self) -> &[u8] {
        self.usual.get(..self.size).unwrap_or(&self.large)
    }

    fn extend_large(&mut self, bytes: &[u8]) {
        if self.size.saturating_add(bytes.len()) <= self.max {
            if self.large.is_empty() {
                self.large
                    .extend_from_slice(self.usual.get(..self.size).unwrap_or_default());
            }
            self.large.extend_from_slice(bytes);
        }
    }
}

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.try_extend(bytes).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Flavor for Bounded {
    type Output = Self;

    #[inline]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        match self.usual.get_mut(self.size) {
            Some(place) => *place = byte,
            None => self.extend_large(&[byte]),
        }
        self.size = self.size.saturating_add(1);
        Ok(())
    }

    #[inline]
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        let end = self.size.saturating_add(bytes.len());
        match self.usual.get_mut(self.size..end) {
            Some(places) => places.copy_from_slice(bytes),
            None => self.extend_large(bytes),
        }
        self.size = end;
        Ok(())
    }

    fn finalize(self) -> postcard::Result<Self> {
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    enum Tree {
        Leaf,
        Number(i64),
        Pair(Box<Tree>, Box<Tree>),
        Named {
            name: String,
            child: Option<Box<Tree>>,
        },
        Many(Vec<Tree>),
    }

    fn tree() -> impl Strategy<Value = Tree> {
        let leaf = prop_oneof![Just(Tree::Leaf), any::<i64>().prop_map(Tree::Number)];
        leaf.prop_recursive(6, 64, 4, |inner| {
            let boxed = inner.clone().prop_map(Box::new);
            prop_oneof![
                (boxed.clone(), boxed.clone()).prop_map(|(a, b)| Tree::Pair(a, b)),
                ("[a-z]{0,3}", proptest::option::of(boxed))
                    .prop_map(|(name, child)| Tree::Named { name, child }),
                proptest::collection::vec(inner, 0..4).prop_map(Tree::Many),
            ]
        })
    }

    fn is_too_deep(error: &CodecError) -> bool {
        matches!(error, CodecError::TooDeep { .. })
    }

    fn chain(length: usize) -> Tree {
        (1..length).fold(Tree::Many(Vec::new()), |tree, _| {
            Tree::Pair(Box::new(tree), Box::new(Tree::Leaf))
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_within_the_same_depth(tree in tree(), depth in 0_usize..20) {
            match to_postcard(&tree, usize::MAX, depth) {
                Ok(bytes) => prop_assert_eq!(from_postcard::<Tree>(&bytes, depth).unwrap(), tree),
                Err(error) => {
                    prop_assert!(is_too_deep(&error));
                    let bytes = to_postcard(&tree, usize::MAX, 99).unwrap();
                    let read = from_postcard::<Tree>(&bytes, depth);
                    prop_assert!(is_too_deep(&read.unwrap_err()));
                }
            }
        }

        #[test]
        fn json_is_read_within_the_same_depth(tree in tree(), depth in 0_usize..20) {
            let text = serde_json::to_vec(&tree).unwrap();
            let fits = to_postcard(&tree, usize::MAX, depth).is_ok();
            match from_json::<Tree>(&text, depth) {
                Ok(read) => prop_assert!(fits && read == tree),
                Err(error) => prop_assert!(!fits && is_too_deep(&error)),
            }
        }

        #[test]
        fn any_bytes_are_a_value_or_an_error(bytes: Vec<u8>) {
            if let Ok(tree) = from_postcard::<Tree>(&bytes, 8) {
                prop_assert!(to_postcard(&tree, usize::MAX, 8).is_ok());
            }
        }
    }

    #[test]
    fn the_limit_counts_levels() {
        assert!(to_postcard(&chain(64), usize::MAX, 65).is_ok());
        let error = to_postcard(&chain(64), usize::MAX, 64).unwrap_err();
        assert!(matches!(error, CodecError::TooDeep { max: 64 }), "{error}");
    }

    #[test]
    fn a_nesting_that_would_overflow_the_stack_is_an_error() {
        let bytes = vec![2; 4 << 20];
        let error = from_postcard::<Tree>(&bytes, 64).unwrap_err();
        assert!(is_too_deep(&error), "{error}");
        let text = "[".repeat(4 << 20);
        let error = from_json::<serde_json::Value>(text.as_bytes(), 64).unwrap_err();
        assert!(is_too_deep(&error), "{error}");
    }

    #[test]
    fn a_value_too_large_says_how_large_it_is() {
        let error = to_postcard(&vec![7_u8; 1_000], 100, 8).unwrap_err();
        assert!(
            matches!(
                error,
                CodecError::TooLarge {
                    size: 1_002,
                    max: 100
                }
            ),
            "{error}"
        );
    }

    #[test]
    fn bytes_left_over_are_an_error() {
        assert!(from_postcard::<u8>(&[1, 2], 8).is_err());
        assert!(from_json::<u8>(b"1 2", 8).is_err());
    }
}
