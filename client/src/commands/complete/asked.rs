//! Names that only the controller knows, for whoever has no directory: operators, auditors, helpdesks.
//!
//! A shell waits for them in the middle of a line. So they are kept for some minutes, a controller that
//! does not answer at once is not waited for, and is asked again a minute later at the earliest.

use std::collections::BTreeSet;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use fleet::Role;
use fleet::wire::{ListHostsRequest, ListMembersRequest, ShowPolicyRequest};
use member::Membership;

use crate::connection::{Connection, ask};
use crate::error::Result;
use crate::profile::{Profile, SeenNames};

/// How long a shell waits, in all; with the start of the program less than half a second.
const PATIENCE: Duration = Duration::from_millis(400);
/// For how long names are good.
const KEPT_SECS: u64 = 300;
/// For how long a controller that did not answer is left alone.
const AWAY_SECS: u64 = 60;

/// The names as the controller has them, or had them when it was asked last.
pub(super) fn names(profile: &Profile, membership: Membership, now_secs: u64) -> SeenNames {
    let mut seen = profile.seen_names();
    if membership.role == Role::User || now_secs < seen.ask_again_secs {
        return seen;
    }
    // Looking up a name cannot be broken off, so it is left behind in a thread of its own.
    let (done, answer) = mpsc::channel();
    thread::spawn(move || {
        let _ = done.send(asked(membership));
    });
    let kept_secs = match answer.recv_timeout(PATIENCE) {
        Ok(Some(new)) => {
            seen = new;
            KEPT_SECS
        }
        Ok(None) | Err(_) => AWAY_SECS,
    };
    seen.ask_again_secs = now_secs.saturating_add(kept_secs);
    // Where it cannot be kept it is asked for again.
    profile.saw_names(|kept| kept.clone_from(&seen));
    seen
}

fn asked(membership: Membership) -> Option<SeenNames> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.ok()?.block_on(all(membership)).ok()
}

/// What this role may not see stays empty.
async fn all(membership: Membership) -> Result<SeenNames> {
    let connection = Connection::of(membership).await?;
    let mut operator = [(); 3].map(|()| connection.operator());
    let [hosts, members, policy] = &mut operator;
    let (hosts, members, policy) = tokio::join!(
        hosts.list_hosts(ask(ListHostsRequest {})),
        members.list_members(ask(ListMembersRequest { role: 0 })),
        policy.show_policy(ask(ShowPolicyRequest { generation: 0 })),
    );
    let hosts = hosts.map(|answer| answer.into_inner().hosts);
    let hosts = hosts.unwrap_or_default();
    let members = members.map(|answer| answer.into_inner().members);
    let members: Vec<String> = members
        .unwrap_or_default()
        .into_iter()
        .filter_map(|member| {
            Some(format!(
                "{}/{}",
                Role::try_from(member.role).ok()?,
                member.name
            ))
        })
        .collect();
    let text = policy.map(|answer| answer.into_inner().text);
    let labels: BTreeSet<String> = hosts
        .iter()
        .flat_map(|host| &host.labels)
        .map(|(label, value)| format!("{label}={value}"))
        .collect();
    Ok(SeenNames {
        labels: labels.into_iter().collect(),
        hosts: hosts.into_iter().map(|host| host.name).collect(),
        users: of_role(&members, Role::User),
        members,
        stanzas: stanzas(&text.unwrap_or_default()),
        ask_again_secs: 0,
    })
}

/// The names among `ROLE/NAME` that are of one role.
pub(super) fn of_role(members: &[String], role: Role) -> Vec<String> {
    let split = members.iter().filter_map(|member| member.split_once('/'));
    split
        .filter(|(own, _)| *own == role.as_str())
        .map(|(_, name)| name.to_owned())
        .collect()
}

/// The NAMEs in a policy as the controller prints it.
fn stanzas(policy: &str) -> Vec<String> {
    let mut words = policy.lines().map(str::split_whitespace);
    let names = words
        .by_ref()
        .filter_map(|mut line| (line.next() == Some("NAME")).then(|| line.next()).flatten());
    let names: BTreeSet<&str> = names.collect();
    names.into_iter().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stanzas_of_a_policy_are_those_that_have_a_name() {
        let policy = "PROTECT tcp/22\n\nNAME               sre\nSOURCE ANY\n\nNAME db\n# NAME no\nNAME sre\n";

        assert_eq!(stanzas(policy), ["db", "sre"]);
    }
}
