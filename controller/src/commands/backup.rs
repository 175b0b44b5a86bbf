//! `postern-controller backup`, `restore`, `move` and `check`.

use std::path::{Path, PathBuf};

use clap::Args;
use controller::{Archived, Finding, NewArchive, OldArchive, PostgresSettings, RestoreTo};
use serde_json::json;

use super::data::DataArgs;
use super::error::CommandError;

/// Write a backup of everything into one file, also while the controller serves
///
/// The file is a tar archive with the database as it was at one moment, the authority, the keys and
/// the settings; nobody but its owner may read it, and whoever can is the fleet. A database at a PostgreSQL server is
/// in it as a file. A file that is there is never overwritten. JSON fields: file, fleet, made_at, made_by, schema, bytes, moved.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  postern-controller backup /backup/postern-$(date +%F).tar --data /var/lib/postern
  tar -tvf /backup/postern-2026-11-25.tar")]
pub(crate) struct BackupArgs {
    /// File to write
    file: PathBuf,
    #[command(flatten)]
    common: Common,
}

/// Make a controller out of a backup, in a directory that is new or empty
///
/// What happened after the backup is not in it: packets from before the start are refused, members
/// who joined since join again, and when hosts have seen a newer policy, they keep it until an
/// operator says what is to be in force (`postern policy apply --after-restore`). The archive of a
/// controller that was moved has everything, and is marked when it is restored: a second time it is
/// refused, because a fleet has one controller. A directory that root has made here belongs to the user
/// who owned the one that was backed up, where this machine knows that user. The database goes where it was: into the
/// directory, or to the PostgreSQL server that the settings name, into a database that has nothing in it.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  postern-controller restore /backup/postern-2026-11-25.tar --data /var/lib/postern
  postern-controller restore postern.tar --database 'postgresql://postern@db-2.example/postern'")]
pub(crate) struct RestoreArgs {
    /// File that `backup` or `move` has written
    file: PathBuf,
    /// Restore a moved controller once more, as from a backup; the one before must never serve again
    #[arg(long)]
    again: bool,
    /// Put the database to this PostgreSQL server, wherever it was: what libpq calls a connection string
    #[arg(long, value_name = "URL", conflicts_with = "to_file")]
    database: Option<String>,
    /// File whose first line is the password for that server
    #[arg(long, value_name = "FILE", requires = "database")]
    database_password_file: Option<PathBuf>,
    /// File with the authorities (PEM) that the server's certificate may be of, instead of the system's
    #[arg(long, value_name = "FILE", requires = "database")]
    database_ca_file: Option<PathBuf>,
    /// Put the database into the directory, wherever it was
    #[arg(long)]
    to_file: bool,
    #[command(flatten)]
    common: Common,
}

/// Pack a stopped controller for another machine; here it serves no more
///
/// As `backup`, but nothing can have happened since: restored elsewhere, it goes on as if it had only
/// been restarted. Members reach it under the address that they know, so the name in it must lead to
/// the other machine then. A database at a PostgreSQL server stays there: the file has only what is the controller's
/// own, and other controllers of the fleet go on.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  systemctl stop postern-controller
  postern-controller move /root/postern.tar --data /var/lib/postern
  scp /root/postern.tar new:
  ssh new postern-controller restore postern.tar --data /var/lib/postern")]
pub(crate) struct MoveArgs {
    /// File to write
    file: PathBuf,
    #[command(flatten)]
    common: Common,
}

/// Check that a controller's directory, or a backup, is sound
///
/// Reads everything: settings, authority, certificate, every page of the database, or how its PostgreSQL server
/// is set up, its schema, the chains of the log, whether each record is found by what it says, and whether the key opens what is
/// sealed. Nothing is changed; the controller may be serving. `--rebuild` makes what records are found by
/// anew out of the records, with the controller stopped, and checks then. A backup is unpacked for that, into a directory under $TMPDIR that goes again. Exit code 1 when something is not sound; `warn` is not that. JSON fields: what, sound, warning, detail, remedy.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  postern-controller check --data /var/lib/postern
  postern-controller check --file /backup/postern-2026-11-25.tar
  systemctl stop postern-controller && postern-controller check --rebuild")]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    data: DataArgs,
    /// A backup instead
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Make what searches find records by anew, first
    #[arg(long, conflicts_with = "file")]
    rebuild: bool,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
