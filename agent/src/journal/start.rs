//! Opening the journal: is it ours, is it whole, and what may be believed?

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fleet::event::ChainVersion;
use gate::FloorReason;
use nix::fcntl::Flock;
use rusqlite::{Connection, OptionalExtension as _};

use super::check::{self, Check};
use super::checkpoint::Checkpointer;
use super::error::{JournalError, cannot, io};
use super::live_grants::{self, FoundGrant};
use super::lock::{lock, private_file};
use super::place::Place;
use super::preallocate;
use super::reader::{access_file_of, policy_of};
use super::replays::Remembered;
use super::schema::{WITNESS_SINCE, configure_writer, migrate};
use super::siblings::Siblings;
use super::witness::{self, Witness};
use super::{FILE_NAME, Journal, Retention, Staged, epoch, floors, scrub, unconfirmed};
use crate::policies::PolicyText;

/// How the journal is to be kept.
#[derive(Clone, Debug)]
pub struct JournalOptions {
    /// The state directory; made if it is not there, for this user only.
    pub state_dir: PathBuf,
    pub retention: Retention,
    /// For how long packets are recent; `None` when they do not age, and messages are remembered
    /// for ever.
    pub window: Option<Duration>,
    /// How far ahead of the clock a packet may be dated.
    pub max_future: Duration,
    /// Where the witness of the journal is kept: outside of the state directory, and only until the
    /// next boot. `None` keeps none, and every start of a journal that is there is unproven.
    pub witness_dir: Option<PathBuf>,
}

/// What a start finds.
#[derive(Debug)]
pub struct Start {
    pub journal: Journal,
    pub floor: Floor,
    /// The policy last adopted from the controller.
    pub policy: Option<PolicyText>,
    /// Generation and digest of the access file last in force, for a host without controller.
    pub access_file: Option<(u64, [u8; 32])>,
    /// Grants whose closing has not been recorded.
    pub open_grants: Vec<FoundGrant>,
    /// Why the controller has locked this host; `None` when it has not.
    pub locked: Option<String>,
    /// Whether the last run ended tidily; a new journal counts as tidy.
    pub clean: bool,
}

/// Which packets must be refused because nobody knows whether they were granted before.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Floor {
    /// Packets dated before this are refused, in seconds since the Unix epoch; 0 for none.
    pub not_before_secs: u64,
    /// What this start found; the floor may be of an earlier one.
    pub why: FloorReason,
}

/// Beside the journal, so that its loss is noticed: holds the epoch.
const TRACE_NAME: &str = "journal.epoch";

/// What lay in the state directory before this start touched it, and what the witness says.
struct Evidence<'a> {
    existed: bool,
    trace: Option<&'a str>,
    had_wal: bool,
    /// The version before kept no witness.
    is_upgraded: bool,
    witnessed: Witnessed,
}

/// What the witness says of the journal that is here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Witnessed {
    /// Nothing: there has been no journal in this boot.
    Nothing,
    /// It goes on from where it was; everything that was let through is dated at or before this.
    Whole(u64),
    /// It is not the one that was here, or ends before it did; everything that was let through is
    /// dated at or before this.
    SetBack(u64),
}

// === impl Evidence ===

impl Evidence<'_> {
    /// What this start found.
    fn finding(&self, meta: &Meta, window: Option<Duration>) -> FloorReason {
        let same = self.trace == Some(meta.epoch.as_str());
        let unbroken = self.existed && same && (meta.clean || self.had_wal);
        match self.witnessed {
            Witnessed::SetBack(_) if self.existed => FloorReason::SetBack,
            Witnessed::SetBack(_) => FloorReason::Lost,
            Witnessed::Nothing | Witnessed::Whole(_) if unbroken => {
                if self.witnessed == Witnessed::Nothing && !self.is_upgraded {
                    FloorReason::Unproven
                } else if wider(window, meta.window_secs) {
                    FloorReason::Widened
                } else {
                    FloorReason::Known
                }
            }
            Witnessed::Nothing | Witnessed::Whole(_) => {
                if self.existed || self.trace.is_some() {
                    FloorReason::Lost
                } else if window.is_some() {
                    FloorReason::New
                } else {
                    FloorReason::Unguarded
                }
            }
        }
    }

    /// The floor that a finding needs, by a clock that says `now_secs`.
    fn floor(&self, why: FloorReason, options: &JournalOptions, now_secs: u64) -> gate::Floor {
        let ahead_secs = options.max_future.as_secs();
        let (through_secs, set_at_secs) = match (why, self.witnessed) {
            (FloorReason::Known | FloorReason::Unguarded, _) => (0, 0),
            (FloorReason::New | FloorReason::Widened, _) => (now_secs.saturating_sub(1), now_secs),
            (_, Witnessed::Nothing) => (now_secs.saturating_add(ahead_secs), now_secs),
            // It is known what was let through, also by a clock that was ahead: no clock takes that
            // back, only an operator's word.
            (_, Witnessed::Whole(newest_secs) | Witnessed::SetBack(newest_secs)) => {
                (newest_secs, 0)
            }
        };
        gate::Floor {
            through_secs,
            set_at_secs,
            why,
        }
    }
}

