//! `postern profile export`

mod stanza;

use std::fmt::Write as _;
use std::fs;
use std::io::{self, ErrorKind, IsTerminal as _};
use std::path::{Path, PathBuf};

use member::Membership;
use program::files;
use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;
use spa::Keys;
use zeroize::Zeroizing;

use self::stanza::ToExport;
use crate::commands::keygen::allow_ip;
use crate::connection::Connection;
use crate::context::Context;
use crate::directory::Directory;
use crate::error::{CommandError, Result};
use crate::knock::listed::spa_port;
use crate::knock::target::pairwise;
use crate::rc::RcFile;

/// fwknop's own client keeps this many characters of SPOOF_USER.
const FWKNOP_USER_LEN_MAX: usize = 29;

/// Give the keys of this profile to other clients
///
/// fwknoprc: stanzas for fwknop's own client. A host has one for each stanza of the policy that lets you
/// in, since no packet is let in by two of them together: the first is named like the host, the others
/// HOST-PORT where they are asked for at another SPA port, and else HOST-2, HOST-3.
///
/// qr: a code for the camera of a phone with Fwknop2 (Android), one for each stanza, shown on a terminal
/// only. It holds the keys; address and ports, which are printed beside it, are typed into the phone.
/// What a phone cannot ask for, ranges and echo, is left out there.
///
/// The output holds your keys: keep it as safe as the profile. It stays valid until you or the host
/// join anew, whatever the policy says; the policy decides what it opens. Where the profile has its keys
/// in the keyring, they leave it here: other clients read no keyring.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  postern profile export --format fwknoprc --output ~/postern.fwknoprc
  postern profile export --format fwknoprc --append ~/.fwknoprc
  postern profile export --format qr --host web-1
  fwknop -n web-1")]
pub(crate) struct ExportArgs {
    /// Form of the output: fwknoprc or qr
    #[arg(long, value_enum)]
    format: Format,

    /// Only the stanzas of this host
    #[arg(long, value_name = "HOST")]
    host: Option<String>,

    /// Write to a new file that only you can read
    #[arg(long, value_name = "FILE", conflicts_with = "append")]
    output: Option<PathBuf>,

    /// Add to this file, which only you can read afterwards; stanzas that it has already are refused
    #[arg(long, value_name = "FILE")]
    append: Option<PathBuf>,

    /// Value of ALLOW_IP: an address; `resolve`, as -R; or `source`, as -s, which stanzas without KEY
    /// refuse unless they say REQUIRE_SOURCE_ADDRESS N
    #[arg(long, value_name = "IP", default_value = "resolve", value_parser = allow_ip)]
    allow_ip: String,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug, Eq, PartialEq)]
enum Format {
    Fwknoprc,
    Qr,
}

pub(super) async fn run(context: &Context, args: ExportArgs) -> Result {
    if args.format == Format::Qr {
        require_terminal(&args)?;
    }
    let membership = context.profile.membership()?;
    let directory = match Directory::load(&context.profile, &membership)? {
        Some(directory) => directory,
        None => {
            let connection = Connection::of(membership.clone()).await?;
            Directory::sync(&context.profile, &connection).await?
        }
    };
    if membership.name.len() > FWKNOP_USER_LEN_MAX {
        context.ui.warn(format_args!(
            "fwknop keeps {FWKNOP_USER_LEN_MAX} characters of the user name; hosts will not know {}",
            membership.name
        ));
    }
    let mut stanzas = stanza::of(directory.hosts());
    if let Some(host) = &args.host {
        stanzas.retain(|stanza| stanza.host.name == *host);
        if stanzas.is_empty() {
            return Err(CommandError::refused(format!(
                "no policy lets you open anything on a host named {host}"
            ))
            .with_hint("`postern list` shows the hosts"));
        }
    }
    if args.format == Format::Qr {
        return stanzas
            .iter()
            .try_for_each(|stanza| show_code(context, &membership, stanza));
    }
    if membership.is_in_keyring() {
        context.ui.note(
            "The keys of this profile are in the keyring; what is exported has them in clear.",
        );
    }
    let mut text = Zeroizing::new(String::new());
    for stanza in &stanzas {
        stanza.write(&mut text, &membership, &args.allow_ip)?;
    }
    let stanzas = match stanzas.len() {
        1 => "1 stanza".to_owned(),
        count => format!("{count} stanzas"),
    };
    match (&args.output, &args.append) {
        (Some(path), _) => create(path, &text)?,
        (None, Some(path)) => append(path, &text)?,
        (None, None) => return context.ui.text(&text),
    }
    let path = args.output.as_ref().or(args.append.as_ref());
    let path = path
        .map(|path| path.display().to_string())
        .unwrap_or_default();
    context
        .ui
        .say(format_args!("Wrote {stanzas} to {path}, mode 0600."))
}

// === files ===

fn create(path: &Path, text: &str) -> Result {
    files::create(path, 0o600, text.as_bytes()).map_err(|cause| {
        let name = path.display();
        if cause.kind() == ErrorKind::AlreadyExists {
            return CommandError::refused(format!("{name} is there already, and is not touched"))
                .with_hint("--append adds to it");
        }
        CommandError::failed(format!("cannot write {name}"), cause)
    })
}

