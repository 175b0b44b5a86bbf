//! Both sides of the capture domain, over real sources.

use std::collections::VecDeque;
use std::path::Path;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::poll::{PollFd, PollTimeout, poll};
use proptest::prelude::*;

use super::message::{Ask, Opened, Said, State};
use super::*;
use crate::capture::Syns as _;
use crate::capture::{
    Arrival, Capture, CaptureConfig, CaptureError, CaptureSource, Filter, Wanted,
};
use crate::domains::channel::{Channel, ChannelError, encode};
use crate::domains::pulse::Pulse;

/// A capture domain on a thread, and the gate's ends of its channels.
fn domain(captures: Vec<CaptureConfig>) -> (Vec<Channel>, JoinHandle<Result<(), ChannelError>>) {
    let pairs: Vec<_> = (0..=captures.len())
        .map(|_| Channel::pair().unwrap())
        .collect();
    let (gate, domain): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
    let (supervisor, pulse) = Channel::pair().unwrap();
    let served = thread::spawn(move || {
        let _supervisor = supervisor;
        let start = CaptureStart::of(&captures);
        serve(&start, Pulse::new(pulse), domain)
    });
    (gate, served)
}

fn config(source: CaptureSource, bookmark: &Path) -> CaptureConfig {
    CaptureConfig {
        source,
        filter: Filter::for_port(62_201),
        buffer_bytes: 1 << 20,
        promiscuous: false,
        any_direction: false,
        bookmark: bookmark.to_owned(),
    }
}

/// A capture file with one UDP packet to the SPA port for each of these first bytes.
fn capture_file(path: &Path, firsts: std::ops::Range<u8>) {
    let mut bytes = vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    bytes.extend([0, 0, 4, 0, 101, 0, 0, 0]);
    for first in firsts {
        let mut packet = vec![0x45, 0, 0, 228, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1];
        packet.extend([192, 0, 2, 2, 0x9c, 0x40, 0xf2, 0xf9, 0, 208, 0, 0, first]);
        packet.resize(228, b'A');
        bytes.extend([0, 0, 0, 0, 0, 0, 0, 0, 228, 0, 0, 0, 228, 0, 0, 0]);
        bytes.extend(packet);
    }
    std::fs::write(path, bytes).unwrap();
}

/// First bytes of what has come, waiting for at least one where `waits`.
fn take(capture: &mut RemoteCapture, max: usize, waits: bool) -> Vec<u8> {
    let mut come = Vec::new();
    for _ in 0..100 {
        capture
            .next_batch(max, Duration::ZERO, &mut |arrival| match arrival {
                Arrival::Frame(_, frame) => come.push(frame[28]),
                Arrival::Datagram(datagram) => come.push(datagram.payload[0]),
                Arrival::Seen(..) => panic!("{arrival:?}"),
            })
            .unwrap();
        if !come.is_empty() || !waits {
            break;
        }
        let mut fds: Vec<PollFd<'_>> = Vec::new();
        capture.poll_fds(&mut fds);
        poll(&mut fds, PollTimeout::from(5_000_u16)).unwrap();
    }
    come
}

#[test]
fn nothing_is_read_before_the_gate_begins_and_then_each_packet_comes_once_and_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.pcap");
    capture_file(&path, 0..200);
    let file = CaptureSource::File {
        path,
        follow: false,
    };
    let (channels, served) = domain(vec![config(file, Path::new(""))]);
    let mut channels = channels.into_iter();
    let mut capture = RemoteCapture::open(channels.next().unwrap()).unwrap();

    assert!(take(&mut capture, 0, false).is_empty());
    assert_eq!(capture.down(), None);
    assert_eq!(capture.link(), Some(gate::LinkType::RawIp));
    let mut come = Vec::new();
    while come.len() < 200 {
        let more = take(&mut capture, 16, true);
        assert!(more.len() <= 16 + 128, "{}", more.len());
        come.extend(more);
    }

    assert_eq!(come, (0..200).collect::<Vec<u8>>());
    assert_eq!(capture.frames(), 200);
    drop((capture, channels));
    assert!(served.join().unwrap().is_ok());
}

#[test]
fn what_a_gate_that_died_had_not_recorded_is_read_again_and_what_it_had_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let (path, mark) = (dir.path().join("a.pcap"), dir.path().join("mark"));
    capture_file(&path, 0..100);
    let file = || CaptureSource::File {
        path: path.clone(),
        follow: true,
    };
    let run = |waits: bool, dies: bool| {
        let (channels, served) = domain(vec![config(file(), &mark)]);
        let mut channels = channels.into_iter();
        let mut capture = RemoteCapture::open(channels.next().unwrap()).unwrap();
        let come = take(&mut capture, 256, waits);
        if dies {
            // As one that is killed: without a word.
            capture.lose();
        }
        drop((capture, channels));
        served.join().unwrap().unwrap();
        come.len()
    };

    assert_eq!(run(true, true), 100);
    assert_eq!(run(true, false), 100, "nothing of it was recorded");
    assert!(mark.exists());
    assert_eq!(run(false, false), 0);
}