/// Whether the window is now wider than when `window_secs` (0: no end) was written.
fn wider(window: Option<Duration>, window_secs: u64) -> bool {
    match window {
        Some(window) => window_secs != 0 && window.as_secs() > window_secs,
        None => window_secs != 0,
    }
}

// === impl Journal ===

impl Journal {
    /// Opens the journal in the state directory, or makes a new one.
    ///
    /// # Errors
    ///
    /// [`JournalError`] when it is damaged, in use, or cannot be read or written. Nothing has been
    /// changed then, but for files that were not there.
    pub fn open(options: &JournalOptions, now_secs: u64) -> Result<Start, JournalError> {
        let dir = &options.state_dir;
        let path = dir.join(FILE_NAME);
        make_dir(dir)?;
        let lock = lock(dir, &path)?;
        Self::open_locked(options, now_secs, lock)
    }

    /// As [`Journal::open`], by whoever has the directory for itself already.
    pub(super) fn open_locked(
        options: &JournalOptions,
        now_secs: u64,
        lock: Flock<File>,
    ) -> Result<Start, JournalError> {
        let dir = &options.state_dir;
        let path = dir.join(FILE_NAME);
        let trace = read_trace(dir)?;
        let wal = dir.join(format!("{FILE_NAME}-wal"));
        let had_wal = fs::metadata(&wal).is_ok_and(|wal| wal.len() > 0);
        let existed = existed(&path, trace.as_deref())?;

        let witness_dir = options.witness_dir.as_deref();
        let witness = witness_dir.and_then(|place| Witness::open(place, dir));

        let mut connection = open_writer(&path)?;
        if existed {
            check::at_start(&connection, &path)?;
        }
        let is_upgraded = existed && has_no_witness(&connection).map_err(cannot(&path, "read"))?;
        migrate(&mut connection, &path)?;
        scrub::of_an_earlier_version(&connection, existed, &path)?;
        let meta = read_or_make_meta(&connection, &path)?;
        let evidence = Evidence {
            existed,
            trace: trace.as_deref(),
            had_wal,
            is_upgraded,
            witnessed: witnessed(witness.as_ref(), &meta.epoch, &connection)
                .map_err(cannot(&path, "read"))?,
        };
        let why = evidence.finding(&meta, options.window);
        let floor = evidence.floor(why, options, now_secs);
        let clean = meta.clean || !existed;
        let found = Found {
            meta,
            floor,
            now_secs,
            witness,
        };
        let mut journal = Self::assemble(options, path, connection, found, lock)?;
        write_trace(dir, &journal.epoch)?;
        journal.note_in_witness();
        if let Err(cause) = preallocate::log(dir) {
            tracing::debug!(error = %program::one_line(&cause), "no room for the whole log: commits will have to make it grow");
        }
        if matches!(options.retention, Retention::Days(_)) {
            // Nobody but this program reads it.
            journal.use_chain_version(ChainVersion::V2);
        }
        let floor = Floor {
            not_before_secs: match journal.floor().through_secs {
                0 => 0,
                through_secs => through_secs.saturating_add(1),
            },
            why,
        };
        let saved = policy_of(&journal.connection, &journal.path)?;
        Ok(Start {
            policy: unconfirmed::policy(&mut journal, saved, why)?,
            access_file: access_file_of(&journal.connection)
                .map_err(cannot(&journal.path, "read"))?,
            locked: locked(&journal.connection).map_err(cannot(&journal.path, "read"))?,
            open_grants: live_grants::all(&journal.connection)
                .map_err(cannot(&journal.path, "read the grants of"))?,
            journal,
            floor,
            clean,
        })
    }

