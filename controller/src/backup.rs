//! Backup, restore, move and check of a controller's directory.
//!
//! | file | what |
//! |---|---|
//! | `archive` | a tar file, written and read |
//! | `manifest` | what an archive says of itself |
//! | `taken` | that an archive of a moved controller was restored |
//! | `check` | whether a directory, or an archive, is sound |
//!
//! A backup is one file with the database as it was at one moment, the authority, the keys and the
//! settings. It can be made while the controller serves. The name of the last run is not in it: a
//! restored controller does not know what was claimed since, refuses packets from before its start,
//! and learns from its hosts how far they were (`store/sqlite/set_back.rs`). A *moved* controller
//! was stopped and serves no more where it was, so that nothing can have happened since: its archive
//! has the run, and it goes on as if it had only been restarted.

mod archive;
mod check;
mod manifest;
#[cfg(test)]
mod over_postgres;
mod taken;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use self::archive::{next_file, skip_padding, write_end, write_file};
pub use self::check::{Finding, check, check_archive, rebuild_searches};
use self::manifest::{Entry, FORMAT, Manifest};
pub use self::taken::Taken;
use crate::clock;
use crate::data_dir::{DataDir, DataDirError};
use crate::settings::{InvalidSettings, Settings};
use crate::store::error::StoreError;
use crate::store::model::Whose;
use crate::store::{self, Place};

const DATABASE: &str = "controller.db";
const SETTINGS: &str = "controller.toml";
const RUN: &str = "run";
/// Every file but the database, the settings and the run; all are needed.
const IDENTITY: &[&str] = &[
    "ca.pem",
    "ca-key.pem",
    "server.pem",
    "server-key.pem",
    SEAL_KEY,
];
const SEAL_KEY: &str = "seal.key";
/// The authorities; not in a directory, nor in an archive, of before.
const AUTHORITY: &str = "authority.json";
/// Of what is no database, bytes.
const SMALL_MAX: u64 = 1024 * 1024;

/// What was made or read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Archived {
    /// The fleet's name.
    pub fleet: String,
    /// When the backup was made, for people.
    pub made_at: String,
    /// The program that made it.
    pub made_by: String,
    /// Number of the database's schema.
    pub schema: u32,
    /// Of the archive.
    pub bytes: u64,
    /// The controller was moved: nothing happened since.
    pub moved: bool,
    /// The archive of a moved controller that was restored, and could not be marked as such.
    pub unmarked: bool,
}

/// Why a backup was not made or restored; nothing was changed then.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The directory.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// Nothing is overwritten.
    #[error("{0} is there already; nothing was written")]
    Exists(PathBuf),
    /// The archive cannot be read or written.
    #[error("cannot use {path}")]
    File {
        /// Of the file.
        path: PathBuf,
        /// What the system says, or what is wrong with it.
        source: io::Error,
    },
    /// The archive is not whole, or not what it says.
    #[error("{path} cannot be restored: {what}")]
    Damaged {
        /// Of the archive.
        path: PathBuf,
        /// In words.
        what: String,
    },
    /// It is of a controller that was moved, and that is elsewhere already.
    #[error(
        "{path} was restored already, at {} on {} into {}",
        taken.at, taken.on, taken.data.display()
    )]
    Taken {
        /// Of the archive.
        path: PathBuf,
        /// When and where.
        taken: Taken,
    },
    /// Its settings have mistakes.
    #[error("{}", mistakes.in_file(path))]
    Settings {
        /// Of the file.
        path: PathBuf,
        /// All of them.
        mistakes: InvalidSettings,
    },
    /// The database.
    #[error("cannot use {path}")]
    Database {
        /// Of the file.
        path: PathBuf,
        /// What the store says.
        source: StoreError,
    },
    /// The same at a server.
    #[error(transparent)]
    Server(StoreError),
}

/// Files that are removed unless they are [`keep`](Self::keep)t.
#[derive(Debug, Default)]
struct Drafts(Vec<PathBuf>);

// === impl Drafts ===

impl Drafts {
    fn keep(mut self) {
        self.0.clear();
    }
}

impl Drop for Drafts {
    fn drop(&mut self) {
        for path in &self.0 {
            // What was never made need not be removed.
            let _ = fs::remove_file(path);
        }
    }
}

// === impl BackupError ===

impl BackupError {
    fn file(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        let is = |kind| source.kind() == kind;
        if is(io::ErrorKind::AlreadyExists) {
            Self::Exists(path)
        } else if is(io::ErrorKind::UnexpectedEof) {
            let what = "it is cut short".to_owned();
            Self::Damaged { path, what }
        } else if is(io::ErrorKind::InvalidData) {
            let what = source.to_string();
            Self::Damaged { path, what }
        } else if is(io::ErrorKind::PermissionDenied) {
            DataDirError::file(&path, source).into()
        } else {
            Self::File { path, source }
        }
    }

