//! A signed statement of what the log was at one size.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::key::{AuditKey, AuditSigner};

/// A note that is longer than this is none: bytes.
pub const NOTE_BYTES_MAX: usize = 4_096;
/// What begins the line of the time.
const AT: &str = "at_ms ";
/// What begins a line of a signature.
const SIGNED: &str = "\u{2014} ";

/// What the log was.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Checkpoint {
    /// How many records it had: the number of the newest.
    pub size: u64,
    /// The chain value of that record; 32 zero bytes of an empty log.
    pub root: [u8; 32],
    /// When that was signed, milliseconds since the Unix epoch by the controller's clock.
    pub at_ms: u64,
}

/// Why a text is no checkpoint of this log.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidCheckpoint {
    /// Not a signed note with the lines of a checkpoint.
    #[error("it is not a signed checkpoint")]
    Form,
    /// Of another log.
    #[error("it is a checkpoint of another log")]
    Origin,
    /// Nobody with this key signed it.
    #[error("it is not signed by the key of this log")]
    Key,
    /// Altered after it was signed.
    #[error("its signature is not valid: it was altered")]
    Signature,
    /// Of more records than there were when the key that signed it gave way to another.
    #[error("the key that signed it had ended before")]
    Ended,
}

// === impl Checkpoint ===

impl Checkpoint {
    /// The signed note.
    pub fn sign(&self, signer: &AuditSigner) -> String {
        note(&self.text(signer.name()), &[signer])
    }

    /// Reads a note that `key` verifies. Signatures of others beside it do not matter.
    ///
    /// # Errors
    ///
    /// [`InvalidCheckpoint`]
    pub fn open(note: &str, key: &AuditKey) -> Result<Self, InvalidCheckpoint> {
        let (text, signatures) = parts(note).ok_or(InvalidCheckpoint::Form)?;
        let (origin, checkpoint) = Self::of_text(&text).ok_or(InvalidCheckpoint::Form)?;
        if origin != key.name() {
            return Err(InvalidCheckpoint::Origin);
        }
        verify(&text, signatures, key)?;
        Ok(checkpoint)
    }

    /// What is signed, each line with its end.
    pub(super) fn text(&self, origin: &str) -> String {
        let Self { size, root, at_ms } = self;
        let root = STANDARD.encode(root);
        format!("{origin}\n{size}\n{root}\n{AT}{at_ms}\n")
    }

    /// Origin and what is stated, of exactly what [`text`](Self::text) writes; further lines may
    /// follow.
    pub(super) fn of_text(text: &str) -> Option<(&str, Self)> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        let origin = lines.next()?;
        let size = number(lines.next()?)?;
        let root = STANDARD.decode(lines.next()?).ok()?.try_into().ok()?;
        let at_ms = number(lines.next()?.strip_prefix(AT)?)?;
        let checkpoint = Self { size, root, at_ms };
        (!origin.is_empty()).then_some((origin, checkpoint))
    }
}

/// A text that these have signed, one below the other.
pub(super) fn note(text: &str, signers: &[&AuditSigner]) -> String {
    let lines = signers.iter().map(|signer| {
        let signature = [&signer.public().id()[..], &signer.sign(text.as_bytes())].concat();
        let (name, signature) = (signer.name(), STANDARD.encode(signature));
        format!("{SIGNED}{name} {signature}\n")
    });
    let lines: Vec<String> = lines.collect();
    format!("{text}\n{}", lines.concat())
}

/// What is signed of a note, and the lines of signatures; `None` of what is none.
pub(super) fn parts(note: &str) -> Option<(String, &str)> {
    if note.len() > NOTE_BYTES_MAX {
        return None;
    }
    let (text, signatures) = note.rsplit_once("\n\n")?;
    Some((format!("{text}\n"), signatures))
}

/// Whether `key` has signed the text.
pub(super) fn verify(
    text: &str,
    signatures: &str,
    key: &AuditKey,
) -> Result<(), InvalidCheckpoint> {
    let signature = signatures
        .lines()
        .filter_map(|line| line.strip_prefix(SIGNED)?.split_once(' '))
        .filter(|(name, _)| *name == key.name())
        .filter_map(|(_, signature)| STANDARD.decode(signature).ok())
        .find_map(|signature| {
            let (id, signature) = signature.split_first_chunk::<4>()?;
            let signature: [u8; 64] = signature.try_into().ok()?;
            (*id == key.id()).then_some(signature)
        });
    let signature = signature.ok_or(InvalidCheckpoint::Key)?;
    if key.verifies(text.as_bytes(), &signature) {
        Ok(())
    } else {
        Err(InvalidCheckpoint::Signature)
    }
}

/// A number without a sign, and without zeros before it.
fn number(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (text == number.to_string()).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signer() -> AuditSigner {
        AuditSigner::new("prod", &[7; 32])
    }

    fn checkpoint() -> Checkpoint {
        Checkpoint {
            size: 9_036,
            root: [3; 32],
            at_ms: 1_795_435_730_007,
        }
    }

    #[test]
    fn a_checkpoint_is_read_back_by_whoever_has_the_key_and_by_nobody_else() {
        let note = checkpoint().sign(&signer());

        assert_eq!(
            Checkpoint::open(&note, &signer().public()),
            Ok(checkpoint())
        );
        let others = AuditSigner::new("prod", &[8; 32]).public();
        assert_eq!(
            Checkpoint::open(&note, &others),
            Err(InvalidCheckpoint::Key)
        );
        let another_log = AuditSigner::new("stage", &[7; 32]).public();
        assert_eq!(
            Checkpoint::open(&note, &another_log),
            Err(InvalidCheckpoint::Origin)
        );
    }

    #[test]
    fn no_byte_of_a_checkpoint_can_be_changed() {
        let note = checkpoint().sign(&signer());
        for at in 0..note.len() {
            let mut changed = note.clone().into_bytes();
            changed[at] ^= 1;
            let Ok(changed) = String::from_utf8(changed) else {
                continue;
            };
            // The last newline is no part of what is said.
            let opened = Checkpoint::open(&changed, &signer().public());
            assert!(opened.is_err() || at + 1 == note.len(), "byte {at}");
        }
    }

    #[test]
    fn witnesses_may_sign_beside_and_lines_may_follow_that_are_signed_too() {
        let note = checkpoint().sign(&signer());
        let witnessed = format!("{note}{SIGNED}witness.example AAAAAAAA\n");
        assert_eq!(
            Checkpoint::open(&witnessed, &signer().public()),
            Ok(checkpoint())
        );
        let longer = note.replace("\n\n", "\nlater: yes\n\n");
        assert_eq!(
            Checkpoint::open(&longer, &signer().public()),
            Err(InvalidCheckpoint::Signature)
        );
        for note in ["", "\n\n", "a\n1\n\n", &"x\n".repeat(3_000)] {
            let opened = Checkpoint::open(note, &signer().public());
            assert_eq!(opened, Err(InvalidCheckpoint::Form));
        }
    }
}
