//! Whatever a payload holds, JSON or postcard, decoding it ends in a value or an error, however deeply
//! it is nested; and showing it to people always works.

use std::collections::BTreeMap;
use std::process::ExitCode;

use serde::{Deserialize, Serialize};
use votive::Task;
use votive::task::{Format, Payload, PayloadLimits};
use votive_fuzz::{Signature, signature};

/// A value of any depth.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Tree {
    Leaf,
    Number(i64),
    Text(String),
    Boxed(Box<Tree>),
    Maybe(Option<Box<Tree>>),
    List(Vec<Tree>),
    Map(BTreeMap<String, Tree>),
    Pair { left: Box<Tree>, right: Box<Tree> },
}

impl Task for Tree {
    const KIND: &'static str = "tree";
}

fn main() -> ExitCode {
    votive_fuzz::run("payload", check)
}

/// The first byte chooses the format.
fn check(input: &[u8]) -> Signature {
    let (&first, bytes) = input.split_first().unwrap_or((&0, &[]));
    let mut payload = Payload::from_json("null", 0, PayloadLimits::default()).expect("JSON");
    payload.format = [Format::Postcard, Format::Json, Format::Bytes][usize::from(first % 3)];
    payload.bytes = bytes.into();
    let as_json = payload.to_json().to_string().len();
    let shown = match payload.decode::<Tree>() {
        Ok(tree) => round_trip(&tree),
        Err(error) => error.source.to_string(),
    };
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    let accepted = Payload::from_json(text, 0, PayloadLimits::default()).is_ok();
    signature((first % 3, as_json.next_power_of_two(), shown, accepted))
}

fn round_trip(tree: &Tree) -> String {
    let payload =
        Payload::encode(tree, PayloadLimits::default()).expect("it was within the limits");
    assert_eq!(
        &payload
            .decode::<Tree>()
            .expect("what was written can be read"),
        tree
    );
    format!("{} bytes", payload.bytes.len().next_power_of_two())
}
