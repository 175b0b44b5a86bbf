//! One batch, one transaction, one sync.

use fleet::event::ChainVersion;
use fleet::{Event, EventRecord};
use rusqlite::{Connection, TransactionBehavior, params};

use super::error::{JournalError, cannot};
use super::live_grants::Opened;
use super::{Journal, KEPT_EVENTS, Loss, Retention, Staged, floors, live_grants, records, scrub};
use crate::policies::{PolicyText, PolicyVersion};

/// Digests that may wait; beyond, every packet is refused.
const WAITING_DIGESTS_MAX: usize = 100_000;
/// Old events deleted with one commit, so that no commit takes long.
const PRUNED_PER_COMMIT: u32 = 2_000;

// === impl Journal ===

impl Journal {
    /// Whether a commit would write anything.
    pub fn has_staged(&self) -> bool {
        let Staged {
            digests,
            claimed,
            events,
            opened,
            cycles,
            cycle_stages,
            closed,
            living_on,
            given_up,
            lock,
            acknowledged,
            forget_through_secs,
            unclaim_through_secs,
            unclaim_through,
            floors,
            policy,
            access_file,
            prune_events_before_ms,
            chain_version,
        } = &self.staged;
        let cycles = cycles.len() + cycle_stages.len();
        let grants = opened.len() + closed.len() + living_on.len() + given_up.len() + cycles;
        self.is_lost
            || !(digests.is_empty() && claimed.is_empty() && events.is_empty())
            || grants > 0
            || lock.is_some()
            || acknowledged.is_some()
            || forget_through_secs.is_some()
            || unclaim_through_secs.is_some()
            || unclaim_through.is_some()
            || floors.is_some()
            || policy.is_some()
            || access_file.is_some()
            || prune_events_before_ms.is_some()
            || chain_version.is_some()
    }

    /// Whether so much waits for a disk that takes nothing that no more packets can be judged.
    pub fn is_clogged(&self) -> bool {
        self.staged.digests.len() >= WAITING_DIGESTS_MAX
    }

    /// Writes everything that is staged, and returns when it is on the disk. Answers the position
    /// of the last event.
    ///
    /// # Errors
    ///
    /// [`JournalError`]: nothing was written. Events and grants are staged no more: whoever staged
    /// them decides what becomes of them, because nothing may open for them. All else stays staged
    /// for the next attempt; so those messages are spent nevertheless.
    pub fn commit(&mut self) -> Result<u64, JournalError> {
        if !self.has_staged() {
            return Ok(self.last_seq);
        }
        #[cfg(test)]
        if self.fails_commits {
            self.unstage_events();
            return Err(JournalError::Fault);
        }
        let mut head = Head {
            last_seq: self.last_seq,
            chain: self.chain,
            version: self.staged.chain_version.unwrap_or(self.chain_version),
        };
        let written = write_scrubbed(
            &mut self.connection,
            &self.staged,
            self.retention,
            &mut head,
        );
        if let Ok(replaces_keys) = written {
            self.is_scrub_due |= replaces_keys;
        }
        if let Err(cause) = written {
            let error = cannot(&self.path, "write to")(cause);
            return Err(self.failed(error));
        }
        self.fault = None;
        self.last_seq = head.last_seq;
        self.chain = head.chain;
        self.chain_version = head.version;
        self.clear_staged();
        self.note_in_witness();
        self.checkpointer.committed(&self.connection);
        if self.is_scrub_due {
            self.scrub();
        }
        Ok(self.last_seq)
    }

    /// Empties the log of what was written over in the database. While somebody reads it, later.
    pub(super) fn scrub(&mut self) {
        let dir = &self.options.state_dir;
        match self.checkpointer.empty_log(&self.connection, dir) {
            Ok(emptied) => self.is_scrub_due = !emptied,
            Err(cause) => {
                let error = program::one_line(&cause);
                tracing::warn!(path = %self.path.display(), %error, "keys of the policy before stay in the journal's log for now");
            }
        }
        if !self.is_scrub_due {
            self.place.log_was_emptied();
        }
    }

    /// Makes commits fail, as on a full disk, until told otherwise.
    #[cfg(test)]
    pub(crate) fn fail_commits(&mut self, fail: bool) {
        self.fails_commits = fail;
    }

