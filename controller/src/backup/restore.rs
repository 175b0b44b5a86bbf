//! An archive unpacked, and its database put where it belongs.

use std::fs;
use std::io::{self, BufReader, Read, Seek as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::archive::{next_file, skip_padding};
use super::manifest::{self, Entry, FORMAT, Manifest};
use super::{
    AUTHORITY, Archived, BackupError, DATABASE, Drafts, IDENTITY, NAME, OldArchive, RUN, SETTINGS,
    SMALL_MAX, Taken, archived, copy_summed, summed, taken,
};
use crate::data_dir::{Begun, DataDir};
use crate::database::switched_text;
use crate::random::random;
use crate::settings::Settings;
use crate::store::copying::{self, Copying};
use crate::store::model::Whose;
use crate::store::place::PostgresSettings;
use crate::store::{self, Place};

/// Where the database is put.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RestoreTo {
    /// Where the settings in the archive say.
    AsItWas,
    /// Into a file of the directory.
    File,
    /// To a PostgreSQL server, into a database that has nothing in it.
    Postgres(PostgresSettings),
}

// === impl RestoreTo ===

impl RestoreTo {
    /// The server, where it is at one.
    fn of(&self, settings: &Settings) -> Option<PostgresSettings> {
        match self {
            Self::AsItWas => settings.database.clone(),
            Self::File => None,
            Self::Postgres(settings) => Some(settings.clone()),
        }
    }
}

/// Makes a controller in `data`, which must be new or empty, out of a backup. That of a controller that
/// was moved is restored once; `again` makes of it a backup like any other, after which things may have
/// happened that are not in it.
///
/// # Errors
///
/// [`BackupError`]; then `data` holds no controller.
pub fn restore(
    from: &OldArchive,
    data: &Path,
    (to, again): (&RestoreTo, bool),
) -> Result<Archived, BackupError> {
    let begun = Begun::create(data)?;
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
    let restored = fill((from, end), (begun.dir(), data), to, taken.is_some())?;
    begun.keep();
    Ok(restored)
}

fn fill(
    (from, end): (&OldArchive, u64),
    (dir, data): (&DataDir, &Path),
    to: &RestoreTo,
    is_taken: bool,
) -> Result<Archived, BackupError> {
    let mut drafts = Drafts::default();
    let (mut manifest, text) = unpack(from, Some((dir, &mut drafts)))?;
    if is_taken {
        // What was claimed since, whoever serves elsewhere knows.
        dir.forget_run()?;
        manifest.moved = false;
    }
    let settings = Settings::parse(&text).map_err(|mistakes| BackupError::Settings {
        path: from.path.join(SETTINGS),
        mistakes,
    })?;
    let database = to.of(&settings);
    let text = switched_text(&from.path.join(SETTINGS), &text, database.as_ref());
    let text = text
        .map_err(|error| BackupError::damaged(&from.path, program::one_line(&error).to_string()))?;
    let database = database.map(|database| Place::Postgres(database.under(dir.path())));
    match (&database, manifest.is_without_database) {
        (None, true) => {
            return Err(BackupError::NoDatabase {
                path: from.path.clone(),
                server: settings.database.map_or_else(String::new, |it| it.url),
            });
        }
        (Some(place), true) => is_its_database(dir, place, &settings.fleet)?,
        (None, false) => is_sound(from, dir)?,
        (Some(place), false) => {
            is_sound(from, dir)?;
            to_server(dir, place, &settings.fleet)?;
        }
    }
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

/// Refuses a database that was unpacked and is damaged, or of a later version.
fn is_sound(from: &OldArchive, dir: &DataDir) -> Result<(), BackupError> {
    let place = Place::File(dir.database());
    let failed = |source| BackupError::store(&place, source);
    // Whose log it is matters only to what was signed of it, which `check` reads.
    let examined = store::examine(&place, &dir.seal_key()?, Whose::default(), &mut |_, _| {});
    let examined = examined.map_err(failed)?;
    if let Some(damage) = examined.damage.first() {
        return Err(BackupError::damaged(
            &from.path,
            format!("its database is damaged: {damage}"),
        ));
    }
    store::is_known(&examined).map_err(failed)
}

/// Copies the database that was unpacked to a server, where there is none yet, and takes the file away. Who is killed
/// restores again, into a directory that is empty, and the copy goes on where it was.
fn to_server(dir: &DataDir, place: &Place, fleet: &str) -> Result<(), BackupError> {
    let file = Place::File(dir.database());
    let of = Copying {
        from: &file,
        to: place,
        seal: &dir.seal_key()?,
        fleet,
        rows: copying::ROWS,
    };
    copying::copy(of, &mut |_| {})?;
    // With what was made beside it.
    for entry in fs::read_dir(dir.path()).map_err(|error| BackupError::file(dir.path(), error))? {
        let path = entry
            .map_err(|error| BackupError::file(dir.path(), error))?
            .path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with(DATABASE) {
            fs::remove_file(&path).map_err(|error| BackupError::file(&path, error))?;
        }
    }
    give_name(dir)
}

fn give_name(dir: &DataDir) -> Result<(), BackupError> {
    if dir.name()?.is_none() {
        let name = random::<16>().map_err(io::Error::other);
        let name = name.map_err(|error| BackupError::file(dir.path(), error))?;
        dir.write_name(&hex::encode(name))?;
    }
    Ok(())
}

/// Refuses a database that is not the one which a moved controller had: it is not copied with it.
fn is_its_database(dir: &DataDir, place: &Place, fleet: &str) -> Result<(), BackupError> {
    let known = store::knows(place, &dir.seal_key()?, fleet);
    if known.map_err(|source| BackupError::store(place, source))? {
        return Ok(());
    }
    Err(BackupError::OtherDatabase(place.to_string()))
}

/// Reads an archive, and puts its files into a directory where one is given; the settings are given
/// back. Every file must be what the manifest says.
pub(super) fn unpack(
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

pub(super) fn read_manifest(from: &Path, archive: &mut impl Read) -> Result<Manifest, BackupError> {
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
        [DATABASE, SETTINGS, RUN, AUTHORITY, NAME].contains(&name) || IDENTITY.contains(&name)
    };
    if let Some(name) = manifest.files.keys().find(|name| !is_known(name)) {
        return Err(BackupError::damaged(
            from,
            format!("`{name}` is no file of a controller"),
        ));
    }
    let database = (!manifest.is_without_database).then_some(&DATABASE);
    let needed = IDENTITY.iter().chain([&SETTINGS]).chain(database);
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
    let written = copy_summed(contents, &mut file)?;
    file.sync_all()?;
    Ok(written)
}

fn mode(name: &str) -> u32 {
    if name == "ca.pem" || name == "server.pem" {
        0o644
    } else {
        0o600
    }
}
