//! `postern profile export`

use std::collections::BTreeSet;
use std::fmt::Write as _;

use fleet::wire::DirectoryHost;
use member::Membership;
use spa::ProtoPort;
use zeroize::Zeroizing;

use crate::connection::Connection;
use crate::context::Context;
use crate::directory::Directory;
use crate::error::Result;
use crate::knock::target::{pairwise, spa_port};

/// fwknop's own client keeps this many characters of SPOOF_USER.
const FWKNOP_USER_LEN_MAX: usize = 29;

/// Print the keys of this profile for other clients
///
/// One stanza for each host, named like it. Where some of what you may open there is asked for at
/// another SPA port, that has a stanza of its own, named HOST-PORT.
///
/// The output holds your keys: keep it as safe as the profile. It stays valid until you or the host
/// join anew, whatever the policy says; the policy decides what it opens.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  (umask 077; postern profile export --format fwknoprc > ~/.fwknoprc)
  fwknop -n web-1")]
pub(crate) struct ExportArgs {
    /// Form of the output: fwknoprc, one stanza per host, for fwknop's client
    #[arg(long, value_enum)]
    format: Format,

    /// Value of ALLOW_IP: an address; `resolve`, as -R; or `source`, as -s, which stanzas without KEY
    /// refuse unless they say REQUIRE_SOURCE_ADDRESS N
    #[arg(long, value_name = "IP", default_value = "resolve")]
    allow_ip: String,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug)]
enum Format {
    Fwknoprc,
}

pub(super) async fn run(context: &Context, args: ExportArgs) -> Result {
    let Format::Fwknoprc = args.format;
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
    let mut text = Zeroizing::new(String::new());
    for entries in by_address(directory.hosts()) {
        stanza(&mut text, &membership, &entries, &args.allow_ip)?;
    }
    context.ui.text(&text)
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