    fn store(place: &Place, source: StoreError) -> Self {
        match place {
            Place::File(path) => Self::Database {
                path: path.clone(),
                source,
            },
            Place::Postgres(_) => Self::Server(source),
        }
    }

    fn damaged(path: &Path, what: impl Into<String>) -> Self {
        Self::Damaged {
            path: path.to_owned(),
            what: what.into(),
        }
    }
}

/// A file that an archive is written into. It is made before a process becomes the owner of the
/// controller's directory, who may not be allowed to make it.
#[derive(Debug)]
pub struct NewArchive {
    path: PathBuf,
    file: File,
    is_whole: bool,
}

/// A file that holds an archive; it is opened for the same reason.
#[derive(Debug)]
pub struct OldArchive {
    path: PathBuf,
    file: File,
}

// === impl NewArchive ===

impl NewArchive {
    /// Makes the file, mode 0600.
    ///
    /// # Errors
    ///
    /// [`BackupError`]; a file that is there is never changed.
    pub fn create(path: &Path) -> Result<Self, BackupError> {
        let made = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path);
        Ok(Self {
            path: path.to_owned(),
            file: made.map_err(|error| BackupError::file(path, error))?,
            is_whole: false,
        })
    }
}

impl Drop for NewArchive {
    fn drop(&mut self) {
        if !self.is_whole {
            // Half an archive is none. Whoever may not take it away leaves an empty file.
            let _ = self.file.set_len(0);
            let _ = fs::remove_file(&self.path);
        }
    }
}

// === impl OldArchive ===

impl OldArchive {
    /// Opens it.
    ///
    /// # Errors
    ///
    /// [`BackupError`].
    pub fn open(path: &Path) -> Result<Self, BackupError> {
        // To be marked, where that may be.
        let to_mark = || fs::OpenOptions::new().read(true).write(true).open(path);
        let file = program::files::open_regular(path).map(|file| to_mark().unwrap_or(file));
        Ok(Self {
            path: path.to_owned(),
            file: file.map_err(|error| BackupError::file(path, error))?,
        })
    }

    /// Whose the directory was of which it was made, by name, where it says so.
    ///
    /// # Errors
    ///
    /// [`BackupError`] when it is no archive.
    pub fn owner(&self) -> Result<Option<String>, BackupError> {
        let manifest = read_manifest(&self.path, &mut BufReader::new(&self.file))?;
        let again = (&self.file).rewind();
        again.map_err(|error| BackupError::file(&self.path, error))?;
        Ok(manifest.owner)
    }
}

/// Writes a backup of the controller of `data`, which may be serving.
///
/// # Errors
///
/// [`BackupError`]; then there is no archive.
pub fn backup(data: &Path, to: NewArchive) -> Result<Archived, BackupError> {
    let dir = DataDir::open(data)?;
    let archived = write(&dir, to, false)?;
    dir.note_backup(&archived.made_at);
    Ok(archived)
}

/// The same for good: the controller must not be serving, and will not serve from `data` again.
///
/// # Errors
///
/// [`BackupError`]; then it may serve as before.
pub fn move_to(data: &Path, to: NewArchive) -> Result<Archived, BackupError> {
    let dir = DataDir::open(data)?;
    let _lock = dir.lock()?;
    let archived = write(&dir, to, true)?;
    dir.retire()?;
    Ok(archived)
}

fn write(dir: &DataDir, mut to: NewArchive, moved: bool) -> Result<Archived, BackupError> {
    let (copy, _making) = dir.begin_backup()?;
    let drafts = Drafts(vec![copy.clone()]);
    let text = dir.read_settings()?;
    let settings = Settings::parse(&text).map_err(|mistakes| BackupError::Settings {
        path: dir.settings(),
        mistakes,
    })?;
    let database = dir.existing_database()?;
    let seal = dir.seal_key_text()?;
    let schema = store::copy(&database, &copy).map_err(|source| BackupError::Database {
        path: database,
        source,
    })?;
    let mut small = BTreeMap::from([(SETTINGS.to_owned(), text.into_bytes())]);
    let held = dir.hold_authority()?;
    for name in IDENTITY.iter().filter(|name| **name != SEAL_KEY) {
        small.insert((*name).to_owned(), dir.read(name)?.into_bytes());
    }
    if dir.authority()?.is_some() {
        small.insert(AUTHORITY.to_owned(), dir.read(AUTHORITY)?.into_bytes());
    }
    drop(held);
    // Wherever it is kept. Were it rotated meanwhile, one of the two would not be of the copy.
    if *dir.seal_key_text()? != *seal {
        return Err(BackupError::damaged(
            &to.path,
            "the seal key was rotated meanwhile; nothing was written",
        ));
    }
    small.insert(SEAL_KEY.to_owned(), seal.as_bytes().to_vec());
    if moved && let Some(run) = dir.run()? {
        small.insert(RUN.to_owned(), run.into_bytes());
    }
    let mut files: BTreeMap<String, Entry> = BTreeMap::new();
    for (name, bytes) in &small {
        let entry = summed(&mut bytes.as_slice());
        files.insert(
            name.clone(),
            entry.map_err(|error| BackupError::file(&copy, error))?,
        );
    }
    let failed = |error| BackupError::file(&copy, error);
    let mut database = File::open(&copy).map_err(failed)?;
    files.insert(DATABASE.to_owned(), summed(&mut database).map_err(failed)?);
    database.rewind().map_err(failed)?;
    let now = clock::now();
    let manifest = Manifest {
        format: FORMAT,
        fleet: settings.fleet,
        made_at: now.to_string(),
        made_by: concat!("postern-controller ", env!("CARGO_PKG_VERSION")).to_owned(),
        schema,
        moved,
        owner: program::owner::name_of_owner(dir.path()),
        files,
    };
    let written = pack(&to.file, &manifest, &small, (&mut database, now.secs()));
    let bytes = written.map_err(|error| BackupError::file(&to.path, error))?;
    to.is_whole = true;
    drop(drafts);
    Ok(archived(manifest, bytes))
}

