//! A policy as the controller sends it, packed or not at all, and the whole that it stands for.
//!
//! What comes out is judged like any snapshot: by its digest first. Whatever is in doubt is not
//! guessed at: the controller is asked for the whole.

use fleet::packing;
use fleet::wire::{PolicyKept, PolicySnapshot};
use sha2::{Digest as _, Sha256};

use crate::policies::PolicyText;

/// What the controller says of this host's policy.
#[derive(Debug)]
pub(super) enum Sent {
    Snapshot(PolicySnapshot),
    Kept(PolicyKept),
}

/// It is built on a text that this host does not have.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct InDoubt;

// === impl Sent ===

impl Sent {
    /// Whether the text that is saved here is part of it.
    pub(super) fn needs_saved(&self) -> bool {
        match self {
            Self::Snapshot(snapshot) => !snapshot.packed_from.is_empty(),
            Self::Kept(_) => true,
        }
    }

    /// The generation and the number of the replay list that it names.
    pub(super) fn numbers(&self) -> (u64, u64) {
        match self {
            Self::Snapshot(snapshot) => (snapshot.generation, snapshot.claim_epoch),
            Self::Kept(kept) => (kept.generation, kept.claim_epoch),
        }
    }

    /// The whole snapshot. `saved` is the text that was adopted last.
    pub(super) fn whole(self, saved: Option<PolicyText>) -> Result<PolicySnapshot, InDoubt> {
        match self {
            Self::Snapshot(snapshot) if snapshot.packed.is_empty() => Ok(snapshot),
            Self::Snapshot(snapshot) if snapshot.packed_from.is_empty() => Ok(unpacked(snapshot)),
            Self::Snapshot(snapshot) => differing(snapshot, saved),
            Self::Kept(kept) => kept_text(kept, saved),
        }
    }
}

/// What stands alone. Where it does not unpack, there is no text that has the digest, and it is
/// rejected with that.
fn unpacked(mut snapshot: PolicySnapshot) -> PolicySnapshot {
    let packed = std::mem::take(&mut snapshot.packed);
    match packing::unpack(&packed, None, snapshot.text_bytes) {
        Ok(text) => snapshot.text = text,
        Err(error) => tracing::error!(%error, "the policy is packed wrongly"),
    }
    snapshot
}

fn differing(
    mut snapshot: PolicySnapshot,
    saved: Option<PolicyText>,
) -> Result<PolicySnapshot, InDoubt> {
    let base = saved.filter(|saved| snapshot.packed_from == saved.version.digest);
    let base = base.ok_or(InDoubt)?.text;
    let packed = std::mem::take(&mut snapshot.packed);
    let text = packing::unpack(&packed, Some(&base), snapshot.text_bytes).map_err(|_| InDoubt)?;
    if *Sha256::digest(&text) != *snapshot.digest {
        return Err(InDoubt);
    }
    Ok(PolicySnapshot { text, ..snapshot })
}

fn kept_text(kept: PolicyKept, saved: Option<PolicyText>) -> Result<PolicySnapshot, InDoubt> {
    let PolicyKept {
        generation,
        digest,
        not_after_secs,
        replay_floor_secs,
        claim_epoch,
    } = kept;
    let mut text = saved.ok_or(InDoubt)?.text;
    if *Sha256::digest(&*text) != *digest {
        return Err(InDoubt);
    }
    Ok(PolicySnapshot {
        generation,
        text: std::mem::take(&mut text),
        digest,
        not_after_secs,
        replay_floor_secs,
        claim_epoch,
        ..PolicySnapshot::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policies::PolicyVersion;

    const BEFORE: &str = "NAME one\nSOURCE ANY\n";
    const NOW: &str = "NAME one\nSOURCE ANY\nNAME two\nSOURCE ANY\n";

    fn saved(text: &str) -> PolicyText {
        PolicyText {
            version: PolicyVersion {
                generation: 4,
                digest: Sha256::digest(text).into(),
                ..PolicyVersion::default()
            },
            text: text.to_owned().into(),
        }
    }

    fn packed(text: &str, base: Option<&str>) -> PolicySnapshot {
        PolicySnapshot {
            generation: 5,
            digest: Sha256::digest(text).to_vec(),
            not_after_secs: 6,
            replay_floor_secs: 7,
            claim_epoch: 8,
            packed: packing::pack(text, base).unwrap(),
            packed_from: base.map_or_else(Vec::new, |base| Sha256::digest(base).to_vec()),
            text_bytes: u64::try_from(text.len()).unwrap(),
            ..PolicySnapshot::default()
        }
    }

    fn kept(text: &str) -> Sent {
        Sent::Kept(PolicyKept {
            generation: 5,
            digest: Sha256::digest(text).to_vec(),
            not_after_secs: 6,
            replay_floor_secs: 7,
            claim_epoch: 8,
        })
    }

    #[test]
    fn what_is_packed_and_what_is_kept_is_the_snapshot_that_it_stands_for() {
        for said in [
            Sent::Snapshot(packed(NOW, None)),
            Sent::Snapshot(packed(NOW, Some(BEFORE))),
            Sent::Snapshot(packed(NOW, Some(NOW))),
            kept(NOW),
        ] {
            let base = match &said {
                Sent::Snapshot(snapshot) if snapshot.packed_from == *Sha256::digest(BEFORE) => {
                    BEFORE
                }
                Sent::Snapshot(_) | Sent::Kept(_) => NOW,
            };
            let whole = said.whole(Some(saved(base))).unwrap();
            assert_eq!(whole.text, NOW);
            assert_eq!((whole.generation, whole.not_after_secs), (5, 6));
            assert_eq!((whole.replay_floor_secs, whole.claim_epoch), (7, 8));
        }
    }

    #[test]
    fn what_is_built_on_a_text_that_is_not_here_is_in_doubt() {
        let mut wrong = packed(NOW, Some(BEFORE));
        wrong.packed_from = Sha256::digest("another").to_vec();
        let mut altered = packed(NOW, Some(BEFORE));
        altered.digest = Sha256::digest("another").to_vec();
        let mut cut = packed(NOW, Some(BEFORE));
        cut.packed = cut.packed.slice(..3);
        // What is on the disk is not what its digest says.
        let damaged = PolicyText {
            text: "NAME other\n".to_owned().into(),
            ..saved(BEFORE)
        };

        for (said, saved) in [
            (Sent::Snapshot(packed(NOW, Some(BEFORE))), None),
            (Sent::Snapshot(packed(NOW, Some(BEFORE))), Some(saved(NOW))),
            (Sent::Snapshot(packed(NOW, Some(BEFORE))), Some(damaged)),
            (Sent::Snapshot(wrong), Some(saved(BEFORE))),
            (Sent::Snapshot(altered), Some(saved(BEFORE))),
            (Sent::Snapshot(cut), Some(saved(BEFORE))),
            (kept(NOW), None),
            (kept(NOW), Some(saved(BEFORE))),
        ] {
            assert_eq!(said.whole(saved), Err(InDoubt));
        }
    }

    #[test]
    fn a_text_that_stands_alone_and_does_not_unpack_is_no_text_with_that_digest() {
        let mut cut = packed(NOW, None);
        cut.packed = cut.packed.slice(..3);

        let whole = Sent::Snapshot(cut).whole(None).unwrap();

        assert_ne!(whole.digest, Sha256::digest(&whole.text).to_vec());
    }
}
