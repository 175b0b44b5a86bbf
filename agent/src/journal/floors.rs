//! Floors and spent dates as rows; see `gate::replay`.

use gate::{Floor, FloorReason, Floors, Span};
use rusqlite::Connection;

/// What an earlier run kept.
pub(super) fn read(connection: &Connection) -> rusqlite::Result<Floors> {
    let number =
        |row: &rusqlite::Row<'_>, column| row.get::<_, i64>(column).map(i64::cast_unsigned);
    let floors = connection
        .prepare("SELECT why, through_secs, set_at_secs FROM standing")?
        .query_map([], |row| {
            Ok(Floor {
                why: FloorReason::of_number(row.get(0)?),
                through_secs: number(row, 1)?,
                set_at_secs: number(row, 2)?,
            })
        })?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    let spans = connection
        .prepare("SELECT from_secs, through_secs FROM spent ORDER BY from_secs")?
        .query_map([], |row| {
            Ok(Span {
                from_secs: number(row, 0)?,
                through_secs: number(row, 1)?,
            })
        })?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    Ok(Floors::kept(&floors, &spans))
}

/// Writes all of them, in place of what is there.
pub(super) fn write(connection: &Connection, floors: &Floors) -> rusqlite::Result<()> {
    connection
        .prepare_cached("DELETE FROM standing")?
        .execute([])?;
    let mut insert = connection.prepare_cached("INSERT INTO standing VALUES (?1, ?2, ?3)")?;
    for floor in floors.all() {
        insert.execute([
            i64::from(floor.why.number()),
            floor.through_secs.cast_signed(),
            floor.set_at_secs.cast_signed(),
        ])?;
    }
    connection
        .prepare_cached("DELETE FROM spent")?
        .execute([])?;
    let mut insert = connection.prepare_cached("INSERT INTO spent VALUES (?1, ?2)")?;
    for span in floors.spans().iter() {
        insert.execute([
            span.from_secs.cast_signed(),
            span.through_secs.cast_signed(),
        ])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::time::Duration;

    use fleet::{Event, EventKind};
    use gate::ReplayLog as _;
    use tempfile::TempDir;

    use crate::journal::{FloorReason, Journal, JournalOptions, Retention, Start};
    use crate::policies::{PolicyText, PolicyVersion};

    const T: u64 = 1_800_000_000;
    const DAY: u64 = 24 * 60 * 60;

    /// A state directory and the place of its witness.
    struct Disk {
        state: TempDir,
        run: TempDir,
        copy: TempDir,
    }

    impl Disk {
        fn new() -> Self {
            let dir = || TempDir::new().unwrap();
            Self {
                state: dir(),
                run: dir(),
                copy: dir(),
            }
        }

        fn open(&self, now_secs: u64, retention: Retention) -> Start {
            let options = JournalOptions {
                state_dir: self.state.path().to_owned(),
                retention,
                window: Some(Duration::from_secs(120)),
                max_future: Duration::from_secs(120),
                witness_dir: Some(self.run.path().to_owned()),
            };
            Journal::open(&options, now_secs).unwrap()
        }

        fn save(&self) {
            copy(self.state.path(), self.copy.path());
        }

        fn put_back(&self) {
            for entry in fs::read_dir(self.state.path()).unwrap() {
                fs::remove_file(entry.unwrap().path()).unwrap();
            }
            copy(self.copy.path(), self.state.path());
        }
    }

    fn copy(from: &Path, to: &Path) {
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }

    fn see(journal: &mut Journal, number: u8, dated_secs: u64, now_secs: u64) -> bool {
        let digest = spa::ReplayDigest([number; 32]);
        let is_new = journal
            .check_and_insert(digest, dated_secs, now_secs)
            .is_ok();
        if is_new {
            journal.stage(Event::new(EventKind::GrantOpened, now_secs * 1_000));
        }
        journal.commit().unwrap();
        is_new
    }

    #[test]
    fn the_first_floor_of_a_clock_ahead_does_not_swallow_that_of_a_journal_put_back() {
        let (disk, alone) = (Disk::new(), Retention::Days(1));
        disk.open(T + 10 * DAY, alone).journal.close().unwrap();
        disk.save();
        let mut right = disk.open(T, alone).journal;
        assert!(see(&mut right, 1, T + 100, T));
        right.close().unwrap();
        disk.put_back();

        let mut again = disk.open(T + 10, alone);

        assert_eq!(again.floor.why, FloorReason::SetBack);
        assert!(!see(&mut again.journal, 1, T + 100, T + 10));
        // And the floor of the clock that was ahead locks nobody out.
        assert!(see(&mut again.journal, 2, T + 101, T + 10));
    }

    #[test]
    fn what_was_granted_by_a_clock_ahead_stays_spent_after_a_set_back_and_an_operators_word() {
        let (disk, alone) = (Disk::new(), Retention::Days(1));
        disk.open(T, alone).journal.close().unwrap();
        disk.save();
        let mut ahead = disk.open(T + 10 * DAY, alone).journal;
        assert!(see(&mut ahead, 1, T + 10 * DAY + 50, T + 10 * DAY));
        ahead.close().unwrap();
        disk.put_back();
        let mut right = disk.open(T + 60, alone).journal;
        assert!(!see(&mut right, 2, T + 300, T + 60));

        assert!(right.reset_floor(T + 60).is_some());

        assert!(see(&mut right, 2, T + 300, T + 60));
        assert!(!see(&mut right, 1, T + 10 * DAY + 50, T + 10 * DAY));
        right.close().unwrap();
        let mut later = disk.open(T + 10 * DAY, alone).journal;
        assert!(!see(&mut later, 1, T + 10 * DAY + 50, T + 10 * DAY));
    }

    #[test]
    fn a_joined_host_that_was_set_back_permits_nothing_until_the_controller_says_what_is_in_force()
    {
        let (disk, joined) = (Disk::new(), Retention::UntilAcknowledged);
        let policy = |generation, text: &str| PolicyText {
            version: PolicyVersion {
                generation,
                digest: [7; 32],
                ..PolicyVersion::default()
            },
            text: text.to_owned().into(),
        };
        let old = "PROTECT tcp/22\nSOURCE ANY\nKEY one\nHMAC_KEY two\nOPEN_PORTS tcp/22\n";
        let mut first = disk.open(T, joined).journal;
        first.stage_policy(policy(7, old));
        first.commit().unwrap();
        first.close().unwrap();
        disk.save();
        // The user is removed, and a copy from before that comes back.
        let mut second = disk.open(T, joined).journal;
        second.stage_policy(policy(8, "PROTECT tcp/22\n"));
        assert!(see(&mut second, 1, T, T));
        second.close().unwrap();
        disk.put_back();

        for why in [FloorReason::SetBack, FloorReason::Known] {
            let start = disk.open(T, joined);
            assert_eq!(start.floor.why, why);
            let policy = start.policy.unwrap();
            assert_eq!(*policy.text, "PROTECT tcp/22\n");
            // The controller will find that this is not what it has.
            assert_eq!(
                (policy.version.generation, policy.version.digest),
                (7, [0; 32])
            );
            start.journal.close().unwrap();
        }
    }
}
