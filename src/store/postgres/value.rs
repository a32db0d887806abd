//! Values of statements, in the few types that the tables know.

use std::error::Error;
use std::sync::Arc;

use tokio_postgres::types::private::BytesMut;
use tokio_postgres::types::{Format, IsNull, ToSql, Type};

use crate::id::{Incarnation, ResourceId, TaskId, TxnId};
use crate::store::render;
use crate::time::Timestamp;

/// A parameter of a statement. Its type never depends on its content, so that a statement that was
/// prepared once fits ever after.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Integer(Option<i64>),
    Text(Option<String>),
    Bytes(Option<Vec<u8>>),
    /// An id.
    Id([u8; 16]),
    Integers(Vec<Option<i64>>),
    Texts(Vec<Option<String>>),
    Blobs(Vec<Option<Arc<[u8]>>>),
    Ids(Vec<[u8; 16]>),
}

impl Value {
    /// The type that the server is told.
    pub(crate) fn sql_type(&self) -> Type {
        match self {
            Self::Integer(_) => Type::INT8,
            Self::Text(_) => Type::TEXT,
            Self::Bytes(_) | Self::Id(_) => Type::BYTEA,
            Self::Integers(_) => Type::INT8_ARRAY,
            Self::Texts(_) => Type::TEXT_ARRAY,
            Self::Blobs(_) | Self::Ids(_) => Type::BYTEA_ARRAY,
        }
    }

    /// A number of rows, as far as Postgres can count.
    pub(super) fn count(count: usize) -> Self {
        Self::Integer(Some(i64::try_from(count).unwrap_or(i64::MAX)))
    }
}

type Written = Result<IsNull, Box<dyn Error + Sync + Send>>;

impl ToSql for Value {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Written {
        match self {
            Self::Integer(value) => value.to_sql(&Type::INT8, out),
            Self::Text(value) => value.to_sql(&Type::TEXT, out),
            Self::Bytes(value) => value.to_sql(&Type::BYTEA, out),
            Self::Id(value) => (&value[..]).to_sql(&Type::BYTEA, out),
            Self::Integers(values) => values.to_sql(&Type::INT8_ARRAY, out),
            Self::Texts(values) => values.to_sql(&Type::TEXT_ARRAY, out),
            Self::Blobs(values) => {
                let values: Vec<_> = values.iter().map(Option::as_deref).collect();
                values.to_sql(&Type::BYTEA_ARRAY, out)
            }
            Self::Ids(values) => {
                let values: Vec<_> = values.iter().map(|id| &id[..]).collect();
                values.to_sql(&Type::BYTEA_ARRAY, out)
            }
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn to_sql_checked(&self, ty: &Type, out: &mut BytesMut) -> Written {
        let known = self.sql_type();
        if known == *ty {
            return self.to_sql(ty, out);
        }
        Err(format!("a statement wants {ty} where it is given {known}").into())
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Binary
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Integer(Some(value))
    }
}

impl From<Option<i64>> for Value {
    fn from(value: Option<i64>) -> Self {
        Self::Integer(value)
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Self::Integer(Some(value.into()))
    }
}

impl From<Timestamp> for Value {
    fn from(at: Timestamp) -> Self {
        Self::Integer(Some(at.as_micros()))
    }
}

impl From<Option<Timestamp>> for Value {
    fn from(at: Option<Timestamp>) -> Self {
        Self::Integer(at.map(Timestamp::as_micros))
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(Some(text.to_owned()))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(Some(text))
    }
}

impl From<Option<String>> for Value {
    fn from(text: Option<String>) -> Self {
        Self::Text(text)
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(Some(bytes))
    }
}

impl From<Option<Vec<u8>>> for Value {
    fn from(bytes: Option<Vec<u8>>) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<TaskId> for Value {
    fn from(id: TaskId) -> Self {
        Self::Id(id.to_bytes())
    }
}

impl From<TxnId> for Value {
    fn from(id: TxnId) -> Self {
        Self::Id(id.to_bytes())
    }
}

impl From<ResourceId> for Value {
    fn from(id: ResourceId) -> Self {
        Self::Id(id.to_bytes())
    }
}

/// The 64 bits, read as a signed number.
impl From<Incarnation> for Value {
    fn from(incarnation: Incarnation) -> Self {
        Self::Integer(Some(incarnation.to_u64().cast_signed()))
    }
}

impl From<render::Value> for Value {
    fn from(value: render::Value) -> Self {
        match value {
            render::Value::Integer(value) => Self::Integer(value),
            render::Value::Text(value) => Self::Text(value),
            render::Value::Bytes(value) => Self::Bytes(value),
        }
    }
}
