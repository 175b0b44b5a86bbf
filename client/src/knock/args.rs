//! The options of `postern knock`: fwknop's letters where fwknop has them.

mod route;

use std::convert::Infallible;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use spa::{Allow, DigestType, EncryptionMode, NatAccess, Service};
use zeroize::Zeroizing;

use super::gpg_args::GpgArgs;

pub(crate) use self::route::{Proxy, RouteArgs, SequenceProto, Transport, address, agent, port};

/// Ask hosts to open a port for a moment, and wait until it is open
///
/// In a fleet HOST is a name of the directory (`postern list`), or a label as in role=web, which stands
/// for all hosts that have it; keys, addresses and port come from the profile, and the packet is in the
/// tagged form, which only Postern agents read. A directory that is not of this minute is fetched anew
/// when the controller answers within a second.
///
/// Outside of a fleet HOST is an address or a name, as with fwknop; keys come from --key-file, a
/// stanza of ~/.fwknoprc (-n), --stdin or a prompt, and the packet is what fwknop's own client sends.
/// A name with several addresses is knocked at on all of them.
///
/// In a fleet the packet names the address to open, so that whoever catches it on its way cannot open
/// for himself: the address that the kernel uses on the way to the host where no NAT can stand between,
/// else the one that the controller sees. -a, -R and -s say it otherwise.
///
/// No host answers a packet. In a fleet it is therefore tried for a few seconds whether the TCP ports of
/// -A answer: exit code 0 means open, 1 means not, and then it is said why, as far as the controller
/// knows. Whether UDP and echo are open cannot be seen from here; what the host recorded is told. With
/// --no-wait, and outside of a fleet without --wait, exit code 0 means that the packet was sent. With -v
/// it is told which keys and which form are used, never the keys themselves.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(after_help = "\
Examples:
  postern knock web-1 -A tcp/22                        a host of the fleet
  postern knock web-1 -A tcp/22 -f 60 && ssh web-1     open for a minute
  postern knock web-1 web-2 role=db -A tcp/22          several at once
  postern knock -n office                              a stanza of ~/.fwknoprc
  postern knock 192.0.2.1 -A tcp/22 -R --key-file ~/.spa-keys
  postern knock web-1 -A tcp/22 --wait 20              a slow way there
  postern knock web-1 -A tcp/22 --no-wait              sent is enough
  postern knock web-1 -A tcp/22 --dry-run              show, do not send
  postern knock web-1 -A tcp/22 --sequence             seventeen knocks, no packet

In ~/.ssh/config, so that `ssh web-1` knocks by itself (see also `postern proxy`):
  Match host web-* exec \"postern knock --quiet %n -A tcp/%p\"")]
pub(crate) struct KnockArgs {
    /// Hosts to knock at: names or labels (role=web) of the directory, or outside of a fleet an address
    /// or name
    #[arg(value_name = "HOST")]
    pub(crate) hosts: Vec<String>,

    #[command(flatten)]
    pub(crate) request: RequestArgs,

    #[command(flatten)]
    pub(crate) route: RouteArgs,

    #[command(flatten)]
    pub(crate) keys: KeyArgs,

    #[command(flatten)]
    pub(crate) keep: KeepArgs,

    /// Do not try whether the port answers
    #[arg(long, alias = "no-check", conflicts_with = "wait")]
    pub(crate) no_wait: bool,

    /// Wait so long for the port to answer [default in a fleet: 5]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u16).range(1..=3600))]
    pub(crate) wait: Option<u16>,

    /// Print nothing but errors
    #[arg(short = 'q', long)]
    pub(crate) quiet: bool,

    /// Print one JSON object for each host and port: host, port, state (open, refused by TCP, denied
    /// by the host's own record, silent, unseen, sent, or failed: nothing was sent), was_open, address, ms,
    /// because, error, hint
    #[arg(long, conflicts_with_all = ["quiet", "dry_run"])]
    pub(crate) json: bool,

    /// Print the packet to standard output instead of sending it
    #[arg(short = 'T', long, alias = "test")]
    pub(crate) dry_run: bool,

    /// Accepted for fwknop's scripts; arguments are never saved
    #[arg(long, hide = true)]
    pub(crate) no_save_args: bool,
}

/// Where the packet is written to, beside being sent or shown.
#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct KeepArgs {
    /// Write the packet to this file, too
    #[arg(short = 'B', long, value_name = "FILE")]
    pub(crate) save_packet: Option<PathBuf>,

    /// Add the packet to the end of the file of -B
    #[arg(short = 'b', long, requires = "save_packet")]
    pub(crate) save_packet_append: bool,
}