/// Writes everything into one file, and gives its length.
fn pack(
    file: &File,
    manifest: &Manifest,
    small: &BTreeMap<String, Vec<u8>>,
    (database, at_secs): (&mut File, u64),
) -> io::Result<u64> {
    let mut archive = BufWriter::new(file);
    let text = serde_json::to_vec_pretty(manifest).map_err(io::Error::other)?;
    let size = |bytes: &[u8]| (bytes.len() as u64, at_secs);
    write_file(
        &mut archive,
        manifest::NAME,
        size(&text),
        &mut text.as_slice(),
    )?;
    for (name, bytes) in small {
        write_file(&mut archive, name, size(bytes), &mut bytes.as_slice())?;
    }
    let length = database.metadata()?.len();
    write_file(&mut archive, DATABASE, (length, at_secs), database)?;
    write_end(&mut archive)?;
    archive.flush()?;
    drop(archive);
    file.sync_all()?;
    Ok(file.metadata()?.len())
}

/// Makes a controller in `data`, which must be new or empty, out of a backup. That of a controller that
/// was moved is restored once; `again` makes of it a backup like any other, after which things may have
/// happened that are not in it.
///
/// # Errors
///
/// [`BackupError`]; then `data` holds no controller.
pub fn restore(from: &OldArchive, data: &Path, again: bool) -> Result<Archived, BackupError> {
    let dir = DataDir::create(data)?;
    let failed = |error| BackupError::file(&from.path, error);
    // Of two at once the second waits, and finds the mark of the first.
    from.file.lock().map_err(failed)?;
    let (taken, end) = taken::find(&from.file).map_err(failed)?;
    if let Some(taken) = taken.as_ref().filter(|_| !again) {
        return Err(BackupError::Taken {
            path: from.path.clone(),
            taken: taken.clone(),
        });
    }
    let mut drafts = Drafts::default();
    let (mut manifest, text) = unpack(from, Some((&dir, &mut drafts)))?;
    if taken.is_some() {
        // What was claimed since, whoever serves elsewhere knows.
        dir.forget_run()?;
        manifest.moved = false;
    }
    let seal = dir.seal_key()?;
    let failed = |source| BackupError::Database {
        path: dir.database(),
        source,
    };
    // Whose log it is matters only to what was signed of it, which `check` reads.
    let place = Place::File(dir.database());
    let examined = store::examine(&place, &seal, Whose::default(), &mut |_, _| {});
    let examined = examined.map_err(failed)?;
    if let Some(damage) = examined.damage.first() {
        return Err(BackupError::damaged(
            &from.path,
            format!("its database is damaged: {damage}"),
        ));
    }
    store::is_known(&examined).map_err(failed)?;
    Settings::parse(&text).map_err(|mistakes| BackupError::Settings {
        path: from.path.join(SETTINGS),
        mistakes,
    })?;
    let bytes = from.file.metadata().map_or(0, |it| it.len());
    let marked = manifest.moved.then(|| {
        let taken = Taken::here(data);
        taken::mark(&from.file, end, &taken)
    });
    dir.write_settings(&text)?;
    drafts.keep();
    Ok(Archived {
        unmarked: matches!(marked, Some(Err(_))),
        ..archived(manifest, bytes)
    })
}

