//! What strangers reach after a change of policy, in words and in JSON.

use std::collections::BTreeMap;

use fleet::wire::ExposureChange;
use serde::Serialize;
use tonic::{Code, Status};

use super::access;
use crate::connection::Connection;
use crate::error::CommandError;

/// What a change did, in JSON. The names are part of the interface.
#[derive(Debug, Serialize)]
pub(super) struct Done<'a> {
    pub(super) generation: u64,
    pub(super) changed_hosts: &'a [String],
    pub(super) exposure: Vec<Row<'a>>,
    pub(super) access: Vec<access::Row<'a>>,
    /// The text was in force already, and no generation was made.
    pub(super) unchanged: bool,
    pub(super) warnings: &'a [String],
}

/// What strangers reach on a host, in JSON. The names are part of the interface.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Row<'a> {
    pub(super) host: &'a str,
    pub(super) becomes_public: &'a [String],
    pub(super) becomes_hidden: &'a [String],
}

impl<'a> From<&'a ExposureChange> for Row<'a> {
    fn from(change: &'a ExposureChange) -> Self {
        let ExposureChange {
            host,
            becomes_public,
            becomes_hidden,
        } = change;
        Self {
            host,
            becomes_public,
            becomes_hidden,
        }
    }
}

pub(super) fn rows(changes: &[ExposureChange]) -> Vec<Row<'_>> {
    changes.iter().map(Row::from).collect()
}

/// The rows, by host.
pub(super) fn by_host(changes: &[ExposureChange]) -> BTreeMap<&str, Row<'_>> {
    changes
        .iter()
        .map(|change| (change.host.as_str(), Row::from(change)))
        .collect()
}

/// Sentences, one a line: what becomes public first, host by host, and then what becomes hidden, with all
/// hosts where it is the same.
pub(super) fn sentences(changes: &[ExposureChange]) -> Vec<String> {
    let public = changes
        .iter()
        .filter(|change| !change.becomes_public.is_empty());
    let public = public.map(|change| {
        let ports = change.becomes_public.join(", ");
        format!("{ports} of {} becomes public", change.host)
    });
    let mut hidden: Vec<(&[String], Vec<&str>)> = Vec::new();
    for change in changes {
        let ports = change.becomes_hidden.as_slice();
        match hidden.iter_mut().find(|(known, _)| *known == ports) {
            Some((_, hosts)) => hosts.push(&change.host),
            None if ports.is_empty() => {}
            None => hidden.push((ports, vec![&change.host])),
        }
    }
    let hidden = hidden.into_iter().map(|(ports, hosts)| {
        let ports = program::few::names(ports);
        match hosts.as_slice() {
            [one] => format!("{ports} of {one} becomes hidden"),
            many => format!("{ports} becomes hidden on {}", access::places(many)),
        }
    });
    public.chain(hidden).collect()
}

/// What a refused change means to whoever made it.
pub(super) fn refused(connection: &Connection, status: Status) -> CommandError {
    let code = status.code();
    let error = connection.refused_policy(status);
    match code {
        Code::Aborted | Code::FailedPrecondition => error
            .with_hint("look at what changed with `postern policy diff FILE`, then apply again"),
        Code::OutOfRange => error.with_hint(
            "`postern policy diff FILE` says it host by host; if it is meant, add --allow-public",
        ),
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::InvalidArgument
        | Code::DeadlineExceeded
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::Unimplemented
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss
        | Code::Unauthenticated => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_becomes_public_is_said_before_what_becomes_hidden() {
        let change = |host: &str, public: &[&str], hidden: &[&str]| ExposureChange {
            host: host.to_owned(),
            becomes_public: public.iter().map(|port| (*port).to_owned()).collect(),
            becomes_hidden: hidden.iter().map(|port| (*port).to_owned()).collect(),
        };

        let said = sentences(&[
            change("a", &[], &["udp/53"]),
            change("b", &["tcp/22", "tcp/80"], &["tcp/443"]),
        ]);

        assert_eq!(
            said,
            [
                "tcp/22, tcp/80 of b becomes public",
                "udp/53 of a becomes hidden",
                "tcp/443 of b becomes hidden",
            ]
        );
    }

    #[test]
    fn what_becomes_hidden_is_said_once_for_all_hosts_where_it_is_the_same() {
        let changes: Vec<_> = (1..=30)
            .map(|host| ExposureChange {
                host: format!("web-{host}"),
                becomes_hidden: vec!["tcp/22".to_owned()],
                becomes_public: vec!["tcp/80".to_owned()],
            })
            .collect();

        let said = sentences(&changes);

        assert_eq!(said.len(), 31, "what becomes public is said host by host");
        assert_eq!(
            said[30],
            "tcp/22 becomes hidden on 30 hosts: web-1, web-2, web-3, web-4, web-5, web-6, web-7, \
             web-8 and 22 more"
        );
    }
}
