//! The fifth check: the stanzas of the key, in the order of the text. One must permit.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use policy::{
    Ask, Denied, HostSettings, Networks, NotTaken, OnControllerLoss, OwnAddresses, Permit,
    Permitted, SpaPort, Stanza,
};
use spa::{Message, Signer};

use crate::compiled::CompiledPolicy;
use crate::decision::{Decision, Grant, Pending, Reason};
use crate::fresh::Fresh;
use crate::syns::Syns;

/// Evidence: a fresh message that a stanza permits.
#[derive(Debug)]
pub(crate) struct Authorized {
    fresh: Fresh,
    permit: Permit,
    /// What to do when nobody can be asked about a key that other hosts have too; `None` for a key
    /// of this host alone.
    on_loss: Option<OnControllerLoss>,
}

/// What is known of a packet besides its message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    /// From the header, in its plain form.
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) is_ours: bool,
    /// Whatever `destination` is, it was one that the stanza names.
    pub(crate) is_any_destination: bool,
    pub(crate) port: SpaPort,
    pub(crate) forwarded_for: Option<IpAddr>,
    pub(crate) now_secs: u64,
    pub(crate) host: HostSettings,
    pub(crate) own: &'a OwnAddresses,
    pub(crate) proof: Proof<'a>,
    pub(crate) sender: Sender<'a>,
    /// It came as a knock sequence.
    pub(crate) is_sequence: bool,
}

/// What has shown that the message is for the stanzas of its key.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Proof<'a> {
    /// The key itself.
    Key,
    /// A signature, or none: which of the stanzas take it is for them to say.
    Signature(Option<&'a Signer>),
}

/// What is known of the sender's system.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sender<'a> {
    /// It does not matter: what was granted once is asked about again.
    Any,
    /// What its last SYN showed, by now.
    Of(&'a Syns, Duration),
}

// === impl Authorized ===

impl Authorized {
    /// Judges a fresh message by all stanzas of its key.
    ///
    /// # Errors
    ///
    /// What the stanza says that is meant, if no stanza permits it.
    pub(crate) fn judge(
        fresh: Fresh,
        compiled: &CompiledPolicy,
        asked: &Asked<'_>,
    ) -> Result<Self, Reason> {
        let key = fresh.authenticated().key();
        let message = fresh.authenticated().message();
        let (permit, stanza) = first_permit(compiled, compiled.stanzas_of(key), message, asked)?;
        Ok(Self {
            permit,
            on_loss: compiled.is_shared(key).then_some(stanza.on_controller_loss),
            fresh,
        })
    }

    /// Grants, or says what must be claimed first.
    pub(crate) fn conclude(self) -> Decision {
        let Self {
            fresh,
            permit,
            on_loss,
        } = self;
        let identity = fresh.authenticated().identity().clone();
        match on_loss {
            None => Decision::Grant(Grant::new(permit, identity)),
            Some(on_loss) => Decision::Claim(Pending::new(
                permit,
                identity,
                fresh.forget_after_secs(),
                on_loss,
            )),
        }
    }
}

/// Returns the permit of the first stanza that gives one.
///
/// # Errors
///
/// If none does, what the first one says that lists what is asked for, since that is the one which is
/// meant; where none lists it, what the first one says.
pub(crate) fn first_permit<'e>(
    compiled: &CompiledPolicy,
    stanzas: impl Iterator<Item = &'e Stanza>,
    message: &Message,
    asked: &Asked<'_>,
) -> Result<(Permit, &'e Stanza), Reason> {
    if compiled.is_past_its_date(asked.now_secs) {
        return Err(Reason::PolicyExpired);
    }
    let mut first: Option<Denied> = None;
    let mut meant: Option<Denied> = None;
    for stanza in stanzas {
        let ask = Ask {
            source: asked.source,
            destination: destination(stanza, asked),
            port: asked.port,
            message,
            now_secs: asked.now_secs,
            host: &asked.host,
            own: asked.own,
            forwarded_for: asked.forwarded_for,
        };
        // Without DESTINATION a stanza is for what is sent to the host, wherever that is.
        let judged = match stanza.destination {
            Networks::Any if !asked.is_ours => Err(Denied::Destination(asked.destination)),
            Networks::Any | Networks::Only(_) if asked.is_sequence && !stanza.knock_sequence => {
                Err(Denied::NotTaken(NotTaken::Sequence))
            }
            Networks::Any | Networks::Only(_) => asked.proof.judge(stanza).and_then(|()| {
                let permit = stanza.judge(&ask)?;
                asked.sender.judge(stanza, &permit, ask.source)?;
                Ok(permit)
            }),
        };
        match judged {
            Ok(permit) => return Ok((permit, stanza)),
            Err(denied) if meant.is_none() && stanza.lists(&message.request) => {
                meant = Some(denied);
            }
            Err(denied) => {
                first.get_or_insert(denied);
            }
        }
    }
    // Every key has a stanza; if one had none, nothing would permit it.
    Err(meant.or(first).map_or(Reason::NoCandidate, Reason::Denied))
}

// === impl Proof ===

impl Proof<'_> {
    fn judge(self, stanza: &Stanza) -> Result<(), Denied> {
        let Self::Signature(signer) = self else {
            return Ok(());
        };
        let rule = stanza.open_pgp.as_deref();
        if rule.is_some_and(|rule| rule.signers.accept(signer)) {
            return Ok(());
        }
        let name = signer.map_or_else(|| "nobody".to_owned(), Signer::to_string);
        Err(Denied::Signer(name))
    }
}

// === impl Sender ===

impl Sender<'_> {
    /// REQUIRE_OS: last, so that only what would open else is refused for it. Closing needs none.
    fn judge(self, stanza: &Stanza, permit: &Permit, source: IpAddr) -> Result<(), Denied> {
        match (self, &stanza.os, permit.what()) {
            (Self::Any, _, _) | (Self::Of(..), None, _) | (_, _, Permitted::Close { .. }) => Ok(()),
            (
                Self::Of(syns, steady),
                Some(rule),
                Permitted::Ports(_)
                | Permitted::Forward(_)
                | Permitted::Cycle(_)
                | Permitted::Command { .. },
            ) => syns.judge(rule, source, steady).map_err(Denied::NotTaken),
        }
    }
}

fn destination(stanza: &Stanza, asked: &Asked<'_>) -> IpAddr {
    match &stanza.destination {
        Networks::Only(networks) if asked.is_any_destination => {
            let named = networks.first().map(IpNet::addr);
            named.unwrap_or(asked.destination)
        }
        Networks::Any | Networks::Only(_) => asked.destination,
    }
}
