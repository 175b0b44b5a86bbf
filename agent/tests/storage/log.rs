//! The write-ahead log beside a writer that never rests.

use std::time::Duration;

use agent::journal::{FILE_NAME, JournalReader};
use harness::wait;

use crate::support::{NOW_SECS, event, log_bytes, on_disk, open, remember};

const MIB: u64 = 1 << 20;

#[test]
fn the_log_stays_short_beside_a_writer_that_never_rests() {
    let dir = on_disk();
    let mut journal = open(dir.path()).journal;
    let (mut longest, mut commits) = (0, Vec::new());

    // 20,000 messages in each second, in batches as a flood makes them.
    let messages = std::env::var("POSTERN_SOAK_FLOOD").map_or(120_000, |n| n.parse().unwrap());
    for batch in 0..messages / 256 {
        for number in batch * 256..(batch + 1) * 256 {
            remember(&mut journal, number, number / 20_000);
        }
        if batch % 400 == 0 {
            // What is forgotten goes in one commit, too.
            journal.tidy(
                gate::Now {
                    wall_secs: NOW_SECS + batch * 256 / 20_000,
                    ..gate::Now::default()
                },
                true,
            );
        }
        journal.stage(event());
        let begun = wait::now();
        journal.commit().unwrap();
        commits.push(begun.elapsed());
        longest = longest.max(log_bytes(dir.path()));
    }

    commits.sort_unstable();
    let at = |permille: usize| commits.get(commits.len() * permille / 1_000).copied();
    let times = format!("commits took {:?}, p99.9 {:?}", at(500), at(999));
    assert!(longest <= 16 * MIB, "{longest} bytes; {times}");
    assert!(at(999) < Some(Duration::from_millis(500)), "{times}");
}

#[test]
fn a_log_that_a_reader_held_is_short_again_when_it_has_gone() {
    let dir = on_disk();
    let mut journal = open(dir.path()).journal;
    let path = dir.path().join(FILE_NAME);
    let held = rusqlite::Connection::open(&path).unwrap();
    held.execute_batch("BEGIN; SELECT * FROM meta").unwrap();
    let mut number = 0;
    let mut flood = |messages: u64| {
        for _ in 0..messages / 256 {
            for _ in 0..256 {
                remember(&mut journal, number, number / 20_000);
                number += 1;
            }
            journal.commit().unwrap();
        }
    };
    flood(60_000);
    let long = log_bytes(dir.path());

    held.execute_batch("COMMIT").unwrap();
    // What moves the log has its own pace: beside other work it needs more than one lot for all that was held.
    let lengths = (0..20).map(|_| {
        flood(20_000);
        log_bytes(dir.path())
    });
    let lengths: Vec<u64> = lengths.take_while(|bytes| *bytes > 16 * MIB).collect();

    assert!(long > 16 * MIB, "the reader held nothing: {long}");
    assert!(lengths.len() < 20, "{lengths:?}");
    // And everything is there.
    let journal = JournalReader::open(&path).unwrap();
    assert_eq!(journal.acknowledged().unwrap(), 0);
    let count = "SELECT count(*) FROM seen";
    let count: i64 = held.query_row(count, [], |row| row.get(0)).unwrap();
    assert_eq!(count.cast_unsigned(), number);
}
