//! `postern knock`

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use spa::{Allow, ProtoPort, Protocol};

use crate::context::Context;
use crate::error::{CommandError, Result};
use crate::knock::address::{self, By, Named, Way};
use crate::knock::answer::{self, Answer, Patience};
use crate::knock::args::KnockArgs;
use crate::knock::outside;
use crate::knock::packet::{self, Circumstances};
use crate::knock::request::{AllowBy, What};
use crate::knock::target::{self, Target};
use crate::knock::{seen, way};

/// How long the port may take to answer when nobody says.
const CHECK: Patience = Patience {
    silence: Duration::from_secs(2),
    refused: Duration::from_millis(100),
};

/// For whom the packet opens.
#[derive(Clone, Copy, Debug)]
pub(super) enum For {
    /// Whoever sends it.
    Sender,
    /// This address.
    Address(Named),
}

pub(crate) async fn run(context: &Context, args: KnockArgs) -> Result {
    let target = target::find(&context.ui, &context.profile, &args).await?;
    match send(context, &args, &target).await? {
        Some((whom, to)) => check(context, &args, &target, whom, to).await,
        None => Ok(()),
    }
}

/// Makes the packet and sends it, or shows it: then there is nothing to check.
pub(super) async fn send(
    context: &Context,
    args: &KnockArgs,
    target: &Target,
) -> Result<Option<(For, SocketAddr)>> {
    let whom = whom(context, target).await?;
    warn(context, target, whom);
    let world = Circumstances {
        now_secs: context.now_secs,
        username: target.username.clone(),
        allow: whom.allow(),
        host: target.name.clone(),
    };
    let message = packet::message(&target.request, &world)?;
    let packet = packet::seal(&message, &target.keys, target.tagged)?;

    let mut lines = packet::fields(&message)?;
    if context.verbose > 0 {
        lines.extend(more(target, whom));
    }
    if args.dry_run {
        lines.iter().for_each(|line| context.ui.note(line));
        context.ui.say(packet)?;
        return Ok(None);
    }
    for line in lines {
        context.ui.say(line)?;
    }
    let Target {
        name, port, route, ..
    } = target;
    let (transport, length) = (route.transport, packet.len());
    context.ui.say(format_args!(
        "sending {length} byte packet to {name} over {transport}/{port}"
    ))?;
    let to = route.resolve(&target.address, *port)?;
    route.send(&packet, &target.address, to)?;
    Ok(Some((whom, to)))
}

// === the address ===

/// For whom to open: what was said, or else the address that the host will see.
async fn whom(context: &Context, target: &Target) -> Result<For> {
    let by_word = |address| {
        For::Address(Named {
            address,
            by: By::Word,
        })
    };
    match &target.allow {
        AllowBy::Known(Allow::Source) => Ok(For::Sender),
        AllowBy::Known(Allow::Address(address)) => Ok(by_word(*address)),
        AllowBy::Resolve(url) => {
            // Where the packet cannot go, any family is as good; a packet may be printed only.
            let to = target.route.resolve(&target.address, target.port).ok();
            let to = to.map(|to| to.ip().to_canonical());
            outside::address(url, to).map(by_word)
        }
        AllowBy::Find => find(context, target).await.map(For::Address),
    }
}

async fn find(context: &Context, target: &Target) -> Result<Named> {
    let to = target.route.resolve(&target.address, target.port)?;
    let unknown = || {
        CommandError::unreachable(format!(
            "it cannot be known under which address {} sees this machine",
            target.name
        ))
        .with_hint(
            "-a IP names it, -R asks a web page for it; -s opens for whoever sends the packet, where \
             the stanza allows that",
        )
    };
    let way = way::to(to).map_err(|cause| unknown().because(cause))?;
    if let Some(named) = address::without_asking(way) {
        return Ok(named);
    }
    let seen = seen(context, target, way).await;
    address::after_asking(way, seen).ok_or_else(|| {
        let own = way.own;
        unknown().because(match seen {
            Some(seen) => format!(
                "its own address is {own}, and the controller sees {seen}: that says nothing about \
                 the way there"
            ),
            None => format!(
                "its own address is {own}, a NAT may stand between, and the controller did not say \
                 in time what it sees"
            ),
        })
    })
}

async fn seen(context: &Context, target: &Target, way: Way) -> Option<IpAddr> {
    let member = target.member.as_ref()?;
    seen::by_controller(&context.profile, member, way.own, context.now_secs).await
}