    /// Marks a tidy end, with everything committed. Nothing can be staged afterwards.
    ///
    /// # Errors
    ///
    /// [`JournalError`]; the next start is then one after a crash, which is no worse.
    pub fn close(mut self) -> Result<(), JournalError> {
        self.commit()?;
        self.connection
            .execute("UPDATE meta SET clean = 1", [])
            .map_err(cannot(&self.path, "close"))?;
        self.connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
            .map_err(cannot(&self.path, "close"))
    }

    /// Gives up what must not be there at the next attempt.
    pub(super) fn failed(&mut self, error: JournalError) -> JournalError {
        self.unstage_events();
        if matches!(error, JournalError::Damaged { .. }) {
            self.damage = Some(Loss::Damaged(self.path.clone()));
        }
        self.fault = Some(program::one_line(&error).to_string());
        error
    }

    fn unstage_events(&mut self) {
        self.staged.events.clear();
        self.staged.opened.clear();
        self.staged.cycles.clear();
        self.staged.cycle_stages.clear();
        self.staged.closed.clear();
        self.staged.living_on.clear();
    }

    /// Empties what is staged but keeps its room, so that a busy gate does not allocate.
    fn clear_staged(&mut self) {
        let Staged {
            digests,
            claimed,
            events,
            opened,
            cycles,
            cycle_stages,
            closed,
            living_on,
            given_up,
            lock,
            acknowledged,
            forget_through_secs,
            unclaim_through_secs,
            unclaim_through,
            floors,
            policy,
            access_file,
            prune_events_before_ms,
            chain_version,
        } = &mut self.staged;
        digests.clear();
        digests.shrink_to(1024);
        claimed.clear();
        claimed.shrink_to(1024);
        events.clear();
        events.shrink_to(1024);
        opened.clear();
        cycles.clear();
        cycle_stages.clear();
        closed.clear();
        living_on.clear();
        given_up.clear();
        *lock = None;
        *acknowledged = None;
        *forget_through_secs = None;
        *unclaim_through_secs = None;
        *unclaim_through = None;
        *floors = None;
        *policy = None;
        *access_file = None;
        *prune_events_before_ms = None;
        *chain_version = None;
    }
}

/// Where the chain of events has got to.
struct Head {
    last_seq: u64,
    chain: [u8; 32],
    version: ChainVersion,
}

/// Whether keys of a policy were replaced. What is deleted is written over only then: it costs.
fn write_scrubbed(
    connection: &mut Connection,
    staged: &Staged,
    retention: Retention,
    head: &mut Head,
) -> rusqlite::Result<bool> {
    let replaces_keys = staged.policy.is_some() && scrub::saved_keys(connection)?;
    if replaces_keys {
        scrub::write_over(connection, true)?;
    }
    let written = write(connection, staged, retention, head);
    if replaces_keys {
        scrub::write_over(connection, false)?;
    }
    written.map(|()| replaces_keys)
}

fn write(
    connection: &mut Connection,
    staged: &Staged,
    retention: Retention,
    head: &mut Head,
) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    write_digests(&transaction, staged)?;
    let mut opened = staged.opened.iter().peekable();
    for (index, event) in staged.events.iter().enumerate() {
        let body = write_event(&transaction, event, head)?;
        while let Some((_, opened)) = opened.next_if(|(at, _)| *at == index) {
            match opened {
                Opened::New(grant) => live_grants::insert(&transaction, grant, &body)?,
                Opened::Again { id, until_ms } => {
                    live_grants::extend(&transaction, *id, *until_ms, &body)?;
                }
            }
        }
    }
    for (id, close) in &staged.cycles {
        live_grants::insert_cycle(&transaction, *id, close)?;
    }
    for (id, stage) in &staged.cycle_stages {
        live_grants::note_cycle_stage(&transaction, *id, *stage)?;
    }
    for id in &staged.living_on {
        live_grants::close(&transaction, *id)?;
    }
    for id in &staged.given_up {
        live_grants::give_up(&transaction, *id)?;
    }
    for id in &staged.closed {
        live_grants::remove(&transaction, *id)?;
    }
    if let Some(reason) = &staged.lock {
        write_lock(&transaction, reason.as_deref())?;
    }
    if let Some(version) = staged.chain_version {
        transaction.execute("UPDATE meta SET chain_version = ?1", [version.number()])?;
    }
    if let Some(policy) = &staged.policy {
        write_policy(&transaction, policy)?;
    }
    if let Some((generation, digest)) = staged.access_file {
        transaction.execute(
            "INSERT OR REPLACE INTO access_file VALUES (1, ?1, ?2)",
            params![generation.cast_signed(), digest.as_slice()],
        )?;
    }
    if let Some(seq) = staged.acknowledged {
        let seq = seq.cast_signed();
        transaction
            .prepare_cached("UPDATE meta SET acknowledged_seq = ?1 WHERE acknowledged_seq < ?1")?
            .execute([seq])?;
        let kept_after = head.last_seq.saturating_sub(KEPT_EVENTS).cast_signed();
        transaction
            .prepare_cached("DELETE FROM event WHERE seq <= min(?1, ?2)")?
            .execute([seq, kept_after])?;
    }
    if let (Retention::Days(_), Some(before_ms)) = (retention, staged.prune_events_before_ms) {
        transaction
            .prepare_cached(
                "DELETE FROM event WHERE seq IN (
                    SELECT seq FROM (SELECT seq, at_ms FROM event ORDER BY seq LIMIT ?1)
                    WHERE at_ms < ?2 AND seq < ?3)",
            )?
            .execute(params![
                PRUNED_PER_COMMIT,
                before_ms.cast_signed(),
                head.last_seq.cast_signed()
            ])?;
    }
    transaction.commit()
}

