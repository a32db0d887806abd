//! What scripts answer: the server's time, then `Ok` and a result, or the name of what refused. Where the time was
//! not wanted it may be nothing, and where there is nothing else to tell the answer a bare number.

use redis::Value;

use super::error::{Fault, Result};
use crate::id::{Incarnation, TaskId};
use crate::store::Kind;
use crate::task::State;
use crate::time::Timestamp;

/// Reads an answer: when it was given, if it says so, and what it is.
pub(super) fn read(value: Value) -> Result<(Option<Timestamp>, Result<Value>)> {
    let parts = match value {
        Value::Array(parts) => parts,
        Value::Int(_) => return Ok((None, Ok(value))),
        value => return Err(Fault::unexpected(&value)),
    };
    let mut parts = parts.into_iter();
    let (Some(at), Some(word)) = (parts.next(), parts.next()) else {
        return Err(Fault::corrupt("a script answered too little"));
    };
    let at = match bytes(&at)? {
        [] => None,
        _ => Some(Timestamp::from_micros(number(&at)?)),
    };
    let word = text(&word)?;
    let result = if word == "Ok" {
        Ok(parts.next().unwrap_or(Value::Nil))
    } else {
        let words = parts.map(|part| text(&part)).collect::<Result<Vec<_>>>()?;
        let kind = refusal(&word, &words);
        Err(kind
            .unwrap_or_else(|| Fault::corrupt(format!("a script refused with {word} {words:?}"))))
    };
    Ok((at, result))
}

/// The kind of a refusal; `None` if the words make none.
fn refusal(word: &str, words: &[String]) -> Option<Fault> {
    let first = words.first();
    let task = || first?.parse::<TaskId>().ok();
    let kind = match word {
        "ClaimLost" => Kind::ClaimLost(task()?),
        "Pinned" => Kind::Pinned(task()?),
        "TaskExists" => Kind::TaskExists(task()?),
        "StateChanged" => Kind::StateChanged {
            task: task()?,
            found: match words.get(1)?.as_str() {
                "missing" => "missing",
                name => State::from_name(name)?.name(),
            },
        },
        "NotUnique" => Kind::NotUnique {
            key: first?.clone(),
            holder: words.get(1)?.parse().ok()?,
        },
        "QueueFull" => Kind::QueueFull {
            queue: first?.clone(),
            pending_max: words.get(1)?.parse().ok()?,
        },
        "MarkChanged" => Kind::MarkChanged(first?.clone()),
        "Decided" => Kind::Decided(first?.parse().ok()?),
        "StagedOtherwise" => Kind::StagedOtherwise(first?.parse().ok()?),
        "IncarnationGone" => Kind::IncarnationGone(first?.parse::<Incarnation>().ok()?),
        "Conflict" => Kind::Conflict,
        "Enrolled" => Kind::Invalid("the incarnation is enrolled already".to_owned()),
        "Foreign" => Kind::Foreign(format!("the key `{}` is a {}", first?, words.get(1)?)),
        _ => return None,
    };
    Some(kind.into())
}

pub(super) fn list(value: Value) -> Result<Vec<Value>> {
    match value {
        Value::Array(values) => Ok(values),
        value => Err(Fault::unexpected(&value)),
    }
}

pub(super) fn bytes(value: &Value) -> Result<&[u8]> {
    match value {
        Value::BulkString(bytes) => Ok(bytes),
        Value::SimpleString(text) => Ok(text.as_bytes()),
        value => Err(Fault::unexpected(value)),
    }
}

pub(super) fn text(value: &Value) -> Result<String> {
    let text = std::str::from_utf8(bytes(value)?);
    text.map(str::to_owned)
        .map_err(|_| Fault::unexpected(value))
}

pub(super) fn texts(value: Value) -> Result<Vec<String>> {
    list(value)?.iter().map(text).collect()
}

pub(super) fn parsed<T: std::str::FromStr>(value: &Value) -> Result<T> {
    let parsed = text(value)?.parse();
    parsed.map_err(|_| Fault::unexpected(value))
}

pub(super) fn number(value: &Value) -> Result<i64> {
    match value {
        Value::Int(number) => Ok(*number),
        value => parsed(value),
    }
}
