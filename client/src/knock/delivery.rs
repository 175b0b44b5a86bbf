//! Packets for every address of a host, each made for the way that it takes, and sent or shown.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use spa::{Allow, OpeningKey, Sealed, SequenceKey, SequenceMessage};

use super::address::{self, By, Named, Way};
use super::args::SequenceProto;
use super::outside::{self, Page};
use super::packet::{self, Circumstances};
use super::request::{AllowBy, Outer, What};
use super::sequence::Sequence;
use super::target::Target;
use super::{seen, way};
use crate::clock;
use crate::context::Context;
use crate::error::{CommandError, Result};

/// For whom a packet opens.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum For {
    /// Whoever sends it.
    Sender,
    /// This address.
    Address(Named),
}

/// How much is said on the way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Voice {
    /// The fields of the packet, as fwknop's client tells them.
    Full,
    /// Warnings only.
    Quiet,
}

/// A packet that is on its way.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) to: SocketAddr,
    pub(crate) whom: For,
    /// The name under which its host records what became of it.
    pub(crate) digest: String,
}

/// All packets for one host.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    /// Never empty.
    pub(crate) packets: Vec<Sent>,
    /// When the last of them was sent.
    pub(crate) at: Instant,
}

/// Makes a packet for each address of the host and sends it. An address to which no way leads is
/// passed over, as long as another one is reached.
///
/// # Errors
///
/// Exit code 3 when nothing could be sent, 1 or 2 when no packet could be made.
pub(crate) async fn send(context: &Context, target: &mut Target, voice: Voice) -> Result<Delivery> {
    fix_outer_port(target)?;
    let mut packets = Vec::new();
    let mut failed = Vec::new();
    let found = target.route.resolve(&target.addresses, target.port)?;
    for to in of_its_family(&target.allow, found) {
        match send_one(context, target, to, voice).await {
            Ok(sent) => packets.push(sent),
            Err(error) => failed.push((to, error)),
        }
    }
    if packets.is_empty() {
        let error = failed.into_iter().next().map(|(_, error)| error);
        return Err(error.unwrap_or_else(|| CommandError::unreachable("nothing was sent")));
    }
    if context.verbose > 0 {
        for (to, error) in failed {
            let to = to.ip();
            context
                .ui
                .note(format_args!("{to} was not knocked at: {error}"));
        }
    }
    let at = clock::moment();
    Ok(Delivery { packets, at })
}

async fn send_one(
    context: &Context,
    target: &mut Target,
    to: SocketAddr,
    voice: Voice,
) -> Result<Sent> {
    let whom = whom(context, target, Some(to)).await?;
    warn(context, target, whom, Some(to));
    if let Some(proto) = target.route.sequence {
        let sequence = sequence(target, whom, proto)?;
        if voice == Voice::Full {
            let (name, ip) = (&target.name, to.ip().to_canonical());
            context.ui.say(format_args!(
                "knocking at 17 ports of {name}, {ip}, over {proto}"
            ))?;
        }
        target.route.knock(&sequence, to).await?;
        let digest = sequence.digest;
        return Ok(Sent { to, whom, digest });
    }
    let (packet, lines) = make(context, target, whom)?;
    if voice == Voice::Full {
        // As fwknop does; a member is told what comes of it.
        if target.asker.is_none() || context.verbose > 0 {
            for line in lines {
                context.ui.say(line)?;
            }
        }
        let Target { name, route, .. } = &*target;
        let (transport, port, length) = (route.transport, to.port(), packet.len());
        let at = match target.addresses.as_slice() {
            [one] if *one == to.ip().to_string() || one == name => String::new(),
            _ => format!(" at {}", to.ip().to_canonical()),
        };
        context.ui.say(format_args!(
            "sending {length} byte packet to {name}{at} over {transport}/{port}"
        ))?;
    }
    let host = target.addresses.first().unwrap_or(&target.name);
    target.route.send(&packet, host, to).await?;
    let digest = digest_of(target, &packet);
    Ok(Sent { to, whom, digest })
}

