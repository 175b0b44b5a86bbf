//! What this host keeps of the fleet's log: the last checkpoint that it was shown.
//!
//! Whoever removes the newest records of the log, or puts older ones in their place, also has to
//! make every host forget what it was shown. What contradicts it is an event, a line of the log, and
//! kept here as evidence; the host goes on as it is, because a log that was tampered with is no reason
//! to lock anybody out.

use fleet::audit::{AuditKey, Checkpoint, KeyChain};
use serde::{Deserialize, Serialize};

/// See the module.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct KeptLog {
    /// A signed note; empty before the first.
    pub checkpoint: String,
    /// The key that signs, as text: the one that was heard first, or that followed it; and another only
    /// after it was said that it is another.
    pub key: String,
    /// What contradicted it last.
    pub conflict: Option<LogConflict>,
}

/// The fleet's log is not what this host was shown of it.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct LogConflict {
    /// In words.
    pub reason: String,
    /// When it was found, milliseconds since the Unix epoch.
    pub found_at_ms: u64,
    /// The evidence: what was kept, and what was shown instead; signed notes.
    pub kept: String,
    /// See [`kept`](Self::kept).
    pub shown: String,
}

/// What the controller says of the log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Said<'a> {
    pub(super) checkpoint: &'a str,
    pub(super) key: &'a str,
    pub(super) restated: &'a str,
    /// How the key followed those before it.
    pub(super) successions: &'a [String],
    /// What is kept was presented, so the controller has to say what it is now.
    pub(super) was_presented: bool,
}

// === impl KeptLog ===

impl KeptLog {
    /// How many records the checkpoint covers; `None` before the first.
    pub fn size(&self) -> Option<u64> {
        let key: AuditKey = self.key.parse().ok()?;
        let checkpoint = Checkpoint::open(&self.checkpoint, &key).ok()?;
        Some(checkpoint.size)
    }

    /// Keeps what the controller says from now on. What of it contradicts what was kept, when that is
    /// news.
    pub(super) fn follow(&mut self, said: Said<'_>, now_ms: u64) -> Option<String> {
        // A controller of before makes no checkpoints.
        if said.key.is_empty() {
            return None;
        }
        let reason = self.contradicted_by(said);
        let kept = std::mem::take(&mut self.checkpoint);
        said.checkpoint.clone_into(&mut self.checkpoint);
        said.key.clone_into(&mut self.key);
        let reason = reason?;
        let is_known = |known: &LogConflict| known.reason == reason;
        if self.conflict.as_ref().is_some_and(is_known) {
            return None;
        }
        self.conflict = Some(LogConflict {
            reason: reason.clone(),
            found_at_ms: now_ms,
            kept,
            shown: [said.checkpoint, said.restated].concat(),
        });
        Some(reason)
    }

    fn contradicted_by(&self, said: Said<'_>) -> Option<String> {
        let Ok(key) = said.key.parse::<AuditKey>() else {
            return Some("the controller names a key for its log that is none".to_owned());
        };
        let mut ended = None;
        let held = if self.key.is_empty() || self.key == said.key {
            key.clone()
        } else {
            match self.follow_keys(&key, said.successions) {
                Ok((held, end)) => {
                    ended = Some(end);
                    held
                }
                Err(why) => {
                    let (was, is) = (&self.key, said.key);
                    return Some(format!(
                        "the fleet's log is signed by another key than before: it was {was}, and is \
                         {is}; {why}"
                    ));
                }
            }
        };
        let shown = match said.checkpoint {
            "" => 0,
            note => match Checkpoint::open(note, &key) {
                Ok(checkpoint) => checkpoint.size,
                Err(error) => return Some(format!("the controller shows a checkpoint: {error}")),
            },
        };
        // What was not signed by this key never was a checkpoint.
        let kept = Checkpoint::open(&self.checkpoint, &held).ok()?;
        let Checkpoint { size, root, .. } = kept;
        if let Some(end) = ended.filter(|end| *end < size) {
            return Some(format!(
                "the fleet's log was cut: this host was shown {size} records of it, and the key that \
                 signed them is said to have ended at {end}"
            ));
        }
        if shown < size {
            return Some(format!(
                "the fleet's log was cut: this host was shown {size} records of it, and now it has \
                 {shown}; was the controller put back to an older copy?"
            ));
        }
        if !said.was_presented {
            return None;
        }
        let restated = Checkpoint::open(said.restated, &key);
        let is_same = restated.is_ok_and(|now| (now.size, now.root) == (size, root));
        (!is_same).then(|| {
            format!(
                "the fleet's log was rewritten: of the {size} records that this host was shown, the \
                 controller now says something else"
            )
        })
    }

