//! `postern-agent import`: our own configuration, written from the files of fwknopd.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use policy::Secrets;
use program::PrintError;
use program::files::{self, ReadError};

use crate::clock;
use crate::config::fwknopd::{self, Meaning};
use crate::config::{Config, ConfigError, RawConfig};
use crate::fwknopd::DEFAULT_CONF;
use crate::fwknopd::read::{Files, Note};
use crate::policies::{self, InvalidAccessFile};

/// Write agent.toml and access.conf from the files of fwknopd
///
/// What is written is read again and compared: it means the same, or nothing is left behind. In
/// agent.toml stands what was not the default here, with the line that says so, and what of the old
/// file changes nothing. Included files become part of access.conf, each stanza with the place
/// where it stood. Both are for root alone (0600). Nothing runs by them yet, and fwknopd's files
/// stay as they are.
///
/// JSON fields of `--json`: config, access_file, stanzas, notes.
///
/// Examples:
///   postern-agent import --to /etc/postern
///   postern-agent import --fwknopd-conf ./fwknopd.conf --access ./access.conf --to ./new
#[derive(Clone, Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct ImportArgs {
    /// Configuration of fwknopd
    #[arg(long, value_name = "FILE", default_value = DEFAULT_CONF)]
    pub fwknopd_conf: PathBuf,
    /// Lay this file over it; may be given several times, and the last wins
    #[arg(short = 'O', long, value_name = "FILE", value_delimiter = ',')]
    pub override_config: Vec<String>,
    /// Policy, a file or a folder [default: as fwknopd.conf says]
    #[arg(long, value_name = "FILE")]
    pub access: Option<PathBuf>,
    /// Where the new files go
    #[arg(long, value_name = "DIR")]
    pub to: PathBuf,
    /// Write over files that are there and say something
    #[arg(long)]
    pub force: bool,
    /// Print one JSON object instead of text
    #[arg(long)]
    pub json: bool,
}

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum ImportFailed {
    /// A file of fwknopd cannot be read.
    #[error(transparent)]
    Unreadable(#[from] ReadError),
    /// Its configuration has mistakes.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Its policy has mistakes.
    #[error(transparent)]
    Policy(#[from] InvalidAccessFile),
    /// There is something that says something.
    #[error("{} is there already", .0.display())]
    There(PathBuf),
    /// The new file cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// What was written does not mean what was read. A fault of ours.
    #[error("what would be written does not mean the same: {0}")]
    Differs(&'static str),
    /// Standard output cannot be written.
    #[error(transparent)]
    Print(#[from] PrintError),
}

/// Both new files, before they are written.
#[derive(Debug)]
struct Draft {
    config: String,
    access: String,
    stanzas: usize,
    /// How lines of the access file were read that somebody else may read otherwise.
    readings: Vec<String>,
}

/// Reads, writes, and reads again what was written.
///
/// # Errors
///
/// [`ImportFailed`]; then no file is new.
pub fn run(args: &ImportArgs) -> Result<(), ImportFailed> {
    let files = Files::of(&args.fwknopd_conf).with_overrides(args.override_config.iter().cloned());
    let meaning = fwknopd::read(&files)?;
    if !meaning.mistakes.is_empty() {
        return Err(ConfigError::Invalid(meaning.mistakes).into());
    }
    let to = std::path::absolute(&args.to).unwrap_or_else(|_| args.to.clone());
    let config_path = to.join("agent.toml");
    let access_path = to.join("access.conf");
    for path in [&config_path, &access_path] {
        if !args.force && says_something(path) {
            return Err(ImportFailed::There(path.clone()));
        }
    }
    let named = meaning.raw.access_file.clone().unwrap_or_default();
    let old_access = args.access.clone().unwrap_or(named);
    let draft = draft(&meaning, &files, &old_access, &access_path)?;
    prove(&draft, &meaning, &old_access, &access_path)?;
    let write = |path: &Path, text: &str| {
        files::replace(path, 0o600, text.as_bytes()).map_err(|cause| ImportFailed::Write {
            path: path.to_owned(),
            cause,
        })
    };
    fs::create_dir_all(&to).map_err(|cause| ImportFailed::Write {
        path: to.clone(),
        cause,
    })?;
    // The policy first: a configuration without one would start nothing, the other way round
    // neither.
    write(&access_path, &draft.access)?;
    write(&config_path, &draft.config)?;
    Ok(program::print(told(
        args.json,
        &draft,
        &meaning,
        (&config_path, &access_path),
    ))?)
}

/// Whether something is there that is more than comments, or that cannot be looked into.
fn says_something(path: &Path) -> bool {
    let text = match files::read_bytes(path, RawConfig::FILE_BYTES_MAX) {
        Ok(text) => text,
        Err(cause) => return cause.kind() != ErrorKind::NotFound,
    };
    let text = String::from_utf8_lossy(&text);
    let mut lines = text.lines().map(str::trim);
    lines.any(|line| !line.is_empty() && !line.starts_with('#'))
}

fn draft(
    meaning: &Meaning,
    files: &Files,
    old_access: &Path,
    access_path: &Path,
) -> Result<Draft, ImportFailed> {
    let raw = RawConfig {
        access_file: Some(access_path.to_owned()),
        ..meaning.raw.clone()
    };
    let mut config = format!("# Written from {}", files.conf.display());
    for path in &files.overrides {
        let _ = write!(config, ", {}", path.display());
    }
    config.push_str(" by `postern-agent import`.\n");
    for Note { text, .. } in &meaning.notes {
        let _ = writeln!(config, "# {text}");
    }
    config.push('\n');
    config.push_str(&toml::to_string(&raw).map_err(|_| ImportFailed::Differs("agent.toml"))?);
    let compiled = policies::load(old_access, &meaning.raw.gnupg_homes(), clock::now())?;
    let policy = compiled.policy();
    let mut access = format!(
        "# Written from {} by `postern-agent import`.\n",
        old_access.display()
    );
    let read = policy.warnings.iter().chain(&policy.notes);
    let readings: Vec<_> = read
        .map(|reading| reading.to_string().replace('\n', " "))
        .collect();
    for reading in &readings {
        let _ = writeln!(access, "# {reading}");
    }
    access.push('\n');
    access.push_str(&policy.print_with_places());
    Ok(Draft {
        config,
        access,
        stanzas: policy.stanzas.len(),
        readings,
    })
}

/// Reads the drafts as a start would, and compares.
fn prove(
    draft: &Draft,
    meaning: &Meaning,
    old_access: &Path,
    access_path: &Path,
) -> Result<(), ImportFailed> {
    let again = RawConfig::read_text(&draft.config)?;
    let moved = RawConfig {
        access_file: Some(access_path.to_owned()),
        ..meaning.raw.clone()
    };
    if again != moved || Config::try_from(again)? != Config::try_from(moved)? {
        return Err(ImportFailed::Differs("agent.toml"));
    }
    let now = clock::now();
    let gnupg = meaning.raw.gnupg_homes();
    let old = policies::load(old_access, &gnupg, now)?;
    let new = policies::load_text(access_path, &draft.access, &gnupg, now)?;
    if old.policy().print(Secrets::Show) != new.policy().print(Secrets::Show) {
        return Err(ImportFailed::Differs("access.conf"));
    }
    Ok(())
}

fn told(as_json: bool, draft: &Draft, meaning: &Meaning, paths: (&Path, &Path)) -> String {
    let (config, access) = paths;
    let notes = meaning.notes.iter().map(|note| &*note.text);
    let notes: Vec<&str> = notes
        .chain(draft.readings.iter().map(String::as_str))
        .collect();
    if as_json {
        let object = serde_json::json!({
            "config": config,
            "access_file": access,
            "stanzas": draft.stanzas,
            "notes": notes,
        });
        return format!("{object}\n");
    }
    let mut text = String::new();
    for note in notes {
        let _ = writeln!(text, "{note}");
    }
    let _ = writeln!(
        text,
        "{} and {} mean what the files of fwknopd mean ({} stanzas).\n\
         Stop fwknopd; then: postern-agent run --config {}",
        config.display(),
        access.display(),
        draft.stanzas,
        config.display()
    );
    text
}
