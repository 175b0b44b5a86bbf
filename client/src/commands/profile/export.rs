//! `postern profile export`

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, ErrorKind, IsTerminal as _};
use std::path::{Path, PathBuf};

use fleet::wire::DirectoryHost;
use member::Membership;
use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;
use spa::{Keys, ProtoPort};
use zeroize::Zeroizing;

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
/// fwknoprc: one stanza for each host, named like it, for fwknop's own client. Where some of what you
/// may open there is asked for at another SPA port, that has a stanza of its own, named HOST-PORT.
///
/// qr: a code for the camera of a phone with Fwknop2 (Android), one for each stanza, shown on a terminal
/// only. It holds the keys; address and ports, which are printed beside it, are typed into the phone.
///
/// The output holds your keys: keep it as safe as the profile. It stays valid until you or the host
/// join anew, whatever the policy says; the policy decides what it opens.
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
    #[arg(long, value_name = "IP", default_value = "resolve")]
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
    let mut stanzas = by_address(directory.hosts());
    if let Some(host) = &args.host {
        stanzas.retain(|entries| entries.host.name == *host);
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
            .try_for_each(|entries| show_code(context, &membership, entries));
    }
    let mut text = Zeroizing::new(String::new());
    for entries in &stanzas {
        stanza(&mut text, &membership, entries, &args.allow_ip)?;
    }
    let count = stanzas.len();
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
        .say(format_args!("Wrote {count} stanzas to {path}, mode 0600."))
}

// === files ===

fn create(path: &Path, text: &str) -> Result {
    program::files::create(path, 0o600, text.as_bytes()).map_err(|cause| {
        let name = path.display();
        if cause.kind() == ErrorKind::AlreadyExists {
            return CommandError::refused(format!("{name} is there already, and is not touched"))
                .with_hint("--append adds to it");
        }
        CommandError::failed(format!("cannot write {name}"), cause)
    })
}

/// Adds the stanzas behind what is there; the file is there whole before and after.
fn append(path: &Path, text: &str) -> Result {
    let before = match fs::read_to_string(path) {
        Ok(before) => Zeroizing::new(before),
        Err(cause) if cause.kind() == ErrorKind::NotFound => return create(path, text),
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
    program::files::replace(&target, 0o600, whole.as_bytes())
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

fn show_code(context: &Context, membership: &Membership, entries: &Entries<'_>) -> Result {
    let Entries { name, host, all } = entries;
    let keys = pairwise(membership, host)?;
    let code = QrCode::new(code_text(&keys).as_bytes())
        .map_err(|cause| CommandError::failed("the keys do not fit into a code", cause))?;
    // Light on dark, as most terminals are: scanners read either.
    let picture = Zeroizing::new(code.render::<Dense1x2>().build());
    let ports: BTreeSet<&str> = all
        .iter()
        .flat_map(|entry| entry.ports.iter().map(String::as_str))
        .collect();
    let ports: Vec<&str> = ports.into_iter().collect();
    context.ui.text(&picture)?;
    context.ui.say(format_args!(
        "{name}: server {}, port {}, user {}, access {}, HMAC SHA256",
        host.address,
        spa_port(host),
        membership.name,
        if ports.is_empty() {
            "any".to_owned()
        } else {
            ports.join(",")
        },
    ))
}

/// A stanza of an fwknoprc: what one packet can ask for.
struct Entries<'a> {
    name: String,
    host: &'a DirectoryHost,
    all: Vec<&'a DirectoryHost>,
}

/// The entries of the directory by host and SPA port.
fn by_address(hosts: &[DirectoryHost]) -> Vec<Entries<'_>> {
    let mut stanzas: Vec<Entries<'_>> = Vec::new();
    for host in hosts {
        let same = |known: &&mut Entries<'_>| {
            (&known.host.name, spa_port(known.host)) == (&host.name, spa_port(host))
        };
        if let Some(known) = stanzas.iter_mut().find(same) {
            known.all.push(host);
            continue;
        }
        let is_first = !stanzas.iter().any(|known| known.host.name == host.name);
        stanzas.push(Entries {
            name: if is_first {
                host.name.clone()
            } else {
                format!("{}-{}", host.name, spa_port(host))
            },
            host,
            all: vec![host],
        });
    }
    stanzas
}

/// What a stock client can ask for in one packet, and the rest.
fn askable<'p>(ports: &BTreeSet<&'p str>) -> (Vec<&'p str>, Vec<&'p str>) {
    // A request has 192 bytes, of which an IPv6 address takes up to 39.
    let mut room: usize = 192 - 39;
    ports.iter().copied().partition(|port| {
        let is_port = port.parse::<ProtoPort>().is_ok();
        let fits = is_port && room > port.len();
        if fits {
            room -= port.len() + 1;
        }
        fits
    })
}

fn stanza(
    text: &mut String,
    membership: &Membership,
    entries: &Entries<'_>,
    allow_ip: &str,
) -> Result {
    let Entries { name, host, all } = entries;
    let keys = pairwise(membership, host)?;
    let _ = writeln!(text, "[{name}]");
    let mut line = |name: &str, value: &str| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name:<18} {value}");
    };
    line("SPA_SERVER", &host.address);
    line("SPA_SERVER_PORT", &spa_port(host).to_string());
    let ports: BTreeSet<&str> = all
        .iter()
        .flat_map(|entry| entry.ports.iter().map(String::as_str))
        .collect();
    let (access, rest) = askable(&ports);
    if !access.is_empty() {
        line("ACCESS", &access.join(","));
    }
    if !rest.is_empty() {
        line("# Not in ACCESS:", &rest.join(","));
        line(
            "#",
            "a stock client asks for single ports, as many as one packet has room for",
        );
    }
    line("ALLOW_IP", allow_ip);
    line("SPOOF_USER", &membership.name);
    line("KEY_BASE64", &keys.encryption().secret().to_base64());
    if let Some((key, digest)) = keys.hmac() {
        line("USE_HMAC", "Y");
        line("HMAC_KEY_BASE64", &key.secret().to_base64());
        line("HMAC_DIGEST_TYPE", &digest.to_string());
    }
    text.push('\n');
    Ok(())
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