/// What is asked for.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "Request")]
pub(crate) struct RequestArgs {
    /// Ports to open, as tcp/22,udp/53; in a fleet the one port that the directory names. Postern agents
    /// also know ranges (tcp/8000-8010) and ping (icmp/echo)
    #[arg(short = 'A', long, value_name = "PORTS")]
    pub(crate) access: Option<Access>,

    /// Address to open for [default in a fleet: the one that the host will see]; 0.0.0.0 is the same
    /// as -s
    #[arg(short = 'a', long, value_name = "IP", value_parser = allow)]
    pub(crate) allow_ip: Option<Allow>,

    /// Open for whoever sends this packet: also for a thief who catches it on its way and sends it
    /// himself. Stanzas without KEY refuse it, unless they say REQUIRE_SOURCE_ADDRESS N
    #[arg(short = 's', long, conflicts_with = "allow_ip")]
    pub(crate) source_ip: bool,

    /// Open for the address that a web page says we have, asked over HTTPS. In a fleet the controller is
    /// asked, and a page only if --resolve-url names one; elsewhere it is a third party's,
    /// www.cipherdyne.org, as with fwknop
    #[arg(short = 'R', long, conflicts_with_all = ["allow_ip", "source_ip"])]
    pub(crate) resolve_ip_https: bool,

    /// Web page for -R, asked over the family that the packet takes; the first address in its text counts
    #[arg(long, value_name = "URL")]
    pub(crate) resolve_url: Option<String>,

    /// Program that asks for -R, called as wget is, instead of asking by ourselves
    #[arg(short = 'w', long, value_name = "FILE")]
    pub(crate) wget_cmd: Option<String>,

    /// Let -R ask over plain HTTP, where anyone on the way can forge the answer
    #[arg(long, conflicts_with_all = ["allow_ip", "source_ip"])]
    pub(crate) resolve_http_only: bool,

    /// Seconds to stay open, 0 to 65536; the host may allow less
    #[arg(short = 'f', long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(0..=65536))]
    pub(crate) fw_timeout: Option<u32>,

    /// Command to run on the host instead of opening a port
    #[arg(short = 'C', long, value_name = "COMMAND", conflicts_with = "access")]
    pub(crate) server_cmd: Option<String>,

    /// Internal service to forward to, as HOST:PORT; without PORT the port of -A
    #[arg(
        short = 'N',
        long,
        value_name = "HOST:PORT",
        conflicts_with = "server_cmd"
    )]
    pub(crate) nat_access: Option<Nat>,

    /// Redirect a port of the host itself
    #[arg(long, conflicts_with = "server_cmd")]
    pub(crate) nat_local: bool,

    /// Port to open instead of the one in -A, which NAT leads to
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) nat_port: Option<u16>,

    /// Like --nat-port, with a random port
    #[arg(long, conflicts_with = "nat_port")]
    pub(crate) nat_rand_port: bool,

    /// User name in the packet; in a fleet the member's name, else the login name
    #[arg(short = 'U', long, value_name = "USER")]
    pub(crate) spoof_user: Option<String>,

    /// Digest inside the packet [default: sha256]
    #[arg(short = 'm', long, value_name = "TYPE", ignore_case = true, value_parser = digest())]
    pub(crate) digest_type: Option<DigestType>,

    /// Date the packet later, by a number of seconds or with m, h, d
    #[arg(long, value_name = "TIME", value_parser = offset_secs)]
    pub(crate) time_offset_plus: Option<i64>,

    /// Date the packet earlier, by a number of seconds or with m, h, d
    #[arg(long, value_name = "TIME", value_parser = offset_secs, conflicts_with = "time_offset_plus")]
    pub(crate) time_offset_minus: Option<i64>,

    /// Closes, and whether connections end as well; of `postern close`.
    #[arg(skip)]
    pub(crate) close: Option<bool>,
}

/// Static keys, and how they are used. With any of these the fleet's directory is not used.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "Static keys")]
pub(crate) struct KeyArgs {
    /// Stanza of the rc file to start from
    #[arg(short = 'n', long, value_name = "STANZA")]
    pub(crate) named_config: Option<String>,

    /// fwknop rc file [default: ~/.fwknoprc]
    #[arg(long, value_name = "FILE")]
    pub(crate) rc_file: Option<PathBuf>,

    /// Read no rc file
    #[arg(long, conflicts_with_all = ["rc_file", "named_config"])]
    pub(crate) no_rc_file: bool,

