//! Whether a port answers after the knock.
//!
//! No host answers a packet, so this is the only way to tell somebody at once that what she asked for
//! has not happened, and not after the long silence of the program that comes next.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use crate::clock;

/// One attempt: a hole that opens meanwhile is found by the next.
const ATTEMPT: Duration = Duration::from_millis(250);
const PAUSE: Duration = Duration::from_millis(20);

/// How a port answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Answer {
    /// Somebody listens.
    Open,
    /// The way is free, and nobody listens; or somebody refuses.
    Refused,
    /// Nothing comes back.
    Silence,
}

/// For how long to try.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// While nothing comes back.
    pub(crate) silence: Duration,
    /// While connections are refused: the way is free then, which is what a knock is for.
    pub(crate) refused: Duration,
}

/// Tries until the port answers, or until the patience is over.
pub(crate) fn of(port: SocketAddr, patience: Patience) -> Answer {
    let mut until = clock::moment() + patience.silence;
    loop {
        let left = until.saturating_duration_since(clock::moment());
        let last = match TcpStream::connect_timeout(&port, ATTEMPT.min(left.max(PAUSE))) {
            Ok(_) => return Answer::Open,
            Err(cause) if cause.kind() == ErrorKind::ConnectionRefused => {
                until = until.min(clock::moment() + patience.refused);
                Answer::Refused
            }
            Err(_) => Answer::Silence,
        };
        if clock::moment() + PAUSE >= until {
            return last;
        }
        thread::sleep(PAUSE);
    }
}

/// What became of a port that was to close.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Ending {
    /// It does not answer any more.
    Closed,
    /// It still does.
    Open,
}

/// Tries until the port does not answer, or until the patience is over.
pub(crate) fn until_closed(port: SocketAddr, patience: Duration) -> Ending {
    let until = clock::moment() + patience;
    loop {
        // Silence must last, or a packet that was lost would be taken for it.
        if TcpStream::connect_timeout(&port, ATTEMPT * 4).is_err() {
            return Ending::Closed;
        }
        if clock::moment() + PAUSE >= until {
            return Ending::Open;
        }
        thread::sleep(PAUSE * 5);
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_port_that_opens_a_moment_later_answers() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap();
        let secs = |secs| Patience {
            silence: Duration::from_secs(secs),
            refused: Duration::from_secs(secs),
        };
        let impatient = Patience {
            refused: Duration::ZERO,
            ..secs(60)
        };
        assert_eq!(of(port, secs(5)), Answer::Open);
        assert_eq!(until_closed(port, Duration::ZERO), Ending::Open);
        drop(listener);
        assert_eq!(until_closed(port, Duration::ZERO), Ending::Closed);
        assert_eq!(of(port, impatient), Answer::Refused);

        let later = thread::spawn(move || {
            thread::sleep(Duration::from_millis(200));
            TcpListener::bind(port).unwrap()
        });

        assert_eq!(of(port, secs(5)), Answer::Open);
        later.join().unwrap();
    }
}
