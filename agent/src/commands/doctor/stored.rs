//! What lies on the disk: the journal and its chain, the access file or the last policy, the membership.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use fleet::event::Continuity;
use gate::Now;
use program::disk;
use program::trusted::Hand;

use super::check::Check;
use crate::commands::local::said;
use crate::config::{Config, Mode};
use crate::journal::{FILE_NAME, JournalError, JournalReader};
use crate::policies;
use crate::report::{CONTROL_NAME, Report};
use crate::state_trust;

/// Less room than this on the journal's disk is too little for a flood of events.
const FREE_BYTES_MIN: u64 = 64 << 20;
/// Doubtful lines of an access file that are shown.
const DOUBTS_MAX: usize = 20;
/// Events read at once.
const BATCH: u32 = 1_024;

/// All of it.
pub(super) fn all(
    state_dir: &Path,
    config: Option<&Config>,
    report: Option<&Report>,
    now: Now,
) -> Vec<Check> {
    let mut checks: Vec<Check> = in_trusted_hands(state_dir, report.is_some())
        .into_iter()
        .collect();
    let reader = JournalReader::look(&state_dir.join(FILE_NAME));
    match &reader {
        Ok(reader) => checks.push(journal(reader)),
        Err(cause) => checks.push(no_journal(cause, report.is_some())),
    }
    match config.map(|config| (&config.mode, config)) {
        None => {}
        Some((Mode::Alone { access_file }, config)) => {
            checks.extend(access_file_is_good(access_file, config, now));
        }
        Some((Mode::Joined { .. }, _)) => {
            if let (Ok(reader), None) = (&reader, report) {
                checks.push(saved_policy(reader, now.wall_secs));
            }
        }
    }
    checks
}

/// Says what the next start refuses of it. An agent that runs as another user than root has made its
/// sockets as that one, and so the rest.
fn in_trusted_hands(state_dir: &Path, agent_runs: bool) -> Option<Check> {
    let refused = state_trust::check(state_dir).err()?;
    let untrusted = state_trust::found(&refused)?;
    let agents = || fs::metadata(state_dir.join(CONTROL_NAME)).map(|socket| socket.uid());
    if agent_runs && untrusted.by == Hand::Owner && agents().is_ok_and(|uid| uid == untrusted.owner)
    {
        return None;
    }
    // Whose all of it is: an agent that runs as that user takes it.
    let is_whole = fs::metadata(state_dir).is_ok_and(|dir| dir.uid() == untrusted.owner);
    if untrusted.by == Hand::Owner && is_whole && !agent_runs {
        let found = format!(
            "{} is the state of an agent that runs as user {}; one that starts as another refuses it",
            state_dir.display(),
            untrusted.owner
        );
        return Some(Check::warn("state", found, untrusted.mend()));
    }
    Some(Check::failed("state", &refused, untrusted.mend()))
}

fn no_journal(cause: &JournalError, agent_runs: bool) -> Check {
    let is_missing = matches!(
        cause,
        JournalError::Unreadable(program::files::ReadError::Missing { .. })
    );
    if is_missing && !agent_runs {
        // As before the first start.
        let found = program::one_line(cause).to_string();
        return Check::warn("journal", found, "it is made at the first start");
    }
    Check::failed("journal", cause, cause.hint().unwrap_or_default())
}

fn journal(reader: &JournalReader) -> Check {
    let read = || -> Result<(u64, Option<u64>), JournalError> {
        let (mut count, mut seq, mut before) = (0_u64, 0, None::<[u8; 32]>);
        loop {
            let records = reader.events_after(seq, BATCH)?;
            let Some(last) = records.last() else {
                return Ok((count, None));
            };
            seq = last.seq;
            for record in &records {
                let broken = before
                    .is_some_and(|before| matches!(record.follows(&before), Continuity::Broken));
                if broken {
                    return Ok((count, Some(record.seq)));
                }
                count += 1;
                before = record.chain.as_slice().try_into().ok();
            }
        }
    };
    match read().and_then(|found| Ok((found, reader.report(0, false)?))) {
        Ok(((_, Some(seq)), _)) => Check::fail(
            "journal",
            format!("event {seq} does not follow from the one before: the file was changed"),
            "keep a copy of the state directory, and ask who was here",
        ),
        Ok(((count, None), holds)) => {
            let (size, free) = (disk::size(holds.bytes), disk::size(holds.free_bytes));
            let found = format!("{count} events, chain whole, {size}; {free} free");
            if holds.free_bytes < FREE_BYTES_MIN {
                return Check::warn(
                    "journal",
                    found,
                    "make room: nothing opens without a record",
                );
            }
            Check::ok("journal", found)
        }
        Err(cause) => Check::failed("journal", &cause, cause.hint().unwrap_or_default()),
    }
}