    fn assemble(
        options: &JournalOptions,
        path: PathBuf,
        connection: Connection,
        found: Found,
        lock: Flock<File>,
    ) -> Result<Self, JournalError> {
        let (last_seq, chain) = last_event(&connection, &path)?;
        let window_secs = options.window.map_or(0, |window| window.as_secs());
        let is_set_back = found.floor.why == FloorReason::SetBack;
        let mut journal = Self {
            place: Place::of(&options.state_dir).map_err(io(&path, "look at"))?,
            options: options.clone(),
            damage: None,
            is_scrub_due: false,
            is_lost: false,
            is_losing: false,
            fault: None,
            check: Check::start(&path)?,
            checkpointer: Checkpointer::start(&path)?,
            epoch: found.meta.epoch,
            last_seq,
            chain,
            chain_version: found.meta.chain_version,
            memory: gate::Memory::default(),
            keeps_forever: options.window.is_none(),
            window_secs,
            max_future_secs: options.max_future.as_secs(),
            newest_secs: 0,
            let_through: gate::Spans::default(),
            remembered: Remembered::default(),
            siblings: Siblings::default(),
            any_undated: false,
            witness: found.witness,
            staged: Staged::default(),
            retention: options.retention,
            #[cfg(test)]
            fails_commits: false,
            path,
            connection,
            lock: Some(lock),
        };
        let loaded = journal.load(found.floor, found.now_secs);
        loaded.map_err(cannot(&journal.path, "read"))?;
        journal.commit()?;
        if is_set_back {
            journal.begin_epoch()?;
        }
        Ok(journal)
    }

    /// Takes over what was seen, and the floors; adds `floor`, and lowers what a clock set that was
    /// ahead when there was no journal before.
    fn load(&mut self, floor: gate::Floor, now_secs: u64) -> rusqlite::Result<()> {
        self.memory = gate::Memory::new(gate::Capacity::default(), floors::read(&self.connection)?);
        self.memory.raise(floor);
        self.memory.correct_first(now_secs);
        let said = self.witness.as_ref().and_then(Witness::said);
        let witnessed = said.map(|said| said.let_through.clone());
        let is_loss = matches!(floor.why, FloorReason::Lost | FloorReason::SetBack);
        if is_loss && let Some(spans) = &witnessed {
            self.memory.spend(spans);
        }
        self.let_through = self.memory.floors().spans().clone();
        for span in witnessed.iter().flat_map(gate::Spans::iter) {
            self.let_through.add(span);
        }
        let forgotten = if self.keeps_forever {
            if witnessed.is_none() {
                dates_seen(&self.connection, &mut self.let_through)?;
            }
            None
        } else {
            let (memory, spans) = (&mut self.memory, &mut self.let_through);
            load_seen(&self.connection, memory, spans, now_secs)?
        };
        self.newest_secs = newest_seen(&self.connection)?;
        if self.newest_secs > 0 {
            self.let_through.add_date(self.newest_secs);
        }
        (self.remembered, self.any_undated) = load_left(&self.connection)?;
        self.siblings = load_claimed(&self.connection)?;
        self.staged.unclaim_through = self.siblings.evict();
        let window_secs = self.window_secs.cast_signed();
        self.connection
            .execute("UPDATE meta SET window_secs = ?1", [window_secs])?;
        self.stage_floors();
        self.stage_spent(forgotten);
        Ok(())
    }

    /// Gives this journal a new name, because it is not the continuation of what others have of it.
    /// What is staged stays staged.
    ///
    /// # Errors
    ///
    /// [`JournalError`]: nothing has changed.
    pub fn begin_epoch(&mut self) -> Result<(), JournalError> {
        let begun = self.write_epoch();
        let begun = begun.map_err(cannot(&self.path, "write to"))?;
        self.epoch = begun.epoch;
        self.last_seq = begun.last_seq;
        self.chain = begun.chain;
        if let Some(dir) = self.path.parent() {
            write_trace(dir, &self.epoch)?;
        }
        self.note_in_witness();
        Ok(())
    }

