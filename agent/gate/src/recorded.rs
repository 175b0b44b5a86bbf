//! A grant of which only the record is left: enough to ask whether a policy would give it.

use std::net::IpAddr;

use ipnet::IpNet;
use spa::{Allow, DigestType, Fingerprint, Message, MessageType, NatAccess, Request, Service};

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
    /// The address of the host for which alone it was opened, if it was.
    pub destination: Option<IpAddr>,
    /// For which networks, that around the address first.
    pub opens: Vec<IpNet>,
    /// What was opened.
    pub ports: Vec<Service>,
    /// Where packets were led, if they were.
    pub led_to: Option<LedTo>,
    /// When, in seconds since the Unix epoch, if that was under the generation in force. Its text may
    /// be another since, but only in who is permitted: dates and destinations that were good then
    /// are.
    pub same_generation_secs: Option<u64>,
}

/// Where packets were led.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum LedTo {
    /// To another host.
    Inner(NatAccess),
    /// To another port of the host itself.
    Here(NatAccess),
}

// === impl Recorded ===

impl Recorded {
    /// The messages that may have asked for it: packets may be led on for an ordinary one, too.
    pub(crate) fn messages(self, now: Now) -> Vec<Message> {
        let led_to = self.led_to.clone();
        let plain = self.message(now);
        let (message_type, nat) = match led_to {
            None => return vec![plain],
            Some(LedTo::Inner(nat)) => (MessageType::NatAccess, nat),
            Some(LedTo::Here(nat)) => (MessageType::LocalNatAccess, nat),
        };
        let nat = Message {
            message_type,
            nat_access: Some(nat),
            ..plain.clone()
        };
        vec![plain, nat]
    }

    fn message(self, now: Now) -> Message {
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
