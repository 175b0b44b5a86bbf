//! Events of what is read by those who only read, and of what members tried and may not.
//!
//! Reads are stored before the answer is given: what cannot be recorded is not read. A refusal is given
//! whether it can be recorded or not.

use std::net::IpAddr;

use fleet::{EventKind, Outcome, Role};

use crate::access::caller::Caller;
use crate::access::reads::{Answered, Read};
use crate::access::roles::reads_are_recorded;
use crate::context::Context;
use crate::error::Error;
use crate::store::error::StoreError;
use crate::timestamp::Timestamp;

/// Of the words of a refusal, so many characters are recorded.
const WHY_CHARS_MAX: usize = 400;

/// What somebody asks for, and by which filter.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    /// What makes two questions the same.
    key: String,
    /// The key, and times.
    text: String,
    /// It is recorded whoever asks.
    is_of_everyone: bool,
}

// === impl Question ===

impl Question {
    /// `what` is the command that asks so: "host list".
    pub(crate) fn new(what: &str) -> Self {
        Self {
            key: what.to_owned(),
            text: what.to_owned(),
            is_of_everyone: false,
        }
    }

    /// Of what is recorded whoever asks, also of those who could do more than read.
    pub(crate) fn of_everyone(self) -> Self {
        Self {
            is_of_everyone: true,
            ..self
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
    let Question {
        key,
        text,
        is_of_everyone,
    } = question;
    if !is_of_everyone && !reads_are_recorded(caller.role) {
        return Ok(());
    }
    let due = context.reads.note(caller, &key, text, now.ms());
    Ok(record(context, due).await?)
}

/// Records that a person's program began to speak to us, from this address: at once, and then counted.
pub(crate) async fn note_sign_in(
    context: &Context,
    caller: &Caller,
    address: IpAddr,
    now: Timestamp,
) -> Result<(), Error> {
    if caller.role == Role::Host {
        return Ok(());
    }
    let due = context.reads.note_sign_in(caller, address, now.ms());
    Ok(record(context, due).await?)
}

/// Records that a call was refused, whoever tried it. Hosts are not recorded: what policy and locks keep
/// from them is in other events.
pub(crate) async fn note_refused(
    context: &Context,
    caller: &Caller,
    (call, why): (&str, &str),
    now: Timestamp,
) -> Result<(), Error> {
    if caller.role == Role::Host {
        return Ok(());
    }
    let call = spoken(call);
    let why: String = why.chars().take(WHY_CHARS_MAX).collect();
    let what = format!("refused: {call}: {why}");
    // Names that are tried one after the other are one question.
    let due = context.reads.note_refused(caller, &call, what, now.ms());
    Ok(record(context, due).await?)
}

/// A call's name in words: `lock member`.
fn spoken(call: &str) -> String {
    let mut words = String::new();
    for letter in call.chars() {
        if letter.is_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.extend(letter.to_lowercase());
    }
    words
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
            answered,
            source,
        } = read;
        let mut event = match answered {
            Answered::Read => origin.done(EventKind::Read, at_ms),
            Answered::SignedIn => origin.done(EventKind::SignIn, at_ms),
            Answered::Refused => {
                let mut event = origin.done(EventKind::Operator, at_ms);
                event.set_outcome(Outcome::Denied);
                event
            }
        };
        event.user = user;
        event.reason = what;
        event.source = source;
        event.count = count.into();
        context.store.record(event).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::fixture::{Fleet, NOW, after_secs, caller};

    #[tokio::test]
    async fn what_a_member_tries_and_may_not_is_an_event_at_once_and_then_a_number() {
        let fleet = Fleet::new().await;
        let stan = caller(&fleet.join(Role::Operator, "stan").await);
        let host = caller(&fleet.join(Role::Host, "web-1").await);
        let before = fleet.recorded().await.len();

        for (number, name) in ["bob", "carl", "dora"].into_iter().enumerate() {
            let why = format!("an owner says who {name} is");
            let at = after_secs(u64::try_from(number).unwrap());
            let noted = note_refused(&fleet.context, &stan, ("LockMember", &why), at).await;
            noted.unwrap();
        }
        let noted = note_refused(&fleet.context, &host, ("Claim", "no key"), NOW).await;
        noted.unwrap();
        assert_eq!(fleet.recorded().await.len(), before + 1);
        record_due(&fleet.context, after_secs(700), false)
            .await
            .unwrap();

        let recorded = fleet.recorded().await.split_off(before);
        assert_eq!(
            recorded,
            [
                "refused: lock member: an owner says who bob is",
                "refused: lock member: an owner says who dora is"
            ]
        );
        let events = fleet.events().await;
        let last = events.iter().max_by_key(|event| event.seq).unwrap();
        assert_eq!((last.outcome(), last.count), (Outcome::Denied, 2));
        assert_eq!((&*last.actor, &*last.user), ("operator/stan", "stan"));
        assert_eq!(last.kind(), EventKind::Operator);
    }
}
