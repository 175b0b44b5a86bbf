//! One object a line, with every field of a record.

use serde::ser::{Serialize, SerializeMap as _, Serializer};

use super::fields::Value;
use super::printable::printable_json;
use super::record::Record;

/// Writes a record as one JSON object on one line, without the line's end.
///
/// Besides the fields there is `body`, in base64: with `seq`, `chain_version` and `chain` it is all
/// that is needed to check a host's chain.
pub fn line(record: &Record) -> String {
    let line = serde_json::to_string(record).expect("texts and numbers can be written as JSON");
    printable_json(&line)
}

// === impl Record ===

impl Serialize for Record {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for field in self.fields() {
            map.serialize_entry(field.name, &field.value)?;
        }
        map.serialize_entry("body", &self.body_base64())?;
        map.end()
    }
}

// === impl Value ===

impl Serialize for Value<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => text.serialize(serializer),
            Self::Number(number) => number.serialize(serializer),
            Self::Difference(difference) => difference.serialize(serializer),
            Self::List(list) => list.serialize(serializer),
        }
    }
}
