//! Netlink, as much of it as kernel sets need: building requests, reading answers.
//!
//! Written by hand on a plain socket because the gate thread reuses one buffer for every request,
//! and because no crate speaks the ipset subsystem. Layouts: linux/netlink.h,
//! linux/netfilter/nfnetlink.h.

use std::io;

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};

/// Flags of a request (linux/netlink.h).
pub(super) const NLM_F_REQUEST: u16 = 0x1;
pub(super) const NLM_F_ACK: u16 = 0x4;
pub(super) const NLM_F_DUMP: u16 = 0x300;
pub(super) const NLM_F_CREATE: u16 = 0x400;

/// Flags of an attribute's type.
const NLA_F_NESTED: u16 = 1 << 15;
const NLA_F_NET_BYTEORDER: u16 = 1 << 14;
const NLA_TYPE_MASK: u16 = !(NLA_F_NESTED | NLA_F_NET_BYTEORDER);

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const HEADER_LEN: usize = 16;
const NFGEN_LEN: usize = 4;

/// Requests under construction, one after the other in one buffer.
#[derive(Debug, Default)]
pub(super) struct Requests {
    bytes: Vec<u8>,
    message_start: usize,
    count: u32,
    first_seq: u32,
}

/// An attribute whose end is not yet known.
#[must_use]
#[derive(Debug)]
pub(super) struct Nest(usize);

/// A socket of the netfilter subsystem.
#[derive(Debug)]
pub(super) struct Netlink {
    socket: Socket,
    next_seq: u32,
    answer: Vec<u8>,
}

/// The error number in the kernel's answer, and which of the requests it answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Errno {
    pub(super) code: i32,
    pub(super) request: u32,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum NetlinkError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("error {}", .0.code)]
    Kernel(Errno),
    #[error("an answer that ends too early")]
    Truncated,
}

// === impl Requests ===

impl Requests {
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.count = 0;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Starts a message to a netfilter subsystem; [`Self::end`] must follow.
    pub(super) fn begin(&mut self, subsystem: u8, command: u8, flags: u16, family: u8) {
        self.message_start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]); // length, known at the end
        self.bytes.extend_from_slice(&[command, subsystem]);
        self.bytes
            .extend_from_slice(&(flags | NLM_F_REQUEST).to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 8]); // sequence and port, filled in when sent
        self.bytes.extend_from_slice(&[family, 0, 0, 0]);
    }

    pub(super) fn end(&mut self) {
        let length = u32::try_from(self.bytes.len() - self.message_start).unwrap_or(u32::MAX);
        self.put(self.message_start, &length.to_ne_bytes());
        self.count += 1;
    }

    pub(super) fn attribute(&mut self, kind: u16, value: &[u8]) {
        let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        let padded = self.bytes.len().next_multiple_of(4);
        self.bytes.resize(padded, 0);
    }

    /// A number in network byte order, and flagged so.
    pub(super) fn attribute_be(&mut self, kind: u16, value: &[u8]) {
        self.attribute(kind | NLA_F_NET_BYTEORDER, value);
    }

    pub(super) fn text(&mut self, kind: u16, text: &str) {
        let mut value = [0; 64];
        let length = text.len().min(63);
        for (to, from) in value.iter_mut().zip(text.bytes().take(length)) {
            *to = from;
        }
        self.attribute(kind, value.get(..=length).unwrap_or_default());
    }

    pub(super) fn nest(&mut self, kind: u16) -> Nest {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 2]);
        self.bytes
            .extend_from_slice(&(kind | NLA_F_NESTED).to_ne_bytes());
        Nest(start)
    }

    #[expect(clippy::needless_pass_by_value, reason = "a nest ends once")]
    pub(super) fn end_nest(&mut self, nest: Nest) {
        let length = u16::try_from(self.bytes.len() - nest.0).unwrap_or(u16::MAX);
        self.put(nest.0, &length.to_ne_bytes());
    }

    fn put(&mut self, at: usize, value: &[u8]) {
        if let Some(slot) = self.bytes.get_mut(at..at + value.len()) {
            slot.copy_from_slice(value);
        }
    }

    /// Numbers the messages from `first_seq`.
    fn number(&mut self, first_seq: u32) {
        self.first_seq = first_seq;
        let mut at = 0;
        let mut seq = first_seq;
        while let Some(length) = read_u32(&self.bytes, at) {
            self.put(at + 8, &seq.to_ne_bytes());
            at += (length as usize).next_multiple_of(4).max(HEADER_LEN);
            seq = seq.wrapping_add(1);
        }
    }
}

