//! Who may open what, for people: the judgement of the gate, asked of every stanza of a policy.
//!
//! A host gets its stanzas one by one for each user ([`compile`](fn@crate::compile)), and judges with
//! [`Stanza::judge`]. Nothing of what is judged depends on the key, so the answer for a user is that of
//! the stanza she is in; a property test holds this against compiled text.
//!
//! What a host's own configuration must permit besides (NAT, commands) is taken as permitted.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use spa::{Allow, DigestType, Message, MessageType, Request, Service};

use crate::host::HostFacts;
use crate::judge::{Ask, Denied, HostSettings, HostSource, NatSettings, Permitted, SpaPort};
use crate::network::Networks;
use crate::own::OwnAddresses;
use crate::policy::Policy;
use crate::ports::PortSet;
use crate::stanza::{Stanza, StanzaKey};

/// Whatever the host's own configuration would have to allow is allowed.
const WILLING: HostSettings = HostSettings {
    nat: NatSettings {
        is_possible: true,
        forward: true,
        local: true,
        names: true,
        reaches_loopback: false,
        source: HostSource {
            is_translated: false,
            v4: None,
            v6: None,
        },
        destination_rule: false,
    },
    commands: true,
};

/// Who has a right.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Holder {
    /// This user.
    User(Box<str>),
    /// Whoever holds the key with this fingerprint, by whatever name.
    Key(String),
}

/// What stands behind a user's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Proof {
    /// A key of her own with this host.
    Proven,
    /// A key in the text, which others may hold too.
    Asserted,
}

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Of this user alone.
    pub user: Option<&'a str>,
    /// For these ports alone; `None` is for all.
    pub ports: Option<&'a PortSet>,
    /// From this address; `None` is from anywhere that the stanza permits.
    pub source: Option<IpAddr>,
    /// Wall time in seconds since 1970 UTC.
    pub now_secs: u64,
}

/// What one user may open on one host by one stanza.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Right {
    /// The position of the stanza in [`Policy::stanzas`].
    pub stanza: usize,
    /// Who may.
    pub holder: Holder,
    /// How sure it is that it is she.
    pub proof: Proof,
    /// What; never empty.
    pub ports: PortSet,
    /// Where packets are led to, as the audit writes it.
    pub leads_to: Option<String>,
}

/// What a stanza gives for a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// What of the ports asked for is permitted; never empty.
    pub ports: PortSet,
    /// Where packets are led to, as the audit writes it.
    pub leads_to: Option<String>,
}

/// The answer for one user, one host and some ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// All of it is permitted: by these rights, in the order of the text.
    May(Vec<Right>),
    /// Some or all of it is not: what each stanza says that is for this host.
    MayNot(Vec<NotGiven>),
}

/// Why a stanza does not give what is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotGiven {
    /// The position of the stanza in [`Policy::stanzas`].
    pub stanza: usize,
    /// What it says.
    pub why: Denied,
}

/// What each stanza of a policy gives for a question, and to whom.
#[derive(Debug)]
pub struct Asked<'p> {
    policy: &'p Policy,
    given: Vec<Option<(Proof, Vec<Holder>, Judged)>>,
}

// === impl Asked ===

impl Asked<'_> {
    /// Who may open what on this host, stanza by stanza in the order of the text.
    #[must_use]
    pub fn on(&self, host: &HostFacts) -> Vec<Right> {
        let stanzas = self.policy.stanzas.iter().zip(&self.given).enumerate();
        let given = stanzas.filter_map(|(position, (stanza, given))| {
            let given = given.as_ref()?;
            stanza.selects(host).then_some((position, given))
        });
        let rights = given.flat_map(|(position, (proof, holders, judged))| {
            holders.iter().map(move |holder| Right {
                stanza: position,
                holder: holder.clone(),
                proof: *proof,
                ports: judged.ports.clone(),
                leads_to: judged.leads_to.clone(),
            })
        });
        rights.collect()
    }
}

// === impl Policy ===

