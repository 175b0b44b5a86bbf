//! Values on their way to PostgreSQL and back.
//!
//! A column that may hold a number, a text or bytes is a bit string: one byte that says which, and what
//! it is. The order of these is SQLite's: numbers, texts, bytes.

use std::error::Error;
use std::slice::ChunksExact;

use rusqlite::types::{Value, ValueRef};
use tokio_postgres::types::private::BytesMut;
use tokio_postgres::types::{FromSql, IsNull, Kind, ToSql, Type, to_sql_checked};

const NUMBER: u8 = 1;
const TEXT: u8 = 2;
const BYTES: u8 = 3;
/// What stands for the one sign that no text of PostgreSQL may hold.
pub(in crate::store) const NUL: &str = "\u{2400}";

/// A parameter.
#[derive(Debug)]
pub(super) struct Given(pub(super) Value);

/// A parameter of a statement for a set, as it is sent: one column of it, as an array.
#[derive(Debug)]
pub(super) struct Encoded(BytesMut);

/// A column of an answer.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct Taken<'a>(pub(in crate::store) ValueRef<'a>);

/// What a value cannot be.
#[derive(Debug, thiserror::Error)]
#[error("{what} where the database has {column}")]
struct Unfit {
    what: &'static str,
    column: String,
}

impl ToSql for Given {
    fn to_sql(
        &self,
        column: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        one(&self.0, column, out)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

impl Encoded {
    /// A column of these rows.
    pub(super) fn column(
        (rows, column): (ChunksExact<'_, Value>, usize),
        kind: &Type,
    ) -> Result<Self, super::Error> {
        array(rows, column, kind)
            .map(Self)
            .map_err(super::Error::Unfit)
    }
}

impl ToSql for Encoded {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.extend_from_slice(&self.0);
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

fn array(
    rows: ChunksExact<'_, Value>,
    column: usize,
    kind: &Type,
) -> Result<BytesMut, Box<dyn Error + Sync + Send>> {
    let Kind::Array(member) = kind.kind() else {
        return Err(Box::new(Unfit {
            what: "a set",
            column: kind.to_string(),
        }));
    };
    let mut out = BytesMut::new();
    // Dimensions, whether there are nulls, the type, the length of the one dimension, and its first number.
    let length = i32::try_from(rows.len())?;
    for number in [1, 1, member.oid().cast_signed(), length, 1] {
        out.extend_from_slice(&number.to_be_bytes());
    }
    let mut value = BytesMut::new();
    for row in rows {
        value.clear();
        let given = row.get(column).unwrap_or(&Value::Null);
        let bytes = match one(given, member, &mut value)? {
            IsNull::Yes => -1,
            IsNull::No => i32::try_from(value.len())?,
        };
        out.extend_from_slice(&bytes.to_be_bytes());
        out.extend_from_slice(&value);
    }
    Ok(out)
}

/// A value as a parameter of this type is sent.
fn one(
    value: &Value,
    column: &Type,
    out: &mut BytesMut,
) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
    let unfit = |what| {
        let column = column.to_string();
        Err(Box::new(Unfit { what, column }).into())
    };
    if *value == Value::Null {
        return Ok(IsNull::Yes);
    }
    if *column == Type::VARBIT {
        return any(value, out);
    }
    match value {
        Value::Null => Ok(IsNull::Yes),
        Value::Integer(number) if *column == Type::INT8 => number.to_sql(column, out),
        Value::Integer(number) if *column == Type::INT4 => {
            i32::try_from(*number)?.to_sql(column, out)
        }
        Value::Integer(number) if *column == Type::BOOL => (*number != 0).to_sql(column, out),
        Value::Integer(_) => unfit("a number"),
        Value::Text(text) if is_text(column) => {
            if text.contains('\0') {
                return text.replace('\0', NUL).to_sql(&Type::TEXT, out);
            }
            text.to_sql(&Type::TEXT, out)
        }
        Value::Text(_) => unfit("a text"),
        Value::Blob(bytes) if *column == Type::BYTEA => bytes.to_sql(column, out),
        Value::Blob(_) => unfit("bytes"),
        Value::Real(_) => unfit("a fraction"),
    }
}

/// A value with what it is.
fn any(value: &Value, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
    let (what, bytes) = match value {
        Value::Integer(number) => (NUMBER, (number ^ i64::MIN).to_be_bytes().to_vec()),
        Value::Text(text) => (TEXT, text.as_bytes().to_vec()),
        Value::Blob(bytes) => (BYTES, bytes.clone()),
        Value::Null | Value::Real(_) => return Ok(IsNull::Yes),
    };
    let bits = i32::try_from((bytes.len() + 1) * 8)?;
    out.extend_from_slice(&bits.to_be_bytes());
    out.extend_from_slice(&[what]);
    out.extend_from_slice(&bytes);
    Ok(IsNull::No)
}

impl<'a> FromSql<'a> for Taken<'a> {
    fn from_sql(column: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        if *column == Type::VARBIT {
            return taken(raw);
        }
        if is_text(column) {
            return Ok(Self(ValueRef::Text(raw)));
        }
        if *column == Type::BYTEA {
            return Ok(Self(ValueRef::Blob(raw)));
        }
        let number = match *column {
            Type::INT8 => i64::from_sql(column, raw)?,
            Type::INT4 => i32::from_sql(column, raw)?.into(),
            Type::INT2 => i16::from_sql(column, raw)?.into(),
            Type::BOOL => bool::from_sql(column, raw)?.into(),
            _ => {
                let what = "an answer of no type of ours";
                let column = column.to_string();
                return Err(Box::new(Unfit { what, column }));
            }
        };
        Ok(Self(ValueRef::Integer(number)))
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(ValueRef::Null))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

fn taken(raw: &[u8]) -> Result<Taken<'_>, Box<dyn Error + Sync + Send>> {
    let unfit = || Unfit {
        what: "what nobody wrote",
        column: Type::VARBIT.to_string(),
    };
    // Before it stands how many bits it has.
    let (what, value) = raw
        .get(4..)
        .and_then(<[u8]>::split_first)
        .ok_or_else(unfit)?;
    let value = match *what {
        NUMBER => {
            let number = i64::from_be_bytes(value.try_into()?) ^ i64::MIN;
            ValueRef::Integer(number)
        }
        TEXT => ValueRef::Text(value),
        BYTES => ValueRef::Blob(value),
        _ => return Err(Box::new(unfit())),
    };
    Ok(Taken(value))
}

fn is_text(column: &Type) -> bool {
    *column == Type::TEXT || *column == Type::VARCHAR || *column == Type::NAME
}
