//! Connections as clients make them, and as those do who want to be in the way.

use std::io::Write as _;
use std::net::{Ipv4Addr, Shutdown};

use super::super::tests::{address, arrivals as arrivals_of, free_port};
use super::*;

const NOW: Duration = Duration::from_secs(100);
const NOTHING: [(u16, usize); 0] = [];

fn capture() -> TcpCapture {
    TcpCapture::bind(address()).unwrap()
}

fn own_port(capture: &TcpCapture) -> u16 {
    capture.bindings.own.port
}

fn connect(capture: &TcpCapture, port: u16) -> TcpStream {
    TcpStream::connect((capture.bindings.address.ip(), port)).unwrap()
}

/// Connects and says this; it is there when this returns, since both ends are on this host.
fn say(capture: &TcpCapture, port: u16, text: &[u8]) -> TcpStream {
    let mut stream = connect(capture, port);
    stream.write_all(text).unwrap();
    stream
}

fn arrivals(capture: &mut TcpCapture, steady: Duration) -> Vec<(u16, usize)> {
    arrivals_of(capture, 256, steady)
}

#[test]
fn a_message_is_over_when_its_sender_closes_and_comes_with_both_addresses() {
    let mut capture = capture();
    let port = own_port(&capture);
    let mut stream = say(&capture, port, b"first ");
    assert_eq!(arrivals(&mut capture, NOW), NOTHING);
    stream.write_all(b"second").unwrap();
    let from = stream.local_addr().unwrap();
    drop(stream);
    let to = capture.bindings.address.ip();
    let mut count = 0;

    let taken = capture.next_batch(9, NOW, &mut |arrival| {
        let Arrival::Datagram(datagram) = arrival else {
            panic!("{arrival:?}");
        };
        assert_eq!(
            datagram,
            Datagram {
                source: from.ip(),
                source_port: from.port(),
                destination: to,
                destination_port: port,
                transport: Transport::Tcp,
                payload: b"first second",
            }
        );
        count += 1;
    });

    assert_eq!((taken, count), (Ok(1), 1));
    assert_eq!((capture.connections.len(), capture.frames()), (0, 1));
    assert_eq!(capture.retry_in(NOW), None);
}

#[test]
fn a_request_is_over_with_its_head_and_not_a_byte_is_answered() {
    let mut capture = capture();
    let port = own_port(&capture);
    let request = b"GET /AAAA HTTP/1.1\r\nUser-Agent: Fwknop/2.6.10\r\n";
    let mut stream = say(&capture, port, request);
    assert_eq!(arrivals(&mut capture, NOW), NOTHING);
    stream.write_all(b"\r\n").unwrap();

    assert_eq!(arrivals(&mut capture, NOW), [(port, request.len() + 2)]);
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, b"");
}

#[test]
fn who_says_nothing_more_is_judged_after_a_moment_and_who_says_nothing_is_closed() {
    let mut capture = capture();
    let port = own_port(&capture);
    let open = say(&capture, port, b"and then?");
    let silent = connect(&capture, port);
    assert_eq!(arrivals(&mut capture, NOW), NOTHING);
    assert_eq!(capture.retry_in(NOW), Some(QUIET));

    assert_eq!(arrivals(&mut capture, NOW + QUIET), [(port, 9)]);
    let left = capture.retry_in(NOW + QUIET);
    assert_eq!(left, Some(LASTS_MAX - QUIET));
    assert_eq!(arrivals(&mut capture, NOW + LASTS_MAX), NOTHING);

    assert_eq!(capture.connections.len(), 0);
    let Seen {
        connections,
        silent: quiet,
        late,
        ..
    } = capture.seen;
    assert_eq!((connections, quiet, late), (2, 1, 1));
    drop((open, silent));
}

#[test]
fn who_sends_byte_by_byte_is_closed_when_the_time_is_over() {
    let mut capture = capture();
    let port = own_port(&capture);
    let mut stream = say(&capture, port, b"A");
    let half = QUIET / 2;
    let steps = u32::try_from(LASTS_MAX.as_millis() / half.as_millis()).unwrap();
    for step in 0..steps {
        stream.write_all(b"A").unwrap();
        assert_eq!(arrivals(&mut capture, NOW + half * step), NOTHING);
    }

    let last = arrivals(&mut capture, NOW + LASTS_MAX);
    assert_eq!(last, [(port, usize::try_from(steps).unwrap() + 1)]);
    assert_eq!(capture.seen.late, 1);
}

