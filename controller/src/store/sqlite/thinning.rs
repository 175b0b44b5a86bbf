//! Checkpoints that need not stand so close any more.
//!
//! One is signed every few seconds while the log moves: some megabytes a day. Those of the last day stay;
//! of older ones the last of each hour, and after a month the last of each day. Whoever was shown one
//! keeps and presents it herself, so nobody misses what goes here. What contradicts the log stays: it is
//! evidence.

use fleet::audit::{AuditKey, Checkpoint};

use super::number::signed;
use super::{checkpoints, meta};
use crate::store::error::StoreError;
use crate::store::sql::{Connection, params};

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;
/// How old a checkpoint is when its time is over, and of what length of time the last one stays.
const RULES: [(u64, u64); 2] = [(DAY_MS, HOUR_MS), (30 * DAY_MS, DAY_MS)];
/// Checkpoints that one step looks at, each by its signature: a tenth of a second.
const LOOKED_MAX: u32 = 1_000;

/// One that may go when another of its time and key follows.
struct Spare {
    size: u64,
    /// Which stretch of time, signed by which key.
    stretch: (u64, usize),
}

/// One step. How many were looked at: 0 when none is left that is old enough.
pub(in crate::store) fn step(connection: &Connection, now_ms: u64) -> Result<u64, StoreError> {
    let keys = checkpoints::keys(connection)?;
    let mut looked = 0;
    for (rule, (age_ms, stretch_ms)) in RULES.into_iter().enumerate() {
        let before_ms = now_ms.saturating_sub(age_ms);
        looked += thin(connection, &keys, rule, (before_ms, stretch_ms))?;
    }
    Ok(looked)
}

fn thin(
    connection: &Connection,
    keys: &[AuditKey],
    rule: usize,
    (before_ms, stretch_ms): (u64, u64),
) -> Result<u64, StoreError> {
    let begin = meta::thinned_after(connection, rule)?;
    let (mut looked, mut last) = (0, begin);
    let mut spare: Option<Spare> = None;
    let notes = checkpoints::after(connection, begin, LOOKED_MAX)?;
    for (size, note) in notes {
        let opened = opened(connection, keys, size, &note)?;
        let Some((at_ms, key)) = opened else {
            // Evidence, or of a key that is not known here.
            (looked, last) = (looked + 1, size);
            continue;
        };
        if at_ms >= before_ms {
            break;
        }
        (looked, last) = (looked + 1, size);
        let stretch = (at_ms / stretch_ms, key);
        if let Some(before) = spare.filter(|before| before.stretch == stretch) {
            connection
                .prepare_cached("DELETE FROM checkpoints WHERE size = ?1")?
                .execute(params![signed(before.size)])?;
        }
        spare = Some(Spare { size, stretch });
    }
    // The last one may go when the next of its hour is old enough, and is looked at again for that.
    let again = spare.filter(|spare| spare.size == last).is_some();
    let end = last.saturating_sub(u64::from(again)).max(begin);
    meta::set_thinned_after(connection, rule, end)?;
    // What is only looked at again is no progress.
    Ok(if end == begin { 0 } else { looked })
}

/// When it was signed and by which of these keys; `None` of what does not stand for the log as it is.
fn opened(
    connection: &Connection,
    keys: &[AuditKey],
    size: u64,
    note: &str,
) -> Result<Option<(u64, usize)>, StoreError> {
    let opened = keys
        .iter()
        .enumerate()
        .find_map(|(number, key)| Some((Checkpoint::open(note, key).ok()?, number)));
    let Some((checkpoint, key)) = opened else {
        return Ok(None);
    };
    let stands =
        checkpoint.size == size && checkpoints::root_at(connection, size)? == Some(checkpoint.root);
    Ok(stands.then_some((checkpoint.at_ms, key)))
}

#[cfg(test)]
mod tests {
    use fleet::audit::AuditSigner;

    use super::super::{migrations, rows};
    use super::*;

    const NOW_MS: u64 = 100 * DAY_MS;

