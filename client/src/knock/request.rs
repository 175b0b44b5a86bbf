//! What is asked for: the command line over the rc stanza over what a client does by itself.

use std::env;
use std::num::NonZeroU16;

use spa::{Allow, DigestType, Service};

use super::args::{Access, Nat, RequestArgs, allow, offset_secs, port};
use crate::error::{CommandError, Result};
use crate::rc::Stanza;

/// Where -R asks outside of a fleet when nothing else is said; fwknop's own page.
pub(crate) const RESOLVE_URL: &str = "https://www.cipherdyne.org/cgi-bin/myip";

/// A request before the outside address, the time and the randomness are known.
#[derive(Debug)]
pub(crate) struct KnockRequest {
    pub(crate) what: What,
    /// `None` when nothing was said.
    pub(crate) allow: Option<AllowBy>,
    /// 0 leaves it to the host.
    pub(crate) timeout_secs: u32,
    /// `None` when nothing was said.
    pub(crate) username: Option<String>,
    pub(crate) digest_type: DigestType,
    /// Seconds to add to the clock.
    pub(crate) offset_secs: i64,
}

/// The thing itself.
#[derive(Debug)]
pub(crate) enum What {
    /// Ports; empty when nothing was said.
    Ports {
        ports: Vec<Service>,
        forward: Option<Forward>,
    },
    /// Closes what the same user has opened; everything when nothing is named.
    Close {
        ports: Vec<Service>,
        /// Whether the connections through it end, too.
        cut: bool,
    },
    Command(String),
}

/// A request for NAT.
#[derive(Debug)]
pub(crate) struct Forward {
    /// `None` leads to the host itself.
    pub(crate) to: Option<Nat>,
    pub(crate) local: bool,
    /// The port that is opened in place of the one in -A.
    pub(crate) outer: Outer,
}

/// Which port is opened when NAT leads elsewhere.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Outer {
    Same,
    Port(u16),
    Random,
}

/// How the address to open for is found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum AllowBy {
    Known(Allow),
    /// The address that the host will see, as a member of a fleet finds it.
    Find,
    /// Ask a web page.
    Resolve {
        url: String,
        /// Somebody named it; else it is a third party's that nobody chose.
        said: bool,
        /// A program that asks, as wget does.
        wget: Option<String>,
    },
}

// === impl KnockRequest ===

impl KnockRequest {
    /// Puts the command line on top of the rc stanza.
    ///
    /// # Errors
    ///
    /// Exit code 64 for a value of the stanza that cannot be read, 2 for options that contradict
    /// each other.
    pub(crate) fn merge(args: &RequestArgs, rc: &Stanza) -> Result<Self> {
        Ok(Self {
            what: what(args, rc)?,
            allow: allow_by(args, rc)?,
            timeout_secs: timeout_secs(args, rc)?,
            username: args
                .spoof_user
                .clone()
                .or_else(|| rc.text("SPOOF_USER").map(str::to_owned)),
            digest_type: match args.digest_type {
                Some(digest) => digest,
                None => rc
                    .read("DIGEST_TYPE", |text| {
                        text.parse().map_err(|error| format!("{error}"))
                    })?
                    .unwrap_or(DigestType::Sha256),
            },
            offset_secs: offset(args, rc)?,
        })
    }
}

fn what(args: &RequestArgs, rc: &Stanza) -> Result<What> {
    if let Some(command) = &args.server_cmd {
        return Ok(What::Command(command.clone()));
    }
    if let Some(cut) = args.close {
        // The ports of a stanza are what it opens; not to name any closes them, too.
        let ports = args.access.clone().map(|Access(ports)| ports);
        let ports = ports.unwrap_or_default();
        return Ok(What::Close { ports, cut });
    }
    let ports = match &args.access {
        Some(access) => Some(access.clone()),
        None => rc.read("ACCESS", str::parse::<Access>)?,
    };
    let mut ports = ports.map(|Access(ports)| ports).unwrap_or_default();
    let forward = forward(args, rc, &mut ports)?;
    Ok(What::Ports { ports, forward })
}

