//! Why a port does not answer after a knock, and what to do about it. Pure: what is known is an
//! argument, and so is the time.

use std::net::IpAddr;
use std::time::Duration;

use fleet::{Event, EventKind, Outcome};

use super::delivery::Sent;
use super::known::Known;
use super::listed::Listed;
use super::target::{LOCKED_HINT, locked_words};

/// Clocks that are no further apart than this, in milliseconds, are not blamed.
const CLOCKS_MS: u64 = 30_000;

/// A knock that did not open what it should.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case<'a> {
    pub(crate) host: &'a str,
    /// Who the packet says it is.
    pub(crate) user: &'a str,
    /// Who it is, in a fleet.
    pub(crate) member: Option<&'a str>,
    /// What does not answer, as "tcp/22".
    pub(crate) port: &'a str,
    /// Connections are refused: the way is free.
    pub(crate) is_refused: bool,
    pub(crate) sent: &'a [Sent],
    /// By the directory that the knock went by.
    pub(crate) listed: Option<&'a Listed>,
    /// By the directory of now the host is locked, or being installed anew.
    pub(crate) is_locked: bool,
    /// What has changed for this host since that directory, in a sentence.
    pub(crate) changed: Option<&'a str>,
    /// `None` when the controller could not be asked.
    pub(crate) known: Option<&'a Known>,
    /// Why it could not be asked, and what to do, where that was more than silence.
    pub(crate) refusal: Option<(&'a str, &'a str)>,
    /// From where the controller sees this machine.
    pub(crate) seen: Option<IpAddr>,
    /// This machine's own address on the way.
    pub(crate) own: Option<IpAddr>,
    /// By this machine's clock.
    pub(crate) now_ms: u64,
}

/// The answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Why {
    /// One sentence; `None` where nothing is known.
    pub(crate) because: Option<String>,
    /// What to do.
    pub(crate) hint: String,
    /// The host has recorded that it refused the packet.
    pub(crate) is_denied: bool,
}

impl Why {
    fn new(because: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            because: Some(because.into()),
            hint: hint.into(),
            is_denied: false,
        }
    }

    /// What little is to be said where nothing is known.
    fn unknown(hint: String) -> Self {
        Self {
            because: None,
            hint,
            is_denied: false,
        }
    }

    fn denied(self) -> Self {
        Self {
            is_denied: true,
            ..self
        }
    }
}

/// Says why, as far as it can be known.
pub(crate) fn why(case: Case<'_>) -> Why {
    let event = case.known.and_then(|known| {
        let digests: Vec<&str> = case.sent.iter().map(|sent| &*sent.digest).collect();
        known.of_packets(&digests)
    });
    if let Some(event) = event {
        return of_event(case, event);
    }
    if case.is_locked {
        return Why::new(locked_words(case.host), LOCKED_HINT);
    }
    if let Some(changed) = case.changed {
        return Why::new(changed, "the directory is fetched anew: knock again");
    }
    if let (None, Some((refusal, hint))) = (case.known, case.refusal) {
        return Why::new(refusal, hint);
    }
    if let Some(why) = unseen_clock(case) {
        return why;
    }
    if let Some(off) = case.known.and_then(|known| own_clock(known, case.now_ms)) {
        return Why::new(
            format!("{off}, and hosts refuse messages of another time"),
            "set the clock, and knock again",
        );
    }
    if let Some(why) = case.known.and_then(|known| of_host(case, known)) {
        return why;
    }
    if let Some(why) = other_address(case) {
        return why;
    }
    unknown(case)
}

/// What the host recorded about one of the packets.
fn of_event(case: Case<'_>, event: &Event) -> Why {
    let Case { host, port, .. } = case;
    let reason = &event.reason;
    let kind = event.kind();
    if kind == EventKind::Refused {
        return refused(case, event).denied();
    }
    if kind == EventKind::Replay || kind == EventKind::ReplayElsewhere {
        return Why::new(
            format!("{host} refused the packet as a copy: {reason}"),
            "somebody sent it before it arrived, or it was sent twice: knock again, and if it happens \
             again, tell an operator",
        )
        .denied();
    }
    if kind == EventKind::GrantBlocked {
        return Why::new(
            format!("{host} opened {port}, and a rule of its owner drops what comes: {reason}"),
            format!(
                "only who runs {host} can change that rule; `postern-agent status` there names it"
            ),
        );
    }
    if kind == EventKind::GrantRevoked {
        return Why::new(
            format!("{host} opened {port} and took it back: {reason}"),
            "`postern list` shows what you may open now",
        );
    }
    if event.outcome() == Outcome::Failure {
        return Why::new(
            format!("{host} permits it, and could not open {port}: {reason}"),
            format!("tell an operator: the packet filter of {host} is in trouble"),
        );
    }
    if kind == EventKind::GrantOpened {
        return opened(case, event);
    }
    let kind = event.kind_name();
    let reason = if reason.is_empty() {
        String::new()
    } else {
        format!(": {reason}")
    };
    Why::new(format!("{host} recorded {kind}{reason}"), "knock again")
}

