//! What `fwknop` does, in the order in which the reference does it.

use std::ffi::OsString;
use std::fs;
use std::io::{self, BufRead as _, IsTerminal as _};
use std::path::{Path, PathBuf};

use spa::{DigestType, Secret};
use zeroize::Zeroizing;

use super::line::Line;
use super::overlay::{self, Said};
use super::stanza::{self, OldKeys};
use super::{help, key_gen, last};
use crate::clock;
use crate::context::Context;
use crate::error::{CommandError, Result};
use crate::knock::delivery::{self, Voice};
use crate::knock::{keys, target};
use crate::profile::{Profile, home};
use crate::rc::{RcFile, Stanza};
use crate::ui::Ui;

/// The version of the packet, which the reference prints beside its own.
const PROTOCOL: &str = spa::Message::VERSION;
/// The bytes that are kept of -U and SPOOF_USER: what access.conf of a server was written for.
const USER_LEN: usize = 29;
/// Options whose value others on the machine see.
const VISIBLE: [&str; 4] = [
    "key-rijndael",
    "key-base64-rijndael",
    "key-hmac",
    "key-base64-hmac",
];

/// The files that a run works with; `None` for those that it must not touch.
#[derive(Debug)]
struct Files {
    rc: Option<PathBuf>,
    arguments: Option<PathBuf>,
}

/// Does what the words say.
///
/// # Errors
///
/// All of them end with exit code 1, as the reference ends.
pub(crate) async fn run(words: Vec<OsString>) -> Result {
    let ui = Ui;
    let typed = Line::parse(words)?;
    if typed.has("help") {
        return ui.text(&help::text());
    }
    if typed.has("version") {
        let version = env!("CARGO_PKG_VERSION");
        return ui.say(format_args!(
            "fwknop: postern {version}, SPA protocol version {PROTOCOL}"
        ));
    }
    let files = Files::of(&typed)?;
    if typed.has("show-last") {
        return ui.say(last::shown(&last::read(files.arguments()?)?));
    }
    let is_again = typed.has("last-cmd");
    let line = if is_again {
        last::read(files.arguments()?)?
    } else {
        typed
    };
    let mut rc = files.read_rc(&ui, &line)?;
    if line.has("stanza-list") {
        return list(&ui, files.rc_or("--stanza-list lists")?, &rc);
    }
    let said = overlay::variables(&line)?;
    if line.has("key-gen") || line.has("key-gen-file") {
        return make_keys(&ui, &line, &files, said);
    }
    require_recipient(&line, &rc, &said)?;
    if line.has("save-rc-stanza") {
        save(&ui, &line, files.rc_or("--save-rc-stanza writes")?, &said)?;
        // What was saved is what the packet is made of.
        rc = files.read_rc(&ui, &line)?;
    }
    let stanza = stanza_of(&line, &files, &rc, &said)?;
    if !is_again && !stanza.is_on("NO_SAVE_ARGS") {
        keep_arguments(&ui, &files, &line);
    }
    knock(&line, &rc, stanza).await
}

/// Makes the packet, and sends or shows it.
async fn knock(line: &Line, rc: &RcFile, stanza: Stanza) -> Result {
    let context = Context {
        ui: Ui,
        // Nothing of a fleet has a part in this.
        profile: Profile::new(None),
        now_secs: clock::now_secs(),
        verbose: verbosity(&stanza),
    };
    let visible = VISIBLE.into_iter().filter(|option| line.has(option));
    let visible: Vec<String> = visible.map(|option| format!("--{option}")).collect();
    keys::warn_of_visible(&context.ui, &visible);
    let args = overlay::rest(line)?;
    let mut target = target::by_stanza(&context.ui, &args, None, (rc, &stanza))?;
    if line.has("test") {
        delivery::show(&context, &mut target).await?;
        // It was said why; a script of the reference's learns it by the exit code.
        return if target.is_read_by_fwknopd {
            Ok(())
        } else {
            Err(CommandError::refused("fwknopd does not read this packet"))
        };
    }
    let voice = if context.verbose > 0 {
        Voice::Full
    } else {
        Voice::Quiet
    };
    delivery::send(&context, &mut target, voice).await.map(drop)
}