/// Shows the packets instead: one for each address that they would open for.
///
/// # Errors
///
/// As [`send`], but where the packet cannot go does not matter to one that names its address.
pub(crate) async fn show(context: &Context, target: &mut Target) -> Result {
    fix_outer_port(target)?;
    let ways: Vec<Option<SocketAddr>> = match target.route.resolve(&target.addresses, target.port) {
        Ok(found) => {
            let found = of_its_family(&target.allow, found);
            found.into_iter().map(Some).collect()
        }
        Err(_) if !matches!(target.allow, AllowBy::Find) => vec![None],
        Err(error) => return Err(error),
    };
    let mut shown: Vec<For> = Vec::new();
    let mut failed = None;
    for to in ways {
        let whom = match whom(context, target, to).await {
            Ok(whom) => whom,
            Err(error) => {
                failed.get_or_insert(error);
                continue;
            }
        };
        if shown.contains(&whom) {
            continue;
        }
        shown.push(whom);
        warn(context, target, whom, to);
        if let Some(proto) = target.route.sequence {
            context.ui.say(sequence(target, whom, proto)?)?;
            continue;
        }
        let (packet, lines) = make(context, target, whom)?;
        lines.iter().for_each(|line| context.ui.note(line));
        context.ui.say(packet)?;
    }
    match failed {
        Some(error) if shown.is_empty() => Err(error),
        Some(_) | None => Ok(()),
    }
}

/// Where the host is reached from the address that was named: what is opened for it is of no use over
/// the other family. A host that has only the other one is knocked at all the same.
fn of_its_family(allow: &AllowBy, found: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let AllowBy::Known(Allow::Address(address)) = allow else {
        return found;
    };
    let is_of_it = |to: &SocketAddr| to.ip().to_canonical().is_ipv4() == address.is_ipv4();
    if found.iter().any(is_of_it) {
        found.into_iter().filter(is_of_it).collect()
    } else {
        found
    }
}

/// The sequence in the place of a packet.
fn sequence(target: &Target, whom: For, proto: SequenceProto) -> Result<Sequence> {
    let request = &target.request;
    let ports = match &request.what {
        What::Ports {
            ports,
            forward: None,
        } => ports,
        What::Ports { .. } | What::Close { .. } | What::Command(_) => {
            return Err(
                CommandError::usage("a sequence opens a port and can say nothing else")
                    .with_hint("leave --sequence out"),
            );
        }
    };
    let port = match ports.as_slice() {
        [] => None,
        [one] if one.single().is_some() => one.single(),
        [..] => {
            let told = "a sequence has room for one port, and not for a range or for echo";
            return Err(CommandError::usage(told).with_hint("ask for one at a time"));
        }
    };
    if request.timeout_secs > 0 {
        let told = "a sequence has no room for a time";
        return Err(CommandError::usage(told).with_hint("leave -f out: the stanza says how long"));
    }
    let key = target.keys.rijndael().and_then(SequenceKey::derive);
    let key = key.ok_or_else(|| {
        CommandError::usage("a sequence needs an HMAC key")
            .with_hint("--get-hmac-key or --key-hmac")
    })?;
    let now_secs = clock::now_secs().checked_add_signed(request.offset_secs);
    let message = SequenceMessage {
        timestamp_secs: now_secs.unwrap_or_default(),
        port,
        address: whom.address(),
    };
    Sequence::make(proto, &key, &message, ports.clone())
}

/// The packet, and its fields in words.
fn make(context: &Context, target: &mut Target, whom: For) -> Result<(String, Vec<String>)> {
    let world = Circumstances {
        // A packet for a second address, or one that is sent again, is of its own moment.
        now_secs: clock::now_secs(),
        username: target.username.clone(),
        allow: whom.allow(),
        host: target.name.clone(),
    };
    let message = packet::message(&target.request, &world)?;
    let packet = target.keys.seal(&message, target.tagged)?;
    if !target.tagged
        && let Some(keys) = target.keys.rijndael()
        && let Some(doubt) = packet::doubt(&message, keys, packet.len())
    {
        context.ui.warn(doubt.told);
        target.is_read_by_fwknopd &= !doubt.is_certain;
    }
    if let Some(keep) = &mut target.keep {
        keep.write(&packet)?;
    }
    let mut lines = packet::fields(&message)?;
    if context.verbose > 0 {
        lines.extend(more(target, whom));
    }
    Ok((packet, lines))
}

/// The name of the message inside, which the controller is asked about; empty for what the own key
/// does not open: packets for somebody's OpenPGP key, of which no controller knows.
fn digest_of(target: &Target, packet: &str) -> String {
    let opened = || {
        let key = OpeningKey::new(target.keys.rijndael()?);
        let sealed = Sealed::parse(packet.as_bytes()).ok()?;
        let sealed = if target.tagged {
            sealed.tag().map(|(_, rest)| rest)?
        } else {
            sealed
        };
        let opened = sealed.authenticate(&key).ok()?.open().ok()?;
        Some(opened.replay_digest().to_string())
    };
    opened().unwrap_or_default()
}