/// The host did what it was asked, and nothing answers all the same.
fn opened(case: Case<'_>, event: &Event) -> Why {
    let Case { host, port, .. } = case;
    let opened = &event.opened;
    if case.is_refused {
        return Why::new(
            format!("{host} opened {port} for {opened}, and refuses connections to it"),
            "nobody listens there: start the service, or ask for another port",
        );
    }
    let because = format!("{host} opened {port} for {opened}, and nothing comes back");
    let opened: Option<IpAddr> = opened.parse().ok();
    let others = [case.seen, case.own].into_iter().flatten();
    let mut others = others.filter(|other| Some(*other) != opened);
    match others.next() {
        Some(other) if opened.is_some_and(|opened| opened.is_ipv4() != other.is_ipv4()) => {
            Why::new(
                because,
                format!(
                    "that address is of another family than {other}, which this machine uses: connect over \
                 the same one, or knock with -4 or -6"
                ),
            )
        }
        Some(other) if case.seen == Some(other) => Why::new(
            because,
            format!(
                "the controller sees this machine as {other}: if the host does too, knock again with -a \
                 {other}"
            ),
        ),
        Some(_) | None => Why::new(
            because,
            format!(
                "another filter on the way may drop it, or this machine comes to {host} from another \
                 address, which -a names"
            ),
        ),
    }
}

/// The host refused: what it says, and what can be done.
fn refused(case: Case<'_>, event: &Event) -> Why {
    let Case {
        host, user, listed, ..
    } = case;
    let reason = &event.reason;
    let because = format!("{host} refused the packet: {reason}");
    let is = |part: &str| reason.contains(part);
    let hint = if is("the message is dated at or before") {
        format!("{host} remembers nothing from before: knock again in a minute")
    } else if (is("the message is ") && is(" s old")) || is("s in the future") {
        clocks(case, event)
    } else if is("OPEN_PORTS") || is("RESTRICT_PORTS") {
        permitted(host, listed)
    } else if is("is not in SOURCE") {
        "the policy lets you in from other addresses only: knock from one of these, or ask an operator"
            .to_owned()
    } else if is("REQUIRE_SOURCE_ADDRESS") {
        "leave -s out: the packet must name the address".to_owned()
    } else if is("REQUIRE_USERNAME") {
        let own = case.member.unwrap_or(user);
        format!("knock without -U: {own} is who you are to this host")
    } else if is("expired") {
        "your right has ended: ask an operator to prolong it".to_owned()
    } else if is("SPA_SERVER_PORT") {
        "leave -p out: the directory says the port".to_owned()
    } else if is("past its date") {
        format!("{host} has not heard from the controller for too long: tell an operator")
    } else if is("locked") {
        format!("an operator locked {host} or you: ask one")
    } else {
        format!("`postern list` shows what you may open on {host}; an operator can change it")
    };
    Why::new(because, hint)
}

/// Which of three clocks is wrong.
fn clocks(case: Case<'_>, event: &Event) -> String {
    let host = case.host;
    if let Some(off) = case.known.and_then(|known| own_clock(known, case.now_ms)) {
        return format!("{off}: set it, and knock again");
    }
    let of_host = case
        .known
        .and_then(|known| known.host(host)?.clock_offset_ms);
    let offset_ms = event.clock_offset_ms.or(of_host).unwrap_or(0);
    if offset_ms.unsigned_abs() > CLOCKS_MS {
        let off = apart(offset_ms);
        return format!("the clock of {host} is {off} the controller's: tell an operator");
    }
    "this machine's clock and the host's differ: set the one that is wrong".to_owned()
}

/// That this machine's clock is wrong, if it differs from the controller's.
fn own_clock(known: &Known, now_ms: u64) -> Option<String> {
    if known.controller_time_ms == 0 {
        return None;
    }
    let ahead_ms = known.ahead_ms(now_ms);
    let is_off = ahead_ms.unsigned_abs() > CLOCKS_MS;
    is_off.then(|| {
        format!(
            "this machine's clock is {} the controller's",
            apart(ahead_ms)
        )
    })
}

