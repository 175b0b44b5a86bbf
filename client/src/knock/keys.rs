//! Static keys: from a file, standard input, the rc stanza, the keyring that it names, a prompt, or the
//! command line.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, IsTerminal as _, Read};

use spa::{DigestType, EncryptionKey, EncryptionMode, HmacKey, InvalidKey, Keys, Secret};
use zeroize::Zeroizing;

use super::args::{Hidden, KeyArgs};
use super::key_file;
use crate::error::{CommandError, Result};
use crate::rc::Stanza;
use crate::ui::Ui;

/// The most that is read from a descriptor, in bytes. A key has at most 172 in base64.
const LINES_LEN_MAX: u64 = 4096;

/// Finds the keys for `host`, the most deliberate source first.
///
/// # Errors
///
/// Exit code 1 when there is no key to be had, 2 or 64 when one is unfit.
pub(crate) fn find(ui: &Ui, args: &KeyArgs, rc: &Stanza, host: &str) -> Result<Keys> {
    warn_of_visible(ui, &visible(args));
    let mut lines = lines(args)?;
    let encryption = encryption(ui, args, rc, (host, &mut lines))?;
    let hmac = hmac_key(ui, args, rc, (host, &mut lines))?;
    let mode = match args.encryption_mode {
        Some(mode) => mode,
        None => mode(rc)?,
    };
    let encryption = EncryptionKey::new(encryption).map_err(unfit)?;
    Keys::new(encryption, mode, hmac).map_err(unfit)
}

/// The stanza with the keys that it has in the keyring, unless every key was said otherwise.
///
/// # Errors
///
/// Exit code 1 when the keyring does not give them, 64 when what it gives is unfit.
pub(super) fn with_source<'s>(args: &KeyArgs, rc: &'s Stanza) -> Result<Cow<'s, Stanza>> {
    let has_key = args.key_rijndael.is_some()
        || args.key_base64_rijndael.is_some()
        || args.key_file.is_some()
        || args.stdin
        || args.fd.is_some();
    let has_hmac = args.key_hmac.is_some()
        || args.key_base64_hmac.is_some()
        || args.get_hmac_key.is_some()
        || args.use_hmac;
    if has_key && has_hmac {
        return Ok(Cow::Borrowed(rc));
    }
    rc.with_keys()
}

/// The HMAC key alone, with its type.
pub(super) fn hmac_key(
    ui: &Ui,
    args: &KeyArgs,
    rc: &Stanza,
    from: (&str, &mut Option<Lines>),
) -> Result<Option<(HmacKey, DigestType)>> {
    let hmac_type = match args.hmac_digest_type {
        Some(digest) => digest,
        None => hmac_type(rc)?,
    };
    hmac(ui, args, rc, from)?
        .map(|secret| HmacKey::new(secret).map(|key| (key, hmac_type)))
        .transpose()
        .map_err(unfit)
}

/// The mode of a stanza.
fn mode(rc: &Stanza) -> Result<EncryptionMode> {
    let stated = rc.read("ENCRYPTION_MODE", |text| {
        text.parse().map_err(|error| format!("{error}"))
    })?;
    Ok(stated.unwrap_or(EncryptionMode::Cbc))
}

/// The digest of the HMAC of a stanza.
fn hmac_type(rc: &Stanza) -> Result<DigestType> {
    let stated = rc.read("HMAC_DIGEST_TYPE", |text| {
        text.parse().map_err(|error| format!("{error}"))
    })?;
    Ok(stated.unwrap_or(DigestType::Sha256))
}

/// Whether the keys that stand in a stanza can be used, as far as they do.
///
/// # Errors
///
/// Exit code 2 or 64 when not.
pub(crate) fn check(rc: &Stanza) -> Result {
    // Packets of OpenPGP have a mode of their own.
    let mode = if rc.is_on("USE_GPG") {
        EncryptionMode::Cbc
    } else {
        mode(rc)?
    };
    let hmac_type = hmac_type(rc)?;
    let encryption = from_stanza(rc, "KEY_BASE64", "KEY")?;
    let hmac = from_stanza(rc, "HMAC_KEY_BASE64", "HMAC_KEY")?;
    let encryption = encryption
        .map(EncryptionKey::new)
        .transpose()
        .map_err(unfit)?;
    let hmac = hmac.map(HmacKey::new).transpose().map_err(unfit)?;
    let hmac = hmac.map(|key| (key, hmac_type));
    match encryption {
        Some(encryption) => Keys::new(encryption, mode, hmac).map(drop).map_err(unfit),
        None => Ok(()),
    }
}

/// The options that hold a key.
fn visible(args: &KeyArgs) -> Vec<String> {
    let given = [
        ("--key-rijndael", args.key_rijndael.is_some()),
        ("--key-base64-rijndael", args.key_base64_rijndael.is_some()),
        ("--key-hmac", args.key_hmac.is_some()),
        ("--key-base64-hmac", args.key_base64_hmac.is_some()),
    ];
    let given = given.into_iter().filter(|(_, given)| *given);
    given.map(|(name, _)| name.to_owned()).collect()
}

/// Says of these options that others see their keys.
pub(crate) fn warn_of_visible(ui: &Ui, options: &[String]) {
    if !options.is_empty() {
        ui.warn(format_args!(
            "other users of this machine can see the key in {}; use -G FILE, --stdin or an rc stanza",
            options.join(" and ")
        ));
    }
}

