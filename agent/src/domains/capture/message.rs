//! What the gate and the capture domain say to each other of one source of packets.
//!
//! A message of the capture domain is a row of [`Said`], as many as fit. Nothing is copied to read it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::num::NonZeroU16;

use gate::{Datagram, LinkType, Transport};
use serde::{Deserialize, Serialize, Serializer};

use crate::capture::{Arrival, CaptureError, Wanted};
use crate::domains::channel::ChannelError;

/// What the gate asks for.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) enum Ask {
    /// From now on packets are judged: hand them on.
    Begin,
    /// Hand on what goes to these ports too.
    Follow(BTreeSet<NonZeroU16>),
    /// Look for these SYNs from now on.
    Look(Wanted),
    /// All that was handed on is recorded.
    Recorded,
}

/// What is said first of a source.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Opened {
    pub(super) name: String,
    /// Whether nothing more is handed on until what was is recorded.
    pub(super) waits_for_record: bool,
    pub(super) state: State,
}

/// How a source is, beside what arrives there.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct State {
    /// Why nothing comes from here now.
    pub(super) down: Option<String>,
    /// Whether that is nothing unusual.
    pub(super) may_begin_later: bool,
    pub(super) link: Option<Link>,
    /// What was lost since the start.
    pub(super) dropped: u64,
    /// What else is counted.
    pub(super) counts: Vec<(String, u64)>,
    /// What keeps SYNs from being seen.
    pub(super) faults: Vec<String>,
}

/// One thing that is said of a source.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) enum Said<'a> {
    /// As [`Arrival::Frame`].
    Frame(Link, #[serde(borrow, serialize_with = "as_bytes")] &'a [u8]),
    /// As [`Arrival::Seen`].
    Seen(Link, #[serde(borrow, serialize_with = "as_bytes")] &'a [u8]),
    /// As [`Arrival::Datagram`].
    Datagram(Ends, #[serde(borrow, serialize_with = "as_bytes")] &'a [u8]),
    /// How it is now, when that has changed.
    State(State),
    /// It has just gone down.
    Down(CaptureError),
}

/// The type of a link by its place among all.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Link(u8);

/// Whence and whither a datagram of a socket went.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Ends {
    source: IpAddr,
    destination: IpAddr,
    source_port: u16,
    destination_port: u16,
    is_tcp: bool,
}

/// Hands on each thing that a message says.
///
/// # Errors
///
/// [`ChannelError::Malformed`] when the rest of it says nothing.
pub(super) fn each<'a>(
    mut message: &'a [u8],
    told: &mut dyn FnMut(Said<'a>),
) -> Result<(), ChannelError> {
    while !message.is_empty() {
        let (said, rest) =
            postcard::take_from_bytes(message).map_err(|_| ChannelError::Malformed)?;
        told(said);
        message = rest;
    }
    Ok(())
}

fn as_bytes<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(bytes)
}

// === impl Said ===

impl<'a> Said<'a> {
    /// What a source hands on.
    pub(super) fn of(arrival: Arrival<'a>) -> Self {
        match arrival {
            Arrival::Frame(link, frame) => Self::Frame(link.into(), frame),
            Arrival::Seen(link, frame) => Self::Seen(link.into(), frame),
            Arrival::Datagram(Datagram {
                source,
                destination,
                source_port,
                destination_port,
                transport,
                payload,
            }) => {
                let ends = Ends {
                    source,
                    destination,
                    source_port,
                    destination_port,
                    is_tcp: transport == Transport::Tcp,
                };
                Self::Datagram(ends, payload)
            }
        }
    }

    /// What arrived, if it is that.
    ///
    /// # Errors
    ///
    /// [`ChannelError::Malformed`] when no link has this type.
    pub(super) fn arrival(&self) -> Result<Option<Arrival<'a>>, ChannelError> {
        Ok(Some(match *self {
            Self::Frame(link, frame) => Arrival::Frame(link.named()?, frame),
            Self::Seen(link, frame) => Arrival::Seen(link.named()?, frame),
            Self::Datagram(ends, payload) => Arrival::Datagram(ends.around(payload)),
            Self::State(_) | Self::Down(_) => return Ok(None),
        }))
    }
}

// === impl Link ===

impl Link {
    /// Which one it is.
    ///
    /// # Errors
    ///
    /// [`ChannelError::Malformed`] when it is none.
    pub(super) fn named(self) -> Result<LinkType, ChannelError> {
        let link = LinkType::ALL.get(usize::from(self.0));
        link.copied().ok_or(ChannelError::Malformed)
    }
}

impl From<LinkType> for Link {
    fn from(link: LinkType) -> Self {
        let place = LinkType::ALL.iter().position(|one| *one == link);
        let place = place.and_then(|place| u8::try_from(place).ok());
        Self(place.unwrap_or(u8::MAX))
    }
}

// === impl Ends ===

impl Ends {
    fn around(self, payload: &[u8]) -> Datagram<'_> {
        Datagram {
            source: self.source,
            destination: self.destination,
            source_port: self.source_port,
            destination_port: self.destination_port,
            transport: if self.is_tcp {
                Transport::Tcp
            } else {
                Transport::Udp
            },
            payload,
        }
    }
}