/// The controller signed the directory by its own clock, and cannot be asked now: a directory of the
/// future says as much.
fn unseen_clock(case: Case<'_>) -> Option<Why> {
    let at_ms = case.listed?.at_secs.saturating_mul(1000);
    let behind_ms = at_ms.saturating_sub(case.now_ms);
    (case.known.is_none() && behind_ms > CLOCKS_MS).then(|| {
        let off = apart(-behind_ms.try_into().unwrap_or(i64::MAX));
        Why::new(
            format!("this machine's clock is at least {off} the controller's"),
            "set the clock, and knock again",
        )
    })
}

/// "3m ahead of", "45s behind".
fn apart(ahead_ms: i64) -> String {
    let secs = ahead_ms.unsigned_abs() / 1000;
    // Two clocks are not known to the second; minutes are what people set them by.
    let secs = if secs >= 120 {
        (secs + 30) / 60 * 60
    } else {
        secs
    };
    let span = humantime::format_duration(Duration::from_secs(secs));
    let direction = if ahead_ms > 0 { "ahead of" } else { "behind" };
    format!("{span} {direction}")
}

fn permitted(host: &str, listed: Option<&Listed>) -> String {
    match listed.map(|listed| listed.ports.as_slice()) {
        Some([]) | None => format!("`postern list` shows what you may open on {host}"),
        Some(ports) => format!("on {host} you may open {}", ports.join(", ")),
    }
}

/// The host recorded nothing about the packet, and is not as it should be.
fn of_host(case: Case<'_>, known: &Known) -> Option<Why> {
    let host = case.host;
    let Some(state) = known.host(host) else {
        return Some(Why::new(
            format!(
                "no policy lets {} open anything on {host} any more (generation {})",
                case.user, known.generation
            ),
            "`postern list` shows what you may open now",
        ));
    };
    if !state.connected {
        let since = match state.last_seen_ms {
            0 => "it was never connected".to_owned(),
            seen => {
                let ago_secs = known.controller_time_ms.saturating_sub(seen) / 1000;
                let ago = humantime::format_duration(Duration::from_secs(ago_secs));
                format!("it was last there {ago} ago")
            }
        };
        return Some(Why::new(
            format!("{host} is offline: the controller has no connection to it, and {since}"),
            format!("see whether {host} runs, or tell an operator"),
        ));
    }
    let of_before = case
        .listed
        .is_some_and(|listed| listed.generation < known.generation);
    if of_before || !state.in_sync {
        return Some(Why::new(
            if state.in_sync {
                "the directory of the knock was of an older policy".to_owned()
            } else {
                format!(
                    "{host} does not enforce the policy of generation {} yet",
                    known.generation
                )
            },
            "knock again in a moment",
        ));
    }
    None
}

/// The packet may name an address that this machine has not.
fn other_address(case: Case<'_>) -> Option<Why> {
    let named: Vec<IpAddr> = case
        .sent
        .iter()
        .filter_map(|sent| sent.whom.address())
        .collect();
    let first = *named.first()?;
    let is_other = |other: &IpAddr| !named.contains(other) && other.is_ipv4() == first.is_ipv4();
    let ask = ask(case);
    if let Some(seen) = case.seen.filter(is_other) {
        return Some(Why::unknown(format!(
            "the controller sees this machine as {seen}: if the host does too, knock again with -a \
             {seen}; {ask}"
        )));
    }
    let own = case.own.filter(is_other)?;
    case.known.is_none().then(|| {
        Why::unknown(format!(
            "this machine's own address is {own}: if no NAT stands between, knock again with -a {own}; \
             {ask}"
        ))
    })
}

fn unknown(case: Case<'_>) -> Why {
    let Case { host, port, .. } = case;
    let ask = ask(case);
    if case.known.is_none() {
        let hint = if case.listed.is_some() {
            format!("the controller could not be asked why; {ask}")
        } else {
            "`postern-agent explain` on the host says what it does with such a packet".to_owned()
        };
        return Why::unknown(hint);
    }
    if case.is_refused {
        return Why::new(
            format!("{host} recorded no packet of this knock, and refuses connections to {port}"),
            format!("nobody may listen there, and the packet may not have arrived; {ask}"),
        );
    }
    Why::new(
        format!("{host} is there, and recorded no packet of this knock"),
        format!(
            "the packet did not arrive, or not as yours: does something on the way drop it, and is {} \
             its address? {ask}",
            case.sent
                .iter()
                .map(|sent| sent.to.ip().to_canonical().to_string())
                .collect::<Vec<_>>()
                .join(", ")
        ),
    )
}

fn ask(case: Case<'_>) -> String {
    format!(
        "`postern audit list --host {} --user {}` tells whoever may ask why",
        case.host, case.user
    )
}

#[cfg(test)]
mod tests;
