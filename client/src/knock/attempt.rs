//! One knock, from the command line to the answer of the ports that it asked for, and why one does not
//! answer.

use std::net::SocketAddr;
use std::time::Duration;

use spa::{ProtoPort, Protocol, Service};
use tokio::task::JoinSet;

use super::answer::{self, Answer, Before, Patience};
use super::args::KnockArgs;
use super::asker::Asker;
use super::delivery::{self, Delivery, Voice};
use super::known::{self, Known, Question};
use super::request::What;
use super::target::{self, Target};
use super::why::{Case, Why, why};
use super::{refresh, seen, way};
use crate::clock;
use crate::context::Context;
use crate::error::{CommandError, Result};

/// How long a port may take to answer when nobody says.
pub(crate) const WAIT: Patience = Patience {
    silence: Duration::from_secs(5),
    refused: Duration::from_millis(300),
};
/// How often the host's record of what cannot be seen is asked for, and the pause between.
const RECORD_TRIES: u32 = 4;
const RECORD_PAUSE: Duration = Duration::from_millis(250);

/// A knock that is under way.
#[derive(Debug)]
pub(crate) struct Knock {
    pub(crate) target: Target,
    pub(crate) delivery: Delivery,
    /// What answered before the packet, where that was tried.
    before: Option<Before>,
}

/// How it stands with something that was asked for.
#[derive(Debug)]
pub(crate) enum State {
    /// Somebody answers.
    Port(Answer),
    /// It cannot be seen from here, and why not.
    Unseen(&'static str),
}

/// What was asked for, and how it stands with it.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) service: Service,
    pub(crate) state: State,
}

/// Why something does not answer, and whether another knock may do better.
#[derive(Debug)]
pub(crate) struct Explained {
    pub(crate) why: Why,
    /// The host is reached in another way than this knock tried.
    pub(crate) has_changed: bool,
}

/// How long to wait for the ports; `None` for not at all.
pub(crate) fn patience(args: &KnockArgs, is_member: bool) -> Option<Patience> {
    match args.wait {
        Some(secs) => {
            let secs = Duration::from_secs(secs.into());
            Some(Patience {
                silence: secs,
                refused: secs,
            })
        }
        None => (is_member && !args.no_wait).then_some(WAIT),
    }
}

// === impl Knock ===

impl Knock {
    /// Finds the host and sends its packets.
    ///
    /// # Errors
    ///
    /// As [`target::find`] and [`delivery::send`].
    pub(crate) async fn send(
        context: &Context,
        args: &KnockArgs,
        host: Option<&str>,
        voice: Voice,
    ) -> Result<Self> {
        let mut target = target::find(context, args, host).await?;
        let delivery = delivery::send(context, &mut target, voice).await?;
        Ok(Self {
            target,
            delivery,
            before: None,
        })
    }

