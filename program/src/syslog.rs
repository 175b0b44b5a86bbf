//! The log of a daemon that no service manager listens to: datagrams to /dev/log (RFC 3164).

use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;

use tracing_subscriber::fmt::MakeWriter;

/// Where every syslog daemon listens, and journald.
const SOCKET: &str = "/dev/log";
/// Of a facility, the first priority.
const PRIORITIES: u8 = 8;

/// One name and facility. What nobody takes is lost: a program never waits for its log.
#[derive(Clone, Debug)]
pub(crate) struct Syslog(Arc<Sender>);

#[derive(Debug)]
struct Sender {
    socket: Option<UnixDatagram>,
    identity: String,
    facility: u8,
}

// === impl Syslog ===

impl Syslog {
    pub(crate) fn new(identity: &str, facility: u8) -> Self {
        // Named with every line and not connected: the daemon may be started again meanwhile.
        let socket = UnixDatagram::unbound().ok();
        let socket = socket.filter(|socket| socket.set_nonblocking(true).is_ok());
        Self(Arc::new(Sender {
            socket,
            identity: identity.to_owned(),
            facility,
        }))
    }
}

impl<'a> MakeWriter<'a> for Syslog {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// What is written are whole events, each line with its priority in front, as for the journal.
impl Write for Syslog {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sender = &*self.0;
        for line in String::from_utf8_lossy(bytes).lines() {
            if let Some(socket) = &sender.socket {
                let _ = socket.send_to(sender.datagram(line).as_bytes(), SOCKET);
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

// === impl Sender ===

impl Sender {
    fn datagram(&self, line: &str) -> String {
        let numbered = line.strip_prefix('<').and_then(|rest| rest.split_once('>'));
        let known = numbered.and_then(|(number, text)| Some((number.parse::<u8>().ok()?, text)));
        let (priority, text) = known.unwrap_or((6, line));
        let number = u16::from(self.facility) * u16::from(PRIORITIES) + u16::from(priority);
        let (identity, pid) = (&self.identity, std::process::id());
        format!("<{number}>{identity}[{pid}]: {}", text.trim_start())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_facility_and_priority_the_name_and_the_process() {
        let sender = Sender {
            socket: None,
            identity: "spa".to_owned(),
            facility: 19,
        };
        let pid = std::process::id();

        assert_eq!(
            sender.datagram("<4> WARN x"),
            format!("<156>spa[{pid}]: WARN x")
        );
        assert_eq!(sender.datagram("x"), format!("<158>spa[{pid}]: x"));
    }
}
