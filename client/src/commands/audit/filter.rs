//! What is asked of the log: the options, and the question that they make.

use std::ffi::OsStr;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Arg, Command};
use fleet::EventKind;
use fleet::wire::ListEventsRequest;
use spa::Service;

use crate::error::{CommandError, Result};
use crate::time::Now;

/// Every condition must hold; of an option that is given several times, one.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct FilterArgs {
    /// User that the packet named, or member who did it; ROLE/NAME where members of several roles have
    /// the name; several with commas, or by several options
    #[arg(long, value_name = "USER", value_delimiter = ',')]
    pub(super) user: Vec<String>,

    /// Only events whose user is proven by a key of her own
    #[arg(long)]
    pub(super) proven: bool,

    /// Host where it happened, or `controller`; several are possible
    #[arg(long, value_name = "HOST", value_delimiter = ',')]
    host: Vec<String>,

    /// What happened, `kind-N` for a kind of a newer agent; several are possible
    #[arg(long, value_name = "KIND", value_parser = KindParser, value_delimiter = ',')]
    kind: Vec<i32>,

    /// Address or prefix of the packet or of what was opened; also an address inside an opened network
    #[arg(long, value_name = "IP", default_value = "")]
    source: String,

    /// Port that was opened, as tcp/22, alone or in a range; or icmp/echo
    #[arg(long, value_name = "PORT", value_parser = port)]
    port: Option<Service>,

    /// Stanza that the packet was judged by
    #[arg(long, value_name = "STANZA", default_value = "")]
    stanza: String,

    /// Key that the packet was made with, by its fingerprint
    #[arg(long, value_name = "FINGERPRINT", default_value = "", value_parser = hexadecimal)]
    key: String,

    /// Packet, by its replay digest
    #[arg(long, value_name = "HEX", default_value = "", value_parser = hexadecimal)]
    digest: String,

    /// Grant, by its number: how it was opened, closed and revoked
    #[arg(long, value_name = "HEX", default_value = "", value_parser = hexadecimal)]
    grant: String,

    /// All that one packet or one call caused, by the request's number
    #[arg(long, value_name = "HEX", default_value = "", value_parser = hexadecimal)]
    request: String,

    /// Why it was refused: the whole reason, or its beginning
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,

    /// Policy generation that was in force
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    generation: Option<u64>,

    /// Who did it, where that was not the user, as operator/mbr
    #[arg(long, value_name = "ROLE/NAME", default_value = "")]
    actor: String,

    /// Not before: see Times below
    #[arg(long, value_name = "TIME")]
    since: Option<String>,

    /// Before: see Times below
    #[arg(long, value_name = "TIME")]
    pub(super) until: Option<String>,
}

/// Reads a kind by its name here, or by its number when that is of a newer agent.
#[derive(Clone, Copy, Debug)]
struct KindParser;

// === impl FilterArgs ===

impl FilterArgs {
    /// The question, without a limit.
    ///
    /// # Errors
    ///
    /// Of usage, for times.
    pub(super) fn question(&self, now: &Now) -> Result<ListEventsRequest> {
        let range = now.range(self.since.as_deref(), self.until.as_deref());
        let (since_ms, until_ms) = range.map_err(CommandError::usage)?;
        // One of each is asked for as older controllers understand it, too.
        let (user, users) = first_and_rest(&self.user);
        let (host, hosts) = first_and_rest(&self.host);
        let (kind, kinds) = first_and_rest(&self.kind);
        Ok(ListEventsRequest {
            user,
            users,
            host,
            hosts,
            kind,
            kinds,
            source: self.source.clone(),
            since_ms,
            until_ms,
            port: self.port.map(|port| port.to_string()).unwrap_or_default(),
            stanza: self.stanza.clone(),
            key: self.key.clone(),
            replay_digest: self.digest.clone(),
            grant_id: self.grant.clone(),
            request_id: self.request.clone(),
            reason: self.reason.clone(),
            generation: self.generation.unwrap_or_default(),
            actor: self.actor.clone(),
            ..ListEventsRequest::default()
        })
    }
}

/// Which option of a question a controller of the version before would not see, and answer more than
/// was asked for.
pub(super) fn unknown_to_older(question: &ListEventsRequest) -> Option<&'static str> {
    let ListEventsRequest {
        users,
        hosts,
        kinds,
        generation,
        actor,
        request_id,
        follow,
        after_id,
        user: _,
        host: _,
        kind: _,
        source: _,
        since_ms: _,
        until_ms: _,
        limit: _,
        port: _,
        stanza: _,
        key: _,
        replay_digest: _,
        grant_id: _,
        reason: _,
    } = question;
    [
        (!users.is_empty(), "several --user"),
        (!hosts.is_empty(), "several --host"),
        (!kinds.is_empty(), "several --kind"),
        (*generation != 0, "--generation"),
        (!actor.is_empty(), "--actor"),
        (!request_id.is_empty(), "--request"),
        (*follow || *after_id != 0, "--follow"),
    ]
    .into_iter()
    .find_map(|(is_asked, option)| is_asked.then_some(option))
}

fn first_and_rest<T: Clone + Default>(values: &[T]) -> (T, Vec<T>) {
    match values.split_first() {
        Some((first, rest)) => (first.clone(), rest.to_vec()),
        None => (T::default(), Vec::new()),
    }
}

