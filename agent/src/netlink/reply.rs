//! The kernel's bytes taken apart. Bytes in, values out.
//!
//! Nothing here trusts a length: every step either consumes at least a header or ends, so whatever
//! the bytes, reading them ends after at most as many steps as there are headers in them.

use super::{ALIGN, ATTRIBUTE_LEN, HEADER_LEN, NFGEN_LEN, NLA_TYPE_MASK, read_u16, read_u32};

/// Types of messages that are the protocol's own (linux/netlink.h).
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// The first type that belongs to a subsystem.
const NLMSG_MIN_TYPE: u16 = 16;

/// One message from the kernel.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Message<'a> {
    /// The number of the request that it answers.
    pub(super) seq: u32,
    pub(super) reply: Reply<'a>,
}

/// What a message says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Reply<'a> {
    /// The request was carried out, or the list is complete.
    Done,
    /// It was not; the number is one of errno.h or the subsystem's own, and positive.
    Refused(i32),
    /// A part of what was asked for.
    Data(Attributes<'a>),
}

/// A datagram that breaks off inside a message, or is no netlink at all.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("an answer that ends too early")]
pub(crate) struct Truncated;

/// The messages of one datagram. Ends after the first that cannot be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Messages<'a>(&'a [u8]);

/// A message by its type: for subsystems whose messages begin with another header than netfilter's.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Notice<'a> {
    /// The message's type, whose upper half is the netfilter subsystem.
    pub(crate) kind: u16,
    /// The number of the socket whose request it tells of; 0 for what nobody asked for.
    pub(crate) port: u32,
    /// What follows the header.
    pub(crate) body: &'a [u8],
}

/// The messages of one datagram, the protocol's own left out, but for errors and the end of a list.
#[derive(Clone, Copy, Debug)]
pub(super) struct Notices<'a>(&'a [u8]);

/// The messages of one datagram, for whoever asked nothing ([`crate::hostile`]).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Datagram<'a>(&'a [u8]);

/// Attributes of a message or a nest, in order. Ends before the first that cannot be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Attributes<'a>(&'a [u8]);

// === impl Messages ===

impl<'a> Messages<'a> {
    pub(super) fn of(datagram: &'a [u8]) -> Self {
        Self(datagram)
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Message<'a>, Truncated>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.0.is_empty() {
            let Some((kind, seq, body, rest)) = split_message(self.0) else {
                self.0 = &[];
                return Some(Err(Truncated));
            };
            self.0 = rest;
            if let Some(reply) = read_body(kind, body) {
                return Some(reply.map(|reply| Message { seq, reply }));
            }
        }
        None
    }
}

/// Type, number and body of the first message, and what follows it.
fn split_message(bytes: &[u8]) -> Option<(u16, u32, &[u8], &[u8])> {
    let length = read_u32(bytes, 0)? as usize;
    let (kind, seq) = (read_u16(bytes, 4)?, read_u32(bytes, 8)?);
    let body = bytes.get(HEADER_LEN..length)?;
    let rest = bytes.get(length.next_multiple_of(ALIGN)..);
    Some((kind, seq, body, rest.unwrap_or_default()))
}

/// `None` for the protocol's own messages that say nothing.
fn read_body(kind: u16, body: &[u8]) -> Option<Result<Reply<'_>, Truncated>> {
    let code = read_u32(body, 0).map(u32::cast_signed);
    Some(match (kind, code) {
        // A list that ends well may say so without a number.
        (NLMSG_ERROR | NLMSG_DONE, Some(0)) | (NLMSG_DONE, None) => Ok(Reply::Done),
        (NLMSG_ERROR | NLMSG_DONE, Some(code)) => Ok(Reply::Refused(code.saturating_abs())),
        (NLMSG_ERROR, None) => Err(Truncated),
        (..NLMSG_MIN_TYPE, _) => return None,
        (NLMSG_MIN_TYPE.., _) => {
            let attributes = body.get(NFGEN_LEN..).ok_or(Truncated);
            attributes.map(|bytes| Reply::Data(Attributes(bytes)))
        }
    })
}

// === impl Notice ===

impl<'a> Notice<'a> {
    /// The attributes behind a header of so many bytes.
    pub(crate) fn attributes(self, header_len: usize) -> Attributes<'a> {
        Attributes(self.body.get(header_len..).unwrap_or_default())
    }

    /// Whether a list ends here, and how.
    pub(super) fn end(self) -> Option<Result<(), i32>> {
        match read_body(self.kind, self.body)? {
            Ok(Reply::Done) => Some(Ok(())),
            Ok(Reply::Refused(code)) => Some(Err(code)),
            Ok(Reply::Data(_)) | Err(Truncated) => None,
        }
    }
}

// === impl Notices ===

impl<'a> Notices<'a> {
    pub(super) fn of(datagram: &'a [u8]) -> Self {
        Self(datagram)
    }
}

impl<'a> Iterator for Notices<'a> {
    type Item = Result<Notice<'a>, Truncated>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let Some((kind, _, body, rest)) = split_message(self.0) else {
            self.0 = &[];
            return Some(Err(Truncated));
        };
        let port = read_u32(self.0, 12).unwrap_or_default();
        self.0 = rest;
        Some(Ok(Notice { kind, port, body }))
    }
}

// === impl Datagram ===

impl<'a> Datagram<'a> {
    pub(crate) fn of(datagram: &'a [u8]) -> Self {
        Self(datagram)
    }

    /// As answers to requests.
    pub(crate) fn data(self) -> impl Iterator<Item = Attributes<'a>> {
        Messages::of(self.0).filter_map(|message| match message {
            Ok(Message {
                reply: Reply::Data(data),
                ..
            }) => Some(data),
            Ok(_) | Err(Truncated) => None,
        })
    }

    /// As what nobody asked for.
    pub(crate) fn notices(self) -> impl Iterator<Item = Notice<'a>> {
        Notices::of(self.0).flatten()
    }
}

