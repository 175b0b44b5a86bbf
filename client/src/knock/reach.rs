//! Knocking before something else: what `postern ssh`, `proxy` and `run` begin with.

use std::net::SocketAddr;

use spa::Allow;
use tokio::net::TcpStream;

use super::answer::Answer;
use super::args::{Access, KeepArgs, KeyArgs, KnockArgs, RequestArgs, RouteArgs, allow};
use super::attempt::{Checked, Knock, State, WAIT, patience};
use super::delivery::Voice;
use super::hosts;
use crate::context::Context;
use crate::error::{CommandError, Result};

/// The options of a knock that something else follows.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct ReachArgs {
    /// Address to open for [default in a fleet: the one that the host will see]
    #[arg(short = 'a', long, value_name = "IP", value_parser = allow)]
    allow_ip: Option<Allow>,

    /// Open for whoever sends the packet; most stanzas refuse it
    #[arg(short = 's', long, conflicts_with = "allow_ip")]
    source_ip: bool,

    /// Open for the address that the controller, or a web page, says we have
    #[arg(short = 'R', long, conflicts_with_all = ["allow_ip", "source_ip"])]
    resolve_ip_https: bool,

    /// Web page for -R
    #[arg(long, value_name = "URL")]
    resolve_url: Option<String>,

    /// Seconds to stay open, 0 to 65536; the host may allow less
    #[arg(short = 'f', long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(0..=65536))]
    fw_timeout: Option<u32>,

    /// User name in the packet; in a fleet the member's name, else the login name
    #[arg(short = 'U', long, value_name = "USER")]
    spoof_user: Option<String>,

    /// Wait so long for the port to answer [default: 5]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u16).range(1..=3600))]
    wait: Option<u16>,

    #[command(flatten)]
    route: RouteArgs,

    #[command(flatten)]
    keys: KeyArgs,
}

/// A port that answers.
#[derive(Debug)]
pub(crate) struct Reached {
    pub(crate) knock: Knock,
    /// The first TCP port that was asked for.
    pub(crate) at: SocketAddr,
    /// A connection to it.
    pub(crate) stream: TcpStream,
}

// === impl ReachArgs ===

impl ReachArgs {
    /// The stanza of the rc file that is named, which knows its host.
    pub(crate) fn stanza(&self) -> Option<&str> {
        self.keys.named_config.as_deref()
    }

    /// Seconds that the port is to stay open, if that is said.
    pub(crate) fn timeout_secs(&self) -> Option<u32> {
        self.fw_timeout.filter(|secs| *secs > 0)
    }

    /// The knock that opens `access` on `host`.
    pub(crate) fn into_knock(self, host: Option<String>, access: Option<Access>) -> KnockArgs {
        let Self {
            allow_ip,
            source_ip,
            resolve_ip_https,
            resolve_url,
            fw_timeout,
            spoof_user,
            wait,
            route,
            keys,
        } = self;
        KnockArgs {
            hosts: host.into_iter().collect(),
            request: RequestArgs {
                access,
                allow_ip,
                source_ip,
                resolve_ip_https,
                resolve_url,
                fw_timeout,
                spoof_user,
                ..RequestArgs::default()
            },
            route,
            keys,
            keep: KeepArgs::default(),
            no_wait: false,
            wait,
            quiet: true,
            json: false,
            dry_run: false,
            no_save_args: false,
        }
    }
}

/// Knocks, and waits until every TCP port that was asked for answers.
///
/// # Errors
///
/// Exit code 1 when one does not, with the reason; else as [`Knock::send`].
pub(crate) async fn reach(context: &Context, args: &KnockArgs) -> Result<Reached> {
    let hosts = hosts::named(context, args).await?;
    let [host] = hosts.as_slice() else {
        return Err(CommandError::usage("one host at a time"));
    };
    let mut knock = Knock::send(context, args, host.as_deref(), Voice::Quiet).await?;
    let mut may_try_again = true;
    loop {
        let checked = knock.wait(patience(args, true).unwrap_or(WAIT)).await;
        let Sorted { open, closed } = sorted(checked);
        if let Some((service, is_refused)) = closed {
            let (error, explained) = knock.failed(context, &service, is_refused).await;
            if explained.has_changed && may_try_again {
                may_try_again = false;
                knock = Knock::send(context, args, host.as_deref(), Voice::Quiet).await?;
                continue;
            }
            return Err(error);
        }
        let Some((at, stream)) = open else {
            return Err(CommandError::usage(
                "the packet was sent; there is no TCP port whose answer could be waited for",
            )
            .with_hint("name one, as in -A tcp/22"));
        };
        return Ok(Reached { knock, at, stream });
    }
}

/// How it stands with all that was asked for.
#[derive(Debug, Default)]
struct Sorted {
    /// The first port that answers.
    open: Option<(SocketAddr, TcpStream)>,
    /// The first that does not, and whether it refuses.
    closed: Option<(String, bool)>,
}

fn sorted(checked: Vec<Checked>) -> Sorted {
    let mut sorted = Sorted::default();
    for Checked { service, state } in checked {
        let is_refused = match state {
            State::Port(Answer::Open { at, stream, .. }) => {
                sorted.open.get_or_insert((at, stream));
                continue;
            }
            State::Port(Answer::Refused) => true,
            State::Port(Answer::Silence) => false,
            State::Unseen(_) => continue,
        };
        sorted
            .closed
            .get_or_insert_with(|| (service.to_string(), is_refused));
    }
    sorted
}
