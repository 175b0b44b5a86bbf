//! Whose name an event gives, and what stands behind it.

use std::sync::Arc;

use fleet::{Event, EventKind, UserIdentity};
use gate::{CompiledPolicy, SharedKeys};
use policy::{Dialect, NoIncludes};
use spa::ExchangeSecret;

use crate::host::{Host, at};
use crate::packets::{self, OTHERS, knock};

/// Every event that names a user, with what it says of the name.
fn named(host: &Host) -> Vec<(EventKind, &str, UserIdentity)> {
    let events = host.journal.iter().filter(|event| !event.user.is_empty());
    let said = |event: &Event| (event.kind(), event.user_identity());
    events
        .map(|event| (said(event).0, event.user.as_str(), said(event).1))
        .collect()
}

#[test]
fn whoever_holds_a_shared_key_asserts_a_name_and_every_event_says_so() {
    let mut host = Host::new();

    host.arrive(1, &knock(1, "tcp/22", 0, 0));
    host.wait(3);
    host.arrive(1, &knock(1, "tcp/22", 0, 0));
    host.arrive(1, &knock(2, "tcp/99", 0, 0));
    host.replace_policy(OTHERS, 5);

    let asserted = |kind| (kind, "alice", UserIdentity::Asserted);
    assert_eq!(
        named(&host),
        [
            asserted(EventKind::GrantOpened),
            asserted(EventKind::Replay),
            asserted(EventKind::Refused),
            asserted(EventKind::GrantRevoked),
        ]
    );
}

#[test]
fn the_owner_of_a_pairwise_key_is_proven_whatever_name_the_message_gives() {
    let user = ExchangeSecret::from_bytes([1; 32]);
    let own = ExchangeSecret::from_bytes([2; 32]);
    let text = format!(
        "SOURCE ANY\nNAME ssh\nREQUIRE_USERNAME mbr\nUSER_PUBLIC_KEY {}\nOPEN_PORTS tcp/22\n",
        user.public()
    );
    let policy = policy::parse_as(Dialect::Compiled, "compiled", &text, &NoIncludes).unwrap();
    let compiled = CompiledPolicy::new(
        &Arc::new(policy),
        Some(&own),
        2,
        SharedKeys::AllStatic,
        at(0),
    );
    let keys = spa::pairwise(&user, &own.public(), &user.public(), &own.public()).unwrap();
    let mut host = Host::new();
    let now = host.now();
    host.engine
        .replace_policy(Arc::new(compiled.unwrap()), [2; 32], now);

    host.arrive(1, &packets::knock_as("mbr", 1, &keys));
    host.arrive(1, &packets::knock_as("alice", 2, &keys));

    assert_eq!(
        named(&host),
        [
            (EventKind::GrantOpened, "mbr", UserIdentity::Proven),
            (EventKind::Refused, "mbr", UserIdentity::Proven),
        ]
    );
}

#[test]
fn what_no_packet_caused_says_nothing_of_a_name() {
    let mut host = Host::new();
    host.replace_policy(OTHERS, 5);

    for event in &host.journal {
        assert_eq!(
            event.user_identity(),
            UserIdentity::Unspecified,
            "{event:?}"
        );
    }
}