fn encryption(
    ui: &Ui,
    args: &KeyArgs,
    rc: &Stanza,
    (host, lines): (&str, &mut Option<Lines>),
) -> Result<Secret> {
    if let Some(Hidden(key)) = &args.key_rijndael {
        return Ok(Secret::from_passphrase(key.as_bytes()));
    }
    if let Some(Hidden(key)) = &args.key_base64_rijndael {
        return Secret::from_base64(key).map_err(unfit);
    }
    if let Some(path) = &args.key_file {
        return key_file::read(ui, path, host).map(passphrase);
    }
    if let Some(lines) = lines
        && !comes_first(args, rc, &["KEY_BASE64", "KEY", "KEY_FILE"])
    {
        return next_line(lines).map(passphrase);
    }
    if let Some(secret) = from_stanza(rc, "KEY_BASE64", "KEY")? {
        return Ok(secret);
    }
    if let Some(path) = rc.text("KEY_FILE") {
        return key_file::read(ui, path.as_ref(), host).map(passphrase);
    }
    prompt(&format!("Encryption key for {host}: ")).map(passphrase)
}

fn hmac(
    ui: &Ui,
    args: &KeyArgs,
    rc: &Stanza,
    (host, lines): (&str, &mut Option<Lines>),
) -> Result<Option<Secret>> {
    if let Some(Hidden(key)) = &args.key_hmac {
        return Ok(Some(Secret::from_passphrase(key.as_bytes())));
    }
    if let Some(Hidden(key)) = &args.key_base64_hmac {
        return Secret::from_base64(key).map(Some).map_err(unfit);
    }
    if let Some(path) = &args.get_hmac_key {
        return key_file::read(ui, path, host).map(passphrase).map(Some);
    }
    if let Some(secret) = from_stanza(rc, "HMAC_KEY_BASE64", "HMAC_KEY")? {
        return Ok(Some(secret));
    }
    if let Some(path) = rc.text("HMAC_KEY_FILE") {
        return key_file::read(ui, path.as_ref(), host)
            .map(passphrase)
            .map(Some);
    }
    if args.use_hmac || rc.is_on("USE_HMAC") {
        if let Some(lines) = lines {
            return next_line(lines).map(passphrase).map(Some);
        }
        return prompt(&format!("HMAC key for {host}: "))
            .map(passphrase)
            .map(Some);
    }
    Ok(None)
}

/// Whether the stanza has one of these variables, and they come before what a descriptor says.
pub(super) fn comes_first(args: &KeyArgs, rc: &Stanza, variables: &[&str]) -> bool {
    args.stanza_first && variables.iter().any(|name| rc.bytes(name).is_some())
}

/// A key of the stanza; base64 wins when both forms are there.
pub(super) fn from_stanza(rc: &Stanza, base64: &str, plain: &str) -> Result<Option<Secret>> {
    let decoded = rc.read(base64, |text| {
        Secret::from_base64(text).map_err(|error| error.to_string())
    })?;
    Ok(decoded.or_else(|| rc.bytes(plain).map(Secret::from_passphrase)))
}

/// Lines that are keys, from a descriptor.
pub(super) type Lines = BufReader<io::Take<Box<dyn Read>>>;

/// The descriptor that keys are read from, if one was named.
pub(super) fn lines(args: &KeyArgs) -> Result<Option<Lines>> {
    let source: Box<dyn Read> = match args.fd {
        None | Some(0) if args.stdin || args.fd.is_some() => Box::new(io::stdin()),
        None | Some(0) => return Ok(None),
        Some(number) => Box::new(File::open(format!("/dev/fd/{number}")).map_err(|cause| {
            CommandError::failed(format!("cannot read descriptor {number}"), cause)
        })?),
    };
    Ok(Some(BufReader::new(source.take(LINES_LEN_MAX))))
}

pub(super) fn next_line(lines: &mut Lines) -> Result<Zeroizing<Vec<u8>>> {
    let mut line = Zeroizing::new(Vec::with_capacity(256));
    lines
        .read_until(b'\n', &mut line)
        .map_err(|cause| CommandError::failed("cannot read the key", cause))?;
    let key = line.strip_suffix(b"\n").unwrap_or(&line);
    let key = key.strip_suffix(b"\r").unwrap_or(key);
    if key.is_empty() {
        return Err(CommandError::refused("there is no key to read"));
    }
    Ok(Zeroizing::new(key.to_vec()))
}

/// Asks whoever sits here.
pub(super) fn prompt(question: &str) -> Result<Zeroizing<String>> {
    let no_key = || {
        CommandError::usage("there is no key")
            .with_hint("use --key-file (-G), --stdin, or -n with a stanza of ~/.fwknoprc")
    };
    if !io::stdin().is_terminal() {
        return Err(no_key());
    }
    let answer = rpassword::prompt_password(question)
        .map(Zeroizing::new)
        .map_err(|cause| no_key().because(cause))?;
    if answer.is_empty() {
        return Err(no_key());
    }
    Ok(answer)
}

fn passphrase<T: AsRef<[u8]> + zeroize::Zeroize>(text: Zeroizing<T>) -> Secret {
    Secret::from_passphrase(text.as_ref())
}

fn unfit(cause: InvalidKey) -> CommandError {
    CommandError::usage("the key cannot be used").because(cause)
}