    /// File with lines of the form `HOST: encryption key`
    #[arg(short = 'G', long, alias = "get-key", value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,

    /// File with lines of the form `HOST: HMAC key`
    #[arg(long, value_name = "FILE")]
    pub(crate) get_hmac_key: Option<PathBuf>,

    /// Read the encryption key from the first line of standard input; with --use-hmac the HMAC key
    /// from the second
    #[arg(long, conflicts_with = "key_file")]
    pub(crate) stdin: bool,

    /// The same from this descriptor
    #[arg(long, value_name = "NUMBER", conflicts_with_all = ["key_file", "stdin"])]
    pub(crate) fd: Option<u32>,

    /// Ask for an HMAC key when none is found elsewhere
    #[arg(long)]
    pub(crate) use_hmac: bool,

    /// Encryption passphrase; other users of this machine can see it
    #[arg(long, value_name = "KEY", conflicts_with_all = ["key_file", "stdin", "fd"])]
    pub(crate) key_rijndael: Option<Hidden>,

    /// Encryption key in base64; other users of this machine can see it
    #[arg(long, value_name = "KEY", conflicts_with_all = ["key_file", "stdin", "fd", "key_rijndael"])]
    pub(crate) key_base64_rijndael: Option<Hidden>,

    /// HMAC passphrase; other users of this machine can see it
    #[arg(long, value_name = "KEY", conflicts_with = "get_hmac_key")]
    pub(crate) key_hmac: Option<Hidden>,

    /// HMAC key in base64; other users of this machine can see it
    #[arg(long, value_name = "KEY", conflicts_with_all = ["get_hmac_key", "key_hmac"])]
    pub(crate) key_base64_hmac: Option<Hidden>,

    /// Digest of the HMAC [default: sha256]
    #[arg(long, value_name = "TYPE", ignore_case = true, value_parser = digest())]
    pub(crate) hmac_digest_type: Option<DigestType>,

    /// Encryption mode [default: CBC]
    #[arg(short = 'M', long, value_name = "MODE", ignore_case = true, value_parser = mode())]
    pub(crate) encryption_mode: Option<EncryptionMode>,

    #[command(flatten)]
    pub(crate) gpg: GpgArgs,

    /// Read a key from standard input or a descriptor only where the stanza has none, as fwknop
    #[arg(skip)]
    pub(crate) stanza_first: bool,

    /// Put a tag in front, by which a Postern agent finds the key at once; in a fleet the default
    #[arg(long)]
    pub(crate) tagged: bool,

    /// Send the form that fwknop knows; outside of a fleet the default
    #[arg(long, conflicts_with = "tagged")]
    pub(crate) no_tagged: bool,
}

/// Ports to ask for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Access(pub(crate) Vec<Service>);

/// Where NAT leads to, perhaps without its port.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Nat {
    pub(crate) host: String,
    pub(crate) port: Option<u16>,
}

/// A key from the command line: erased when dropped, not printable.
#[derive(Clone)]
pub(crate) struct Hidden(pub(crate) Zeroizing<String>);

// === impl KeyArgs ===

impl KeyArgs {
    /// Whether static keys are meant, and not the fleet's.
    pub(crate) fn is_static(&self) -> bool {
        let Self {
            named_config,
            rc_file,
            no_rc_file: _,
            key_file,
            get_hmac_key,
            stdin,
            fd,
            use_hmac,
            key_rijndael,
            key_base64_rijndael,
            key_hmac,
            key_base64_hmac,
            hmac_digest_type,
            encryption_mode,
            gpg,
            tagged: _,
            no_tagged: _,
            stanza_first: _,
        } = self;
        named_config.is_some()
            || rc_file.is_some()
            || key_file.is_some()
            || get_hmac_key.is_some()
            || *stdin
            || fd.is_some()
            || *use_hmac
            || key_rijndael.is_some()
            || key_base64_rijndael.is_some()
            || key_hmac.is_some()
            || key_base64_hmac.is_some()
            || hmac_digest_type.is_some()
            || encryption_mode.is_some()
            || gpg.is_meant()
    }

    /// The form that was asked for.
    pub(crate) fn form(&self) -> Option<bool> {
        match (self.tagged, self.no_tagged) {
            (true, _) => Some(true),
            (_, true) => Some(false),
            (false, false) => None,
        }
    }
}

// === impl RequestArgs ===

impl RequestArgs {
    /// Whether it is said for which address to open.
    pub(crate) fn says_for_whom(&self) -> bool {
        self.allow_ip.is_some() || self.source_ip || self.resolve_ip_https || self.resolve_http_only
    }
}