fn write_lock(connection: &Connection, reason: Option<&str>) -> rusqlite::Result<()> {
    connection.execute("DELETE FROM lock", [])?;
    if let Some(reason) = reason {
        connection.execute("INSERT INTO lock VALUES (1, ?1)", [reason])?;
    }
    Ok(())
}

fn write_digests(connection: &Connection, staged: &Staged) -> rusqlite::Result<()> {
    let mut insert = connection
        .prepare_cached("INSERT OR IGNORE INTO seen (dated_secs, digest) VALUES (?1, ?2)")?;
    for (digest, dated_secs) in &staged.digests {
        insert.execute(params![dated_secs.cast_signed(), digest.as_slice()])?;
    }
    // In the same transaction as the floor that refuses what is forgotten here.
    if let Some(through) = staged.forget_through_secs {
        connection
            .prepare_cached("DELETE FROM seen WHERE dated_secs <= ?1")?
            .execute([through.cast_signed()])?;
    }
    if let Some(floors) = &staged.floors {
        floors::write(connection, floors)?;
    }
    write_claimed(connection, staged)
}

/// What siblings have claimed, and what is left of what a version before wrote.
fn write_claimed(connection: &Connection, staged: &Staged) -> rusqlite::Result<()> {
    for (number, digest, forget_after_secs) in &staged.claimed {
        let (number, until) = (number.cast_signed(), forget_after_secs.cast_signed());
        connection
            .prepare_cached("INSERT OR IGNORE INTO claimed VALUES (?1, ?2, ?3)")?
            .execute(params![number, digest.as_slice(), until])?;
    }
    if let Some(through) = staged.unclaim_through {
        connection
            .prepare_cached("DELETE FROM claimed WHERE number <= ?1")?
            .execute([through.cast_signed()])?;
    }
    if let Some(through) = staged.unclaim_through_secs {
        connection
            .prepare_cached("DELETE FROM replay WHERE forget_after_secs BETWEEN 1 AND ?1")?
            .execute([through.cast_signed()])?;
    }
    Ok(())
}

/// Writes an event after the last one, and gives its body.
fn write_event(
    connection: &Connection,
    event: &Event,
    head: &mut Head,
) -> rusqlite::Result<Vec<u8>> {
    let (seq, chain) = (head.last_seq, &head.chain);
    let record = EventRecord::chained(head.version, seq, chain, event.clone());
    records::insert(connection, &record, event.at_ms, event.kind)?;
    head.last_seq = record.seq;
    head.chain = record.chain.as_slice().try_into().unwrap_or_default();
    Ok(record.body)
}

fn write_policy(connection: &Connection, policy: &PolicyText) -> rusqlite::Result<()> {
    let PolicyText { version, text } = policy;
    let PolicyVersion {
        generation,
        digest,
        not_after_secs,
        replay_floor_secs,
    } = version;
    connection.execute(
        "INSERT OR REPLACE INTO policy VALUES (1, ?1, ?2, ?3, ?4, ?5)",
        params![
            generation.cast_signed(),
            text.as_str(),
            digest.as_slice(),
            not_after_secs.cast_signed(),
            replay_floor_secs.cast_signed(),
        ],
    )?;
    Ok(())
}
