//! `postern keygen`

use std::fmt::Write as _;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use member::{Keyring, KeyringError};
use policy::NoIncludes;
use serde::Serialize;
use spa::{DigestType, EncryptionKey, EncryptionMode, HmacKey, Keys, Secret};
use zeroize::Zeroizing;

use crate::context::{Context, Listing};
use crate::error::{CommandError, Result};
use crate::keyring;
use crate::knock::args::Access;
use crate::rc::table::KEY_SOURCE;

/// Bytes of an encryption key: what AES-256 takes.
const KEY_LEN: usize = 32;
/// Bytes of an HMAC key: a block of SHA-256.
const HMAC_KEY_LEN: usize = 64;

/// Make a pair of keys for a host and a client that stand alone
///
/// Two files are written, readable for their owner only: NAME.access.conf, a stanza for the access file
/// of the host (Postern's agent or fwknopd), and NAME.fwknoprc, the stanza `[NAME]` for ~/.fwknoprc of the
/// client (`postern` or fwknop). Both hold the same new keys, which are never printed. Files that exist
/// are not touched.
///
/// The stanza says PROTECT: as soon as the agent reads it, whoever has not knocked does not reach the
/// ports, so keep a session open until the first knock has worked. fwknopd skips that line; there the
/// ports must be closed by the host's own firewall, or everybody reaches them.
///
/// With --keyring the client's half of the keys goes into the keyring of this desktop, and NAME.fwknoprc
/// says KEY_SOURCE keyring in their place: for `postern`, since fwknop ends at that line. The host's file
/// holds them all the same; remove it here when it is there.
///
/// In a fleet nobody needs this: hosts and users agree on keys when they join.
///
/// JSON fields: name, access, rc, key (the public name of the keys).
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  postern keygen office --server 192.0.2.1 -A tcp/22
  scp office.access.conf root@192.0.2.1:          append it there to the access file
  cat office.fwknoprc >> ~/.fwknoprc && chmod 600 ~/.fwknoprc
  postern knock -n office -a 203.0.113.7 --wait 5
  postern keygen office --server 192.0.2.1 --keyring")]
pub(crate) struct KeygenArgs {
    /// Name of the pair, and of the stanza
    name: String,

    /// Address or name of the host
    #[arg(long, value_name = "ADDRESS")]
    server: String,

    /// Ports that may be opened, and are asked for
    #[arg(short = 'A', long, value_name = "PORTS", default_value = "tcp/22")]
    access: Access,

    /// Addresses that packets may come from, as in SOURCE
    #[arg(long, value_name = "NETWORKS", default_value = "ANY")]
    source: String,

    /// Port that the host captures packets on
    #[arg(short = 'p', long, value_name = "PORT", default_value_t = fleet::DEFAULT_SPA_PORT, value_parser = clap::value_parser!(u16).range(1..))]
    server_port: u16,

    /// Seconds that a port stays open
    #[arg(short = 'f', long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=65536))]
    fw_timeout: u32,

    /// Value of ALLOW_IP for the client: an address; `resolve`, as -R; or `source`, as -s, which a thief
    /// of a packet can use. Without it, -a, -R or -s is said at each knock
    #[arg(long, value_name = "IP", value_parser = allow_ip)]
    allow_ip: Option<String>,

    /// Leave PROTECT out: who may reach the ports without a knock is for the firewall of the host to say
    #[arg(long)]
    no_protect: bool,

    /// Put the client's keys into the keyring of this desktop, and not into NAME.fwknoprc
    #[arg(long)]
    keyring: bool,

    /// Directory to write to
    #[arg(long, value_name = "DIR", default_value = ".")]
    directory: PathBuf,

    #[command(flatten)]
    listing: Listing,
}

#[derive(Debug, Serialize)]
struct Made<'a> {
    name: &'a str,
    access: String,
    rc: String,
    key: String,
}