    /// A log of one row for each checkpoint, signed every ten minutes for forty days.
    fn log() -> (rusqlite::Connection, AuditSigner) {
        let mut connection = rusqlite::Connection::open_in_memory().unwrap();
        migrations::apply(&mut connection).unwrap();
        rows::prove(&connection);
        let signer = AuditSigner::new("prod", &[7; 32]);
        connection
            .execute_batch(
                "INSERT INTO event_hosts VALUES (1, 'web-1');
                 INSERT INTO journals (id, host, epoch, last_seq, chain)
                 VALUES (1, 1, 'ab', 0, zeroblob(32));",
            )
            .unwrap();
        connection
            .execute(
                "INSERT INTO audit_keys (public, sealed_seed, made_at_ms) VALUES (?1, x'', 0)",
                [signer.public().to_string()],
            )
            .unwrap();
        let end = 40 * 24 * 6;
        for size in 1..=end {
            add(
                &connection,
                &signer,
                size,
                NOW_MS - (end - size) * HOUR_MS / 6,
            );
        }
        (connection, signer)
    }

    fn add(connection: &Connection, signer: &AuditSigner, size: u64, at_ms: u64) {
        let root = [u8::try_from(size % 251).unwrap(); 32];
        let insert = "INSERT INTO events (id, journal, host, seq, body, chain, chain_version,
                          stored_at_ms, log_chain, at_ms, kind, generation)
                      VALUES (?1, 1, 1, ?1, x'', x'', 2, ?2, ?3, ?2, 1, 0)";
        connection
            .prepare_cached(insert)
            .unwrap()
            .execute(params![signed(size), signed(at_ms), root])
            .unwrap();
        let note = Checkpoint { size, root, at_ms }.sign(signer);
        checkpoints::add(connection, size, &note).unwrap();
    }

    fn kept(connection: &Connection, signer: &AuditSigner) -> Vec<u64> {
        let notes = checkpoints::after(connection, 0, u32::MAX).unwrap();
        let times = notes.iter().map(|(_, note)| {
            let opened = Checkpoint::open(note, &signer.public());
            opened.unwrap().at_ms
        });
        times.collect()
    }

    fn thin_all(connection: &Connection, now_ms: u64) -> u32 {
        let mut steps = 0;
        while step(connection, now_ms).unwrap() > 0 {
            steps += 1;
            assert!(steps < 100, "it ends");
        }
        steps
    }

    #[test]
    fn of_the_last_day_all_stay_of_a_month_the_last_of_each_hour_and_then_of_each_day() {
        let (connection, signer) = log();

        thin_all(&connection, NOW_MS);

        let kept_at = kept(&connection, &signer);
        let between = |from: u64, to: u64| {
            let age = |at: &&u64| (from..to).contains(&(NOW_MS - **at));
            kept_at.iter().filter(age).count()
        };
        assert_eq!(between(0, DAY_MS), 24 * 6);
        let hourly = between(DAY_MS, 30 * DAY_MS);
        assert!((29 * 24..=29 * 24 + 2).contains(&hourly), "{hourly}");
        let daily = between(30 * DAY_MS, 41 * DAY_MS);
        assert!((10..=12).contains(&daily), "{daily}");
        // Two of one hour are never left, and a day later there are as many again.
        let before = kept_at.len();
        thin_all(&connection, NOW_MS);
        assert_eq!(kept(&connection, &signer).len(), before);
        let end = 40 * 24 * 6;
        for more in 1..=24 * 6 {
            add(
                &connection,
                &signer,
                end + more,
                NOW_MS + more * HOUR_MS / 6,
            );
        }
        thin_all(&connection, NOW_MS + DAY_MS);
        let after = kept(&connection, &signer).len();
        assert!(after.abs_diff(before) <= 3, "{before} {after}");
    }

    #[test]
    fn the_newest_and_what_contradicts_the_log_stay_for_ever() {
        let (connection, signer) = log();
        let changed = "UPDATE events SET log_chain = zeroblob(32) WHERE id = 700";
        connection.execute(changed, []).unwrap();
        connection
            .execute("DELETE FROM events WHERE id = 701", [])
            .unwrap();
        let newest = checkpoints::newest(&connection).unwrap();

        thin_all(&connection, NOW_MS + 400 * DAY_MS);

        let sizes: Vec<u64> = checkpoints::after(&connection, 0, u32::MAX)
            .unwrap()
            .into_iter()
            .map(|(size, _)| size)
            .collect();
        assert!(sizes.contains(&700) && sizes.contains(&701), "{sizes:?}");
        assert_eq!(checkpoints::newest(&connection).unwrap(), newest);
        assert!(kept(&connection, &signer).len() < 50);
    }
}
