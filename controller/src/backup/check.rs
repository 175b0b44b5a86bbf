//! Whether a controller's directory, or an archive, is sound.

use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use fleet::audit::{Checkpoint, Verdict};

use super::{BackupError, Drafts, OldArchive, unpack};
use crate::ca::Authority;
use crate::ca::authorities::InForce;
use crate::clock;
use crate::data_dir::DataDir;
use crate::random::random;
use crate::settings::Settings;
use crate::store;
use crate::store::model::Examined;

/// The finding that tells whether a database is the one that its directory had last.
const LAST_RUN: &str = "last run";

/// One thing that was looked at.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding {
    /// What was looked at.
    pub what: &'static str,
    /// Whether it is sound.
    pub is_sound: bool,
    /// What is so, or what is wrong, in words.
    pub detail: String,
}

/// Looks at everything in a directory, whether its controller serves or not. Nothing is changed.
/// `progress` hears how many records of the log were read, of how many.
///
/// # Errors
///
/// [`BackupError`] when there is nothing to look at; what is wrong is a finding.
pub fn check(data: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<Vec<Finding>, BackupError> {
    let dir = DataDir::open(data)?;
    let mut findings = vec![settings(&dir)?, authority(&dir), server(&dir)];
    let seal = match dir.seal_key() {
        Ok(seal) => seal,
        Err(error) => {
            findings.push(wrong("seal key", program::one_line(&error).to_string()));
            return Ok(findings);
        }
    };
    let settings = dir.read_settings().ok();
    let settings = settings.and_then(|text| Settings::parse(&text).ok());
    let fleet = settings.map(|settings| settings.fleet).unwrap_or_default();
    match store::examine(&dir.existing_database()?, &seal, &fleet, progress) {
        Ok(examined) => database(&dir, &examined, &mut findings)?,
        Err(error) => findings.push(wrong("database", program::one_line(&error).to_string())),
    }
    Ok(findings)
}

/// Makes anew all that searches find records by, out of the records themselves. The controller must not
/// be serving. Killed in between, it is done again from the beginning, or the next `check` says so.
///
/// # Errors
///
/// [`BackupError`]; what is chained is never changed.
pub fn rebuild_searches(
    data: &Path,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<u64, BackupError> {
    let dir = DataDir::open(data)?;
    let _lock = dir.lock()?;
    let path = dir.existing_database()?;
    let rebuilt = store::rebuild_searches(&path, progress);
    rebuilt.map_err(|source| BackupError::Database { path, source })
}

/// Looks whether an archive is whole, its files are those that were packed, and what is in them is
/// sound. It is unpacked for that, into a directory of its own that is removed again.
///
/// # Errors
///
/// [`BackupError`] says what is wrong.
pub fn check_archive(
    path: &Path,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Vec<Finding>, BackupError> {
    let archive = OldArchive::open(path)?;
    // Before so much room is taken.
    let (manifest, text) = unpack(&archive, None)?;
    let files = manifest.files.len();
    let whole = sound(
        "archive",
        format!(
            "{files} files of fleet {}, made by {} at {}, schema {}",
            manifest.fleet, manifest.made_by, manifest.made_at, manifest.schema
        ),
    );
    let unpacked = Unpacked::make()?;
    let dir = DataDir::create(&unpacked.0)?;
    let mut drafts = Drafts::default();
    unpack(&archive, Some((&dir, &mut drafts)))?;
    dir.write_settings(&text)?;
    drafts.keep();
    drop(dir);
    let mut findings = vec![whole];
    // Which run was the last is of a directory that is used.
    let inside = check(&unpacked.0, progress)?.into_iter();
    findings.extend(inside.filter(|finding| finding.what != LAST_RUN));
    Ok(findings)
}

/// A directory for what an archive holds, which nobody else may read; it goes with this.
struct Unpacked(PathBuf);

impl Unpacked {
    fn make() -> Result<Self, BackupError> {
        let name = random::<8>().map_err(io::Error::other);
        let name = name.map(|name| format!("postern-check-{}", hex::encode(name)));
        let path = std::env::temp_dir().join(name.as_deref().unwrap_or("postern-check"));
        let failed = |error| BackupError::file(&path, error);
        name.map_err(failed)?;
        let mut builder = std::fs::DirBuilder::new();
        builder.mode(0o700).create(&path).map_err(failed)?;
        Ok(Self(path))
    }
}

impl Drop for Unpacked {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            let path = self.0.display();
            tracing::warn!(%path, %error, "what was unpacked is not removed");
        }
    }
}

fn settings(dir: &DataDir) -> Result<Finding, BackupError> {
    Ok(match Settings::parse(&dir.read_settings()?) {
        Ok(settings) => sound("settings", format!("valid, {} sinks", settings.sinks.len())),
        Err(mistakes) => wrong("settings", mistakes.to_string()),
    })
}

fn authority(dir: &DataDir) -> Finding {
    let identity = match dir.identity("ca") {
        Ok(identity) => identity,
        Err(error) => return wrong("authority", program::one_line(&error).to_string()),
    };
    match Authority::open(&identity) {
        Ok(authority) if authority.holds_its_key() => match kept(dir) {
            Ok(()) => sound(
                "authority",
                format!("SHA-256 {}", hex::encode(authority.fingerprint())),
            ),
            Err(why) => wrong("authority", format!("authority.json: {why}")),
        },
        Ok(_) => wrong("authority", "ca-key.pem is not the key of ca.pem"),
        Err(error) => wrong("authority", error.to_string()),
    }
}

/// Whether every authority that is kept has its key.
fn kept(dir: &DataDir) -> Result<(), String> {
    let kept = dir
        .authority()
        .map_err(|error| program::one_line(&error).to_string())?;
    let Some(kept) = kept else { return Ok(()) };
    let kept_at = InForce::of(&kept, clock::now().secs());
    kept_at.map_err(|error| error.to_string())?;
    let all = [
        Some(&kept.current),
        kept.next.as_ref(),
        kept.former.as_ref(),
    ];
    let opened = all.into_iter().flatten().map(|it| it.open());
    for authority in opened {
        if !authority
            .map_err(|error| error.to_string())?
            .holds_its_key()
        {
            return Err("a key is not that of its certificate".to_owned());
        }
    }
    Ok(())
}

fn server(dir: &DataDir) -> Finding {
    let identity = match dir.identity("server") {
        Ok(identity) => identity,
        Err(error) => return wrong("server certificate", program::one_line(&error).to_string()),
    };
    if let Some(begin) = identity
        .begins_secs()
        .filter(|begin| *begin > clock::now().secs())
    {
        let begin = crate::timestamp::Timestamp::from_ms(begin.saturating_mul(1000));
        let detail = format!(
            "it begins only at {begin}: the clock was ahead when it was made, or is behind now"
        );
        return wrong("server certificate", detail);
    }
    match identity.expires_secs() {
        None => wrong("server certificate", "server.pem is no certificate"),
        Some(end) if end <= clock::now().secs() => sound(
            "server certificate",
            "it has expired, and is made anew at the next start",
        ),
        Some(end) => {
            let end = crate::timestamp::Timestamp::from_ms(end.saturating_mul(1000));
            sound("server certificate", format!("good until {end}"))
        }
    }
}

fn database(
    dir: &DataDir,
    examined: &Examined,
    findings: &mut Vec<Finding>,
) -> Result<(), BackupError> {
    if !examined.damage.is_empty() {
        findings.push(wrong("database", examined.damage.join("; ")));
        return Ok(());
    }
    findings.push(sound("database", "every page and reference is sound"));
    if let Err(error) = store::is_known(examined) {
        findings.push(wrong("schema", error.to_string()));
        return Ok(());
    }
    let schema = examined.schema;
    if schema < store::SCHEMA {
        let detail = format!(
            "{schema}; `serve` brings it to {} after a copy",
            store::SCHEMA
        );
        findings.push(sound("schema", detail));
        return Ok(());
    }
    findings.push(sound("schema", schema.to_string()));
    findings.push(log(examined));
    findings.push(match examined.search_fault.as_str() {
        "" => sound("searches", "every record is found by what it says"),
        why => wrong("searches", why),
    });
    findings.push(
        match (
            examined.audit_key.as_str(),
            examined.audit_key_fault.as_str(),
        ) {
            ("", "") => sound("audit key", "none yet"),
            (key, "") => sound("audit key", key),
            (_, why) => wrong("audit key", format!("seal.key does not open it: {why}")),
        },
    );
    findings.push(match (examined.generation, examined.unsealed.as_str()) {
        (0, _) => sound("policy", "none yet"),
        (generation, "") => sound("policy", format!("generation {generation} can be read")),
        (_, why) => wrong("policy", format!("seal.key does not open it: {why}")),
    });
    let run = dir.run()?;
    findings.push(if run == examined.run {
        sound(LAST_RUN, run.unwrap_or_else(|| "none yet".to_owned()))
    } else {
        let detail = "another than the directory's: it was put back, and the next start will \
                      refuse packets from before";
        sound(LAST_RUN, detail)
    });
    Ok(())
}

/// Whether the log is as it was.
fn log(examined: &Examined) -> Finding {
    let Verdict {
        records,
        head,
        faults,
        faults_count,
        proven,
        pruned,
        ..
    } = &examined.log;
    if let Some(first) = faults.first() {
        let named = faults.iter();
        let named = named.map(|fault| format!("record {}: {}", fault.record, fault.words));
        let named: Vec<String> = named.collect();
        let (record, kind) = (first.record, first.kind.as_str());
        let named = named.join("; ");
        let detail =
            format!("{faults_count} faults, the first at record {record} ({kind}): {named}");
        return wrong("log", detail);
    }
    let signed = match proven {
        None => "nothing of it is signed yet".to_owned(),
        Some(Checkpoint { size, at_ms, .. }) => {
            let at = crate::timestamp::Timestamp::from_ms(*at_ms);
            format!("signed up to record {size} at {at}")
        }
    };
    let pruned = match pruned {
        0 => String::new(),
        pruned => format!(", {pruned} of them emptied by retention"),
    };
    let head = hex::encode(head);
    sound(
        "log",
        format!("{records} records{pruned}, unbroken; {signed}; head {head}"),
    )
}

fn sound(what: &'static str, detail: impl Into<String>) -> Finding {
    Finding {
        what,
        is_sound: true,
        detail: detail.into(),
    }
}

fn wrong(what: &'static str, detail: impl Into<String>) -> Finding {
    Finding {
        is_sound: false,
        ..sound(what, detail)
    }
}