/// A random port that is opened in place of another is the same for all addresses.
fn fix_outer_port(target: &mut Target) -> Result {
    if let What::Ports {
        forward: Some(forward),
        ..
    } = &mut target.request.what
        && forward.outer == Outer::Random
    {
        forward.outer = Outer::Port(packet::random_port()?);
    }
    Ok(())
}

// === the address ===

/// For whom to open: what was said, or else the address that the host will see on this way.
async fn whom(context: &Context, target: &mut Target, to: Option<SocketAddr>) -> Result<For> {
    let by_word = |address| {
        For::Address(Named {
            address,
            by: By::Word,
        })
    };
    match target.allow.clone() {
        AllowBy::Known(Allow::Source) => Ok(For::Sender),
        AllowBy::Known(Allow::Address(address)) => Ok(by_word(address)),
        AllowBy::Resolve { url, said, wget } => {
            // Where the packet cannot go, any family is as good; a packet may be printed only.
            let to = to.map(|to| to.ip().to_canonical());
            if !said {
                context.ui.note(format_args!(
                    "asking {url}, a third party, which address the world sees this machine under; \
                     -a names it, --resolve-url another page"
                ));
            }
            let page = Page {
                url: &url,
                agent: target.route.page_agent(),
                wget: wget.as_deref(),
            };
            outside::address(page, to).await.map(by_word)
        }
        AllowBy::Find => {
            let Some(to) = to else {
                return Err(unknown(target));
            };
            find(context, target, to).await.map(For::Address)
        }
    }
}

fn unknown(target: &Target) -> CommandError {
    CommandError::unreachable(format!(
        "it cannot be known under which address {} sees this machine",
        target.name
    ))
    .with_hint(
        "-a IP names it, -R with --resolve-url asks a web page for it; -s opens for whoever sends the \
         packet, where the stanza allows that",
    )
}

async fn find(context: &Context, target: &mut Target, to: SocketAddr) -> Result<Named> {
    let way = way::to(to).map_err(|cause| unknown(target).because(cause))?;
    if let Some(named) = address::without_asking(way) {
        return Ok(named);
    }
    let seen = seen(context, target, way).await;
    address::after_asking(way, seen).ok_or_else(|| {
        let own = way.own;
        unknown(target).because(match seen {
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

async fn seen(context: &Context, target: &mut Target, way: Way) -> Option<IpAddr> {
    let asker = target.asker.as_mut()?;
    seen::by_controller(&context.profile, asker, way.own, context.now_secs).await
}

/// What is doubtful about the address. Outside of a fleet everything is as with fwknop.
fn warn(context: &Context, target: &Target, whom: For, to: Option<SocketAddr>) {
    if target.asker.is_none() {
        return;
    }
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
            if let Some(to) = to
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

/// What -v adds. Keys appear by their public names only.
fn more(target: &Target, whom: For) -> Vec<String> {
    let form = if target.tagged { "tagged" } else { "fwknop" };
    let transport = target.route.transport;
    let mut words = target.keys.words();
    words.extend([
        format!("form: {form}"),
        format!(
            "way: {transport} to {} port {}",
            target.addresses.join(", "),
            target.port
        ),
        format!("for: {}", whom.words()),
    ]);
    words
}

// === impl For ===

impl For {
    fn allow(self) -> Allow {
        match self {
            Self::Sender => Allow::Source,
            Self::Address(named) => Allow::Address(named.address),
        }
    }

    /// In words.
    pub(crate) fn words(self) -> String {
        match self {
            Self::Sender => "whoever sends it".to_owned(),
            Self::Address(Named { address, by }) => match by {
                By::Word => address.to_string(),
                By::Kernel | By::Guess => format!("{address}, this machine's own address"),
                By::Controller => format!("{address}, as the controller sees this machine"),
            },
        }
    }

    /// The address, where one is named.
    pub(crate) fn address(self) -> Option<IpAddr> {
        match self {
            Self::Sender => None,
            Self::Address(named) => Some(named.address),
        }
    }
}

// === impl Delivery ===

impl Delivery {
    /// Whom the packets open for, in words.
    pub(crate) fn whom(&self) -> String {
        let mut words: Vec<String> = Vec::new();
        for packet in &self.packets {
            let of_it = packet.whom.words();
            if !words.contains(&of_it) {
                words.push(of_it);
            }
        }
        words.join(" and ")
    }

    /// Where a port of the host is to be found.
    pub(crate) fn at_port(&self, port: u16) -> Vec<SocketAddr> {
        let packets = self.packets.iter();
        packets
            .map(|packet| {
                let mut at = packet.to;
                at.set_port(port);
                at
            })
            .collect()
    }
}
