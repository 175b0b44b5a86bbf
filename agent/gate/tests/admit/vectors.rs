//! Reads the golden vectors, which Debian's fwknop 2.6.10 made (shared/vectors/README.md).

use std::collections::BTreeSet;
use std::path::Path;

use gate::{Decision, Grant};
use policy::Permitted;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// A packet that the real client sent.
#[derive(Debug, Deserialize)]
pub(crate) struct Valid {
    pub(crate) name: String,
    pub(crate) packet: String,
    pub(crate) encryption_type: String,
    pub(crate) expected: Expected,
    pub(crate) access_conf: String,
    pub(crate) fwknopd_accepts: bool,
    /// What the real server put into its chain.
    pub(crate) fwknopd_rules: Vec<String>,
}

/// The fields of a packet as the real client printed them.
#[derive(Debug, Deserialize)]
pub(crate) struct Expected {
    pub(crate) random: String,
    pub(crate) username: String,
    pub(crate) timestamp: u64,
    pub(crate) version: String,
    pub(crate) message_type: u8,
    pub(crate) message: String,
    pub(crate) nat_access: Option<String>,
    pub(crate) client_timeout: u32,
    pub(crate) digest: String,
}

/// A packet that was changed, or a case of policy, with what the real server did.
#[derive(Debug, Deserialize)]
pub(crate) struct Invalid {
    pub(crate) name: String,
    pub(crate) category: String,
    pub(crate) stage: String,
    pub(crate) access_conf: String,
    pub(crate) fwknopd_conf_extra: String,
    pub(crate) sent_before: Option<String>,
    pub(crate) server_clock: Option<u64>,
    pub(crate) source_ip: Option<String>,
    pub(crate) fwknopd_rules: Option<Vec<String>>,
    packet: Option<String>,
    packet_hex: Option<String>,
}

/// IP packets as they were seen on a veth.
#[derive(Debug, Deserialize)]
pub(crate) struct Transported {
    pub(crate) name: String,
    pub(crate) key: String,
    pub(crate) hmac_key: String,
    pub(crate) frames: Vec<Frame>,
    pub(crate) fwknopd_accepts: bool,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Frame {
    pub(crate) src: String,
    pub(crate) dst: String,
    pub(crate) protocol: u8,
    pub(crate) sport: Option<u16>,
    pub(crate) dport: Option<u16>,
    pub(crate) payload: String,
    pub(crate) ip_packet_hex: String,
}

/// One rule that lets somebody in: address, port as `tcp/22`, and for how many seconds.
pub(crate) type Rule = (String, String, u32);

pub(crate) fn load<T: DeserializeOwned>(name: &str) -> Vec<T> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared/vectors")
        .join(name);
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap()
}

/// Reads the rules that the real server left, as `-A FWKNOP_INPUT -s IP/32 -p tcp -m tcp --dport 22
/// -m comment --comment _exp_T+30 -j ACCEPT`.
pub(crate) fn rules_of_server(rules: &[String]) -> BTreeSet<Rule> {
    rules
        .iter()
        .map(|rule| {
            let words: Vec<_> = rule.split_whitespace().collect();
            let after = |option: &str| {
                let place = words.iter().position(|word| *word == option).unwrap();
                words[place + 1]
            };
            let address = after("-s").strip_suffix("/32").unwrap().to_owned();
            let seconds = after("--comment").strip_prefix("_exp_T+").unwrap();
            let port = format!("{}/{}", after("-p"), after("--dport"));
            (address, port, seconds.parse().unwrap())
        })
        .collect()
}

/// The same for a grant of ours.
pub(crate) fn rules_of_grant(grant: &Grant) -> BTreeSet<Rule> {
    let permit = &grant.permit;
    match &permit.what {
        Permitted::Ports(ports) => ports
            .iter()
            .map(|port| {
                (
                    permit.address.to_string(),
                    port.to_string(),
                    permit.timeout_secs,
                )
            })
            .collect(),
        Permitted::Command { .. } => BTreeSet::new(),
    }
}

/// The grant, or the end of the test with the refusal's reason.
#[track_caller]
pub(crate) fn granted(name: &str, decision: Decision) -> Grant {
    match decision {
        Decision::Grant(grant) => grant,
        Decision::Claim(pending) => panic!("{name}: {pending:?}"),
        Decision::Refused(refusal) => panic!("{name}: {}: {}", refusal.check, refusal.reason),
    }
}

// === impl Invalid ===

impl Invalid {
    pub(crate) fn packet(&self) -> Vec<u8> {
        match &self.packet_hex {
            Some(packet) => hex::decode(packet).unwrap(),
            None => self.packet.clone().unwrap().into_bytes(),
        }
    }

    /// Whether the server's configuration of the case has this setting.
    pub(crate) fn has(&self, setting: &str) -> bool {
        self.fwknopd_conf_extra
            .split(';')
            .any(|own| own.trim() == setting)
    }
}