fn forward(args: &RequestArgs, rc: &Stanza, ports: &mut [Service]) -> Result<Option<Forward>> {
    let to = match &args.nat_access {
        Some(nat) => Some(nat.clone()),
        None => rc.read("NAT_ACCESS", str::parse)?,
    };
    let local = args.nat_local || rc.is_on("NAT_LOCAL");
    let port = match args.nat_port {
        Some(port) => Some(port),
        None => rc.read("NAT_PORT", port)?,
    };
    let outer = match port {
        _ if args.nat_rand_port => Outer::Random,
        _ if args.nat_port.is_none() && rc.is_on("NAT_RAND_PORT") => Outer::Random,
        Some(port) => Outer::Port(port),
        None => Outer::Same,
    };
    if to.is_none() && !local {
        if args.nat_port.is_some() || args.nat_rand_port {
            return Err(
                CommandError::usage("a NAT port needs something that it leads to")
                    .with_hint("add -N HOST:PORT or --nat-local"),
            );
        }
        // As the reference does with a stanza that says the port alone: it is what is asked for.
        if let (Outer::Port(port), Some(first)) = (outer, ports.first_mut())
            && let Some(port) = NonZeroU16::new(port)
        {
            *first = first.at_port(port);
        }
        return Ok(None);
    }
    Ok(Some(Forward { to, local, outer }))
}

fn allow_by(args: &RequestArgs, rc: &Stanza) -> Result<Option<AllowBy>> {
    if args.source_ip {
        return Ok(Some(AllowBy::Known(Allow::Source)));
    }
    if let Some(address) = args.allow_ip {
        return Ok(Some(AllowBy::Known(address)));
    }
    if args.resolve_ip_https || args.resolve_http_only {
        return resolve(args, rc).map(Some);
    }
    let stated = rc.read("ALLOW_IP", |text| {
        Ok(match text.to_ascii_lowercase().as_str() {
            "source" => Some(Allow::Source),
            "resolve" => None,
            address => Some(allow(address)?),
        })
    })?;
    match stated {
        Some(Some(address)) => Ok(Some(AllowBy::Known(address))),
        Some(None) => resolve(args, rc).map(Some),
        None if ["RESOLVE_IP_HTTPS", "RESOLVE_IP_HTTP", "RESOLVE_HTTP_ONLY"]
            .iter()
            .any(|name| rc.is_on(name)) =>
        {
            resolve(args, rc).map(Some)
        }
        None => Ok(None),
    }
}

fn resolve(args: &RequestArgs, rc: &Stanza) -> Result<AllowBy> {
    let named = args
        .resolve_url
        .as_deref()
        .or_else(|| rc.text("RESOLVE_URL"));
    let url = named.unwrap_or(RESOLVE_URL);
    let plain = args.resolve_http_only || rc.is_on("RESOLVE_HTTP_ONLY");
    let (scheme, rest) = url
        .split_once("://")
        .unwrap_or((if plain { "http" } else { "https" }, url));
    if scheme != "https" && !plain {
        return Err(CommandError::usage(format!(
            "-R asks over HTTPS, and {url} is not such a page"
        ))
        .with_hint(
            "use an https:// page, or --resolve-http-only if a forged answer does no harm",
        ));
    }
    let scheme = if plain { "http" } else { scheme };
    Ok(AllowBy::Resolve {
        url: format!("{scheme}://{rest}"),
        said: named.is_some(),
        wget: args
            .wget_cmd
            .clone()
            .or_else(|| rc.text("WGET_CMD").map(str::to_owned)),
    })
}

fn timeout_secs(args: &RequestArgs, rc: &Stanza) -> Result<u32> {
    if let Some(secs) = args.fw_timeout {
        return Ok(secs);
    }
    let stated = rc.read("FW_TIMEOUT", |text| {
        text.parse()
            .ok()
            .filter(|secs| (0..=65536).contains(secs))
            .ok_or_else(|| "must be 0 to 65536 seconds".to_owned())
    })?;
    Ok(stated.unwrap_or(0))
}

fn offset(args: &RequestArgs, rc: &Stanza) -> Result<i64> {
    match (args.time_offset_plus, args.time_offset_minus) {
        (Some(secs), _) => Ok(secs),
        (None, Some(secs)) => Ok(-secs),
        (None, None) => {
            let stated = rc.read("TIME_OFFSET", |text| match text.strip_prefix('-') {
                Some(text) => offset_secs(text).map(|secs| -secs),
                None => offset_secs(text),
            })?;
            Ok(stated.unwrap_or(0))
        }
    }
}

/// Who we are to a host outside of a fleet, in fwknop's order.
pub(crate) fn login_name() -> String {
    let variable = |name| env::var(name).ok().filter(|value| !value.is_empty());
    variable("SPOOF_USER")
        .or_else(|| variable("LOGNAME"))
        .or_else(|| {
            let user = nix::unistd::User::from_uid(nix::unistd::getuid());
            user.ok().flatten().map(|user| user.name)
        })
        .or_else(|| variable("USER"))
        .unwrap_or_else(|| "NO_USER".to_owned())
}