    /// The key that is kept, and how many records there were when it ended, where it leads to `key`; or
    /// why it does not, in words.
    fn follow_keys(&self, key: &AuditKey, notes: &[String]) -> Result<(AuditKey, u64), String> {
        if notes.is_empty() {
            return Err("nothing says that the one follows the other".to_owned());
        }
        let keys = KeyChain::of(key.clone(), notes.iter().map(String::as_str));
        let keys = keys.map_err(|error| error.to_string())?;
        let unknown = || "what follows the one does not lead from the other".to_owned();
        let held: AuditKey = self.key.parse().map_err(|_| unknown())?;
        let end = keys.end_of(&held).ok_or_else(unknown)?;
        Ok((held, end))
    }
}

#[cfg(test)]
mod tests {
    use fleet::audit::{AuditSigner, Succession};

    use super::*;

    fn signer() -> AuditSigner {
        AuditSigner::new("prod", &[7; 32])
    }

    fn note(size: u64, root: u8) -> String {
        let checkpoint = Checkpoint {
            size,
            root: [root; 32],
            at_ms: size,
        };
        checkpoint.sign(&signer())
    }

    fn said<'a>(key: &'a str, checkpoint: &'a str, restated: &'a str) -> Said<'a> {
        Said {
            checkpoint,
            key,
            restated,
            successions: &[],
            was_presented: !restated.is_empty(),
        }
    }

    fn signer_of(seed: u8) -> AuditSigner {
        AuditSigner::new("prod", &[seed; 32])
    }

    fn note_by(seed: u8, size: u64, root: u8) -> String {
        let (root, at_ms) = ([root; 32], size);
        Checkpoint { size, root, at_ms }.sign(&signer_of(seed))
    }

    /// Key 7 ended at 25 records, 8 at 40, and so on; up to this one.
    fn successions(to: u8) -> Vec<String> {
        let ended = (7..to).map(|seed| {
            let last = Checkpoint {
                size: u64::from(seed - 7) * 15 + 25,
                root: [1; 32],
                at_ms: 5,
            };
            Succession::sign(&last, &signer_of(seed), &signer_of(seed + 1))
        });
        ended.collect()
    }

    fn kept_by_7() -> KeptLog {
        let mut kept = KeptLog::default();
        let key = signer().public().to_string();
        kept.follow(said(&key, &note(20, 1), ""), 1);
        kept
    }

    #[test]
    fn a_log_that_goes_on_is_followed_in_silence() {
        let key = signer().public().to_string();
        let mut kept = KeptLog::default();

        for (size, restated) in [(5, None), (5, Some(5)), (9, Some(5)), (9, None), (12, None)] {
            let restated = restated.map(|size| note(size, 1)).unwrap_or_default();
            let newest = note(size, 1);
            assert_eq!(kept.follow(said(&key, &newest, &restated), 1), None);
            assert_eq!(kept.size(), Some(size));
        }
        assert_eq!(kept.follow(said("", "", ""), 1), None);
        assert_eq!((kept.size(), kept.conflict), (Some(12), None));
    }

    #[test]
    fn a_log_that_was_cut_or_rewritten_is_found_once_and_the_evidence_is_kept() {
        let key = signer().public().to_string();
        let cases = [
            (note(9, 1), String::new(), "was cut"),
            (note(30, 1), note(20, 2), "was rewritten"),
            (note(30, 1), note(19, 1), "was rewritten"),
            (String::new(), String::new(), "was cut"),
        ];
        for (shown, restated, what) in cases {
            let mut kept = KeptLog::default();
            kept.follow(said(&key, &note(20, 1), ""), 1);

            let found = kept.follow(said(&key, &shown, &restated), 77);
            assert!(found.as_ref().unwrap().contains(what), "{found:?}");
            assert_eq!(kept.checkpoint, shown);
            let conflict = kept.conflict.clone().unwrap();
            assert_eq!((conflict.found_at_ms, conflict.kept), (77, note(20, 1)));
            assert_eq!(kept.follow(said(&key, &shown, ""), 78), None);
        }
    }

    #[test]
    fn a_controller_that_answers_a_presented_checkpoint_with_nothing_has_rewritten_its_log() {
        let key = signer().public().to_string();
        let mut kept = KeptLog::default();
        kept.follow(said(&key, &note(20, 1), ""), 1);

        let shown = note(30, 1);
        let silent = Said {
            was_presented: true,
            ..said(&key, &shown, "")
        };
        assert!(kept.follow(silent, 2).is_some());
    }

    #[test]
    fn another_key_is_said_once_and_followed_from_then_on() {
        let key = signer().public().to_string();
        let other = AuditSigner::new("prod", &[8; 32]);
        let newest = Checkpoint {
            size: 30,
            root: [1; 32],
            at_ms: 1,
        };
        let (newest, new_key) = (newest.sign(&other), other.public().to_string());
        let mut kept = KeptLog::default();
        kept.follow(said(&key, &note(20, 1), ""), 1);

        let found = kept.follow(said(&new_key, &newest, ""), 2).unwrap();
        assert!(found.contains("another key"), "{found}");
        assert_eq!(kept.follow(said(&new_key, &newest, &newest), 3), None);
        assert_eq!(kept.size(), Some(30));
    }

    #[test]
    fn a_host_that_was_away_follows_over_several_rotations_and_keeps_the_newest_key() {
        for newest in [8, 9, 12] {
            let mut kept = kept_by_7();
            let key = signer_of(newest).public().to_string();
            let (shown, restated) = (note_by(newest, 300, 1), note_by(newest, 20, 1));
            let successions = successions(newest);
            let said = Said {
                successions: &successions,
                ..said(&key, &shown, &restated)
            };

            assert_eq!(kept.follow(said, 2), None);
            assert_eq!((kept.size(), &kept.key), (Some(300), &key));
            assert_eq!(kept.conflict, None);
            // And goes on with that one.
            let later = note_by(newest, 301, 1);
            assert_eq!(kept.follow(self::said(&key, &later, ""), 3), None);
        }
    }

    #[test]
    fn another_key_without_an_unbroken_chain_to_it_is_a_conflict() {
        let whole = successions(10);
        let key = signer_of(10).public().to_string();
        let swapped = vec![whole[1].clone(), whole[0].clone(), whole[2].clone()];
        let forged = {
            let last = Checkpoint {
                size: 25,
                root: [1; 32],
                at_ms: 5,
            };
            Succession::sign(&last, &signer_of(99), &signer_of(10))
        };
        for (successions, why) in [
            (Vec::new(), "nothing says that the one follows"),
            (whole[1..].to_vec(), "does not lead from"),
            (whole[..2].to_vec(), "do not lead to the key"),
            (vec![whole[0].clone(), whole[2].clone()], "succession 2"),
            (swapped, "succession 2"),
            (vec![forged], "does not lead from"),
            (vec!["nonsense".to_owned()], "succession 1"),
        ] {
            let mut kept = kept_by_7();
            let shown = note_by(10, 300, 1);
            let said = Said {
                successions: &successions,
                ..said(&key, &shown, "")
            };
            let found = kept.follow(said, 2).unwrap();
            assert!(found.contains("another key"), "{found}");
            assert!(found.contains(why), "{found}");
        }
    }

    #[test]
    fn a_log_that_was_cut_or_rewritten_before_its_key_was_replaced_is_found_over_the_rotation() {
        let whole = successions(8);
        let key = signer_of(8).public().to_string();
        let cut = Checkpoint {
            size: 15,
            root: [1; 32],
            at_ms: 5,
        };
        let cut = vec![Succession::sign(&cut, &signer_of(7), &signer_of(8))];
        for (successions, shown, restated, what) in [
            (
                &whole,
                note_by(8, 300, 1),
                note_by(8, 20, 2),
                "was rewritten",
            ),
            (&whole, note_by(8, 15, 1), String::new(), "was cut"),
            (&cut, note_by(8, 300, 1), note_by(8, 20, 1), "ended at 15"),
        ] {
            let mut kept = kept_by_7();
            let said = Said {
                successions,
                was_presented: true,
                ..said(&key, &shown, &restated)
            };
            let found = kept.follow(said, 2).unwrap();
            assert!(found.contains(what), "{found}");
        }
    }
}
