//! Events of what is read by those who only read.
//!
//! They are stored before the answer is given: what cannot be recorded is not read.

use fleet::EventKind;

use crate::access::caller::Caller;
use crate::access::reads::Read;
use crate::access::roles::reads_are_recorded;
use crate::context::Context;
use crate::error::Error;
use crate::store::error::StoreError;
use crate::timestamp::Timestamp;

/// What somebody asks for, and by which filter.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    /// What makes two questions the same.
    key: String,
    /// The key, and times.
    text: String,
}

// === impl Question ===

impl Question {
    /// `what` is the command that asks so: "host list".
    pub(crate) fn new(what: &str) -> Self {
        Self {
            key: what.to_owned(),
            text: what.to_owned(),
        }
    }

    /// By this filter; nothing when it is empty.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        if !value.is_empty() {
            let part = format!(" {name}={value}");
            self.key += &part;
            self.text += &part;
        }
        self
    }

    /// From or until then (milliseconds since the Unix epoch); nothing when it is 0. Whoever asks for
    /// the last hour again and again asks the same.
    pub(crate) fn when(mut self, name: &str, at_ms: u64) -> Self {
        if at_ms != 0 {
            self.key += &format!(" {name}");
            self.text += &format!(" {name}={}", Timestamp::from_ms(at_ms));
        }
        self
    }
}

/// Records that a caller reads something, when that is to be recorded of her.
pub(crate) async fn note(
    context: &Context,
    caller: &Caller,
    question: Question,
    now: Timestamp,
) -> Result<(), Error> {
    if !reads_are_recorded(caller.role) {
        return Ok(());
    }
    let Question { key, text } = question;
    let due = context.reads.note(caller, &key, text, now.ms());
    Ok(record(context, due).await?)
}

/// Records what was counted until now: of ten minutes that are over, or of all at the end.
pub(crate) async fn record_due(
    context: &Context,
    now: Timestamp,
    is_end: bool,
) -> Result<(), StoreError> {
    record(context, context.reads.due(now.ms(), is_end)).await
}

async fn record(
    context: &Context,
    reads: impl IntoIterator<Item = Read>,
) -> Result<(), StoreError> {
    for read in reads {
        let Read {
            user,
            origin,
            what,
            at_ms,
            count,
        } = read;
        let mut event = origin.done(EventKind::Read, at_ms);
        event.user = user;
        event.reason = what;
        event.count = count.into();
        context.store.record(event).await?;
    }
    Ok(())
}
