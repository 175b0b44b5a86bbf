//! `postern close`

use std::borrow::Cow;
use std::time::Duration;

use program::Failure as _;
use serde::Serialize;
use spa::{Allow, ProtoPort, Protocol};

use crate::context::Context;
use crate::error::{CommandError, Result};
use crate::knock::answer::{self, Ending};
use crate::knock::args::{
    Access, KeepArgs, KeyArgs, KnockArgs, RequestArgs, RouteArgs, allow, offset_secs,
};
use crate::knock::attempt::Knock;
use crate::knock::delivery::{self, Voice};
use crate::knock::request::What;
use crate::knock::target;

/// How long the host may take to close when nobody says: a packet filter that counts in seconds
/// closes within one.
const CHECK: Duration = Duration::from_secs(3);

/// Close before its time what a knock has opened
///
/// Asks a Postern agent to close what the same user has opened there with the same key for the same
/// address: with -A what opens any of these ports, without it everything. What others have opened
/// stays open. Connections that have begun go on, as they do when a grant ends by itself; with
/// --sessions they end as well, also those of grants that have ended.
///
/// HOST, the address and the keys are found as `postern knock` finds them.
///
/// No host answers a packet: exit code 0 means that it was sent. In a fleet it is then tried whether the
/// TCP ports of -A still answer, and said if one does; --no-wait leaves that out, and --wait makes it an
/// error.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  postern close web-1                          everything that you have open on web-1
  postern close web-1 -A tcp/22 --wait 5       fail if tcp/22 still answers after 5 seconds
  postern close web-1 --sessions               your connections, too
  postern close 192.0.2.1 -R --key-file ~/.spa-keys")]
pub(crate) struct CloseArgs {
    /// Host to close at: a name of the directory, or outside of a fleet an address or name
    host: Option<String>,

    /// Ports to close, as tcp/22,tcp/8000-8010,icmp/echo [default: all]
    #[arg(short = 'A', long, value_name = "PORTS")]
    access: Option<Access>,

    /// End the connections that began through it, too
    #[arg(long)]
    sessions: bool,

    /// Address that it is open for [default in a fleet: the one that the host will see]
    #[arg(short = 'a', long, value_name = "IP", value_parser = allow)]
    allow_ip: Option<Allow>,

    /// Close for the address that this packet comes from
    #[arg(short = 's', long, conflicts_with = "allow_ip")]
    source_ip: bool,

    /// Close for the address that a web page says we have, asked over HTTPS
    #[arg(short = 'R', long, conflicts_with_all = ["allow_ip", "source_ip"])]
    resolve_ip_https: bool,

    /// Web page for -R; its text must begin with the address
    #[arg(long, value_name = "URL")]
    resolve_url: Option<String>,

    /// User name in the packet, the same as in the knock; in a fleet the member's name, else the login
    /// name
    #[arg(short = 'U', long, value_name = "USER")]
    spoof_user: Option<String>,

    /// Date the packet later, by a number of seconds or with m, h, d
    #[arg(long, value_name = "TIME", value_parser = offset_secs)]
    time_offset_plus: Option<i64>,

    /// Date the packet earlier, by a number of seconds or with m, h, d
    #[arg(long, value_name = "TIME", value_parser = offset_secs, conflicts_with = "time_offset_plus")]
    time_offset_minus: Option<i64>,

    #[command(flatten)]
    route: RouteArgs,

    #[command(flatten)]
    keys: KeyArgs,

    /// Do not try whether the ports still answer
    #[arg(long, alias = "no-check", conflicts_with = "wait")]
    no_wait: bool,

    /// Wait so long for the ports to close, and fail if one still answers
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u16).range(1..=3600))]
    wait: Option<u16>,

    /// Print nothing but errors
    #[arg(short = 'q', long)]
    quiet: bool,

    /// Print one JSON object for each port that was tried, or one for the packet: host, port (empty for
    /// all), state (closed, open, sent, or failed: nothing was sent, and error says why)
    #[arg(long, conflicts_with_all = ["quiet", "dry_run"])]
    json: bool,

    /// Print the packet to standard output instead of sending it
    #[arg(short = 'T', long)]
    dry_run: bool,
}

/// One line of `--json`.
#[derive(Debug, Serialize)]
struct Row<'a> {
    host: &'a str,
    port: &'a str,
    state: &'a str,
}

