//! One key's word for the next, and the chain of all keys of a log.
//!
//! The last checkpoint of a key names, in two lines more, itself and the key that signs from then on, and
//! bears the signatures of both. So whoever holds any key of the log finds the way to all others: on,
//! because the key that she holds has signed which one follows; and back, because the one that she holds
//! has signed which one it follows. What a key has signed of more records than it ended with is not
//! believed: it may be in other hands by then, which can be why it was replaced.

use super::checkpoint::{self, Checkpoint, InvalidCheckpoint};
use super::key::{AuditKey, AuditSigner};

/// Keys that one log had before the one of now, at most: one a day for almost three years.
pub const SUCCESSIONS_MAX: usize = 1_000;
/// What begins the line of the key that ends.
const FROM: &str = "key ";
/// What begins the line of the key that follows.
const TO: &str = "next_key ";
/// Lines of a checkpoint, before those two.
const CHECKPOINT_LINES: usize = 4;

/// A key ends, and another one follows.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Succession {
    /// The last one of the key that ends.
    pub checkpoint: Checkpoint,
    /// The key that ends.
    pub from: AuditKey,
    /// The key that signs from then on.
    pub to: AuditKey,
}

/// Why a text is no succession.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidSuccession {
    /// Not a signed checkpoint with the two lines.
    #[error("it is not a signed succession of keys")]
    Form,
    /// It names a key of another log.
    #[error("it is of another log")]
    Origin,
    /// The key that ends has not signed it, or another text.
    #[error("the key that ends has not signed it")]
    From,
    /// The key that follows has not signed it, or another text.
    #[error("the key that follows has not signed it")]
    To,
}

/// Why keys are no chain.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BrokenKeyChain {
    /// One of its notes is none; counted from 1.
    #[error("succession {number} of its keys is not valid: {why}")]
    Note {
        /// Which.
        number: usize,
        /// Why.
        why: InvalidSuccession,
    },
    /// It does not begin with the key with which the one before ended.
    #[error(
        "succession {0} of its keys does not follow from the one before: one is missing, or out of order"
    )]
    Gap(usize),
    /// A key that had ended follows again.
    #[error("succession {0} of its keys names a key that had ended before")]
    Again(usize),
    /// The last one leads to another key than the one that is said to sign.
    #[error("the successions of its keys do not lead to the key that signs it")]
    End,
    /// See [`SUCCESSIONS_MAX`].
    #[error("it has more than {SUCCESSIONS_MAX} successions of keys")]
    TooMany,
}

/// All keys of a log that lead to the one that signs it, in their order; those that came before the first
/// are not known to whoever has it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeyChain {
    successions: Vec<Succession>,
    newest: AuditKey,
}

// === impl Succession ===

impl Succession {
    /// The signed note.
    pub fn sign(last: &Checkpoint, from: &AuditSigner, to: &AuditSigner) -> String {
        let text = last.text(from.name());
        let (old, new) = (from.public(), to.public());
        let text = format!("{text}{FROM}{old}\n{TO}{new}\n");
        checkpoint::note(&text, &[from, to])
    }

    /// Reads a note that both keys verify, which it names itself.
    ///
    /// # Errors
    ///
    /// [`InvalidSuccession`]
    pub fn open(note: &str) -> Result<Self, InvalidSuccession> {
        let (text, signatures) = checkpoint::parts(note).ok_or(InvalidSuccession::Form)?;
        let (origin, checkpoint) = Checkpoint::of_text(&text).ok_or(InvalidSuccession::Form)?;
        let mut lines = text.lines().skip(CHECKPOINT_LINES);
        let from = named(lines.next(), FROM)?;
        let to = named(lines.next(), TO)?;
        if from.name() != origin || to.name() != origin {
            return Err(InvalidSuccession::Origin);
        }
        let signed = |key| checkpoint::verify(&text, signatures, key);
        signed(&from).map_err(|_| InvalidSuccession::From)?;
        signed(&to).map_err(|_| InvalidSuccession::To)?;
        Ok(Self {
            checkpoint,
            from,
            to,
        })
    }
}

