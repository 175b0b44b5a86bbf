//! What this kernel can do, found out by doing it, in a table that nobody ever sees a packet in.

use engine::HoleTimeout;

use super::super::FirewallError;
use super::message::{self, Change};
use super::nat;
use super::ruleset::{self, Laid, Set};
use super::table::{OWNER, Ownership, Reader, connect, reason};
use super::{super::family::Family, element};
use crate::netlink::{Netlink, NetlinkError, Requests};

/// What was found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Probed {
    pub(super) ownership: Ownership,
    /// Adding an element that is there gives it the new timeout.
    pub(super) renews: bool,
    /// Packets can be led on to other places.
    pub(super) leads: bool,
}

/// Makes all that our table holds and takes it away in the same transaction.
///
/// # Errors
///
/// [`FirewallError::NoNftables`] when this kernel cannot.
pub(super) fn probe(name: &str, mark: u32, leads: bool) -> Result<Probed, FirewallError> {
    let mut netlink = connect()?;
    let table = format!("{name}_probe");
    let mut requests = Requests::default();
    let mut ownership = Ownership::Ours;
    let guard = Laid {
        mark,
        leads: false,
        answers: true,
    };
    let mut made = make(&mut netlink, &mut requests, &table, guard, ownership);
    if made.is_err() {
        ownership = Ownership::Anybodys;
        made = make(&mut netlink, &mut requests, &table, guard, ownership);
    }
    made.map_err(|cause| FirewallError::NoNftables(reason(&cause)))?;
    // What renews is younger than what owns.
    let renews = ownership == Ownership::Ours && renews(&mut netlink, &mut requests, &table);
    let all = Laid { leads, ..guard };
    let leads = !leads || make(&mut netlink, &mut requests, &table, all, ownership).is_ok();
    Ok(Probed {
        ownership,
        renews,
        leads,
    })
}

fn make(
    netlink: &mut Netlink,
    requests: &mut Requests,
    table: &str,
    what: Laid,
    ownership: Ownership,
) -> Result<(), NetlinkError> {
    requests.clear();
    message::begin_batch(requests);
    message::new_table(requests, table, ownership.flags());
    ruleset::lay(requests, table, what, &[]);
    if what.leads {
        nat::try_all(requests, table);
    }
    message::delete_table(requests, table);
    message::end_batch(requests);
    netlink.transact(requests)
}

/// Whether an element that is added twice has the second timeout. On any doubt it has not.
fn renews(netlink: &mut Netlink, requests: &mut Requests, table: &str) -> bool {
    const SHORT_SECS: u32 = 600;
    const LONG_SECS: u32 = 6_000;
    let Ok(rule) = "192.0.2.1 tcp/1".parse() else {
        return false;
    };
    let set = Set::Open(Family::V4);
    let mut add = |secs: Option<u32>| {
        requests.clear();
        message::begin_batch(requests);
        match secs {
            Some(secs) => {
                // It goes with this process, if that dies now.
                message::new_table(requests, table, OWNER);
                message::new_set(requests, table, &set.spec(), 1);
                let element: Vec<_> = element::of_rule(&rule, Some(HoleTimeout::clamped(secs)))
                    .into_iter()
                    .collect();
                message::change_elements(requests, Change::Add, table, set.name(), &element);
            }
            None => message::delete_table(requests, table),
        }
        message::end_batch(requests);
        netlink.transact(requests).is_ok()
    };
    let added = add(Some(SHORT_SECS)) && add(Some(LONG_SECS));
    let mut left = None;
    let listed = Reader::connect(table)
        .and_then(|mut reader| reader.elements(set.name(), &mut |it| left = it.left_ms));
    let removed = add(None);
    let longer = u64::from(SHORT_SECS) * 1_000;
    added && removed && listed.is_ok() && left.is_some_and(|left| left > longer)
}
