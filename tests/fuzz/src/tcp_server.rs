//! The TCP server: in however many pieces a message comes, the same is judged, and no more than one.

use std::cell::RefCell;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use agent::capture::{self, Arrival, Capture, CaptureConfig, CaptureSource, Filter};

/// The longest message that is judged, and more.
const LONGEST: usize = 8_192;

thread_local! {
    static SERVER: RefCell<(SocketAddr, Box<dyn Capture>)> = RefCell::new(server());
}

fn server() -> (SocketAddr, Box<dyn Capture>) {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = free.local_addr().expect("its address");
    drop(free);
    let config = CaptureConfig {
        source: CaptureSource::TcpServer(address),
        filter: Filter::for_port(address.port()),
        buffer_bytes: 65_536,
        promiscuous: false,
        any_direction: false,
        bookmark: "none".into(),
    };
    (address, capture::open(&config).expect("it listens"))
}

pub(crate) fn check(bytes: &[u8]) {
    let Some((&cut, bytes)) = bytes.split_first() else {
        return;
    };
    let bytes = &bytes[..bytes.len().min(LONGEST)];
    let (first, rest) = bytes.split_at(usize::from(cut) * bytes.len() / 256);
    SERVER.with_borrow_mut(|(address, server)| {
        let at_once = judged(*address, server.as_mut(), &[bytes]);
        let in_pieces = judged(*address, server.as_mut(), &[first, rest]);
        assert!(at_once.len() <= 1, "{} messages", at_once.len());
        // Whoever goes on behind the end of a request is cut where the server has looked.
        let is_prefix = at_once
            .iter()
            .zip(&in_pieces)
            .all(|(whole, piece)| whole.starts_with(piece));
        assert!(is_prefix, "cut at {}", first.len());
        assert_eq!(at_once.len(), in_pieces.len(), "cut at {}", first.len());
        if bytes.is_empty() {
            assert!(at_once.is_empty(), "a message of nothing");
        }
    });
}

fn judged(address: SocketAddr, server: &mut dyn Capture, pieces: &[&[u8]]) -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    let mut look = |server: &mut dyn Capture| {
        let looked = server.next_batch(16, Duration::ZERO, &mut |arrival| {
            if let Arrival::Datagram(datagram) = arrival {
                messages.push(datagram.payload.to_vec());
            }
        });
        let _ = looked.expect("it listens");
    };
    let mut client = TcpStream::connect(address).expect("it listens");
    for piece in pieces {
        // The server may have had enough.
        let _ = client.write_all(piece);
        look(server);
    }
    let _ = client.shutdown(Shutdown::Write);
    look(server);
    // Not a byte is answered, and it ends.
    let ended = client.read(&mut [0; 1]);
    let is_ended = match &ended {
        Ok(count) => *count == 0,
        Err(cause) => cause.kind() == ErrorKind::ConnectionReset,
    };
    assert!(is_ended, "{ended:?}");
    messages
}