struct Common {
    #[command(flatten)]
    data: DataArgs,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

// === impl BackupArgs ===

impl BackupArgs {
    pub(super) fn run(self) -> Result<(), CommandError> {
        let Self { file, common } = self;
        let archive = NewArchive::create(&file)?;
        let Common { data, json } = common;
        let archived = controller::backup(&data.enter()?, archive)?;
        say(json, &file, &archived, "is the backup")
    }
}

// === impl RestoreArgs ===

impl RestoreArgs {
    pub(super) fn run(self) -> Result<(), CommandError> {
        let Self {
            file,
            again,
            database,
            database_password_file: password_file,
            database_ca_file: ca_file,
            to_file,
            common,
        } = self;
        let to = match database {
            Some(url) => RestoreTo::Postgres(PostgresSettings {
                url,
                password_file,
                ca_file,
            }),
            None if to_file => RestoreTo::File,
            None => RestoreTo::AsItWas,
        };
        let archive = OldArchive::open(&file)?;
        let Common { data, json } = common;
        let data = data.enter_made_for(archive.owner()?.as_deref())?;
        let archived = controller::restore(&archive, &data, (&to, again))?;
        let data = data.display();
        let since = if archived.moved {
            "It goes on where it was.".to_owned()
        } else {
            format!(
                "What happened after {} is not in it. If hosts know more, `postern host list` says so; \
                 then `postern policy apply --after-restore`. Who was locked, removed or given other keys since \
                 is as before again: look through `postern member list` first.",
                archived.made_at
            )
        };
        program::note(format_args!(
            "{since}\nStart it: postern-controller serve --data {data}"
        ));
        if archived.unmarked {
            program::note(format_args!(
                "{} cannot be written, so that it does not say that it was restored: see that nobody does \
                 so a second time.",
                file.display()
            ));
        }
        say(json, &file, &archived, "is restored")
    }
}

// === impl MoveArgs ===

impl MoveArgs {
    pub(super) fn run(self) -> Result<(), CommandError> {
        let Self { file, common } = self;
        let archive = NewArchive::create(&file)?;
        let Common { data, json } = common;
        let data = data.enter()?;
        let archived = controller::move_to(&data, archive)?;
        program::note(format_args!(
            "{} does not serve any more. Elsewhere: postern-controller restore {} --data DIR",
            data.display(),
            file.display()
        ));
        say(json, &file, &archived, "is the controller")
    }
}

// === impl CheckArgs ===

impl CheckArgs {
    pub(super) fn run(self) -> Result<(), CommandError> {
        let Self {
            data,
            file,
            rebuild,
            json,
        } = self;
        let findings = match file {
            Some(file) => controller::check_archive(&file, &mut said("checked"))?,
            None => {
                let data = data.enter()?;
                if rebuild {
                    controller::rebuild_searches(&data, &mut said("made anew"))?;
                }
                controller::check(&data, &mut said("checked"))?
            }
        };
        let lines = findings.iter().map(|finding| line(finding, json) + "\n");
        program::print(lines.collect::<String>())?;
        let mut remedies: Vec<&str> = findings.iter().filter_map(Finding::remedy).collect();
        let count = remedies.len();
        if count == 0 {
            return Ok(());
        }
        remedies.sort_unstable();
        remedies.dedup();
        let remedies = remedies.join("; ");
        Err(CommandError::Unsound { count, remedies })
    }
}

/// Says every so many records how far it is.
fn said(what: &'static str) -> impl FnMut(u64, u64) {
    const EVERY: u64 = 250_000;
    let mut next = EVERY;
    move |done, all| {
        if done >= next {
            program::note(format_args!("{done} of {all} records {what}"));
            next = done + EVERY;
        }
    }
}

fn line(finding: &Finding, json: bool) -> String {
    let Finding {
        what,
        is_sound,
        is_warning,
        detail,
    } = finding;
    if json {
        let remedy = finding.remedy();
        return json!({
            "what": what, "sound": is_sound, "warning": is_warning, "detail": detail, "remedy": remedy,
        })
        .to_string();
    }
    let verdict = match (is_sound, is_warning) {
        (false, _) => "FAIL",
        (true, true) => "warn",
        (true, false) => "ok  ",
    };
    format!("{verdict}  {what}: {detail}")
}

fn say(json: bool, file: &Path, archived: &Archived, what: &str) -> Result<(), CommandError> {
    let Archived {
        fleet,
        made_at,
        made_by,
        schema,
        bytes,
        moved,
        unmarked: _,
    } = archived;
    let file = file.display();
    let line = if json {
        json!({
            "file": file.to_string(), "fleet": fleet, "made_at": made_at, "made_by": made_by,
            "schema": schema, "bytes": bytes, "moved": moved,
        })
        .to_string()
    } else {
        format!("{file} {what} of fleet {fleet} of {made_at} ({bytes} bytes, schema {schema})")
    };
    Ok(program::print(line + "\n")?)
}