impl Policy {
    /// Who may open what on a host, stanza by stanza in the order of the text, users by name.
    ///
    /// `users` are those who have keys: a pairwise stanza is for nobody else. Of a stanza with a key in
    /// its text the names are those that it requires, or else whoever holds the key.
    #[must_use]
    pub fn rights_on(
        &self,
        host: &HostFacts,
        users: &BTreeSet<String>,
        question: &Question<'_>,
    ) -> Vec<Right> {
        self.ask(users, question).on(host)
    }

    /// The same for many hosts: every stanza is asked once.
    #[must_use]
    pub fn ask(&self, users: &BTreeSet<String>, question: &Question<'_>) -> Asked<'_> {
        let given = |stanza: &Stanza| {
            let (proof, holders) = holders(stanza, users, question.user)?;
            let judged = stanza.judge_all(question).ok()?;
            Some((proof, holders, judged))
        };
        Asked {
            policy: self,
            given: self.stanzas.iter().map(given).collect(),
        }
    }

    /// Whether a user may open all of these ports on a host. A port is open to her when any stanza
    /// gives it.
    #[must_use]
    pub fn answer(
        &self,
        host: &HostFacts,
        users: &BTreeSet<String>,
        (user, ports): (&str, &PortSet),
        question: &Question<'_>,
    ) -> Answer {
        let question = Question {
            user: Some(user),
            ports: Some(ports),
            ..*question
        };
        let rights = self.rights_on(host, users, &question);
        let given = rights.iter().flat_map(|right| right.ports.iter());
        if ports.without(&given.collect()).is_empty() {
            return Answer::May(rights);
        }
        let selected = self.stanzas.iter().enumerate();
        let selected = selected.filter(|(_, stanza)| stanza.selects(host));
        let whys = selected.filter_map(|(position, stanza)| {
            let why = match stanza.judge_as(user, &question) {
                Err(denied) => denied,
                // She is in it and has no key, or it gives a part of what is asked.
                Ok(judged) => match ports.without(&judged.ports).iter().next() {
                    Some(port) if stanza.restrict_ports.touches(port) => {
                        Denied::PortRestricted(port)
                    }
                    Some(port) => Denied::PortNotOpen(port),
                    None => return None,
                },
            };
            Some(NotGiven {
                stanza: position,
                why,
            })
        });
        Answer::MayNot(whys.collect())
    }
}

/// The users of a stanza, those only of whom it is asked; `None` for nobody.
fn holders(
    stanza: &Stanza,
    users: &BTreeSet<String>,
    asked: Option<&str>,
) -> Option<(Proof, Vec<Holder>)> {
    let is_asked = |name: &&str| asked.is_none_or(|asked| asked == *name);
    let user = |name: &str| Holder::User(name.into());
    let required = stanza.require_username.iter();
    let (proof, holders): (_, Vec<Holder>) = match &stanza.key {
        StanzaKey::Static(keys) => {
            let holders = if stanza.require_username.is_empty() {
                let key = |keys: &spa::Keys| Holder::Key(keys.fingerprint().to_string());
                keys.iter().map(key).collect()
            } else {
                required.filter(is_asked).map(user).collect()
            };
            (Proof::Asserted, holders)
        }
        StanzaKey::Pairwise if stanza.require_username.is_empty() => {
            let all = users.iter().map(String::as_str);
            (Proof::Proven, all.filter(is_asked).map(user).collect())
        }
        StanzaKey::Pairwise => {
            let joined = required.filter(|name| users.contains(*name));
            (Proof::Proven, joined.filter(is_asked).map(user).collect())
        }
        StanzaKey::User { user: name, .. } => {
            let own = [&**name].into_iter();
            (Proof::Proven, own.filter(is_asked).map(user).collect())
        }
    };
    (!holders.is_empty()).then_some((proof, holders))
}

// === impl Stanza ===

impl Stanza {
    /// What the stanza gives to whoever it is for.
    pub(crate) fn judge_all(&self, question: &Question<'_>) -> Result<Judged, Denied> {
        // Of a name only that is judged whether it is on the list.
        let user = self.require_username.iter().next().unwrap_or("user");
        self.judge_as(user, question)
    }

