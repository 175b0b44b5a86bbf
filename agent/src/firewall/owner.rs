//! What the host's owner has in the packet filter, and what of it would still drop what a grant opens.
//!
//! Everything behind the reading is pure: the ruleset is a value, and what becomes of a packet in it
//! is a function of it. Said is only what is certain: a match that is not understood, or a mark that
//! others may have set, makes whatever follows uncertain, and of that nothing is claimed.
//!
//! | file | what it holds |
//! |---|---|
//! | `watch` | the thread that reads at every change |
//! | `read`, `decode` | the kernel's ruleset over netlink |
//! | `legacy` | that of the old iptables, which netlink does not show |
//! | `ruleset` | tables, chains, rules and sets as a value |
//! | `ipsets` | the sets of ipset that rules name |
//! | `routing`, `marks` | rules of routing that ask for marks; who else uses them, with our bit |
//! | `tracking` | what rules keep out of connection tracking, or put into a zone |
//! | `matches` | what the matches of iptables ask |
//! | `routes` | behind which interface a source is |
//! | `sources`, `truth`, `bytes` | sets of sources; for which of them something holds; comparisons |
//! | `packet`, `asks` | a packet that a grant lets in, and what rules see of it |
//! | `walk` | its way through the chains |
//! | `predict` | the same for all ports: what would be dropped |
//! | `recognise`, `cure`, `words` | whose a rule is, what its owner can do, how people write it |
//! | `hook` | our line in a chain of nf_tables that the configuration names |
//! | `outlook` | all of that as it is said |

mod asks;
mod bytes;
mod cure;
mod decode;
mod hook;
mod ipsets;
mod legacy;
mod marks;
mod matches;
mod outlook;
mod packet;
mod predict;
mod read;
mod recognise;
mod routes;
mod routing;
mod ruleset;
mod sources;
mod tracking;
mod truth;
mod walk;
mod watch;
mod words;

pub(super) use hook::{places, remove_all};
pub use outlook::Outlook;
pub(super) use watch::tracking;
pub use watch::{OwnerHandle, OwnerWatch, look};

use crate::config::FirewallConfig;
use crate::netlink::Attributes;

/// Gives a message to the readers of rules and of elements of ipset.
pub(super) fn read_hostile(message: Attributes<'_>) {
    let _ = decode::rule(message);
    ipsets::read_hostile(message);
}

/// Gives a text to the readers of a save of the old iptables and of routes, and looks for the way of
/// packets through what was read.
pub(super) fn read_hostile_text(text: &str) {
    let ours = read::Ours::default();
    let mut ruleset = ruleset::Ruleset {
        routes: routes::Routes::read(text, text, &|_| 1),
        has_legacy: true,
        ..ruleset::Ruleset::default()
    };
    for family in [ruleset::TableFamily::Ip, ruleset::TableFamily::Ip6] {
        ruleset.tables.extend(legacy::tables(text, family, &ours));
    }
    let mark = packet::OwnMark {
        bit: 1,
        on_answers: true,
    };
    let both = [super::family::Family::V4, super::family::Family::V6];
    let _ = predict::predict(&ruleset, &both, &[(packet::Kind::Tcp, 22, 22)], mark);
}

/// What is our own, and no obstacle.
fn ours(config: &FirewallConfig) -> read::Ours {
    let chain = &config.chain;
    read::Ours {
        table: super::names::table_name(chain),
        chains: super::names::chains(chain)
            .into_iter()
            // Those of earlier versions.
            .chain(["POSTERN_INPUT", "POSTERN_OUT"].map(str::to_owned))
            .collect(),
    }
}
