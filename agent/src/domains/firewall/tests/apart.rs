//! The gate's end and the firewall's, each as its process has it, over real channels.

use std::collections::VecDeque;
use std::os::fd::AsFd as _;
use std::time::Duration;

use engine::{Hole, HoleTimeout};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use spa::Service;
use tempfile::TempDir;

use crate::clock;
use crate::config::{Config, RawConfig};
use crate::domains::channel::{Channel, ChannelError, Sent, decode, encode};
use crate::domains::firewall::message::{Answered, Asked, Done, Hello, Request};
use crate::domains::firewall::remote::heard;
use crate::domains::firewall::{Domain as _, FirewallEnds, FirewallService, Local, Remote};
use crate::firewall::{FirewallError, Holes as _, Notice};
use crate::orders::{Next, Order, OrderInbox, mailbox};

const SOON: Duration = Duration::from_secs(10);

/// Nothing is touched, and tcp/22 is hidden whatever the gate says.
fn config(dir: &TempDir) -> Config {
    let raw = RawConfig {
        dry_run: Some(true),
        access_file: Some(dir.path().join("access.conf")),
        state_dir: Some(dir.path().to_owned()),
        protect: Some(vec!["tcp/22".to_owned()]),
        ..RawConfig::default()
    };
    raw.try_into().unwrap()
}

fn hole(rule: &str) -> Hole {
    Hole {
        rule: rule.parse().unwrap(),
        timeout: HoleTimeout::clamped(30),
    }
}

/// A firewall, with the gate's ends of its channels.
fn served(dir: &TempDir) -> (FirewallService, Channel, Channel) {
    let config = config(dir);
    let local = Local::open(&config, None).unwrap();
    let (requests, of_requests) = Channel::pair().unwrap();
    let (notices, of_notices) = Channel::pair().unwrap();
    let service = FirewallService::start(&config, local, of_requests, of_notices).unwrap();
    (service, requests, notices)
}

fn next(inbox: &OrderInbox, orders: &mut VecDeque<Order>) -> Next {
    let mut bell = [PollFd::new(inbox.bell(), PollFlags::POLLIN)];
    poll(&mut bell, PollTimeout::from(10_000_u16)).unwrap();
    inbox.take(orders)
}

#[test]
fn a_gate_in_another_process_opens_hides_and_is_told_and_gets_no_more_than_it_may_have() {
    let dir = TempDir::new().unwrap();
    let (service, requests, notices) = served(&dir);
    let mut remote = Remote::connect(requests, notices).unwrap();
    assert_eq!(remote.facts().backend, "memory");
    let first = [hole("192.0.2.9 tcp/80")];
    assert_eq!(remote.begin(&[first[0].rule]), Ok(Vec::new()));
    remote.holes().open(&first).unwrap();
    assert_eq!(remote.holes().list().unwrap(), first);
    let (orders, inbox) = mailbox().unwrap();
    let FirewallEnds {
        mut holes,
        mut control,
        running,
    } = Box::new(remote).start(&orders).unwrap();

    let public: Service = "tcp/443".parse().unwrap();
    control.protect(vec![public]);
    assert!(control.ready());
    let mut told = VecDeque::new();
    assert_eq!(next(&inbox, &mut told), Next::GoOn);
    assert!(
        matches!(told.pop_front(), Some(Order::Firewall(Notice::Laid))),
        "{told:?}"
    );
    holes.open(&[hole("192.0.2.7 tcp/22")]).unwrap();
    let leads = holes.open(&[hole("192.0.2.7 tcp/22 to 10.0.0.5 port 22")]);
    let again = holes.flush();

    assert!(matches!(leads, Err(FirewallError::Denied(_))), "{leads:?}");
    assert_eq!(again, Ok(()), "it is served all the same");
    assert_eq!(holes.list(), Ok(Vec::new()));
    drop((holes, control));
    assert_eq!(running.leave(), Ok(()));
    assert_eq!(service.leave(), Ok(()));
}

/// Says it as the firewall's process does.
fn say(firewall: &Channel, value: &impl serde::Serialize) {
    let part = [vec![0], encode(value).unwrap()].concat();
    assert_eq!(firewall.send_bytes(&part).unwrap(), Sent::Taken);
}

/// The next message, without what stands before each.
fn next_part(channel: &mut Channel) -> Vec<u8> {
    let mut fds = [PollFd::new(channel.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::from(10_000_u16)).unwrap();
    channel.receive_bytes().unwrap().unwrap()[1..].to_vec()
}

/// What the gate asks next.
fn asked(firewall: &mut Channel) -> Asked<'static> {
    decode(&next_part(firewall)).unwrap()
}