/// The stanza to start from, with the options on top of it.
fn stanza_of(line: &Line, files: &Files, rc: &RcFile, said: &[Said]) -> Result<Stanza> {
    let named = if line.has("save-rc-stanza") {
        saved_name(line)
    } else {
        line.value("named-config")
    };
    let found = rc.stanza(named);
    let mut stanza = found.ok_or_else(|| {
        let name = named.unwrap_or_default();
        let place = files.rc.as_ref().map_or_else(
            || "no rc file is read, so there".to_owned(),
            |path| path.display().to_string(),
        );
        let names: Vec<&str> = rc.names().collect();
        CommandError::refused(format!("{place} has no stanza [{name}]"))
            .with_hint(format!("it has {}", names.join(", ")))
    })?;
    overlay::lay(said, &mut stanza);
    let user = stanza
        .text("SPOOF_USER")
        .filter(|user| user.len() > USER_LEN);
    if let Some(cut) = user
        .and_then(|user| user.get(..USER_LEN))
        .map(str::to_owned)
    {
        stanza.set("SPOOF_USER", &cut, "spoof-user");
    }
    if line.has("test") && stanza.text("SPA_SERVER").is_none() {
        // Nothing is sent anywhere.
        stanza.set("SPA_SERVER", "127.0.0.1", "destination");
    }
    Ok(stanza)
}

/// Refuses what is meant for GPG and does not say for whom, before anything is written.
fn require_recipient(line: &Line, rc: &RcFile, said: &[Said]) -> Result {
    let is_for_gpg = line
        .given()
        .iter()
        .any(|given| given.row.long.starts_with("gpg-"));
    let named = rc
        .stanza(line.value("named-config"))
        .or_else(|| rc.stanza(None));
    let is_named = said.iter().any(|said| said.variable == "GPG_RECIPIENT")
        || named.is_some_and(|stanza| stanza.text("GPG_RECIPIENT").is_some());
    if is_for_gpg && !is_named {
        return Err(CommandError::usage("GPG needs --gpg-recipient-key"));
    }
    Ok(())
}

/// Yes is once, a number is as often.
fn verbosity(stanza: &Stanza) -> u8 {
    let said = stanza.text("VERBOSE").unwrap_or_default();
    said.parse()
        .unwrap_or_else(|_| u8::from(stanza.is_on("VERBOSE")))
}

fn keep_arguments(ui: &Ui, files: &Files, line: &Line) {
    let Some(path) = &files.arguments else {
        return;
    };
    // The packet is what this is about.
    if let Err(error) = last::keep(path, line) {
        ui.warn(error);
    }
}

fn list(ui: &Ui, path: &Path, rc: &RcFile) -> Result {
    ui.say(format_args!("stanzas of {}:", path.display()))?;
    for name in rc.names() {
        ui.say(format_args!(" - {name}"))?;
    }
    Ok(())
}

// === what is written ===

fn make_keys(ui: &Ui, line: &Line, files: &Files, mut said: Vec<Said>) -> Result {
    let digest = line.read("hmac-digest-type", |text| {
        text.parse::<DigestType>()
            .map_err(|error| format!("{error}"))
    })?;
    let made = key_gen::make(line, digest.unwrap_or(DigestType::Sha256))?;
    let mut is_written = false;
    if line.has("save-rc-stanza") {
        said.retain(|said| !said.is_key());
        said.push(Said::new("KEY_BASE64", made.key.clone(), "key-gen"));
        said.push(Said::new(
            "HMAC_KEY_BASE64",
            made.hmac_key.clone(),
            "key-gen",
        ));
        let path = files.rc_or("--save-rc-stanza writes")?;
        save(ui, line, path, &said)?;
        ui.say(format_args!("the keys are in {}", path.display()))?;
        is_written = true;
    }
    if let Some(path) = line.value("key-gen-file") {
        made.write(path.as_ref())?;
        ui.say(format_args!("the keys are in {path}"))?;
        is_written = true;
    }
    if is_written {
        return Ok(());
    }
    ui.text(&made.lines())
}

/// The stanza that options are saved in.
fn saved_name(line: &Line) -> Option<&str> {
    let named = line.value("named-config");
    named.or_else(|| line.value("destination"))
}

/// Writes what was said as its stanza.
fn save(ui: &Ui, line: &Line, path: &Path, said: &[Said]) -> Result {
    let name = saved_name(line).ok_or_else(|| {
        CommandError::usage("which stanza? --save-rc-stanza needs -n, or else -D")
    })?;
    let values = kept(name, said)?;
    let variables: Vec<(&str, &str)> = values.iter().map(|(name, v)| (*name, v.as_str())).collect();
    // A file through a link stays behind its link.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let failed = |cause| CommandError::failed(format!("cannot write {}", path.display()), cause);
    let bytes = Zeroizing::new(fs::read(&path).map_err(failed)?);
    // Each byte is a letter, so that what is no UTF-8 comes out as it went in.
    let text: Zeroizing<String> = Zeroizing::new(bytes.iter().map(|b| char::from(*b)).collect());
    let replaced = stanza::replaced_keys(&text, name, &variables);
    if !replaced.is_empty() && !line.has("force-stanza") && !may_replace(ui, name, &replaced)? {
        return Err(CommandError::refused(format!(
            "[{name}] has {}, which would be lost",
            replaced.join(" and ")
        ))
        .with_hint("--force-stanza writes the stanza anew without asking"));
    }
    let old = if line.has("force-stanza") {
        OldKeys::Go
    } else {
        OldKeys::Stay
    };
    let made = Zeroizing::new(stanza::with(&text, name, &variables, old));
    let made: Vec<u8> = made
        .chars()
        .filter_map(|letter| u8::try_from(letter).ok())
        .collect();
    let made = Zeroizing::new(made);
    program::files::replace(&path, 0o600, &made).map_err(failed)
}

