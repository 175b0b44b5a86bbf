//! What `fwknop` does, in the order in which the reference does it.

use std::ffi::OsString;
use std::path::Path;

use super::files::Files;
use super::line::Line;
use super::overlay::{self, Said};
use super::save::{make_keys, save, saved_name};
use super::{help, last};
use crate::clock;
use crate::context::Context;
use crate::error::{CommandError, Result};
use crate::knock::delivery::{self, Voice};
use crate::knock::request::KnockRequest;
use crate::knock::send::Route;
use crate::knock::{keys, target};
use crate::profile::Profile;
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
    require_sense(&line, &said)?;
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

/// Refuses options that can make no packet, before anything is written.
fn require_sense(line: &Line, said: &[Said]) -> Result {
    let args = overlay::rest(line)?;
    let mut alone = Stanza::default();
    overlay::lay(said, &mut alone);
    KnockRequest::merge(&args.request, &alone)?;
    Route::merge(&args.route, &alone)?;
    keys::check(&alone)
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
