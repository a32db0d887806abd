//! Options as a column of a table has them.

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use super::Options;
use crate::codec::{self, CodecError};

/// The usual options as they are encoded, if they can be.
fn usual_bytes() -> Option<&'static [u8]> {
    static BYTES: LazyLock<Option<Vec<u8>>> =
        LazyLock::new(|| codec::encode(&*Options::usual()).ok());
    BYTES.as_deref()
}

/// Encodes options; the usual ones have been already.
pub(crate) fn encoded(options: &Arc<Options>) -> Result<Cow<'static, [u8]>, CodecError> {
    match usual_bytes().filter(|_| options.are_usual()) {
        Some(bytes) => Ok(bytes.into()),
        None => Ok(codec::encode(&**options)?.into()),
    }
}

/// Decodes options; the usual ones are known by their bytes.
pub(crate) fn decoded(bytes: &[u8]) -> Result<Arc<Options>, CodecError> {
    if usual_bytes() == Some(bytes) {
        return Ok(Options::usual());
    }
    codec::decode::<Options>(bytes).map(Options::shared)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_come_back_from_their_bytes_and_usual_ones_shared() {
        let other = Arc::new(Options {
            priority: 3,
            ..Options::default()
        });
        for options in [Options::usual(), other] {
            let bytes = encoded(&options).unwrap();
            assert_eq!(*bytes, *codec::encode(&*options).unwrap());
            assert_eq!(decoded(&bytes).unwrap(), options);
        }
        let bytes = codec::encode(&Options::default()).unwrap();
        assert!(Arc::ptr_eq(&decoded(&bytes).unwrap(), &Options::usual()));
    }
}