    fn write_epoch(&mut self) -> rusqlite::Result<epoch::Begun> {
        let transaction = self.connection.transaction()?;
        let begun = match self.retention {
            Retention::UntilAcknowledged => epoch::begin(&transaction, self.chain_version)?,
            // Nobody else has any of its events: they stay as they are.
            Retention::Days(_) => epoch::Begun {
                epoch: epoch::rename(&transaction)?,
                last_seq: self.last_seq,
                chain: self.chain,
            },
        };
        transaction.commit()?;
        Ok(begun)
    }
}

/// What a start found and made of it.
struct Found {
    meta: Meta,
    floor: gate::Floor,
    now_secs: u64,
    witness: Option<Witness>,
}

/// Holds what the witness says against the journal that is here.
fn witnessed(
    witness: Option<&Witness>,
    epoch: &str,
    connection: &Connection,
) -> rusqlite::Result<Witnessed> {
    let Some(said) = witness.and_then(Witness::said) else {
        return Ok(Witnessed::Nothing);
    };
    let is_there = match said.seq {
        0 => true,
        // The last commit before a crash may not have got into the witness.
        seq => chain_at(connection, seq)? == Some(said.chain),
    };
    Ok(if is_there && said.epoch == witness::epoch_bytes(epoch) {
        Witnessed::Whole(said.newest_secs)
    } else {
        Witnessed::SetBack(said.newest_secs)
    })
}

/// The chain value of an event, if it is still here.
pub(super) fn chain_at(connection: &Connection, seq: u64) -> rusqlite::Result<Option<[u8; 32]>> {
    connection
        .query_row(
            "SELECT chain FROM event WHERE seq = ?1",
            [seq.cast_signed()],
            |row| row.get(0),
        )
        .optional()
}

/// Whether the journal was written by a version that kept no witness.
fn has_no_witness(connection: &Connection) -> rusqlite::Result<bool> {
    let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    Ok(version < WITNESS_SINCE)
}

struct Meta {
    epoch: String,
    clean: bool,
    window_secs: u64,
    chain_version: ChainVersion,
}

pub(super) fn make_dir(dir: &Path) -> Result<(), JournalError> {
    let mut builder = fs::DirBuilder::new();
    builder
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(io(dir, "make the state directory"))
}

/// Whether there is a journal. An empty file is one that was made and never written, unless the
/// trace says otherwise.
fn existed(path: &Path, trace: Option<&str>) -> Result<bool, JournalError> {
    match fs::metadata(path) {
        Ok(found) if found.len() > 0 => Ok(true),
        Ok(_) if trace.is_some() => Err(JournalError::Damaged {
            path: path.to_owned(),
            finding: "the file is empty, and was not".to_owned(),
        }),
        Ok(_) => Ok(false),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(cause) => Err(io(path, "look at")(cause)),
    }
}

fn open_writer(path: &Path) -> Result<Connection, JournalError> {
    // Made by us first, so that it is never readable for others.
    private_file(path).map_err(io(path, "open"))?;
    let connection = Connection::open(path).map_err(cannot(path, "open"))?;
    connection
        .busy_timeout(Duration::from_secs(5))
        .map_err(cannot(path, "open"))?;
    configure_writer(&connection).map_err(cannot(path, "open"))?;
    Ok(connection)
}

fn read_or_make_meta(connection: &Connection, path: &Path) -> Result<Meta, JournalError> {
    let found = connection
        .query_row("SELECT * FROM meta", [], |row| {
            let number = |column| row.get::<_, i64>(column).map(i64::cast_unsigned);
            Ok(Meta {
                epoch: row.get("epoch")?,
                clean: row.get("clean")?,
                window_secs: number("window_secs")?,
                chain_version: ChainVersion::of_number(row.get("chain_version")?)
                    .unwrap_or_default(),
            })
        })
        .optional()
        .map_err(cannot(path, "read"))?;
    if let Some(meta) = found {
        connection
            .execute("UPDATE meta SET clean = 0", [])
            .map_err(cannot(path, "write to"))?;
        return Ok(meta);
    }
    let epoch = connection
        .query_row(
            "INSERT INTO meta VALUES (1, lower(hex(randomblob(16))), '', 0, 0, 0, 0, 0, 1)
             RETURNING epoch",
            [],
            |row| row.get(0),
        )
        .map_err(cannot(path, "write to"))?;
    Ok(Meta {
        epoch,
        clean: true,
        window_secs: 0,
        chain_version: ChainVersion::V1,
    })
}

