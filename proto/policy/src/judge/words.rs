//! What a refusal in the audit was about, read from its words: programs wrote nothing else down.

use spa::Service;

/// What the words of a refusal say of its cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusedFor {
    /// A stanza did not permit this port.
    Port(Service),
    /// A stanza did not permit something else, and the words do not say what was asked for.
    Stanza,
    /// Something that no policy changes: a replay, an old message, a packet filter.
    Other,
}

const OPEN_PORTS: &str = " is not in OPEN_PORTS";
const RESTRICT_PORTS: &str = " is in RESTRICT_PORTS";

/// Words of [`Denied`](super::Denied) that name no port.
const DENIALS: [(&str, &str); 13] = [
    ("KNOCK_SEQUENCE: ", ""),
    ("REQUIRE_OS: ", ""),
    ("source ", " is not in SOURCE"),
    ("destination ", " is not in DESTINATION"),
    ("the packet did not come to SPA_SERVER_PORT ", ""),
    ("port ", " is the SPA_SERVER_PORT of other stanzas"),
    ("the stanza expired at ", ""),
    (
        "the message names no address, and REQUIRE_SOURCE_ADDRESS",
        "",
    ),
    ("user `", "` is not in REQUIRE_USERNAME"),
    ("", " is not in NAT_ACCESS"),
    ("the stanza does not set ENABLE_CMD_EXEC", ""),
    ("the stanza runs a command in place of the firewall", ""),
    ("the stanza runs a command for one port", ""),
];

// === impl RefusedFor ===

impl RefusedFor {
    /// Reads the reason of a refusal.
    #[must_use]
    pub fn of(reason: &str) -> Self {
        let port = [OPEN_PORTS, RESTRICT_PORTS]
            .iter()
            .find_map(|end| reason.strip_suffix(end))
            .and_then(|port| port.parse().ok());
        if let Some(port) = port {
            return Self::Port(port);
        }
        let is_denial = DENIALS
            .iter()
            .any(|(start, end)| reason.starts_with(start) && reason.ends_with(end));
        if is_denial { Self::Stanza } else { Self::Other }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use super::*;
    use crate::{Denied, NotTaken};

    #[test]
    fn the_words_of_a_denial_say_what_it_was_about() {
        let port: Service = "tcp/22".parse().unwrap();
        let address = "192.0.2.1".parse().unwrap();
        let number = NonZeroU16::new(62_201).unwrap();
        for (denied, expected) in [
            (Denied::PortNotOpen(port), RefusedFor::Port(port)),
            (Denied::PortRestricted(port), RefusedFor::Port(port)),
            (Denied::Source(address), RefusedFor::Stanza),
            (Denied::Destination(address), RefusedFor::Stanza),
            (Denied::SpaServerPort(number), RefusedFor::Stanza),
            (Denied::PortTaken(number), RefusedFor::Stanza),
            (Denied::Expired { at_secs: 5 }, RefusedFor::Stanza),
            (Denied::SourceAddressRequired, RefusedFor::Stanza),
            (Denied::Username("bob".to_owned()), RefusedFor::Stanza),
            (Denied::NatTarget("10.0.0.5".to_owned()), RefusedFor::Stanza),
            (
                Denied::NotTaken(NotTaken::NoSyn {
                    address,
                    within_secs: 120,
                }),
                RefusedFor::Stanza,
            ),
            (Denied::NotTaken(NotTaken::Sequence), RefusedFor::Stanza),
            (Denied::CommandNotEnabled, RefusedFor::Stanza),
            (Denied::CycleNat, RefusedFor::Stanza),
            (Denied::CycleService(port), RefusedFor::Stanza),
            (Denied::CommandsOff, RefusedFor::Other),
            (Denied::NatImpossible, RefusedFor::Other),
        ] {
            assert_eq!(RefusedFor::of(&denied.to_string()), expected, "{denied}");
        }
        assert_eq!(
            RefusedFor::of("the message is 200 s old; at most 120 s are allowed"),
            RefusedFor::Other
        );
    }
}