/// The line of a packet that was not sent.
#[derive(Debug, Serialize)]
struct NotSent<'a> {
    host: &'a str,
    port: &'a str,
    state: &'static str,
    error: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

pub(crate) async fn run(context: &Context, args: CloseArgs) -> Result {
    let mut args = args.into_knock();
    let host = args.hosts.pop();
    if args.dry_run {
        let mut target = target::find(context, &args, host.as_deref()).await?;
        return delivery::show(context, &mut target).await;
    }
    let voice = if args.quiet || args.json {
        Voice::Quiet
    } else {
        Voice::Full
    };
    let sent = Knock::send(context, &args, host.as_deref(), voice).await;
    let knock = sent.inspect_err(|error| {
        if args.json {
            let host = host.as_deref().unwrap_or_default();
            // What cannot be printed is no second error.
            let _ = context.ui.json(&NotSent {
                host,
                port: "",
                state: "failed",
                error: program::one_line(error).to_string(),
                hint: error.hint().map(Cow::into_owned),
            });
        }
    })?;
    let ports = tcp_ports(&knock);
    let patience = match args.wait {
        Some(secs) => Some(Duration::from_secs(secs.into())),
        None if args.no_wait || !knock.is_member() || ports.is_empty() => None,
        None => Some(CHECK),
    };
    let Some(patience) = patience else {
        let asked = args.request.access.iter().flat_map(|access| &access.0);
        let asked: Vec<String> = asked.map(ToString::to_string).collect();
        return told(context, &args, &knock, (&asked.join(","), "sent"));
    };
    if ports.is_empty() && args.wait.is_some() {
        return Err(
            CommandError::usage("the packet was sent; there is no TCP port to wait for")
                .with_hint("name ports with -A, or leave --wait out"),
        );
    }
    let name = &knock.target.name;
    for port in ports {
        let at = knock.delivery.at_port(port.port.get());
        if answer::until_closed(&at, patience).await == Ending::Closed {
            told(context, &args, &knock, (&port.to_string(), "closed"))?;
            continue;
        }
        told(context, &args, &knock, (&port.to_string(), "open"))?;
        let still = format!(
            "the packet was sent, and {port} of {name} still answers; it was to close for {}",
            knock.delivery.whom()
        );
        let hint = "another grant may be open for this address, or the port is not hidden; `postern \
                    audit list` tells whoever may ask";
        if args.wait.is_some() {
            return Err(CommandError::refused(still).with_hint(hint));
        }
        context.ui.warn(still);
        context.ui.note(format_args!("hint: {hint}"));
    }
    Ok(())
}

/// What came of one port, or of the packet.
fn told(context: &Context, args: &KnockArgs, knock: &Knock, (port, state): (&str, &str)) -> Result {
    let host = knock.target.name.as_str();
    if args.json {
        return context.ui.json(&Row { host, port, state });
    }
    if args.quiet || state != "closed" {
        return Ok(());
    }
    context
        .ui
        .say(format_args!("{port} of {host} does not answer"))
}

/// Ports whose silence says whether the packet has worked.
fn tcp_ports(knock: &Knock) -> Vec<ProtoPort> {
    let What::Close { ports, cut: _ } = &knock.target.request.what else {
        return Vec::new();
    };
    let single = ports.iter().filter_map(|port| port.single());
    single
        .filter(|port| port.protocol == Protocol::Tcp)
        .collect()
}

// === impl CloseArgs ===

impl CloseArgs {
    /// The same as a knock, which differs in what the message says.
    fn into_knock(self) -> KnockArgs {
        let Self {
            host,
            access,
            sessions,
            allow_ip,
            source_ip,
            resolve_ip_https,
            resolve_url,
            spoof_user,
            time_offset_plus,
            time_offset_minus,
            route,
            keys,
            no_wait,
            wait,
            quiet,
            json,
            dry_run,
        } = self;
        KnockArgs {
            hosts: host.into_iter().collect(),
            request: RequestArgs {
                access,
                allow_ip,
                source_ip,
                resolve_ip_https,
                resolve_url,
                spoof_user,
                time_offset_plus,
                time_offset_minus,
                close: Some(sessions),
                ..RequestArgs::default()
            },
            route,
            keys,
            keep: KeepArgs::default(),
            no_wait,
            wait,
            quiet,
            json,
            dry_run,
            no_save_args: false,
        }
    }
}