pub(crate) fn run(context: &Context, args: &KeygenArgs) -> Result {
    check(args)?;
    let (key, hmac) = (secret::<KEY_LEN>()?, secret::<HMAC_KEY_LEN>()?);
    let access = args.directory.join(format!("{}.access.conf", args.name));
    let rc = args.directory.join(format!("{}.fwknoprc", args.name));
    let ports: Vec<String> = args.access.0.iter().map(ToString::to_string).collect();
    let ports = ports.join(",");
    let (of_host, of_client) = (
        host_text(args, &ports, (&key, &hmac)),
        client_text(args, &ports, (&key, &hmac)),
    );
    for path in [&access, &rc] {
        if path.symlink_metadata().is_ok() {
            return Err(exists(path));
        }
    }
    let kept = args.keyring.then(|| Kept::new(&args.name)).transpose()?;
    create(&access, &of_host)?;
    create(&rc, &of_client)
        .and_then(|()| match &kept {
            Some(kept) => kept.put(&key_lines(&key, &hmac)).inspect_err(|_| {
                let _ = std::fs::remove_file(&rc);
            }),
            None => Ok(()),
        })
        .inspect_err(|_| {
            // Half a pair is of no use; it was made a moment ago.
            let _ = std::fs::remove_file(&access);
        })?;
    let keys = keys(key, hmac)?;
    let (access, rc) = (access.display().to_string(), rc.display().to_string());
    let key = keys.fingerprint().to_string();
    if args.listing.json {
        let name = args.name.as_str();
        return context.ui.json(&Made {
            name,
            access,
            rc,
            key,
        });
    }
    say(context, args, (&access, &rc, &key), &ports)
}

/// What was made, and what is to be done with it.
fn say(
    context: &Context,
    args: &KeygenArgs,
    (access, rc, key): (&str, &str, &str),
    ports: &str,
) -> Result {
    let name = &args.name;
    let how = if args.allow_ip.is_some() {
        String::new()
    } else {
        " -a YOUR-ADDRESS".to_owned()
    };
    context.ui.say(format_args!(
        "Wrote {access}, for the access file of {}, and {rc}, for ~/.fwknoprc of the client (key {key}).",
        args.server
    ))?;
    let who = if args.keyring {
        format!(
            "The client's keys are in the keyring; whoever reads {access} can knock: remove it here."
        )
    } else {
        "Whoever reads either file can knock.".to_owned()
    };
    context.ui.note(format_args!(
        "Take {access} to the host over a safe way and append it to the access file; then `postern \
         knock --rc-file {rc} -n {name}{how} --wait 5`. {who}"
    ));
    if !args.no_protect {
        context.ui.note(format_args!(
            "Once the agent has read it, {ports} is reached after a knock only: keep a session open until \
             one has worked."
        ));
    }
    Ok(())
}

/// The value of ALLOW_IP in an rc file.
pub(crate) fn allow_ip(text: &str) -> Result<String, String> {
    let is_word = ["resolve", "source"].contains(&text.to_ascii_lowercase().as_str());
    if is_word || text.parse::<IpAddr>().is_ok() {
        return Ok(text.to_owned());
    }
    Err("no address: write an address, resolve or source".to_owned())
}

/// What would make a file that is refused, or read as something else.
fn check(args: &KeygenArgs) -> Result {
    let is_word = |text: &str| {
        !text.is_empty()
            && !text.contains(|c: char| c.is_whitespace() || c.is_control() || ";#[]".contains(c))
    };
    let is_name = is_word(&args.name)
        && !args.name.contains('/')
        && !args.name.starts_with(['.', '-'])
        && args.name != "default";
    if !is_name {
        return Err(
            CommandError::usage(format!("`{}` cannot be the name of a stanza", args.name))
                .with_hint("write one word, such as office"),
        );
    }
    if !is_word(&args.server) {
        return Err(CommandError::usage(format!(
            "`{}` is no address",
            args.server
        )));
    }
    if args.source.contains(|c: char| c.is_control()) {
        return Err(CommandError::usage("--source is one line"));
    }
    let text = format!("SOURCE {}\nOPEN_PORTS tcp/22\nKEY checked\n", args.source);
    policy::parse("--source", &text, &NoIncludes).map_err(|cause| {
        CommandError::usage(format!(
            "--source {} is not as SOURCE wants it",
            args.source
        ))
        .because(cause)
    })?;
    Ok(())
}

fn secret<const LEN: usize>() -> Result<Secret> {
    let mut bytes = Zeroizing::new([0; LEN]);
    getrandom::fill(bytes.as_mut())
        .map_err(|cause| CommandError::failed("the operating system gives no randomness", cause))?;
    Ok(Secret::from_passphrase(bytes.as_slice()))
}

