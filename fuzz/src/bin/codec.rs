//! Whatever the bytes on the disk are, decoding them ends in a value or an error; and a value that was
//! decoded survives being written and read again.

use std::process::ExitCode;

use serde::Serialize;
use serde::de::DeserializeOwned;
use votive::codec::{self, CodecError};
use votive::id::TxnId;
use votive::store::Batch;
use votive::task::{Payload, Record};
use votive_fuzz::{Signature, signature};

fn main() -> ExitCode {
    votive_fuzz::run("codec", check)
}

/// The first byte chooses the type.
fn check(input: &[u8]) -> Signature {
    let (&first, bytes) = input.split_first().unwrap_or((&0, &[]));
    let shown = match first % 4 {
        0 => round_trip::<Batch>(bytes),
        1 => round_trip::<Record>(bytes),
        2 => round_trip::<Payload>(bytes),
        _ => round_trip::<Vec<TxnId>>(bytes),
    };
    signature((first % 4, shown))
}

/// Compares bytes and not values, since a `NaN` does not equal itself.
fn round_trip<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> String {
    let value = match codec::decode::<T>(bytes) {
        Ok(value) => value,
        Err(CodecError::Malformed(source)) => return without_digits(&source.to_string()),
        Err(error) => return error.to_string(),
    };
    let written = codec::encode(&value).expect("what was read can be written");
    let read = codec::decode::<T>(&written).expect("what was written can be read");
    assert_eq!(codec::encode(&read).expect("and written again"), written);
    format!("{} bytes", written.len().next_power_of_two())
}

fn without_digits(text: &str) -> String {
    text.chars()
        .filter(|letter| !letter.is_ascii_digit())
        .collect()
}