#[test]
fn packets_of_a_socket_come_with_their_addresses_and_a_policys_port_is_followed() {
    let address: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
    let socket = CaptureSource::Socket(address);
    let (channels, _served) = domain(vec![config(socket, Path::new(""))]);
    let mut channels = channels.into_iter();
    let mut capture = RemoteCapture::open(channels.next().unwrap()).unwrap();
    let free = std::net::UdpSocket::bind(address).unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);

    capture.follow(&[port.try_into().unwrap()].into()).unwrap();
    assert!(take(&mut capture, 256, false).is_empty());
    let sender = std::net::UdpSocket::bind(address).unwrap();
    let mut seen = None;
    for _ in 0..1_000 {
        sender.send_to(b"hello", ("127.0.0.1", port)).unwrap();
        capture
            .next_batch(256, Duration::ZERO, &mut |arrival| {
                if let Arrival::Datagram(datagram) = arrival {
                    let to = (datagram.destination, datagram.destination_port);
                    seen = Some((datagram.source_port, to, datagram.payload.to_vec()));
                }
            })
            .unwrap();
        if seen.is_some() {
            break;
        }
        thread::yield_now();
    }

    let (from, to, payload) = seen.unwrap();
    assert_eq!(from, sender.local_addr().unwrap().port());
    assert_eq!(to, (address.ip(), port));
    assert_eq!(payload, b"hello");
}

#[test]
fn a_source_that_cannot_be_opened_over_there_is_the_same_error_here() {
    let file = CaptureSource::File {
        path: "/nonexistent/a.pcap".into(),
        follow: false,
    };
    let refused = crate::capture::open(&config(file.clone(), Path::new(""))).map(|_| ());
    let (channels, _served) = domain(vec![config(file, Path::new(""))]);

    let opened = RemoteCapture::open(channels.into_iter().next().unwrap());

    assert_eq!(opened.map(|_| ()), refused);
}

#[test]
fn where_no_source_shows_syns_the_gate_is_told_once_it_asks() {
    let socket = CaptureSource::Socket("127.0.0.1:0".parse().unwrap());
    let (mut channels, _served) = domain(vec![config(socket, Path::new(""))]);
    let mut syns = RemoteSyns::new(channels.pop().unwrap());
    assert!(syns.faults().is_empty());

    syns.follow(Wanted {
        syns: true,
        knocks: false,
    });

    for _ in 0..100 {
        let mut fds: Vec<PollFd<'_>> = Vec::new();
        syns.poll_fds(&mut fds);
        poll(&mut fds, PollTimeout::from(5_000_u16)).unwrap();
        syns.next_batch(Duration::ZERO, &mut |_| panic!("a socket shows none"));
        if !syns.faults().is_empty() {
            break;
        }
    }
    assert!(syns.faults()[0].contains("NFLOG"), "{:?}", syns.faults());
}

#[test]
fn a_capture_domain_that_sends_what_is_no_message_is_down_and_heard_no_further() {
    let (gate, domain) = Channel::pair().unwrap();
    let opened = Opened {
        name: "eth0".to_owned(),
        waits_for_record: false,
        state: State::default(),
    };
    let limit = Duration::from_secs(1);
    domain.send(&Ok::<_, CaptureError>(opened), limit).unwrap();
    let mut capture = RemoteCapture::open(gate).unwrap();
    let mut arrived = VecDeque::new();
    let mut next = |capture: &mut RemoteCapture| {
        capture.next_batch(256, Duration::ZERO, &mut |arrival| {
            arrived.push_back(format!("{arrival:?}"));
        })
    };

    assert_eq!(next(&mut capture), Ok(0));
    let _ = domain.send_bytes(&[0xff; 40]).unwrap();
    assert!(next(&mut capture).is_err());
    assert!(capture.down().unwrap().contains("no message"));
    let link = gate::LinkType::Ethernet.into();
    let _ = domain
        .send_bytes(&encode(&Said::Seen(link, &[1, 2, 3])).unwrap())
        .unwrap();

    assert_eq!(next(&mut capture), Ok(0));
    assert!(arrived.is_empty());
}

proptest! {
    #[test]
    fn whatever_the_capture_domain_sends_is_read_or_refused(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        read_hostile(&bytes);
    }

    #[test]
    fn what_a_source_hands_on_comes_out_the_same(
        frame in proptest::collection::vec(any::<u8>(), 0..2_000),
        link in 0..10_usize,
        seen: bool,
    ) {
        let link = gate::LinkType::ALL[link];
        let arrival = if seen {
            Arrival::Seen(link, &frame)
        } else {
            Arrival::Frame(link, &frame)
        };
        let message = encode(&Said::of(arrival)).unwrap();

        let mut come = Vec::new();
        message::each(&message, &mut |said| come.push(said)).unwrap();

        let come = come[0].arrival().unwrap().unwrap();
        prop_assert_eq!(format!("{come:?}"), format!("{arrival:?}"));
    }

    #[test]
    fn what_the_gate_asks_comes_out_the_same(ports: std::collections::BTreeSet<u16>) {
        let ports = ports.into_iter().filter_map(|port| port.try_into().ok()).collect();
        for ask in [Ask::Begin, Ask::Recorded, Ask::Follow(ports)] {
            let message = encode(&ask).unwrap();
            prop_assert_eq!(crate::domains::channel::decode::<Ask>(&message).unwrap(), ask);
        }
    }
}