/// What is doubtful about the address. Outside of a fleet everything is as with fwknop.
fn warn(context: &Context, target: &Target, whom: For) {
    if target.member.is_none() {
        return;
    }
    let to = || target.route.resolve(&target.address, target.port).ok();
    match whom {
        For::Sender => context.ui.warn(
            "-s opens for whoever sends this packet: a thief who catches it on its way opens for \
             himself. Most stanzas refuse it",
        ),
        For::Address(Named {
            address,
            by: By::Guess,
        }) => context.ui.warn(format_args!(
            "opening for {address}, this machine's own address; it is wrong if a NAT stands between"
        )),
        For::Address(Named { address, by: _ }) => {
            if let Some(to) = to()
                && to.ip().to_canonical().is_ipv4() != address.is_ipv4()
            {
                context.ui.warn(format_args!(
                    "{address} is not of the family of {}, where the packet goes: what follows \
                     over the same way is not let in",
                    to.ip()
                ));
            }
        }
    }
}

// === impl For ===

impl For {
    fn allow(self) -> Allow {
        match self {
            Self::Sender => Allow::Source,
            Self::Address(named) => Allow::Address(named.address),
        }
    }

    pub(super) fn words(self) -> String {
        match self {
            Self::Sender => "whoever sends it".to_owned(),
            Self::Address(Named { address, by }) => match by {
                By::Word => address.to_string(),
                By::Kernel | By::Guess => format!("{address}, this machine's own address"),
                By::Controller => format!("{address}, as the controller sees this machine"),
            },
        }
    }
}

// === the check ===

/// Tries whether what was asked for answers, and tells if it does not.
async fn check(
    context: &Context,
    args: &KnockArgs,
    target: &Target,
    whom: For,
    to: SocketAddr,
) -> Result {
    let patience = match args.wait {
        Some(secs) => {
            let secs = Duration::from_secs(secs.into());
            Patience {
                silence: secs,
                refused: secs,
            }
        }
        None if args.no_check || target.member.is_none() => return Ok(()),
        None => CHECK,
    };
    for port in tcp_ports(&target.request.what) {
        let mut at = to;
        at.set_port(port.port.get());
        let words = match answer::of(at, patience) {
            Answer::Open => {
                context
                    .ui
                    .say(format_args!("{port} of {} answers", target.name))?;
                continue;
            }
            Answer::Refused => "refuses connections: perhaps nobody listens there",
            Answer::Silence => "does not answer",
        };
        let told = format!(
            "the packet was sent, and {port} of {} {words}; it was to open for {}",
            target.name,
            whom.words()
        );
        let hint = differs(context, target, whom, to).await;
        if args.wait.is_some() {
            return Err(CommandError::refused(told).with_hint(hint));
        }
        context.ui.warn(told);
        context.ui.note(format_args!("hint: {hint}"));
        return Ok(());
    }
    Ok(())
}

/// Ports whose answer says whether the knock has worked.
pub(super) fn tcp_ports(what: &What) -> Vec<ProtoPort> {
    match what {
        What::Close { ports, cut: _ }
        | What::Ports {
            ports,
            forward: None,
        } => {
            let single = ports.iter().filter_map(|port| port.single());
            single
                .filter(|port| port.protocol == Protocol::Tcp)
                .collect()
        }
        What::Ports {
            ports: _,
            forward: Some(_),
        }
        | What::Command(_) => Vec::new(),
    }
}

/// What may be otherwise than the knock took it to be.
async fn differs(context: &Context, target: &Target, whom: For, to: SocketAddr) -> String {
    let ask = format!(
        "`postern audit list --host {} --user {}` tells whoever may ask why",
        target.name, target.username
    );
    let For::Address(named) = whom else {
        return ask;
    };
    let way = way::to(to).ok();
    let own = way.map(|way| way.own);
    let seen = match (way, &target.member) {
        (Some(way), Some(member)) => {
            let now_secs = context.now_secs;
            seen::by_controller_now(&context.profile, member, way.own, now_secs).await
        }
        (Some(_) | None, Some(_) | None) => None,
    };
    let other = seen
        .or(own)
        .filter(|other| *other != named.address && other.is_ipv4() == named.address.is_ipv4());
    match other {
        Some(other) if seen.is_some() => format!(
            "the controller sees this machine as {other}: if the host does too, knock again with -a \
             {other}; {ask}"
        ),
        Some(other) => format!(
            "this machine's own address is {other}: if no NAT stands between, knock again with -a \
             {other}; {ask}"
        ),
        None => ask,
    }
}

/// What -v adds. Keys appear by their public names only.
fn more(target: &Target, whom: For) -> Vec<String> {
    let keys = &target.keys;
    let hmac = keys
        .hmac()
        .map_or_else(|| "none".to_owned(), |(_, digest)| digest.to_string());
    let form = if target.tagged { "tagged" } else { "fwknop" };
    let transport = target.route.transport;
    vec![
        format!("key: {}", keys.fingerprint()),
        format!("encryption mode: {}", keys.mode()),
        format!("hmac: {hmac}"),
        format!("form: {form}"),
        format!(
            "way: {transport} to {} port {}",
            target.address, target.port
        ),
        format!("for: {}", whom.words()),
    ]
}