/// The file that is meant by a link which leads to one that is not there yet: whoever keeps her files
/// elsewhere has such links before the files.
fn led_to(path: &Path) -> PathBuf {
    /// No longer chain of links is followed, by Linux neither.
    const LINKS_MAX: usize = 40;
    let mut led = path.to_owned();
    for _ in 0..LINKS_MAX {
        let Ok(next) = fs::read_link(&led) else {
            break;
        };
        led = led.parent().unwrap_or_else(|| Path::new("")).join(next);
    }
    led
}

/// Adds the stanzas behind what is there; the file is there whole before and after.
fn append(path: &Path, text: &str) -> Result {
    let before = match files::read_bytes(path, RcFile::BYTES_MAX).and_then(files::text) {
        Ok(before) => Zeroizing::new(before),
        Err(cause) if cause.kind() == ErrorKind::NotFound => return create(&led_to(path), text),
        Err(cause) => return Err(CommandError::unreadable(path, cause)),
    };
    let name = path.display().to_string();
    let mistakes = |mistakes: Vec<String>| {
        CommandError::invalid(format!("{name} is invalid\n{}", mistakes.join("\n")))
    };
    let known = RcFile::parse(&name, &before).map_err(mistakes)?;
    let new = RcFile::parse(&name, text).map_err(mistakes)?;
    let twice: Vec<&str> = new.names().filter(|name| known.has(name)).collect();
    if !twice.is_empty() {
        return Err(CommandError::refused(format!(
            "{name} has these stanzas already: {}",
            twice.join(", ")
        ))
        .with_hint("remove them there first, or write another file with --output"));
    }
    let mut whole = Zeroizing::new(String::with_capacity(before.len() + text.len() + 2));
    whole.push_str(&before);
    if !before.is_empty() {
        whole.push_str(if before.ends_with('\n') { "\n" } else { "\n\n" });
    }
    whole.push_str(text);
    // What a link leads to is what is meant.
    let target = fs::canonicalize(path).map_err(|cause| CommandError::unreadable(path, cause))?;
    files::replace(&target, 0o600, whole.as_bytes())
        .map_err(|cause| CommandError::failed(format!("cannot write {name}"), cause))
}

// === codes ===

/// Keys on a screen are gone when it is cleared; in a file or a pipe they are not.
fn require_terminal(args: &ExportArgs) -> Result {
    if args.output.is_some() || args.append.is_some() || !io::stdout().is_terminal() {
        return Err(
            CommandError::usage("a code with keys is shown on a terminal only")
                .with_hint("leave out --output, --append and pipes; a file is --format fwknoprc"),
        );
    }
    Ok(())
}

/// What Fwknop2 reads from its camera: keys by the names of an rc file, with a blank between.
fn code_text(keys: &Keys) -> Zeroizing<String> {
    let key = keys.encryption().secret().to_base64();
    let mut text = Zeroizing::new(String::with_capacity(256));
    // Writing to a String cannot fail.
    let _ = write!(text, "KEY_BASE64:{}", *key);
    if let Some((hmac, _)) = keys.hmac() {
        let _ = write!(text, " HMAC_KEY_BASE64:{}", *hmac.secret().to_base64());
    }
    text
}

fn show_code(context: &Context, membership: &Membership, stanza: &ToExport<'_>) -> Result {
    let ToExport { name, host, .. } = stanza;
    let keys = pairwise(membership, host)?;
    let code = QrCode::new(code_text(&keys).as_bytes())
        .map_err(|cause| CommandError::failed("the keys do not fit into a code", cause))?;
    // Light on dark, as most terminals are: scanners read either.
    let picture = Zeroizing::new(code.render::<Dense1x2>().build());
    let (access, rest) = stanza.askable();
    context.ui.text(&picture)?;
    context.ui.say(format_args!(
        "{name}: server {}, port {}, user {}, access {}, HMAC SHA256",
        host.address,
        spa_port(host),
        membership.name,
        match (access.is_empty(), rest.is_empty()) {
            (true, true) => "any".to_owned(),
            (true, false) => "none".to_owned(),
            (false, _) => access.join(","),
        },
    ))
}

#[cfg(test)]
mod tests {
    use spa::{DigestType, EncryptionKey, EncryptionMode, HmacKey, Secret};

    use super::*;

    #[test]
    fn a_code_holds_the_keys_by_their_names_with_a_blank_between() {
        let secret = |byte: u8| Secret::from_passphrase([byte; 3]);
        let hmac = HmacKey::new(secret(b'h')).unwrap();
        let keys = Keys::new(
            EncryptionKey::new(secret(b'k')).unwrap(),
            EncryptionMode::Cbc,
            Some((hmac, DigestType::Sha256)),
        );

        // `printf kkk | base64`, `printf hhh | base64`
        let text = code_text(&keys.unwrap());

        assert_eq!(*text, "KEY_BASE64:a2tr HMAC_KEY_BASE64:aGho");
    }
}
