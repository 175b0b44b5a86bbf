//! `postern profile export`

use std::collections::BTreeSet;
use std::fmt::Write as _;

use fleet::wire::DirectoryHost;
use member::Membership;
use zeroize::Zeroizing;

use super::Context;
use crate::connection::Connection;
use crate::directory::Directory;
use crate::error::Result;
use crate::knock::target::{pairwise, spa_port};

/// fwknop's own client keeps this many characters of SPOOF_USER.
const FWKNOP_USER_LEN_MAX: usize = 29;

/// Print the keys of this profile for other clients
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

    /// Value of ALLOW_IP: an address, `source` or `resolve`
    #[arg(long, value_name = "IP", default_value = "source")]
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
    for host in directory.distinct_hosts() {
        let entries = directory.entries(&host.name);
        stanza(&mut text, &membership, &entries, host, &args.allow_ip)?;
    }
    context.ui.text(&text)
}

fn stanza(
    text: &mut String,
    membership: &Membership,
    entries: &[&DirectoryHost],
    host: &DirectoryHost,
    allow_ip: &str,
) -> Result {
    let keys = pairwise(membership, host)?;
    let _ = writeln!(text, "[{}]", host.name);
    let mut line = |name: &str, value: &str| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name:<18} {value}");
    };
    line("SPA_SERVER", &host.address);
    line("SPA_SERVER_PORT", &spa_port(host).to_string());
    let ports: BTreeSet<&str> = entries
        .iter()
        .flat_map(|entry| entry.ports.iter().map(String::as_str))
        .collect();
    if !ports.is_empty() {
        line("ACCESS", &ports.into_iter().collect::<Vec<_>>().join(","));
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