fn last_event(connection: &Connection, path: &Path) -> Result<(u64, [u8; 32]), JournalError> {
    let last = connection
        .query_row(
            "SELECT seq, chain FROM event ORDER BY seq DESC LIMIT 1",
            [],
            |row| Ok((row.get::<_, i64>(0)?.cast_unsigned(), row.get(1)?)),
        )
        .optional()
        .map_err(cannot(path, "read events of"))?;
    Ok(last.unwrap_or((0, [0; 32])))
}

/// Loads what was seen here. Answers the newest date that was forgotten, if it is too much.
fn load_seen(
    connection: &Connection,
    memory: &mut gate::Memory,
    spans: &mut gate::Spans,
    now_secs: u64,
) -> rusqlite::Result<Option<u64>> {
    let mut forgotten = None;
    let mut statement = connection.prepare("SELECT dated_secs, digest FROM seen")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let dated_secs = row.get::<_, i64>(0)?.cast_unsigned();
        spans.add_date(dated_secs);
        forgotten = forgotten.max(memory.restore(&row.get(1)?, dated_secs, now_secs));
    }
    Ok(forgotten)
}

/// Where the dates lie of what was seen here.
fn dates_seen(connection: &Connection, spans: &mut gate::Spans) -> rusqlite::Result<()> {
    let mut statement = connection.prepare("SELECT DISTINCT dated_secs FROM seen")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        spans.add_date(row.get::<_, i64>(0)?.cast_unsigned());
    }
    Ok(())
}

fn newest_seen(connection: &Connection) -> rusqlite::Result<u64> {
    connection.query_row("SELECT ifnull(max(dated_secs), 0) FROM seen", [], |row| {
        row.get(0).map(i64::cast_unsigned)
    })
}

/// Loads what siblings have claimed.
fn load_claimed(connection: &Connection) -> rusqlite::Result<Siblings> {
    let mut siblings = Siblings::default();
    let mut statement = connection
        .prepare("SELECT number, digest, forget_after_secs FROM claimed ORDER BY number")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let number = |column| row.get::<_, i64>(column).map(i64::cast_unsigned);
        siblings.restore(number(0)?, &row.get(1)?, number(2)?);
    }
    Ok(siblings)
}

/// Loads what a version before left; and whether some of it has no end.
fn load_left(connection: &Connection) -> rusqlite::Result<(Remembered, bool)> {
    let mut remembered = Remembered::default();
    let mut statement = connection
        .prepare("SELECT digest, forget_after_secs FROM replay WHERE forget_after_secs > 0")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let forget_after_secs = row.get::<_, i64>(1)?.cast_unsigned();
        remembered.insert(&row.get(0)?, forget_after_secs);
    }
    let any_undated = connection
        .prepare("SELECT 1 FROM replay WHERE forget_after_secs = 0 LIMIT 1")?
        .exists([])?;
    Ok((remembered, any_undated))
}

pub(super) fn locked(connection: &Connection) -> rusqlite::Result<Option<String>> {
    connection
        .query_row("SELECT reason FROM lock", [], |row| row.get(0))
        .optional()
}

fn read_trace(dir: &Path) -> Result<Option<String>, JournalError> {
    let path = dir.join(TRACE_NAME);
    match program::files::open_regular(&path).and_then(io::read_to_string) {
        Ok(epoch) => Ok(Some(epoch.trim().to_owned())),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(io(&path, "read")(cause)),
    }
}

pub(super) fn write_trace(dir: &Path, epoch: &str) -> Result<(), JournalError> {
    let path = dir.join(TRACE_NAME);
    program::files::replace(&path, 0o600, format!("{epoch}\n").as_bytes())
        .map_err(io(&path, "write"))
}