fn done(firewall: &Channel, number: u64) {
    let result = Ok(Done::Nothing);
    say(firewall, &Answered { number, result });
}

fn hello() -> Hello {
    Hello {
        backend: "nftables".to_owned(),
        why: String::new(),
        capabilities: engine::Capabilities::ALL,
        hidden: None,
        watchdog: None,
    }
}

#[test]
fn who_does_not_answer_is_waited_for_once_and_what_he_opens_late_is_closed_again() {
    let (requests, mut firewall) = Channel::pair().unwrap();
    say(&firewall, &hello());
    let (_, mut holes) = heard(requests).unwrap();
    holes.hurry(Duration::from_millis(30));
    let wanted = [hole("192.0.2.7 tcp/22")];

    let begun = clock::steady();
    let first = holes.open(&wanted);
    let others: Vec<_> = (0..100).map(|_| holes.open(&wanted)).collect();

    assert_eq!(first, Err(FirewallError::Silent));
    assert!(others.iter().all(|other| *other == first));
    assert!(
        clock::steady() - begun < Duration::from_secs(2),
        "nobody else waits"
    );
    assert!(!holes.answers());
    // It was asked once, and did it when nobody waited any more.
    let Asked {
        number, request, ..
    } = asked(&mut firewall);
    assert_eq!(request, Request::Open((&wanted).into()));
    assert!(firewall.receive_bytes().unwrap().is_none());
    holes.hurry(SOON);
    let closing = std::thread::spawn(move || {
        done(&firewall, number);
        let mut heard = Vec::new();
        while heard.len() < 3 {
            let Asked {
                number, request, ..
            } = asked(&mut firewall);
            done(&firewall, number);
            heard.push(request);
        }
        heard
    });
    while !holes.answers() {
        std::thread::yield_now();
    }
    holes.open(&wanted).unwrap();

    let heard = closing.join().unwrap();
    let closed = Request::Close(vec![wanted[0].rule].into(), vec![].into());
    assert_eq!(
        heard,
        [closed, Request::Beat, Request::Open((&wanted).into())]
    );
}

#[test]
fn nothing_is_opened_for_whom_was_told_no_already() {
    let dir = TempDir::new().unwrap();
    let (service, mut requests, notices) = served(&dir);
    // Its hello.
    assert!(!next_part(&mut requests).is_empty());
    let mut ask = |until: Duration| {
        let (number, request) = (1, Request::Open(vec![hole("192.0.2.9 tcp/80")].into()));
        let asked = Asked {
            number,
            until,
            request,
        };
        say(&requests, &asked);
        let answered: Answered = decode(&next_part(&mut requests)).unwrap();
        answered.result
    };

    assert_eq!(ask(Duration::ZERO), Err(FirewallError::Silent));
    assert_eq!(ask(clock::since_boot() + SOON), Ok(Done::Nothing));
    drop((requests, notices));
    assert_eq!(service.leave(), Ok(()));
}

#[test]
fn when_the_firewalls_process_ends_nothing_opens_any_more_and_the_gate_stops() {
    let (requests, mut firewall) = Channel::pair().unwrap();
    let (notices, far_notices) = Channel::pair().unwrap();
    let hello = hello();
    say(&firewall, &hello);
    let remote = Remote::connect(requests, notices).unwrap();
    let dying = std::thread::spawn(move || {
        // The start is answered, and then no more.
        let Asked { number, .. } = asked(&mut firewall);
        done(&firewall, number);
        drop((firewall, far_notices));
    });
    let (orders, inbox) = mailbox().unwrap();

    let mut ends = Box::new(remote).start(&orders).unwrap();
    dying.join().unwrap();

    let opened = ends.holes.open(&[hole("192.0.2.7 tcp/22")]);
    assert_eq!(opened, Err(FirewallError::Lost));
    assert_eq!(next(&inbox, &mut VecDeque::new()), Next::Stop);
    assert_eq!(ends.running.leave(), Err(FirewallError::Lost));
}

#[test]
fn a_gate_that_says_what_is_no_message_is_not_listened_to_any_more() {
    let dir = TempDir::new().unwrap();
    let (service, mut requests, _notices) = served(&dir);

    let _ = requests.send_bytes(&[0, 255, 255, 255]).unwrap();

    assert_eq!(service.leave(), Ok(()));
    // Its hello, and then nothing.
    assert!(requests.receive_bytes().unwrap().is_some());
    let gone = requests.receive::<u8>(SOON);
    assert!(matches!(gone, Err(ChannelError::Gone)), "{gone:?}");
}
