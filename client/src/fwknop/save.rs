//! What `fwknop` writes: stanzas, and keys that it makes.

use std::fs;
use std::io::{self, BufRead as _, IsTerminal as _};
use std::path::Path;

use spa::{DigestType, Secret};
use zeroize::Zeroizing;

use super::files::Files;
use super::key_gen;
use super::line::Line;
use super::overlay::Said;
use super::stanza::{self, OldKeys};
use crate::error::{CommandError, Result};
use crate::ui::Ui;

/// No rc file comes near this.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Makes keys, and prints them or writes them where the options say.
///
/// # Errors
///
/// As [`save`], and exit code 2 for a length that no key has.
pub(super) fn make_keys(ui: &Ui, line: &Line, files: &Files, mut said: Vec<Said>) -> Result {
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
pub(super) fn saved_name(line: &Line) -> Option<&str> {
    let named = line.value("named-config");
    named.or_else(|| line.value("destination"))
}

/// Writes what was said as its stanza.
///
/// # Errors
///
/// Exit code 2 for what a stanza cannot hold, 1 for keys that nobody gave up and for a file that cannot be
/// written.
pub(super) fn save(ui: &Ui, line: &Line, path: &Path, said: &[Said]) -> Result {
    let name = saved_name(line).ok_or_else(|| {
        CommandError::usage("which stanza? --save-rc-stanza needs -n, or else -D")
    })?;
    let values = kept(name, said)?;
    let variables: Vec<(&str, &str)> = values.iter().map(|(name, v)| (*name, v.as_str())).collect();
    // A file through a link stays behind its link.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let failed = |cause| CommandError::failed(format!("cannot write {}", path.display()), cause);
    let bytes = Zeroizing::new(program::files::read_bytes(&path, FILE_BYTES_MAX).map_err(failed)?);
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
    // Blanks inside are a part of it, as for the reference.
    if stanza.trim() != stanza || stanza.contains([']', '[']) || stanza.split(' ').any(ends) {
        return Err(CommandError::usage(
            "a stanza's name is words of ASCII with one blank between them, without `[`, `]`, `;` and `#`",
        ));
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