/// Reads an archive, and puts its files into a directory where one is given; the settings are given
/// back. Every file must be what the manifest says.
fn unpack(
    archive: &OldArchive,
    mut into: Option<(&DataDir, &mut Drafts)>,
) -> Result<(Manifest, String), BackupError> {
    let from = archive.path.as_path();
    let failed = |error| BackupError::file(from, error);
    let mut file = &archive.file;
    // It may have been read before.
    file.rewind().map_err(failed)?;
    let mut archive = BufReader::new(file);
    let manifest = read_manifest(from, &mut archive)?;
    let mut settings = String::new();
    let mut left = manifest.files.clone();
    while let Some((name, size)) = next_file(&mut archive).map_err(failed)? {
        if name == taken::NAME {
            io::copy(&mut archive.by_ref().take(size), &mut io::sink()).map_err(failed)?;
            skip_padding(&mut archive, size).map_err(failed)?;
            continue;
        }
        let Some(expected) = left.remove(&name).filter(|it| it.bytes == size) else {
            return Err(BackupError::damaged(
                from,
                format!("`{name}` is not what was packed"),
            ));
        };
        let mut contents = archive.by_ref().take(size);
        let found = if name == SETTINGS {
            contents.read_to_string(&mut settings).map_err(failed)?;
            summed(&mut settings.as_bytes()).map_err(failed)?
        } else if let Some((dir, drafts)) = &mut into {
            let path = dir.path().join(&name);
            drafts.0.push(path.clone());
            unpack_file(&path, mode(&name), &mut contents)
                .map_err(|error| BackupError::file(&path, error))?
        } else {
            summed(&mut contents).map_err(failed)?
        };
        if found != expected {
            return Err(BackupError::damaged(
                from,
                format!("`{name}` is not what was packed"),
            ));
        }
        skip_padding(&mut archive, size).map_err(failed)?;
    }
    if let Some((name, _)) = left.first_key_value() {
        return Err(BackupError::damaged(from, format!("`{name}` is missing")));
    }
    Ok((manifest, settings))
}

fn read_manifest(from: &Path, archive: &mut impl Read) -> Result<Manifest, BackupError> {
    let failed = |error| BackupError::file(from, error);
    let no_backup = || BackupError::damaged(from, "it is no backup of a controller");
    let (name, size) = next_file(archive).map_err(failed)?.ok_or_else(no_backup)?;
    if name != manifest::NAME || size > SMALL_MAX {
        return Err(no_backup());
    }
    let mut text = Vec::new();
    archive.take(size).read_to_end(&mut text).map_err(failed)?;
    skip_padding(archive, size).map_err(failed)?;
    let manifest: Manifest = serde_json::from_slice(&text).map_err(|_| no_backup())?;
    if manifest.format > FORMAT {
        let what = format!("it was made by {}, which is newer", manifest.made_by);
        return Err(BackupError::damaged(from, what));
    }
    let is_known = |name: &str| {
        [DATABASE, SETTINGS, RUN, AUTHORITY].contains(&name) || IDENTITY.contains(&name)
    };
    if let Some(name) = manifest.files.keys().find(|name| !is_known(name)) {
        return Err(BackupError::damaged(
            from,
            format!("`{name}` is no file of a controller"),
        ));
    }
    let needed = IDENTITY.iter().chain([&DATABASE, &SETTINGS]);
    for name in needed {
        if !manifest.files.contains_key(*name) {
            return Err(BackupError::damaged(from, format!("`{name}` is missing")));
        }
    }
    Ok(manifest)
}

/// Writes a file that is new, and says what was written.
fn unpack_file(path: &Path, mode: u32, contents: &mut impl Read) -> io::Result<Entry> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    let mut hash = Sha256::new();
    let mut bytes = 0;
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = contents.read(&mut buffer)?;
        let Some(part) = buffer.get(..read).filter(|part| !part.is_empty()) else {
            break;
        };
        file.write_all(part)?;
        hash.update(part);
        bytes += read as u64;
    }
    file.sync_all()?;
    Ok(Entry {
        bytes,
        sha256: hex::encode(hash.finalize()),
    })
}

fn summed(contents: &mut impl Read) -> io::Result<Entry> {
    let mut hash = Sha256::new();
    let mut bytes = 0;
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = contents.read(&mut buffer)?;
        let Some(part) = buffer.get(..read).filter(|part| !part.is_empty()) else {
            break;
        };
        hash.update(part);
        bytes += read as u64;
    }
    Ok(Entry {
        bytes,
        sha256: hex::encode(hash.finalize()),
    })
}

fn mode(name: &str) -> u32 {
    if name == "ca.pem" || name == "server.pem" {
        0o644
    } else {
        0o600
    }
}

fn archived(manifest: Manifest, bytes: u64) -> Archived {
    let Manifest {
        format: _,
        fleet,
        made_at,
        made_by,
        schema,
        moved,
        owner: _,
        files: _,
    } = manifest;
    Archived {
        fleet,
        made_at,
        made_by,
        schema,
        bytes,
        moved,
        unmarked: false,
    }
}