// === impl Netlink ===

impl Netlink {
    /// Opens a socket in the network namespace of the calling thread.
    pub(super) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        // The kernel answers before `send` returns, so an answer that is not there never comes.
        socket.set_non_blocking(true)?;
        Ok(Self {
            socket,
            next_seq: 1,
            answer: Vec::with_capacity(64 * 1024),
        })
    }

    /// Sends all requests in one system call and reads the kernel's answer to each.
    ///
    /// # Errors
    ///
    /// The first error answered; the requests after it have been tried nevertheless.
    pub(super) fn execute(&mut self, requests: &mut Requests) -> Result<(), NetlinkError> {
        self.send(requests)?;
        let mut first_error = None;
        for _ in 0..requests.count {
            let (kind, payload) = self.receive_one()?;
            let code = read_i32(payload.get(HEADER_LEN..).unwrap_or_default(), 0);
            let seq = read_u32(payload, 8).unwrap_or_default();
            if kind == NLMSG_ERROR && code != Some(0) && first_error.is_none() {
                first_error = Some(Errno {
                    code: code.unwrap_or(0).saturating_neg(),
                    request: seq.wrapping_sub(requests.first_seq),
                });
            }
        }
        first_error.map_or(Ok(()), |errno| Err(NetlinkError::Kernel(errno)))
    }

    /// Sends one dump request and gives the attributes of every message of the answer to `each`.
    pub(super) fn dump(
        &mut self,
        requests: &mut Requests,
        each: &mut dyn FnMut(Attributes<'_>),
    ) -> Result<(), NetlinkError> {
        self.send(requests)?;
        loop {
            self.answer.clear();
            self.socket.recv(&mut self.answer, 0)?;
            let mut rest = self.answer.as_slice();
            while let Some(length) = read_u32(rest, 0) {
                let length = (length as usize).max(HEADER_LEN);
                let message = rest.get(..length).ok_or(NetlinkError::Truncated)?;
                match read_u16(message, 4) {
                    Some(NLMSG_DONE) => return Ok(()),
                    Some(NLMSG_ERROR) => match read_i32(message, HEADER_LEN) {
                        Some(0) => return Ok(()),
                        code => {
                            return Err(NetlinkError::Kernel(Errno {
                                code: code.unwrap_or(0).saturating_neg(),
                                request: 0,
                            }));
                        }
                    },
                    _ => each(Attributes(
                        message.get(HEADER_LEN + NFGEN_LEN..).unwrap_or_default(),
                    )),
                }
                rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
            }
        }
    }

    fn send(&mut self, requests: &mut Requests) -> Result<(), NetlinkError> {
        // Answers to an earlier request that was given up must not be taken for ours.
        while self.receive_any().is_ok() {}
        requests.number(self.next_seq);
        self.next_seq = self.next_seq.wrapping_add(requests.count);
        self.socket.send(&requests.bytes, 0)?;
        Ok(())
    }

    fn receive_any(&mut self) -> io::Result<usize> {
        self.answer.clear();
        self.socket.recv(&mut self.answer, 0)
    }

    fn receive_one(&mut self) -> Result<(u16, &[u8]), NetlinkError> {
        self.receive_any()?;
        let kind = read_u16(&self.answer, 4).ok_or(NetlinkError::Truncated)?;
        Ok((kind, &self.answer))
    }
}

/// Attributes of a message or a nest, in order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attributes<'a>(&'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    /// Type without flags, value.
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let length = usize::from(read_u16(self.0, 0)?);
        let kind = read_u16(self.0, 2)? & NLA_TYPE_MASK;
        let value = self.0.get(4..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    }
}

impl<'a> Attributes<'a> {
    pub(super) fn inside(value: &'a [u8]) -> Self {
        Self(value)
    }

    /// The value of the first attribute of `kind`.
    pub(super) fn find(mut self, kind: u16) -> Option<&'a [u8]> {
        self.find_map(|(k, value)| (k == kind).then_some(value))
    }
}

fn read_u16(bytes: &[u8], at: usize) -> Option<u16> {
    let value = bytes.get(at..at + 2)?;
    Some(u16::from_ne_bytes(value.try_into().ok()?))
}

fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    let value = bytes.get(at..at + 4)?;
    Some(u32::from_ne_bytes(value.try_into().ok()?))
}

fn read_i32(bytes: &[u8], at: usize) -> Option<i32> {
    read_u32(bytes, at).map(u32::cast_signed)
}
