//! The fields of a record, in the order in which they are shown.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::record::Record;
use super::time;

/// A field: its name, which is part of the interface, and what a record has there.
#[derive(Clone, Debug, PartialEq)]
pub struct Field<'a> {
    /// In snake case; numbers have their unit last.
    pub name: &'static str,
    /// What is there.
    pub value: Value<'a>,
}

/// What stands in a field.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// Empty for nothing. It may hold what strangers have written.
    Text(Cow<'a, str>),
    /// 0 for nothing.
    Number(u64),
    /// `None` where it is not known.
    Difference(Option<i64>),
    /// Texts in their order.
    List(&'a [String]),
}

// === impl Record ===

impl Record {
    /// Every field, also those without a value: the same names for every record.
    pub fn fields(&self) -> Vec<Field<'_>> {
        let event = &self.event;
        let at = time_of(event.at_ms);
        let fields = [
            ("id", Value::Number(self.id)),
            ("host", text(&self.host)),
            ("epoch", text(&self.epoch)),
            ("seq", Value::Number(event.seq)),
            ("at", Value::Text(at.into())),
            ("at_ms", Value::Number(event.at_ms)),
            ("kind", Value::Text(self.kind_name())),
            ("user", text(&event.user)),
            ("user_identity", text(event.user_identity().as_str())),
            ("key", text(&event.key)),
            ("stanza", text(&event.stanza)),
            ("generation", Value::Number(event.generation)),
            ("source", text(&event.source)),
            ("opened", text(&event.opened)),
            ("also_opened", Value::List(&event.also_opened)),
            ("ports", Value::List(&event.ports)),
            ("forwarded_to", text(&event.forwarded_to)),
            ("until_ms", Value::Number(event.until_ms)),
            ("replay_digest", text(&event.replay_digest)),
            ("grant_id", text(&event.grant_id)),
            ("request_id", text(&event.request_id)),
            ("actor", text(&event.actor)),
            ("clock_offset_ms", Value::Difference(event.clock_offset_ms)),
            ("outcome", text(event.outcome().as_str())),
            ("reason", text(&event.reason)),
            ("count", Value::Number(event.count)),
            ("stored_at_ms", Value::Number(self.stored_at_ms)),
            ("flaw", text(&self.flaw)),
            (
                "chain_version",
                Value::Number(self.chained.chain_version.into()),
            ),
            ("chain", Value::Text(hex(&self.chained.chain).into())),
            ("called_now", text(&self.called_now)),
        ];
        let field = |(name, value)| Field { name, value };
        fields.into_iter().map(field).collect()
    }

    /// The bytes that were chained, in base64: whoever has them can check the chain, and read what
    /// this version cannot.
    pub fn body_base64(&self) -> String {
        STANDARD.encode(&self.chained.body)
    }
}

// === impl Value ===

impl Value<'_> {
    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Text(text) => text.is_empty(),
            Self::Number(number) => *number == 0,
            Self::Difference(difference) => difference.is_none(),
            Self::List(list) => list.is_empty(),
        }
    }

    /// As one text; the texts of a list with `between` them.
    pub fn joined(&self, between: &str) -> Cow<'_, str> {
        match self {
            Self::Text(text) => Cow::Borrowed(text),
            Self::Number(number) => Cow::Owned(number.to_string()),
            Self::Difference(Some(difference)) => Cow::Owned(difference.to_string()),
            Self::Difference(None) => Cow::Borrowed(""),
            Self::List(list) => Cow::Owned(list.join(between)),
        }
    }
}

fn text(text: &str) -> Value<'_> {
    Value::Text(Cow::Borrowed(text))
}

/// A time that RFC 3339 cannot say is shown as its number.
fn time_of(at_ms: u64) -> String {
    time::rfc3339_ms(at_ms).unwrap_or_else(|| at_ms.to_string())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
