//! Whether a controller's directory, or an archive, is sound.

mod server;

use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use fleet::audit::{Checkpoint, Verdict};

use super::{BackupError, Drafts, OldArchive, place, unpack};
use crate::authority;
use crate::ca::{Authority, Credentials};
use crate::clock;
use crate::data_dir::{DataDir, DataDirError};
use crate::database::switched_text;
use crate::random::random;
use crate::settings::Settings;
use crate::store::error::{REACH_IT, StoreError};
use crate::store::model::{Examined, Whose};
use crate::store::{self, Place};

/// The finding that tells whether a database is the one that its directory had last.
const LAST_RUN: &str = "last run";
const SEAL_KEY: &str = "seal key";
const SETTINGS: &str = "settings";
const SERVER: &str = "server certificate";
const DRAFTS: &str = "half-written files";
const ROTATION: &str = "seal key rotation";
const CONNECTION: &str = "connection";
const SEARCHES: &str = "searches";
const ROWS: &str = "rows";

/// One thing that was looked at.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding {
    /// What was looked at.
    pub what: &'static str,
    /// Whether it is sound.
    pub is_sound: bool,
    /// It is sound, and to be thought of nevertheless.
    pub is_warning: bool,
    /// What is so, or what is wrong, in words.
    pub detail: String,
}

// === impl Finding ===

impl Finding {
    /// What helps; `None` of what is sound.
    #[must_use]
    pub fn remedy(&self) -> Option<&'static str> {
        (!self.is_sound).then_some(match self.what {
            SETTINGS => "mend controller.toml: each line above names its mistake",
            SERVER => "`postern-controller serve` makes the server certificate anew",
            DRAFTS | ROTATION => "`postern-controller serve` ends what was killed",
            SEAL_KEY => {
                "put back the seal.key of this database, which is in every backup of it and at every other controller \
                 of the fleet (`postern-controller seal install`)"
            }
            CONNECTION => REACH_IT,
            SEARCHES => "`postern-controller check --rebuild`",
            server::CLOCK => "set the clocks right",
            server::STRANGERS => "ask who made them, and drop them",
            ROWS => "do what is said of each row; if more than that may have been changed, restore a backup of before",
            _ => "`postern-controller restore` makes a new directory of a backup",
        })
    }
}

/// Looks at everything in a directory, whether its controller serves or not. Nothing is changed.
/// `progress` hears how many records of the log were read, of how many.
///
/// # Errors
///
/// [`BackupError`] when there is nothing to look at; what is wrong is a finding.
pub fn check(data: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<Vec<Finding>, BackupError> {
    look_at(&DataDir::open(data)?, true, progress)
}

fn look_at(
    dir: &DataDir,
    has_database: bool,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Vec<Finding>, BackupError> {
    let mut findings = vec![settings(dir)?, authorities(dir), server(dir)];
    findings.extend(drafts(dir)?);
    findings.extend(dir.unfinished_rotation().map(|path| {
        let detail =
            "left by a rotation of the seal key that was killed; the next start ends or undoes it";
        wrong(ROTATION, format!("{}: {detail}", path.display()))
    }));
    let readable = dir.readable();
    if !readable.is_empty() {
        findings.push(sound("file modes", readable.join("; ")));
    }
    let seal = match dir.seal_key() {
        Ok(seal) => seal,
        Err(error) => {
            findings.push(wrong(SEAL_KEY, program::one_line(&error).to_string()));
            return Ok(findings);
        }
    };
    if !has_database {
        return Ok(findings);
    }
    let settings = dir.read_settings().ok();
    let settings = settings.and_then(|text| Settings::parse(&text).ok());
    let place = match place(dir, settings.as_ref()) {
        // Where it is at the server, the settings do not say well.
        Err(BackupError::DataDir(DataDirError::Elsewhere(_))) => return Ok(findings),
        place => place?,
    };
    let name = dir.name()?;
    let whose = Whose {
        fleet: settings.as_ref().map_or("", |it| it.fleet.as_str()),
        controller: name.as_deref().filter(|_| is_at_server(&place)),
    };
    match store::examine(&place, &seal, whose, progress) {
        Ok(examined) => database(dir, &examined, &mut findings)?,
        Err(error @ StoreError::OtherSealKey { .. }) => {
            findings.push(wrong(SEAL_KEY, program::one_line(&error).to_string()));
        }
        Err(error @ (StoreError::Unreachable { .. } | StoreError::Postgres(_))) => {
            findings.push(wrong(CONNECTION, program::one_line(&error).to_string()));
        }
        Err(error) => findings.push(wrong("database", program::one_line(&error).to_string())),
    }
    Ok(findings)
}

const fn is_at_server(place: &Place) -> bool {
    matches!(place, Place::Postgres(_))
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
    let settings = Settings::parse(&dir.read_settings()?).ok();
    let place = place(&dir, settings.as_ref())?;
    let rebuilt = store::rebuild_searches(&place, &dir.seal_key()?, progress);
    rebuilt.map_err(|source| BackupError::store(&place, source))
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
    // Its database is a file here, wherever that was.
    let here = switched_text(path, &text, None).map_err(|error| {
        let what = program::one_line(&error).to_string();
        BackupError::damaged(path, what)
    })?;
    dir.write_settings(&here)?;
    drafts.keep();
    let mut findings = vec![whole];
    // Which run was the last is of a directory that is used.
    let inside = look_at(&dir, !manifest.is_without_database, progress)?.into_iter();
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
        Ok(settings) => sound(SETTINGS, format!("valid, {} sinks", settings.sinks.len())),
        Err(mistakes) => wrong(SETTINGS, mistakes.to_string()),
    })
}