    /// What the stanza gives to a user of this name, whatever keys she has.
    pub(crate) fn judge_as(&self, user: &str, question: &Question<'_>) -> Result<Judged, Denied> {
        let everything;
        let asked = match question.ports {
            Some(ports) => ports,
            None => {
                everything = PortSet::everything();
                &everything
            }
        };
        let mut first = None;
        let mut given: Vec<Service> = Vec::new();
        let mut leads_to = None;
        for service in self.opens_of(asked).iter() {
            match self.judge_one(user, service, question) {
                Ok(leads) => {
                    given.push(service);
                    leads_to = leads_to.or(leads);
                }
                Err(denied) => first = first.or(Some(denied)),
            }
        }
        if given.is_empty() {
            // None of it is on the list: the judge says which, unless another rule comes before.
            let denied = first.or_else(|| {
                let service = asked.iter().next()?;
                self.judge_one(user, service, question).err()
            });
            return Err(denied.unwrap_or(Denied::NoPorts));
        }
        Ok(Judged {
            ports: given.into_iter().collect(),
            leads_to,
        })
    }

    /// What of these ports is on OPEN_PORTS and not on RESTRICT_PORTS.
    pub(crate) fn opens_of(&self, asked: &PortSet) -> PortSet {
        let left = asked.without(&self.restrict_ports);
        match &self.open_ports {
            None => left,
            Some(open) => left.without(&left.without(open)),
        }
    }

    /// Asks the judge of the gate for one port or range: from the address that is asked about, or from
    /// any of those from which packets may come.
    fn judge_one(
        &self,
        user: &str,
        service: Service,
        question: &Question<'_>,
    ) -> Result<Option<String>, Denied> {
        let sources = match question.source {
            Some(source) => vec![source],
            None => clients_of(&self.source),
        };
        let destination = clients_of(&self.destination).first().copied();
        let mut denied = None;
        for source in sources {
            let message = access(user, source, service, question.now_secs);
            let ask = Ask {
                source,
                destination: destination.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
                port: SpaPort::Any,
                message: &message,
                now_secs: question.now_secs,
                host: &WILLING,
                own: &OwnAddresses::NONE,
                forwarded_for: None,
            };
            match self.judge(&ask) {
                Ok(permit) => {
                    return Ok(match permit.what() {
                        Permitted::Forward(forwarding) => Some(forwarding.to_string()),
                        Permitted::Ports(_)
                        | Permitted::Close { .. }
                        | Permitted::Cycle(_)
                        | Permitted::Command { .. } => None,
                    });
                }
                Err(why) => denied = denied.or(Some(why)),
            }
        }
        Err(denied.unwrap_or(Denied::NoPorts))
    }
}

/// What a client sends that wants this port.
fn access(user: &str, source: IpAddr, service: Service, now_secs: u64) -> Message {
    Message {
        random: [b'0'; 16],
        username: user.to_owned(),
        timestamp_secs: now_secs,
        version: Message::VERSION.to_owned(),
        message_type: MessageType::Access,
        request: Request::Access {
            allow: Allow::Address(source.to_canonical()),
            ports: vec![service],
        },
        nat_access: None,
        client_timeout_secs: 0,
        digest_type: DigestType::Sha256,
    }
}

/// Addresses out of these networks that a client can have, some of each: of documentation's where any
/// will do. Both families, since what is led on elsewhere stays within one.
fn clients_of(networks: &Networks) -> Vec<IpAddr> {
    const V4: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    const V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));
    match networks {
        Networks::Any => vec![V4, V6],
        Networks::Only(networks) => {
            let of = |network: &ipnet::IpNet| {
                let own = [network.hosts().next(), Some(network.network())];
                let known = [V4, V6].into_iter().filter(|known| network.contains(known));
                known
                    .chain(own.into_iter().flatten())
                    .take(2)
                    .collect::<Vec<_>>()
            };
            networks.iter().flat_map(of).collect()
        }
    }
}
