//! What siblings claim, however much of it there is.

use std::time::Duration;

use agent::journal::FILE_NAME;
use gate::Replayed;

use crate::support::{NOW_SECS, check, digest, on_disk, open, remember};

/// More than are remembered.
const FLOOD: u64 = 130_000;
/// As told at once.
const BATCH: usize = 1_024;

fn rows(dir: &std::path::Path) -> i64 {
    let connection = rusqlite::Connection::open(dir.join(FILE_NAME)).unwrap();
    let count = "SELECT count(*) FROM claimed";
    connection.query_row(count, [], |row| row.get(0)).unwrap()
}

#[test]
fn a_flood_of_siblings_claims_evicts_siblings_and_never_refuses_a_knock() {
    let dir = on_disk();
    let mut journal = open(dir.path()).journal;
    remember(&mut journal, 1, 1);
    for (sent, number) in (1_000_000..1_000_000 + FLOOD).enumerate() {
        journal.remember_claimed(digest(number).0, NOW_SECS + 3_600);
        if sent % BATCH == 0 {
            journal.commit().unwrap();
        }
    }
    journal.commit().unwrap();

    let newest = 1_000_000 + FLOOD - 1;
    let elsewhere = Err(Replayed::Elsewhere);
    assert_eq!(check(&mut journal, digest(newest), 1), elsewhere);
    // Asked at the controller, which knows.
    assert_eq!(check(&mut journal, digest(1_000_000), 1), Ok(()));
    for knock in 2..200 {
        remember(&mut journal, knock, 2);
    }
    let own = Err(Replayed::Here);
    assert_eq!(check(&mut journal, digest(1), 1), own);
    journal.commit().unwrap();
    assert_eq!(rows(dir.path()), 100_000);
    drop(journal); // as after kill -9

    let mut again = open(dir.path()).journal;

    assert_eq!(check(&mut again, digest(1), 1), own);
    assert_eq!(check(&mut again, digest(newest), 1), elsewhere);
    remember(&mut again, 500, 3);
    let later = gate::Now {
        wall_secs: NOW_SECS + 3_601,
        wall_nanos: 0,
        steady: Duration::ZERO,
    };
    again.tidy(later, true);
    again.commit().unwrap();
    assert_eq!(rows(dir.path()), 0);
}
