//! Disks that are full, read-only or small: the error names them, and all goes on by itself.

use std::fs;
use std::path::Path;
use std::process::Command;

use agent::journal::{Journal, JournalError};
use harness::in_lab;

use crate::support::{NOW_SECS, digest, event, events, open, options, remember};

#[test]
fn a_full_disk_is_named_with_its_room_and_the_journal_goes_on_when_there_is_some() {
    on_disk_of(3 << 20, |disk| {
        let mut journal = open(disk).journal;
        let ballast = fill(disk);
        let error = fail(&mut journal);

        let text = error.to_string();
        assert!(matches!(error, JournalError::Disk { .. }), "{error:?}");
        assert!(text.contains("journal.db"), "{text}");
        let room = format!("3.0 MiB free on tmpfs, mounted at {}", disk.display());
        assert!(text.contains(&room), "{text}");
        assert_eq!(
            journal.fault().map(|fault| fault.starts_with(&text)),
            Some(true)
        );

        fs::remove_file(ballast).unwrap();
        let before = journal.last_seq();
        journal.stage(event());
        assert_eq!(journal.commit().unwrap(), before + 1);
        assert_eq!(journal.fault(), None);
        assert_eq!(events(disk).len() as u64, before + 1);
    });
}

#[test]
fn a_start_on_a_full_or_read_only_disk_names_it_and_changes_nothing() {
    on_disk_of(1 << 20, |disk| {
        let ballast = fill(disk);
        let error = Journal::open(&options(disk), NOW_SECS).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("0.0 KiB of 1.0 MiB free on tmpfs"), "{text}");
        fs::remove_file(ballast).unwrap();

        remount(disk, "ro");
        let error = Journal::open(&options(disk), NOW_SECS).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("read-only"), "{text}");
        assert!(error.hint().is_some());
        remount(disk, "rw");
    });
    on_disk_of(8 << 20, |disk| {
        let mut journal = open(disk).journal;
        journal.stage(event());
        journal.commit().unwrap();
        let epoch = journal.epoch().to_owned();
        drop(journal);

        remount(disk, "ro");
        let error = Journal::open(&options(disk), NOW_SECS).unwrap_err();
        assert!(error.to_string().contains("read-only"), "{error}");
        remount(disk, "rw");

        let journal = open(disk).journal;
        assert_eq!((journal.epoch(), journal.last_seq()), (epoch.as_str(), 1));
    });
}

#[test]
fn a_message_that_came_while_the_disk_was_full_is_spent() {
    on_disk_of(3 << 20, |disk| {
        let mut journal = open(disk).journal;
        let ballast = fill(disk);
        fail(&mut journal);
        remember(&mut journal, 7_000_000, 0);
        journal.commit().unwrap_err();

        fs::remove_file(ballast).unwrap();
        journal.commit().unwrap();
        drop(journal);

        let mut again = open(disk).journal;
        let seen = crate::support::check(&mut again, digest(7_000_000), 0);
        assert!(seen.is_err());
    });
}

/// Commits until the disk takes no more.
fn fail(journal: &mut Journal) -> JournalError {
    for number in 0..100_000 {
        for message in number * 100..(number + 1) * 100 {
            remember(journal, message, 0);
        }
        journal.stage(event());
        if let Err(error) = journal.commit() {
            return error;
        }
    }
    panic!("the disk never filled");
}

/// Leaves no room; answers the file that takes it.
fn fill(disk: &Path) -> std::path::PathBuf {
    let ballast = disk.join("ballast");
    fs::write(&ballast, vec![7; 16 << 20]).unwrap_err();
    ballast
}

fn remount(disk: &Path, how: &str) {
    let options = format!("remount,{how}");
    let mut mount = Command::new("mount");
    let done = mount.args(["-o", &options]).arg(disk).status().unwrap();
    assert!(done.success());
}

fn on_disk_of(bytes: usize, story: impl Fn(&Path)) {
    in_lab(|lab| {
        story(&lab.small_disk(&lab.node("host", 10)?, "disk", bytes)?);
        Ok(())
    });
}
