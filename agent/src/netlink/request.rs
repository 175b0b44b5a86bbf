//! Messages under construction.

use super::{
    ALIGN, ATTRIBUTE_LEN, HEADER_LEN, NLA_F_NESTED, NLA_F_NET_BYTEORDER, NLM_F_ACK, NLM_F_REQUEST,
    read_u16, read_u32,
};

/// Requests, one after the other in one buffer that is used again and again.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    bytes: Vec<u8>,
    message_start: usize,
    count: u32,
    first_seq: u32,
}

/// An attribute whose end is not yet known.
#[must_use]
#[derive(Debug)]
pub(crate) struct Nest(usize);

/// Longest name that can be said: what the kernel's `NLA_NUL_STRING`s hold here, and the zero.
const TEXT_LEN: usize = 64;

// === impl Requests ===

impl Requests {
    /// Forgets all requests and keeps the buffer.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.count = 0;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How many requests there are.
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// The number of the first request, once [`Self::number`] has given it.
    pub(super) fn first_seq(&self) -> u32 {
        self.first_seq
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Starts a message to a netfilter subsystem; [`Self::end`] must follow.
    pub(crate) fn begin(&mut self, subsystem: u8, command: u8, flags: u16, family: u8) {
        let kind = u16::from_ne_bytes([command, subsystem]);
        self.begin_other(kind, flags, &[family, 0, 0, 0]); // `struct nfgenmsg`
    }

    /// Starts a message of this type with a header of its own; [`Self::end`] must follow.
    pub(crate) fn begin_other(&mut self, kind: u16, flags: u16, header: &[u8]) {
        self.message_start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]); // length, known at the end
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes
            .extend_from_slice(&(flags | NLM_F_REQUEST).to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 8]); // sequence and port, filled in when sent
        self.bytes.extend_from_slice(header);
    }

    /// Ends the message that was begun last.
    pub(crate) fn end(&mut self) {
        let length = u32::try_from(self.bytes.len() - self.message_start).unwrap_or(u32::MAX);
        self.put(self.message_start, &length.to_ne_bytes());
        self.count += 1;
    }

    /// Asks for an answer to the message that was ended last, even if all goes well.
    pub(crate) fn ask_for_answer(&mut self) {
        let at = self.message_start + 6;
        let flags = read_u16(&self.bytes, at).unwrap_or_default();
        self.put(at, &(flags | NLM_F_ACK).to_ne_bytes());
    }

    pub(crate) fn attribute(&mut self, kind: u16, value: &[u8]) {
        let length = u16::try_from(ATTRIBUTE_LEN + value.len()).unwrap_or(u16::MAX);
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        let padded = self.bytes.len().next_multiple_of(ALIGN);
        self.bytes.resize(padded, 0);
    }

    /// A number in network byte order, and flagged so.
    pub(crate) fn attribute_be(&mut self, kind: u16, value: &[u8]) {
        self.attribute(kind | NLA_F_NET_BYTEORDER, value);
    }

    /// A name, with the zero that ends it; cut after 63 bytes.
    pub(crate) fn text(&mut self, kind: u16, text: &str) {
        let mut value = [0; TEXT_LEN];
        let length = text.len().min(TEXT_LEN - 1);
        for (to, from) in value.iter_mut().zip(text.bytes().take(length)) {
            *to = from;
        }
        self.attribute(kind, value.get(..=length).unwrap_or_default());
    }

    /// Starts an attribute of attributes; [`Self::end_nest`] must follow.
    pub(crate) fn nest(&mut self, kind: u16) -> Nest {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 2]);
        self.bytes
            .extend_from_slice(&(kind | NLA_F_NESTED).to_ne_bytes());
        Nest(start)
    }

    #[expect(clippy::needless_pass_by_value, reason = "a nest ends once")]
    pub(crate) fn end_nest(&mut self, nest: Nest) {
        let length = u16::try_from(self.bytes.len() - nest.0).unwrap_or(u16::MAX);
        self.put(nest.0, &length.to_ne_bytes());
    }

    /// The messages as a receiver would read them.
    #[cfg(test)]
    pub(crate) fn sent(&self) -> Vec<super::Attributes<'_>> {
        use super::reply::{Messages, Reply};

        let data = |reply| match reply {
            Reply::Data(attributes) => Some(attributes),
            Reply::Done | Reply::Refused(_) => None,
        };
        Messages::of(&self.bytes)
            .filter_map(|message| data(message.ok()?.reply))
            .collect()
    }

    fn put(&mut self, at: usize, value: &[u8]) {
        if let Some(slot) = self.bytes.get_mut(at..at + value.len()) {
            slot.copy_from_slice(value);
        }
    }

    /// Numbers the messages from `first_seq`.
    pub(super) fn number(&mut self, first_seq: u32) {
        self.first_seq = first_seq;
        let mut at = 0;
        let mut seq = first_seq;
        while let Some(length) = read_u32(&self.bytes, at) {
            self.put(at + 8, &seq.to_ne_bytes());
            at += (length as usize).next_multiple_of(ALIGN).max(HEADER_LEN);
            seq = seq.wrapping_add(1);
        }
    }
}