    /// The same, where ports are waited for: it is tried beforehand whether they answer without it.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub(crate) async fn send_and_compare(
        context: &Context,
        args: &KnockArgs,
        host: Option<&str>,
        voice: Voice,
    ) -> Result<Self> {
        let mut target = target::find(context, args, host).await?;
        let before = match patience(args, target.asker.is_some()) {
            Some(_) => Some(Before::begin(tcp_ports(&target)).await),
            None => None,
        };
        let delivery = delivery::send(context, &mut target, voice).await?;
        Ok(Self {
            target,
            delivery,
            before,
        })
    }

    /// Whether this port answered before the packet was sent: nothing hides it, or an earlier knock
    /// has it open.
    pub(crate) fn was_open(&mut self, port: u16) -> bool {
        let before = self.before.as_mut();
        before.is_some_and(|before| before.open().iter().any(|at| at.port() == port))
    }

    /// Sends packets of now to where the host is now: in a fleet it may have moved, or joined anew.
    ///
    /// # Errors
    ///
    /// As [`target::in_fleet`] and [`delivery::send`].
    pub(crate) async fn again(&mut self, context: &Context, args: &KnockArgs) -> Result {
        if let Some(asker) = &mut self.target.asker {
            asker.again();
            // Without an answer the host is where it was.
            if let Some(new) = refresh::again(context, asker).await {
                let asker = Asker::new(asker.membership().clone());
                let (name, old) = (self.target.name.clone(), self.target.listed.take());
                let change = old.and_then(|old| refresh::change(&name, &old, &new));
                if let Some(change) = change {
                    context.ui.note(format_args!("note: {change}"));
                }
                self.target = target::in_fleet(&context.ui, asker, &new, &name, args)?;
            }
        }
        self.delivery = delivery::send(context, &mut self.target, Voice::Quiet).await?;
        Ok(())
    }

    /// Whether it is a member of a fleet who knocks.
    pub(crate) fn is_member(&self) -> bool {
        self.target.asker.is_some()
    }

    /// Waits for everything that was asked for.
    pub(crate) async fn wait(&self, patience: Patience) -> Vec<Checked> {
        let knocked = self.delivery.at;
        let mut tries: JoinSet<(usize, Answer)> = JoinSet::new();
        let mut checked = Vec::new();
        for (index, service) in services(&self.target).into_iter().enumerate() {
            let state = match tcp_port(service) {
                Ok(port) => {
                    let at = self.delivery.at_port(port.port.get());
                    tries.spawn(async move { (index, answer::of(at, patience, knocked).await) });
                    State::Port(Answer::Silence)
                }
                Err(what) => State::Unseen(what),
            };
            checked.push(Checked { service, state });
        }
        while let Some(done) = tries.join_next().await {
            if let Ok((index, answer)) = done
                && let Some(checked) = checked.get_mut(index)
            {
                checked.state = State::Port(answer);
            }
        }
        checked
    }

    /// What the host recorded about this knock, where nobody can see whether it worked; `None` when
    /// nothing is known in time.
    pub(crate) async fn record(&mut self) -> Option<fleet::Event> {
        let digests: Vec<String> = self.digests();
        let digests: Vec<&str> = digests.iter().map(String::as_str).collect();
        let host = self.target.name.clone();
        let asker = self.target.asker.as_mut()?;
        asker.again();
        for _ in 0..RECORD_TRIES {
            tokio::time::sleep(RECORD_PAUSE).await;
            let question = Question {
                host: host.clone(),
                ..Question::default()
            };
            let known = known::ask_known(asker, question).await?;
            if let Some(event) = known.of_packets(&digests) {
                return Some(event.clone());
            }
        }
        None
    }

    fn digests(&self) -> Vec<String> {
        let packets = self.delivery.packets.iter();
        packets.map(|packet| packet.digest.clone()).collect()
    }

    /// Finds out why `service` does not answer, as far as it can be known.
    pub(crate) async fn explain(
        &mut self,
        context: &Context,
        service: &str,
        is_refused: bool,
    ) -> Explained {
        let to = self.delivery.packets.first().map(|packet| packet.to);
        let own = to.and_then(|to| way::to(to).ok()).map(|way| way.own);
        let mut known = None;
        let mut other = None;
        let mut changed = None;
        let mut is_locked = false;
        if let Some(asker) = &mut self.target.asker {
            asker.after_knock();
            let question = Question {
                host: self.target.name.clone(),
                ..Question::default()
            };
            known = known::ask_known(asker, question).await;
            asker.go_on();
            if let Some(own) = own {
                other =
                    seen::by_controller_now(&context.profile, asker, own, context.now_secs).await;
            }
            let new = refresh::again(context, asker).await;
            if let (Some(old), Some(new)) = (&self.target.listed, new) {
                changed = refresh::change(&self.target.name, old, &new);
                is_locked = new.is_locked(&self.target.name);
            }
        }
        let refusal = self.target.asker.as_ref().and_then(Asker::refusal);
        let why = self.why(
            (service, is_refused),
            refusal,
            known.as_ref(),
            (changed.as_deref(), is_locked),
            (other, own),
        );
        Explained {
            why,
            has_changed: changed.is_some(),
        }
    }

    fn why(
        &self,
        (port, is_refused): (&str, bool),
        refusal: Option<(String, String)>,
        known: Option<&Known>,
        (changed, is_locked): (Option<&str>, bool),
        (seen, own): (Option<std::net::IpAddr>, Option<std::net::IpAddr>),
    ) -> Why {
        let target = &self.target;
        why(Case {
            host: &target.name,
            user: &target.username,
            member: target
                .asker
                .as_ref()
                .map(|asker| asker.membership().name.as_str()),
            port,
            is_refused,
            sent: &self.delivery.packets,
            listed: target.listed.as_ref(),
            changed,
            is_locked,
            known,
            refusal: refusal
                .as_ref()
                .map(|(refusal, hint)| (refusal.as_str(), hint.as_str())),
            seen,
            own,
            now_ms: clock::now_secs().saturating_mul(1000),
        })
    }

    /// That `service` does not answer, as an error.
    pub(crate) async fn failed(
        &mut self,
        context: &Context,
        service: &str,
        is_refused: bool,
    ) -> (CommandError, Explained) {
        let told = format!(
            "the packet was sent, and {service} of {} {}; it was to open for {}",
            self.target.name,
            words(is_refused),
            self.delivery.whom()
        );
        let explained = self.explain(context, service, is_refused).await;
        let Why { because, hint, .. } = explained.why.clone();
        let error = CommandError::refused(told).with_hint(hint);
        let error = match because {
            Some(because) => error.because(because),
            None => error,
        };
        (error, explained)
    }
}

/// What was asked for, as far as an answer of it would say that the knock has worked.
fn services(target: &Target) -> Vec<Service> {
    match &target.request.what {
        What::Ports {
            ports,
            forward: None,
        } => ports.clone(),
        What::Ports {
            ports: _,
            forward: Some(_),
        }
        | What::Close { .. }
        | What::Command(_) => Vec::new(),
    }
}

/// Where those that can be tried are; nothing where the host's name leads nowhere, which is said later.
fn tcp_ports(target: &Target) -> Vec<SocketAddr> {
    let ports = services(target)
        .into_iter()
        .filter_map(|it| tcp_port(it).ok());
    let ports: Vec<u16> = ports.map(|it| it.port.get()).collect();
    if ports.is_empty() {
        return Vec::new();
    }
    let found = target.route.resolve(&target.addresses, target.port);
    let mut at = Vec::new();
    for to in found.unwrap_or_default() {
        at.extend(ports.iter().map(|port| SocketAddr::new(to.ip(), *port)));
    }
    at
}

fn words(is_refused: bool) -> &'static str {
    if is_refused {
        "refuses connections: perhaps nobody listens there"
    } else {
        "does not answer"
    }
}

/// The port whose answer says whether the knock has worked, or what it is instead.
fn tcp_port(service: Service) -> Result<ProtoPort, &'static str> {
    match (service, service.single()) {
        (Service::Echo, _) => Err("echo"),
        (Service::Ports(_), Some(port)) if port.protocol == Protocol::Tcp => Ok(port),
        (Service::Ports(_), Some(_)) => Err("UDP"),
        (Service::Ports(_), None) => Err("a range"),
    }
}