// === impl Attributes ===

impl<'a> Attributes<'a> {
    /// The attributes inside an attribute's value.
    pub(crate) fn inside(value: &'a [u8]) -> Self {
        Self(value)
    }

    /// The value of the first attribute of `kind`.
    pub(crate) fn find(mut self, kind: u16) -> Option<&'a [u8]> {
        self.find_map(|(k, value)| (k == kind).then_some(value))
    }
}

impl<'a> Iterator for Attributes<'a> {
    /// Type without flags, value.
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let length = usize::from(read_u16(self.0, 0)?);
        let kind = read_u16(self.0, 2)? & NLA_TYPE_MASK;
        let value = self.0.get(ATTRIBUTE_LEN..length)?;
        self.0 = self
            .0
            .get(length.next_multiple_of(ALIGN)..)
            .unwrap_or_default();
        Some((kind, value))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Requests;
    use super::*;

    /// Bytes that look like headers more often than chance would have it: small lengths, and the
    /// types that mean something.
    fn hostile() -> impl Strategy<Value = Vec<u8>> {
        let likely = prop_oneof![Just(0_u8), 1..=24_u8, Just(0x80), Just(0xff), any::<u8>()];
        prop::collection::vec(likely, 0..400)
    }

    fn attribute() -> impl Strategy<Value = (u16, Vec<u8>)> {
        (0..=NLA_TYPE_MASK, prop::collection::vec(any::<u8>(), 0..70))
    }

    /// Walks everything that can be walked, and counts the steps.
    fn steps(attributes: Attributes<'_>, depth: u32) -> usize {
        let inside = |value| {
            depth
                .checked_sub(1)
                .map(|d| steps(Attributes::inside(value), d))
        };
        attributes
            .map(|(_, value)| 1 + inside(value).unwrap_or_default())
            .sum()
    }

    proptest! {
        #[test]
        fn reading_any_bytes_ends_and_every_step_consumes_a_header(bytes in hostile()) {
            let messages: Vec<_> = Messages::of(&bytes).collect();

            prop_assert!(messages.len() <= bytes.len() / HEADER_LEN + 1);
            prop_assert!(Notices::of(&bytes).count() <= bytes.len() / HEADER_LEN + 1);
            for message in messages.into_iter().flatten() {
                if let Reply::Data(attributes) = message.reply {
                    prop_assert!(steps(attributes, 3) <= bytes.len());
                }
            }
            prop_assert!(Attributes::inside(&bytes).count() <= bytes.len() / ATTRIBUTE_LEN);
        }

        #[test]
        fn what_was_written_is_read_back(
            attributes in prop::collection::vec(attribute(), 0..8),
            nested in prop::collection::vec(attribute(), 0..8),
            first_seq in any::<u32>(),
        ) {
            let mut requests = Requests::default();
            for written in [&attributes, &nested] {
                requests.begin(6, 9, 0, 2);
                let nest = requests.nest(7);
                for (kind, value) in written {
                    requests.attribute(*kind, value);
                }
                requests.end_nest(nest);
                requests.end();
            }
            requests.number(first_seq);

            let read: Vec<_> = Messages::of(requests.bytes()).collect();

            prop_assert_eq!(read.len(), 2);
            for (n, (message, written)) in read.into_iter().zip([attributes, nested]).enumerate() {
                let message = message.unwrap();
                let n = u32::try_from(n).unwrap();
                prop_assert_eq!(message.seq, first_seq.wrapping_add(n));
                let Reply::Data(attributes) = message.reply else { panic!("{message:?}") };
                let inside = Attributes::inside(attributes.find(7).unwrap());
                let inside: Vec<_> = inside.map(|(kind, value)| (kind, value.to_vec())).collect();
                prop_assert_eq!(inside, written);
            }
        }

        #[test]
        fn a_datagram_that_is_cut_gives_the_whole_messages_and_then_an_error(
            attributes in prop::collection::vec(attribute(), 1..4),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut requests = Requests::default();
            for (kind, value) in &attributes {
                requests.begin(6, 9, 0, 2);
                requests.attribute(*kind, value);
                requests.end();
            }
            let whole: Vec<_> = Messages::of(requests.bytes()).collect();
            let cut = cut.index(requests.bytes().len());

            let read: Vec<_> = Messages::of(&requests.bytes()[..cut]).collect();

            let (last, before) = read.split_last().map_or((Ok(None), &[][..]), |(last, before)| {
                (last.map(Some), before)
            });
            prop_assert_eq!(before, &whole[..before.len()]);
            if let Ok(Some(last)) = last {
                prop_assert_eq!(Ok(last), whole[before.len()]);
            }
        }
    }

    #[test]
    fn a_length_of_zero_ends_the_reading() {
        let message = [0; HEADER_LEN];
        assert_eq!(Messages::of(&message).collect::<Vec<_>>(), [Err(Truncated)]);
        assert_eq!(Attributes::inside(&[0; 64]).count(), 0);
    }

    #[test]
    fn an_error_number_is_a_refusal_also_at_the_end_of_a_list() {
        for kind in [NLMSG_ERROR, NLMSG_DONE] {
            let mut message = vec![20, 0, 0, 0];
            message.extend_from_slice(&kind.to_ne_bytes());
            message.extend_from_slice(&[0; 10]);
            message.extend_from_slice(&(-2_i32).to_ne_bytes());

            let read = Messages::of(&message).next().unwrap().unwrap();

            assert_eq!(read.reply, Reply::Refused(2));
        }
    }
}