fn keys(key: Secret, hmac: Secret) -> Result<Keys> {
    let unfit = |cause| CommandError::failed("the keys cannot be used", cause);
    let hmac = HmacKey::new(hmac).map_err(unfit)?;
    let key = EncryptionKey::new(key).map_err(unfit)?;
    Keys::new(key, EncryptionMode::Cbc, Some((hmac, DigestType::Sha256))).map_err(unfit)
}

fn host_text(args: &KeygenArgs, ports: &str, (key, hmac): (&Secret, &Secret)) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(1024));
    let mut line = |name: &str, value: &str| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name:<24} {value}");
    };
    line("#", &format!("{}, made by postern keygen", args.name));
    line("SOURCE", &args.source);
    line("OPEN_PORTS", ports);
    if !args.no_protect {
        line(
            "#",
            "whoever has not knocked does not reach these (fwknopd skips this line)",
        );
        line("PROTECT", ports);
    }
    line("FW_ACCESS_TIMEOUT", &args.fw_timeout.to_string());
    let is_for_sender = args
        .allow_ip
        .as_deref()
        .is_some_and(|allow| allow.eq_ignore_ascii_case("source"));
    line(
        "REQUIRE_SOURCE_ADDRESS",
        if is_for_sender { "N" } else { "Y" },
    );
    line("KEY_BASE64", &key.to_base64());
    line("HMAC_KEY_BASE64", &hmac.to_base64());
    text
}

fn client_text(
    args: &KeygenArgs,
    ports: &str,
    (key, hmac): (&Secret, &Secret),
) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(1024));
    let _ = writeln!(text, "[{}]", args.name);
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "{name:<24} {value}");
    };
    line("SPA_SERVER", &args.server);
    line("SPA_SERVER_PORT", &args.server_port.to_string());
    line("ACCESS", ports);
    if let Some(allow) = &args.allow_ip {
        line("ALLOW_IP", allow);
    }
    if args.keyring {
        line(KEY_SOURCE, "keyring");
    } else {
        line("KEY_BASE64", &key.to_base64());
        line("USE_HMAC", "Y");
        line("HMAC_KEY_BASE64", &hmac.to_base64());
    }
    text
}

/// The client's half as the keyring has it.
fn key_lines(key: &Secret, hmac: &Secret) -> Zeroizing<String> {
    let (key, hmac) = (key.to_base64(), hmac.to_base64());
    let mut text = Zeroizing::new(String::with_capacity(256));
    let _ = write!(text, "KEY_BASE64 {}\nHMAC_KEY_BASE64 {}\n", *key, *hmac);
    text
}

/// The place in the keyring for the keys of one stanza.
struct Kept {
    keyring: Arc<dyn Keyring>,
    name: String,
}

// === impl Kept ===

impl Kept {
    /// A place where nothing is yet.
    fn new(stanza: &str) -> Result<Self> {
        let (keyring, name) = (keyring::required()?, keyring::stanza_name(stanza));
        if keyring.get(&name)?.is_some() {
            return Err(CommandError::refused(format!(
                "the keyring has keys as {name} already, and they are not touched"
            ))
            .with_hint("choose another name, or remove them there first"));
        }
        Ok(Self { keyring, name })
    }

    /// Puts them there, and reads them again: they are on this machine nowhere else.
    fn put(&self, text: &str) -> Result {
        let label = format!("Postern: keys of {}", self.name);
        self.keyring.put(&self.name, &label, text)?;
        if self
            .keyring
            .get(&self.name)?
            .is_none_or(|kept| *kept != text)
        {
            return Err(KeyringError::NotKept.into());
        }
        Ok(())
    }
}

fn create(path: &Path, text: &str) -> Result {
    program::files::create(path, 0o600, text.as_bytes()).map_err(|cause| {
        if cause.kind() == ErrorKind::AlreadyExists {
            return exists(path);
        }
        CommandError::failed(format!("cannot write {}", path.display()), cause)
    })
}

fn exists(path: &Path) -> CommandError {
    CommandError::refused(format!(
        "{} is there already, and is not touched",
        path.display()
    ))
    .with_hint("choose another name or --directory, or remove the file")
}
