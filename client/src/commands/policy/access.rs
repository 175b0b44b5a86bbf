//! What a change of policy gives to people and takes from them, in words and in JSON.

use std::collections::BTreeMap;

use fleet::wire::AccessChange;
use serde::Serialize;

/// Hosts that a sentence names one by one.
const HOSTS_NAMED_MAX: usize = 8;

/// What one user gains and loses on one host, in JSON. The names are part of the interface.
#[derive(Debug, Serialize)]
pub(crate) struct Row<'a> {
    /// Empty: whoever holds `key`.
    user: &'a str,
    key: &'a str,
    host: &'a str,
    gains: &'a [String],
    loses: &'a [String],
    /// What may be opened on other terms.
    changes: &'a [String],
    /// As whom commands may be run now, and as whom no more.
    runs: &'a str,
    runs_no_more: &'a str,
}

impl<'a> From<&'a AccessChange> for Row<'a> {
    fn from(change: &'a AccessChange) -> Self {
        let AccessChange {
            user,
            gains,
            loses,
            host,
            changes,
            runs,
            runs_no_more,
            key,
        } = change;
        Self {
            user,
            key,
            host,
            gains,
            loses,
            changes,
            runs,
            runs_no_more,
        }
    }
}

pub(crate) fn rows(changes: &[AccessChange]) -> Vec<Row<'_>> {
    changes.iter().map(Row::from).collect()
}

/// Sentences, one a line, by user: "bob gains tcp/22 on 3 hosts: web-1, web-2, web-3".
pub(crate) fn sentences(changes: &[AccessChange]) -> Vec<String> {
    let mut hosts: BTreeMap<(String, u8, String), Vec<&str>> = BTreeMap::new();
    for change in changes {
        for (order, done) in done(change) {
            let said = hosts.entry((who(change), order, done)).or_default();
            said.push(&change.host);
        }
    }
    hosts
        .into_iter()
        .map(|((who, _, done), hosts)| format!("{who} {done} on {}", places(&hosts)))
        .collect()
}

/// What happened to one user on one host, gains first.
fn done(change: &AccessChange) -> Vec<(u8, String)> {
    let mut done = Vec::new();
    let mut note = |order: u8, verb: &str, what: &str| {
        if !what.is_empty() {
            done.push((order, format!("{verb} {what}")));
        }
    };
    note(0, "gains", &change.gains.join(", "));
    note(1, "may now run commands as", &change.runs);
    note(2, "loses", &change.loses.join(", "));
    note(3, "may no longer run commands as", &change.runs_no_more);
    for other in &change.changes {
        note(4, "may open", other);
    }
    done
}

fn who(change: &AccessChange) -> String {
    if change.user.is_empty() {
        format!("whoever holds the key {}", change.key)
    } else {
        change.user.clone()
    }
}

/// `web-1`, or `3 hosts: web-1, web-2, web-3`.
pub(super) fn places(hosts: &[&str]) -> String {
    if let [one] = hosts {
        return (*one).to_owned();
    }
    let first: Vec<&str> = hosts.iter().take(HOSTS_NAMED_MAX).copied().collect();
    let more = match hosts.len().saturating_sub(HOSTS_NAMED_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{} hosts: {}{more}", hosts.len(), first.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(user: &str, host: &str, gains: &[&str], loses: &[&str]) -> AccessChange {
        AccessChange {
            user: user.to_owned(),
            host: host.to_owned(),
            gains: gains.iter().map(|port| (*port).to_owned()).collect(),
            loses: loses.iter().map(|port| (*port).to_owned()).collect(),
            ..AccessChange::default()
        }
    }

    #[test]
    fn a_change_is_said_by_user_with_all_hosts_where_it_is_the_same() {
        let said = sentences(&[
            change("bob", "web-1", &["tcp/22"], &[]),
            change("bob", "web-2", &["tcp/22"], &[]),
            change("alice", "web-1", &["tcp/80", "udp/53"], &["tcp/22"]),
            change("bob", "web-3", &["tcp/22"], &[]),
            AccessChange {
                key: "ab12".to_owned(),
                changes: vec!["tcp/22 from 10.0.0.0/8, instead of from anywhere".to_owned()],
                runs: "root".to_owned(),
                ..change("", "db-1", &[], &[])
            },
        ]);

        assert_eq!(
            said,
            [
                "alice gains tcp/80, udp/53 on web-1",
                "alice loses tcp/22 on web-1",
                "bob gains tcp/22 on 3 hosts: web-1, web-2, web-3",
                "whoever holds the key ab12 may now run commands as root on db-1",
                "whoever holds the key ab12 may open tcp/22 from 10.0.0.0/8, instead of from anywhere on db-1",
            ]
        );
    }

    #[test]
    fn many_hosts_are_counted() {
        let changes: Vec<_> = (0..40)
            .map(|host| change("bob", &format!("web-{host:02}"), &["tcp/22"], &[]))
            .collect();

        let said = sentences(&changes);

        assert_eq!(said.len(), 1);
        assert!(said[0].starts_with("bob gains tcp/22 on 40 hosts: web-00, web-01, "));
        assert!(said[0].ends_with("web-07 and 32 more"));
    }
}