#[test]
fn no_more_is_read_than_a_message_can_have() {
    let mut capture = capture();
    let port = own_port(&capture);
    let stream = connect(&capture, port);
    stream.set_nonblocking(true).unwrap();
    // As much as both ends take.
    while (&stream).write(&[b'A'; 4096]).is_ok() {}

    assert_eq!(arrivals(&mut capture, NOW), [(port, MESSAGE_LEN)]);
    assert_eq!(capture.connections.len(), 0);
}

#[test]
fn one_source_takes_no_more_than_its_share_and_what_it_has_said_is_judged() {
    let mut capture = capture();
    let port = own_port(&capture);
    let silent = connect(&capture, port);
    let first = say(&capture, port, b"first");
    let rest: Vec<_> = (2..CONNECTIONS_OF_SOURCE_MAX)
        .map(|_| connect(&capture, port))
        .collect();
    assert_eq!(arrivals(&mut capture, NOW), NOTHING);
    let further = [say(&capture, port, b"x"), say(&capture, port, b"y")];

    assert_eq!(arrivals(&mut capture, NOW), [(port, 5)]);

    assert_eq!(capture.connections.len(), CONNECTIONS_OF_SOURCE_MAX);
    assert_eq!(capture.seen.crowded_out, 1);
    drop((silent, first, rest, further));
}

#[test]
fn when_all_places_are_taken_the_oldest_gives_way_and_memory_stays() {
    let mut capture = capture();
    let port = own_port(&capture);
    let to = SocketAddr::new(capture.bindings.address.ip(), port);
    let mut open = Vec::new();
    for number in 0..CONNECTIONS_MAX + 9 {
        let number = u8::try_from(number / CONNECTIONS_OF_SOURCE_MAX).unwrap();
        let from = SocketAddr::from((Ipv4Addr::new(127, 200, 1, number), 0));
        open.push(connect_from(from, to));
        assert_eq!(arrivals(&mut capture, NOW), NOTHING);
    }

    assert_eq!(capture.connections.len(), CONNECTIONS_MAX);
    assert_eq!(capture.seen.crowded_out, 9);
    for stream in &open {
        let _ = stream.shutdown(Shutdown::Both);
    }
    assert_eq!(arrivals(&mut capture, NOW), NOTHING);
    assert_eq!(capture.connections.len(), 0);
    assert_eq!(capture.spare.len(), CONNECTIONS_MAX);
}

fn connect_from(from: SocketAddr, to: SocketAddr) -> TcpStream {
    use nix::sys::socket::{
        AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, socket,
    };
    use std::os::fd::AsRawFd as _;

    let fd = socket(
        AddressFamily::Inet,
        SockType::Stream,
        SockFlag::empty(),
        None,
    )
    .unwrap();
    bind(fd.as_raw_fd(), &SockaddrStorage::from(from)).unwrap();
    connect(fd.as_raw_fd(), &SockaddrStorage::from(to)).unwrap();
    fd.into()
}

#[test]
fn ports_that_the_policy_names_are_listened_on_until_it_names_others() {
    let mut capture = capture();
    let first = free_port(capture.bindings.address);
    capture.follow(&[first].into()).unwrap();
    drop(say(&capture, first.get(), b"one"));
    assert_eq!(arrivals(&mut capture, NOW), [(first.get(), 3)]);

    capture.follow(&BTreeSet::new()).unwrap();

    let refused = TcpStream::connect((capture.bindings.address.ip(), first.get()));
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    let own = own_port(&capture);
    drop(say(&capture, own, b"own"));
    assert_eq!(arrivals(&mut capture, NOW), [(own, 3)]);
}

#[test]
fn nothing_is_taken_before_it_is_time_to_judge() {
    let mut capture = capture();
    let port = own_port(&capture);
    drop(say(&capture, port, b"early"));

    assert_eq!(arrivals_of(&mut capture, 0, NOW), NOTHING);
    assert_eq!(arrivals(&mut capture, NOW), [(port, 5)]);
}