/// The key of a line, whose text is exactly as one writes it.
fn named(line: Option<&str>, begin: &str) -> Result<AuditKey, InvalidSuccession> {
    let text = line.and_then(|line| line.strip_prefix(begin));
    let text = text.ok_or(InvalidSuccession::Form)?;
    let key: AuditKey = text.parse().map_err(|_| InvalidSuccession::Form)?;
    (key.to_string() == text)
        .then_some(key)
        .ok_or(InvalidSuccession::Form)
}

// === impl KeyChain ===

impl From<AuditKey> for KeyChain {
    /// A log with one key.
    fn from(newest: AuditKey) -> Self {
        Self {
            successions: Vec::new(),
            newest,
        }
    }
}

impl KeyChain {
    /// The chain that these notes, the oldest first, make to the key that is said to sign.
    ///
    /// # Errors
    ///
    /// [`BrokenKeyChain`], for the first that is wrong.
    pub fn of<'n, I: IntoIterator<Item = &'n str>>(
        newest: AuditKey,
        notes: I,
    ) -> Result<Self, BrokenKeyChain> {
        let mut successions: Vec<Succession> = Vec::new();
        for (note, number) in notes.into_iter().zip(1..) {
            if number > SUCCESSIONS_MAX {
                return Err(BrokenKeyChain::TooMany);
            }
            let next =
                Succession::open(note).map_err(|why| BrokenKeyChain::Note { number, why })?;
            if successions.last().is_some_and(|last| last.to != next.from) {
                return Err(BrokenKeyChain::Gap(number));
            }
            let mut ended = successions.iter().map(|it| &it.from);
            if next.to == next.from || ended.any(|key| *key == next.to) {
                return Err(BrokenKeyChain::Again(number));
            }
            successions.push(next);
        }
        if successions.last().is_some_and(|last| last.to != newest) {
            return Err(BrokenKeyChain::End);
        }
        Ok(Self {
            successions,
            newest,
        })
    }

    /// The key that signs.
    pub fn newest(&self) -> &AuditKey {
        &self.newest
    }

    /// How each key before gave way to the next, the oldest first.
    pub fn successions(&self) -> &[Succession] {
        &self.successions
    }

    /// All keys, the oldest first.
    pub fn keys(&self) -> impl DoubleEndedIterator<Item = &AuditKey> {
        let ended = self.successions.iter().map(|it| &it.from);
        ended.chain([&self.newest])
    }

    /// Whether it leads from or over this key: whoever holds it may believe all others.
    pub fn has(&self, key: &AuditKey) -> bool {
        self.keys().any(|known| known == key)
    }

    /// How many records there were when this key ended; `None` of the one that signs, and of others.
    pub fn end_of(&self, key: &AuditKey) -> Option<u64> {
        let ended = self.successions.iter().find(|it| it.from == *key);
        ended.map(|it| it.checkpoint.size)
    }

    /// Reads a note that one of the keys has signed in its time.
    ///
    /// # Errors
    ///
    /// [`InvalidCheckpoint`]
    pub fn open(&self, note: &str) -> Result<Checkpoint, InvalidCheckpoint> {
        let (key, checkpoint) = self.open_of_any_time(note)?;
        match self.end_of(key) {
            Some(end) if checkpoint.size > end => Err(InvalidCheckpoint::Ended),
            Some(_) | None => Ok(checkpoint),
        }
    }

    /// Reads a note that one of the keys has signed, and says which: also one of a key that had ended, which
    /// proves nothing by itself.
    ///
    /// # Errors
    ///
    /// [`InvalidCheckpoint`]
    pub fn open_of_any_time(
        &self,
        note: &str,
    ) -> Result<(&AuditKey, Checkpoint), InvalidCheckpoint> {
        // The newest first: most are its own, and a succession is signed by two.
        for key in self.keys().rev() {
            match Checkpoint::open(note, key) {
                Ok(checkpoint) => return Ok((key, checkpoint)),
                Err(InvalidCheckpoint::Key) => {}
                Err(other) => return Err(other),
            }
        }
        Err(InvalidCheckpoint::Key)
    }
}

#[cfg(test)]
mod tests;