fn access_file_is_good(path: &Path, config: &Config, now: Now) -> Vec<Check> {
    const NAME: &str = "access file";

    let commands = config.gate.commands;
    let compiled = match policies::load_to_run(path, &config.gnupg, commands, now) {
        Ok(compiled) => compiled,
        Err(invalid) => {
            let cure = "mend it, then: postern-agent reload";
            return vec![Check::failed(NAME, &invalid, cure)];
        }
    };
    let policy = compiled.policy();
    let exposed = policies::exposed(path).into_iter().take(1);
    let exposed = exposed.map(|found| Check::warn(NAME, found, "make it its owner's alone"));
    let doubts = policy.warnings.iter().take(DOUBTS_MAX).map(|doubt| {
        let mut found = doubt.clone();
        let cure = found.hint.take().unwrap_or_default();
        Check::warn(NAME, found.to_string(), cure)
    });
    let mut checks: Vec<_> = exposed.chain(doubts).collect();
    let unsaid = policy.warnings.len().saturating_sub(DOUBTS_MAX);
    if unsaid > 0 {
        let found = format!("{unsaid} further lines of it are doubtful");
        checks.push(Check::warn(NAME, found, "postern-agent explain names them"));
    }
    if checks.is_empty() {
        let stanzas = policy.stanzas.len();
        let found = format!("{}: {stanzas} stanzas, no mistakes", path.display());
        checks.push(Check::ok(NAME, found));
    }
    checks
}

fn saved_policy(reader: &JournalReader, now_secs: u64) -> Check {
    let saved = match reader.policy() {
        Ok(Some(saved)) => saved.version,
        Ok(None) => {
            let cure = "the controller sends it as soon as it is reached";
            return Check::warn("policy", "none was ever adopted", cure);
        }
        Err(cause) => return Check::failed("policy", &cause, ""),
    };
    let found = format!("generation {} is saved", saved.generation);
    let ends = saved.not_after_secs;
    match ends.checked_sub(now_secs) {
        _ if ends == 0 => Check::ok("policy", found),
        Some(left) => Check::ok(
            "policy",
            format!("{found}; ends by itself in {}", said(left)),
        ),
        None => Check::fail(
            "policy",
            format!("{found}; it has ended by itself: nobody is let in"),
            "the controller renews it as soon as it is reached",
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::chown;

    use super::*;

    #[test]
    fn what_the_next_start_refuses_is_a_failed_check_with_the_one_command_that_mends_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("membership.json");
        fs::write(&path, "{}").unwrap();
        assert_eq!(in_trusted_hands(dir.path(), false), None);
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        chown(&path, Some(12_345), None).unwrap();

        let check = in_trusted_hands(dir.path(), false).unwrap().to_string();

        let cure = format!("-> chown root {}\n", path.display());
        assert!(
            check.starts_with("fail  state") && check.ends_with(&cure),
            "{check}"
        );
        // As the agent that runs here, which is that user.
        let socket = dir.path().join(CONTROL_NAME);
        fs::write(&socket, "").unwrap();
        chown(&socket, Some(12_345), None).unwrap();
        assert_eq!(in_trusted_hands(dir.path(), true), None);
    }

    #[test]
    fn the_state_of_a_stopped_agent_of_another_user_is_said_to_be_that_and_no_fault() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("membership.json");
        fs::write(&path, "{}").unwrap();
        chown(&path, Some(12_345), None).unwrap();
        chown(dir.path(), Some(12_345), None).unwrap();

        let check = in_trusted_hands(dir.path(), false).unwrap().to_string();

        let said = "is the state of an agent that runs as user 12345";
        assert!(
            check.starts_with("warn  state") && check.contains(said),
            "{check}"
        );
    }
}
