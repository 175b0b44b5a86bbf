//! A grant of which only the record is left: enough to ask whether a policy would give it.

use std::net::IpAddr;

use ipnet::IpNet;
use spa::{Allow, DigestType, Fingerprint, Message, MessageType, Request, Service};

use crate::now::Now;

/// What the audit knows of a grant that another run of the agent gave.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Recorded {
    /// The key that verified.
    pub key: Fingerprint,
    /// Who asked.
    pub user: String,
    /// Where the packet came from.
    pub source: IpAddr,
    /// For which networks, that around the address first.
    pub opens: Vec<IpNet>,
    /// What was opened.
    pub ports: Vec<Service>,
    /// When, in seconds since the Unix epoch, if that was under the generation in force. Its text may
    /// be another since, but only in who is permitted: dates and destinations that were good then
    /// are.
    pub same_generation_secs: Option<u64>,
}

// === impl Recorded ===

impl Recorded {
    /// A message that asks for it.
    pub(crate) fn message(self, now: Now) -> Message {
        Message {
            random: [b'0'; 16],
            username: self.user,
            timestamp_secs: now.wall_secs,
            version: Message::VERSION.to_owned(),
            message_type: MessageType::Access,
            request: Request::Access {
                // Whatever it said, this is what it came to; and what names an address is never
                // judged more strictly than what does not.
                allow: Allow::Address(self.opens.first().map_or(self.source, IpNet::addr)),
                ports: self.ports,
            },
            nat_access: None,
            client_timeout_secs: 0,
            digest_type: DigestType::Sha256,
        }
    }
}