/// What killed writers have left, with keys in it as it may be.
fn drafts(dir: &DataDir) -> Result<Option<Finding>, BackupError> {
    let left = dir.drafts()?;
    let names: Vec<_> = left.iter().map(|path| path.display().to_string()).collect();
    Ok((!names.is_empty()).then(|| {
        wrong(
            DRAFTS,
            format!(
                "{}: left by a program that was killed, perhaps with a private key in it; the next start and the \
                 next `ca rotate` remove it",
                names.join(", ")
            ),
        )
    }))
}

fn authorities(dir: &DataDir) -> Finding {
    let identity = match dir.identity("ca") {
        Ok(identity) => identity,
        Err(error) => return wrong("authority", program::one_line(&error).to_string()),
    };
    match Authority::open(&identity) {
        Ok(authority) if authority.holds_its_key() => match kept(dir, &identity) {
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

/// Whether every authority that is kept can be used, and the files beside it are what it says.
fn kept(dir: &DataDir, copied: &Credentials) -> Result<(), String> {
    let said = |error: &dyn std::error::Error| program::one_line(error).to_string();
    let kept = dir.authority().map_err(|error| said(&error))?;
    let Some(kept) = kept else { return Ok(()) };
    let now = clock::now();
    authority::in_force(&kept, now).map_err(|error| said(&error))?;
    for (which, it) in [
        ("that issues", Some(&kept.current)),
        ("next", kept.next.as_ref()),
    ] {
        if let Some(begins) = it.and_then(|it| it.begins_after(now.secs())) {
            return Err(format!(
                "the authority {which} begins only at {begins}: the clock was ahead when it was made, or is behind \
                 now; until then nobody whose clock is right believes it"
            ));
        }
    }
    let current = kept.current.credentials();
    if copied.certificate_pem != current.certificate_pem || copied.key_pem != current.key_pem {
        return Err(
            "ca.pem or ca-key.pem is not what stands in it; `serve` writes them again".to_owned(),
        );
    }
    Ok(())
}

fn server(dir: &DataDir) -> Finding {
    let identity = match authority::server_of(dir) {
        Ok(Some(identity)) => identity,
        Ok(None) => {
            return wrong(
                SERVER,
                "server.pem or server-key.pem is missing, or the one is not of the other; `serve` makes both anew",
            );
        }
        Err(error) => return wrong(SERVER, program::one_line(&error).to_string()),
    };
    if let Some(begin) = identity
        .begins_secs()
        .filter(|begin| *begin > clock::now().secs())
    {
        let begin = crate::timestamp::Timestamp::from_ms(begin.saturating_mul(1000));
        let detail = format!(
            "it begins only at {begin}: the clock was ahead when it was made, or is behind now"
        );
        return wrong(SERVER, detail);
    }
    match identity.expires_secs() {
        None => wrong(SERVER, "server.pem is no certificate"),
        Some(end) if end <= clock::now().secs() => {
            sound(SERVER, "it has expired, and is made anew at the next start")
        }
        Some(end) => {
            let end = crate::timestamp::Timestamp::from_ms(end.saturating_mul(1000));
            sound(SERVER, format!("good until {end}"))
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
    if let Some(facts) = &examined.server {
        findings.extend(server::findings(facts));
        if examined.schema == 0 {
            findings.push(wrong("database", "it holds no fleet"));
            return Ok(());
        }
    } else {
        findings.push(sound("database", "every page and reference is sound"));
    }
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
        "" => sound(SEARCHES, "every record is found by what it says"),
        why => wrong(
            SEARCHES,
            format!("{why}; `postern-controller check --rebuild` makes what is searched anew"),
        ),
    });
    if examined.is_of_another_key {
        findings.push(wrong(
            SEAL_KEY,
            "it is another than the one that this database was written under",
        ));
    } else {
        findings.push(sound(SEAL_KEY, dir.seal_key()?.id()));
        findings.extend(sealed(examined));
    }
    findings.extend(authority_file(dir, examined));
    let unserved = examined.unserved.iter();
    findings.extend(unserved.map(|(what, why)| wrong(what, why.clone())));
    let run = dir.run()?;
    findings.push(if run == examined.run {
        sound(LAST_RUN, run.unwrap_or_else(|| "none yet".to_owned()))
    } else if examined.run.is_none() {
        wrong(
            LAST_RUN,
            "the directory names one, and the database names none",
        )
    } else {
        let detail = "another than the directory's: it was put back, and the next start will \
                      refuse packets from before";
        sound(LAST_RUN, detail)
    });
    Ok(())
}

/// What only the seal key opens.
fn sealed(examined: &Examined) -> [Finding; 2] {
    let (key, fault) = (&examined.audit_key, &examined.audit_key_fault);
    let audit_key = match (key.as_str(), fault.as_str()) {
        ("", "") => sound("audit key", "none yet"),
        (key, "") => sound("audit key", audit_keys(key, &examined.audit_keys_former)),
        (_, why) => wrong("audit key", format!("it cannot be used: {why}")),
    };
    let policy = match (examined.generation, examined.unsealed.as_str()) {
        (0, _) => sound("policy", "none yet"),
        (generation, "") => sound("policy", format!("generation {generation} can be read")),
        (_, why) => wrong("policy", format!("seal.key does not open it: {why}")),
    };
    [audit_key, policy]
}

/// Whether the database knows the file that holds the authorities; what keeps it from being read is said where
/// it is looked at.
fn authority_file(dir: &DataDir, examined: &Examined) -> Option<Finding> {
    let kept = dir.authority().ok()?;
    let known = authority::look_at(dir, examined.authority_states.as_ref()?, kept.as_ref());
    let error = known.err()?;
    let state = kept.map(|kept| kept.state());
    if authority::shared::follows(&examined.shared_authorities, state.as_deref()) {
        let detail = "another controller has changed the authorities; a start here follows";
        return Some(sound("authority file", detail));
    }
    Some(wrong(
        "authority file",
        program::one_line(&error).to_string(),
    ))
}

/// The key that signs, and how many it had before.
fn audit_keys(key: &str, former: &[String]) -> String {
    match former {
        [] => key.to_owned(),
        [first, ..] => format!("{key}, the last of {} since {first}", former.len() + 1),
    }
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
        is_warning: false,
        detail: detail.into(),
    }
}

fn doubtful(what: &'static str, detail: impl Into<String>) -> Finding {
    Finding {
        is_warning: true,
        ..sound(what, detail)
    }
}

fn wrong(what: &'static str, detail: impl Into<String>) -> Finding {
    Finding {
        is_sound: false,
        ..sound(what, detail)
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::ca::kept::Kept;
    use crate::start;

    /// What is wrong with a directory, by what was looked at.
    fn wrong(data: &Path) -> Vec<(&'static str, String)> {
        let findings = check(data, &mut |_, _| {}).unwrap();
        let wrong = findings.into_iter().filter(|it| !it.is_sound);
        wrong.map(|it| (it.what, it.detail)).collect()
    }

    #[tokio::test]
    async fn an_authority_that_begins_only_later_is_named_by_check_with_when_that_is() {
        let temp = TempDir::new().unwrap();
        let made = start::init(temp.path(), "127.0.0.1:7443", "prod");
        made.await.unwrap();
        let dir = DataDir::open(temp.path()).unwrap();
        assert!(wrong(temp.path()).is_empty());

        let later = clock::now().secs() + 10 * 24 * 3600;
        let ahead = Authority::create("prod", later).unwrap();
        let key = authority::directory_key(clock::now()).unwrap();
        dir.write_authority(&Kept::of(&ahead, key, later)).unwrap();

        let wrong = wrong(temp.path());
        let (_, why) = wrong.iter().find(|(what, _)| *what == "authority").unwrap();
        assert!(why.contains("that issues begins only at"), "{why}");
    }

    #[tokio::test]
    async fn a_rotation_of_the_seal_key_that_was_killed_is_named_with_what_ends_it() {
        let temp = TempDir::new().unwrap();
        let made = start::init(temp.path(), "127.0.0.1:7443", "prod");
        made.await.unwrap();
        let dir = DataDir::open(temp.path()).unwrap();
        dir.begin_rotation(&[4; 32]).unwrap();

        let findings = check(temp.path(), &mut |_, _| {}).unwrap();
        let wrong: Vec<_> = findings.iter().filter(|it| !it.is_sound).collect();
        let [rotation] = *wrong else {
            panic!("{wrong:?}");
        };
        assert!(rotation.detail.contains("seal.key.new"), "{rotation:?}");
        assert!(rotation.remedy().unwrap().contains("serve"), "{rotation:?}");

        dir.end_rotation().unwrap();
        assert!(
            check(temp.path(), &mut |_, _| {})
                .unwrap()
                .iter()
                .all(|it| it.is_sound)
        );
    }
}
