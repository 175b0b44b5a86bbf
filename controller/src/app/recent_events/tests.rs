use fleet::{EventRecord, Role};

use super::*;
use crate::app::events::push;
use crate::app::fixture::{Fleet, NOW, after_secs, caller};

const POLICY: &str = "NAME hers\nHOSTS name=web-1\nSOURCE ANY\nREQUIRE_USERNAME alice\n\
                      OPEN_PORTS tcp/22\n\
                      \nNAME his\nHOSTS name=db-1\nSOURCE ANY\nREQUIRE_USERNAME bob\n";

/// A fleet in which alice may open web-1, and bob db-1.
async fn fleet() -> (Fleet, Caller) {
    let fleet = Fleet::new().await;
    for host in ["web-1", "db-1"] {
        fleet.join(Role::Host, host).await;
    }
    let alice = caller(&fleet.join(Role::User, "alice").await);
    fleet.apply(0, POLICY).await.unwrap();
    (fleet, alice)
}

fn event(kind: EventKind, user: &str, identity: UserIdentity) -> Event {
    let mut event = Event::new(kind, NOW.ms());
    event.user = user.to_owned();
    event.set_user_identity(identity);
    event
}

async fn happened(fleet: &Fleet, host: &str, events: Vec<Event>, at: Timestamp) {
    let host = fleet.context.roster.find(Role::Host, host).unwrap();
    let mut chain = [0; 32];
    let mut records = Vec::new();
    for (seq, event) in (0..).zip(events) {
        let record = EventRecord::after(seq, &chain, event);
        chain = record.chain.clone().try_into().unwrap();
        records.push(record);
    }
    let epoch = format!("{:032x}", at.ms());
    push(&fleet.context, &caller(&host), epoch, records, at)
        .await
        .unwrap();
}

async fn asked(fleet: &Fleet, alice: &Caller, host: &str) -> Answer {
    let question = Question {
        host: host.to_owned(),
        ..Question::default()
    };
    recent_events(&fleet.context, alice, question, after_secs(10))
        .await
        .unwrap()
}

#[tokio::test]
async fn a_user_is_told_of_her_own_packets_and_of_nobody_elses() {
    use EventKind::{Banned, GrantOpened, Refused};
    use UserIdentity::{Asserted, Proven};
    let (fleet, alice) = fleet().await;
    let mut hers = event(Refused, "alice", Proven);
    hers.reason = "tcp/80 is not in OPEN_PORTS".to_owned();
    let events = vec![
        hers,
        event(Refused, "bob", Proven),
        // Whoever holds a shared key may write her name.
        event(GrantOpened, "alice", Asserted),
        event(Banned, "alice", Proven),
    ];
    happened(&fleet, "web-1", events, after_secs(5)).await;
    let there = vec![event(GrantOpened, "alice", Proven)];
    happened(&fleet, "db-1", there, after_secs(6)).await;

    for host in ["", "web-1"] {
        let answer = asked(&fleet, &alice, host).await;

        let told: Vec<_> = answer
            .events
            .iter()
            .map(|(host, event)| (host.as_str(), event.reason.as_str()))
            .collect();
        assert_eq!(told, [("web-1", "tcp/80 is not in OPEN_PORTS")]);
        let hosts: Vec<_> = answer.hosts.iter().map(|host| &*host.host).collect();
        assert_eq!((hosts, answer.generation), (vec!["web-1"], 1));
    }
}

#[tokio::test]
async fn of_a_host_that_she_may_not_open_a_user_is_told_nothing() {
    let (fleet, alice) = fleet().await;
    let there = vec![event(EventKind::Refused, "alice", UserIdentity::Proven)];
    happened(&fleet, "db-1", there, after_secs(5)).await;

    for host in ["db-1", "no-such-host"] {
        let answer = asked(&fleet, &alice, host).await;

        assert!(answer.events.is_empty(), "{host}");
        assert!(answer.hosts.is_empty(), "{host}");
    }
}

#[tokio::test]
async fn the_last_minute_is_the_controllers_whatever_the_hosts_clock_says() {
    let (fleet, alice) = fleet().await;
    let refused = || event(EventKind::Refused, "alice", UserIdentity::Proven);
    let mut behind = refused();
    behind.at_ms -= 3 * 3_600_000;
    behind.reason = "behind".to_owned();
    happened(&fleet, "web-1", vec![behind], after_secs(5)).await;

    assert_eq!(asked(&fleet, &alice, "web-1").await.events.len(), 1);
    let later = Question::default();
    let later = recent_events(&fleet.context, &alice, later, after_secs(66)).await;
    assert!(later.unwrap().events.is_empty());
}

#[tokio::test]
async fn a_host_without_a_session_is_said_to_be_away() {
    let (fleet, alice) = fleet().await;

    let answer = asked(&fleet, &alice, "web-1").await;

    assert!(!answer.hosts[0].connected);
    let target = || fleet.context.rollout.target("web-1");
    let _session = fleet.context.sessions.subscribe("web-1", target);
    assert!(asked(&fleet, &alice, "web-1").await.hosts[0].connected);
}