// === impl Access ===

impl FromStr for Access {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.split(',')
            .map(|port| {
                port.trim().parse().map_err(|_| {
                    format!(
                        "`{port}` is not a port; write tcp/22, udp/53, tcp/8000-8010 or icmp/echo{}",
                        policy::port_meant(port.trim())
                    )
                })
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

// === impl Nat ===

impl Nat {
    /// Fills in the port, if it was left out.
    pub(crate) fn with_port(self, port: u16) -> NatAccess {
        NatAccess {
            host: self.host,
            port: self.port.unwrap_or(port),
        }
    }
}

impl FromStr for Nat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (host, port) = match text.rsplit_once(',') {
            Some((host, port)) => (host, Some(port)),
            None => match text.rsplit_once(':') {
                // More than one colon outside of brackets: an IPv6 address without a port.
                Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
                    (host, Some(port))
                }
                Some(_) | None => (text, None),
            },
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.contains(':') && host.parse::<Ipv6Addr>().is_err() {
            return Err("write HOST:PORT, and an IPv6 address in brackets".to_owned());
        }
        let port = port
            .map(|port| match port.parse() {
                Ok(0) | Err(_) => Err(format!("`{port}` is not a port")),
                Ok(port) => Ok(port),
            })
            .transpose()?;
        if host.is_empty() {
            return Err("there is no host; write HOST:PORT".to_owned());
        }
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }
}

// === impl Hidden ===

impl FromStr for Hidden {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(Zeroizing::new(text.to_owned())))
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hidden(..)")
    }
}

/// An address to open for. The unspecified one means the packet's own source.
pub(crate) fn allow(text: &str) -> Result<Allow, String> {
    let address: IpAddr = text
        .parse()
        .map_err(|_| "not an IPv4 or IPv6 address".to_owned())?;
    let address = address.to_canonical();
    Ok(if address.is_unspecified() {
        Allow::Source
    } else {
        Allow::Address(address)
    })
}

/// A time as fwknop takes it: a number of seconds, or with s, m, h or d.
pub(crate) fn offset_secs(text: &str) -> Result<i64, String> {
    let lower = text.to_ascii_lowercase();
    let (number, unit_secs) = match lower.as_bytes().last() {
        Some(b's') => (lower.trim_end_matches('s'), 1),
        Some(b'm') => (lower.trim_end_matches('m'), 60),
        Some(b'h') => (lower.trim_end_matches('h'), 3600),
        Some(b'd') => (lower.trim_end_matches('d'), 86_400),
        Some(_) | None => (lower.as_str(), 1),
    };
    number
        .parse::<u32>()
        .ok()
        .map(|number| i64::from(number) * unit_secs)
        .ok_or_else(|| "write a number of seconds, or 5m, 2h, 1d".to_owned())
}

fn digest() -> impl TypedValueParser<Value = DigestType> {
    PossibleValuesParser::new([
        "md5", "sha1", "sha256", "sha384", "sha512", "sha3_256", "sha3_512",
    ])
    .try_map(|name| name.parse::<DigestType>())
}

fn mode() -> impl TypedValueParser<Value = EncryptionMode> {
    PossibleValuesParser::new(["CBC", "CTR", "CFB", "OFB", "ECB", "legacy"])
        .try_map(|name| name.parse::<EncryptionMode>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nat_access_may_leave_out_its_port() {
        let nat = |host: &str, port| {
            Ok(Nat {
                host: host.to_owned(),
                port,
            })
        };

        assert_eq!("192.168.10.5,22".parse(), nat("192.168.10.5", Some(22)));
        assert_eq!("192.168.10.5:2222".parse(), nat("192.168.10.5", Some(2222)));
        assert_eq!("192.168.10.5".parse(), nat("192.168.10.5", None));
        assert_eq!("2001:db8::1".parse(), nat("2001:db8::1", None));
        assert_eq!("[2001:db8::1]:22".parse(), nat("2001:db8::1", Some(22)));
        assert!("db.internal:0".parse::<Nat>().is_err());
        assert!(":22".parse::<Nat>().is_err());
        assert!("192.0.2.1:80:90".parse::<Nat>().is_err());
    }

    #[test]
    fn an_offset_is_seconds_or_has_a_unit() {
        assert_eq!(offset_secs("30"), Ok(30));
        assert_eq!(offset_secs("2h"), Ok(7200));
        assert_eq!(offset_secs("1D"), Ok(86_400));
        assert!(offset_secs("-1").is_err());
        assert!(offset_secs("h").is_err());
    }
}