/// The values as an rc file can hold them.
fn kept(stanza: &str, said: &[Said]) -> Result<Vec<(&'static str, Zeroizing<String>)>> {
    let ends = |text: &str| {
        let ends_it = |c: char| c.is_whitespace() || c.is_control() || c == ';' || c == '#';
        text.is_empty() || text.contains(ends_it) || !text.is_ascii()
    };
    if ends(stanza) || stanza.contains([']', '[']) {
        return Err(CommandError::usage("a stanza's name is one word of ASCII"));
    }
    let mut values = Vec::new();
    for said in said {
        let (name, value) = (said.variable, said.value.as_str());
        let base64 = match name {
            "KEY" => Some("KEY_BASE64"),
            "HMAC_KEY" => Some("HMAC_KEY_BASE64"),
            _ => None,
        };
        match base64 {
            Some(base64) if ends(value) => {
                values.push((base64, Secret::from_passphrase(value).to_base64()));
            }
            Some(_) => values.push((name, said.value.clone())),
            None if ends(value) => {
                return Err(CommandError::usage(format!(
                    "the value of {name} cannot stand in an rc file, where a value ends at a blank, `;` \
                     or `#`"
                )));
            }
            None => values.push((name, said.value.clone())),
        }
    }
    Ok(values)
}

/// Asks whoever sits here; nobody is no.
fn may_replace(ui: &Ui, stanza: &str, keys: &[&str]) -> Result<bool> {
    if !io::stdin().is_terminal() {
        return Ok(false);
    }
    ui.note(format_args!(
        "[{stanza}] has {}. Replace? Type yes or no:",
        keys.join(" and ")
    ));
    let mut answer = String::new();
    io::stdin()
        .lock()
        .read_line(&mut answer)
        .map_err(|cause| CommandError::failed("cannot read standard input", cause))?;
    Ok(answer.trim().starts_with(['y', 'Y']))
}

// === impl Files ===

impl Files {
    fn of(line: &Line) -> Result<Self> {
        let no_home = line.has("no-home-dir");
        let file = |option: &str, name: &str| {
            let named = line.value(option).map(PathBuf::from);
            named.or_else(|| (!no_home).then(|| home().join(name)))
        };
        let no_rc = line.has("no-rc-file");
        let rc = file("rc-file", ".fwknoprc").filter(|_| !no_rc);
        if no_home && rc.is_none() && !no_rc {
            return Err(CommandError::usage(
                "--no-home-dir needs --rc-file or --no-rc-file",
            ));
        }
        let needs_arguments = !line.has("no-save-args");
        let arguments = file("save-args-file", ".fwknop.run");
        if no_home && arguments.is_none() && needs_arguments {
            return Err(CommandError::usage(
                "--no-home-dir needs -E FILE or --no-save-args",
            ));
        }
        Ok(Self { rc, arguments })
    }

    /// The rc file, for something that cannot do without it.
    fn rc_or(&self, what: &str) -> Result<&Path> {
        self.rc.as_deref().ok_or_else(|| {
            CommandError::usage(format!("{what} an rc file, and --no-rc-file forbids it"))
        })
    }

    fn arguments(&self) -> Result<&Path> {
        self.arguments
            .as_deref()
            .ok_or_else(|| CommandError::usage("where are the arguments? -E names the file"))
    }

    /// Reads the rc file, which is made when it is not there.
    fn read_rc(&self, ui: &Ui, line: &Line) -> Result<RcFile> {
        let Some(path) = &self.rc else {
            return Ok(RcFile::default());
        };
        if !path.exists() {
            let made = program::files::create(path, 0o600, stanza::NEW_FILE.as_bytes());
            let name = path.display();
            match made {
                Ok(()) => ui.note(format_args!("note: {name} was made, without a stanza")),
                Err(cause) if line.has("rc-file") => {
                    return Err(CommandError::failed(format!("cannot write {name}"), cause));
                }
                // A home that cannot be written to is no reason not to knock.
                Err(cause) => {
                    ui.warn(format_args!("cannot write {name}: {cause}"));
                    return Ok(RcFile::default());
                }
            }
        }
        let rc = RcFile::read(path)?;
        if rc.is_exposed() {
            let name = path.display();
            ui.warn(format_args!(
                "others can read the keys in {name}; run `chmod 600 {name}`"
            ));
        }
        Ok(rc)
    }
}