// === impl KindParser ===

impl TypedValueParser for KindParser {
    type Value = i32;

    fn parse_ref(
        &self,
        command: &Command,
        argument: Option<&Arg>,
        value: &OsStr,
    ) -> std::result::Result<i32, clap::Error> {
        if let Some(number) = value.to_str().and_then(number_of) {
            return Ok(number);
        }
        PossibleValuesParser::new(EventKind::ALL.map(EventKind::as_str))
            .try_map(|name| name.parse::<EventKind>())
            .parse_ref(command, argument, value)
            .map(i32::from)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let names = EventKind::ALL.map(EventKind::as_str);
        Some(Box::new(names.into_iter().map(PossibleValue::new)))
    }
}

/// The number in `kind-N`.
fn number_of(name: &str) -> Option<i32> {
    let digits = name.strip_prefix("kind-")?;
    let number = digits.parse().ok().filter(|number| *number > 0)?;
    // As events are shown: no sign, no zeros before it.
    (digits == format!("{number}")).then_some(number)
}

/// What one packet can be for.
fn port(text: &str) -> std::result::Result<Service, String> {
    let service: Option<Service> = text.parse().ok();
    let one = |service: &Service| *service == Service::Echo || service.single().is_some();
    service
        .filter(one)
        .ok_or_else(|| "write one port, as tcp/22, or icmp/echo".to_owned())
}

/// Digits of a digest, a grant or a key, as events show them.
fn hexadecimal(text: &str) -> std::result::Result<String, String> {
    if text.chars().all(|digit| digit.is_ascii_hexdigit()) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err("hexadecimal digits only".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        filter: FilterArgs,
    }

    fn asked(line: &[&str]) -> std::result::Result<ListEventsRequest, clap::Error> {
        let line = Line::try_parse_from([&["list"], line].concat());
        line.map(|line| line.filter.question(&now()).unwrap())
    }

    fn now() -> Now {
        Now::here(1_795_435_730).unwrap()
    }

    #[test]
    fn a_kind_is_asked_for_by_its_name_or_as_events_of_a_newer_agent_show_it() {
        for known in EventKind::ALL {
            assert_eq!(
                asked(&["--kind", known.as_str()]).unwrap().kind,
                i32::from(known)
            );
        }
        assert_eq!(asked(&["--kind", "kind-77"]).unwrap().kind, 77);
        assert_eq!(EventKind::name_of(77), "kind-77");
    }

    #[test]
    fn what_is_no_kind_is_refused() {
        for text in [
            "",
            "kind-",
            "kind-0",
            "kind--1",
            "kind-+1",
            "kind-07",
            "kind-99999999999",
            "drfit",
            "drift,drfit",
        ] {
            let refused = asked(&["--kind", text]).unwrap_err();
            assert_eq!(
                refused.kind(),
                clap::error::ErrorKind::InvalidValue,
                "{text}"
            );
        }
    }

    #[test]
    fn several_users_hosts_and_kinds_are_asked_for_and_one_of_each_as_ever() {
        let line = [
            "--user",
            "a,b",
            "--user",
            "c",
            "--host",
            "h",
            "--kind",
            "drift,replay",
        ];
        let asked = asked(&line).unwrap();

        assert_eq!(
            (asked.user.as_str(), asked.users.as_slice()),
            ("a", &["b".to_owned(), "c".to_owned()][..])
        );
        assert_eq!((asked.host.as_str(), asked.hosts.len()), ("h", 0));
        let [drift, replay] = [EventKind::Drift, EventKind::Replay].map(i32::from);
        assert_eq!((asked.kind, asked.kinds.as_slice()), (drift, &[replay][..]));
    }

    #[test]
    fn a_packet_a_grant_a_request_a_key_a_stanza_and_a_reason_are_asked_for() {
        let asked_for = asked(&[
            "--digest",
            "00FF",
            "--grant",
            "ab",
            "--key",
            "0AB1",
            "--stanza",
            "s",
            "--reason",
            "stale",
            "--request",
            "CD",
            "--generation",
            "7",
            "--actor",
            "operator/mbr",
        ])
        .unwrap();

        assert_eq!(asked_for.replay_digest, "00ff");
        assert_eq!(
            (asked_for.grant_id.as_str(), asked_for.key.as_str()),
            ("ab", "0ab1")
        );
        assert_eq!(
            (asked_for.stanza.as_str(), asked_for.reason.as_str()),
            ("s", "stale")
        );
        assert_eq!(
            (asked_for.request_id.as_str(), asked_for.generation),
            ("cd", 7)
        );
        assert_eq!(asked_for.actor, "operator/mbr");
        for option in ["--digest", "--grant", "--key", "--request"] {
            assert!(asked(&[option, "xyz"]).is_err(), "{option}");
        }
    }

    #[test]
    fn what_an_older_controller_would_leave_out_of_a_question_is_named() {
        let unknown = |line: &[&str]| unknown_to_older(&asked(line).unwrap());

        assert_eq!(
            unknown(&["--user", "a", "--kind", "drift", "--key", "ab"]),
            None
        );
        assert_eq!(unknown(&["--user", "a,b"]), Some("several --user"));
        assert_eq!(unknown(&["--generation", "7"]), Some("--generation"));
    }
}
