//! The packet filter in another process, as the gate's process has it.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use engine::{Capabilities, Connection, Hole, Rule};
use spa::Service;

use super::link::{Incoming, Link, Outgoing};
use super::message::{Answered, Asked, Done, Hello, Request, Wish};
use super::{Domain, Facts, FirewallEnds, Running, Tell};
use crate::domains::channel::{Channel, ChannelError};
use crate::firewall::{self, Control, FirewallError, Holes, Notice};
use crate::orders::OrderSender;

/// The packet filter, before the gate thread runs.
#[derive(Debug)]
pub struct Remote {
    facts: Facts,
    holes: RemoteHoles,
    notices: Link,
}

/// Asks for one thing after the other, and waits for each.
#[derive(Debug)]
pub(super) struct RemoteHoles {
    link: Link,
    capabilities: Capabilities,
    number: u64,
    /// Whether it was not answered once: nothing is asked any more.
    is_lost: bool,
}

#[derive(Debug)]
struct RemoteControl(Outgoing);

/// The thread that hears.
#[derive(Debug)]
struct RemoteRunning {
    thread: JoinHandle<()>,
    end: Arc<End>,
}

/// How it ended, or is to.
#[derive(Debug)]
struct End {
    notices: Outgoing,
    is_wanted: AtomicBool,
    is_lost: AtomicBool,
}

// === impl Remote ===

impl Remote {
    /// Has the packet filter at the other ends of these channels, that of requests and that of
    /// notices.
    ///
    /// # Errors
    ///
    /// When nobody is there, or who is there is none of ours.
    pub fn connect(requests: Channel, notices: Channel) -> Result<Self, ChannelError> {
        let (facts, holes) = heard(requests)?;
        let notices = Link::of(notices).map_err(ChannelError::Io)?;
        Ok(Self {
            facts,
            holes,
            notices,
        })
    }
}

/// What is at the other end of a channel of requests, by what it says first.
pub(super) fn heard(requests: Channel) -> Result<(Facts, RemoteHoles), ChannelError> {
    let mut link = Link::of(requests).map_err(ChannelError::Io)?;
    let Hello {
        backend,
        why,
        capabilities,
        hidden,
        watchdog,
    } = link.incoming.receive()?;
    let facts = Facts {
        backend: firewall::backend_named(&backend).ok_or(ChannelError::Malformed)?,
        why,
        capabilities,
        hidden,
        watchdog,
    };
    let holes = RemoteHoles {
        link,
        capabilities,
        number: 0,
        is_lost: false,
    };
    Ok((facts, holes))
}

impl Domain for Remote {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn begin(&mut self, rules: &[Rule]) -> Result<Vec<Connection>, FirewallError> {
        match self.holes.ask(Request::Begin(Cow::Borrowed(rules)))? {
            Done::Connections(connections) => Ok(connections),
            Done::Nothing | Done::Holes(_) => Err(self.holes.lose()),
        }
    }

    fn holes(&mut self) -> &mut dyn Holes {
        &mut self.holes
    }

    fn start(self: Box<Self>, orders: &OrderSender) -> Result<FirewallEnds, FirewallError> {
        let Self {
            facts: _,
            mut holes,
            notices: Link { outgoing, incoming },
        } = *self;
        holes.do_it(Request::Start)?;
        let cannot = |cause: std::io::Error| FirewallError::Thread(cause.to_string());
        let end = Arc::new(End {
            notices: outgoing.second().map_err(cannot)?,
            is_wanted: AtomicBool::new(false),
            is_lost: AtomicBool::new(false),
        });
        let (orders, heard) = (orders.clone(), Arc::clone(&end));
        let thread = thread::Builder::new()
            .name("firewall".to_owned())
            .spawn(move || hear(incoming, &orders, &heard))
            .map_err(cannot)?;
        Ok(FirewallEnds {
            holes: Box::new(holes),
            control: Box::new(RemoteControl(outgoing)),
            running: Box::new(RemoteRunning { thread, end }),
        })
    }
}

/// Hands on what is told. When nobody tells anything any more, nothing can be opened or hidden: the
/// gate stops.
fn hear(mut incoming: Incoming, orders: &OrderSender, end: &End) {
    let tell = Tell::orders(orders);
    let cause = loop {
        match incoming.receive::<Notice>() {
            Ok(notice) => tell.deliver(notice),
            Err(cause) => break cause,
        }
    };
    if !end.is_wanted.load(Ordering::Acquire) {
        let error = program::one_line(&cause);
        tracing::error!(%error, "the process that changes the packet filter is lost: nothing opens any more");
        end.is_lost.store(true, Ordering::Release);
        orders.stop();
    }
}

// === impl RemoteHoles ===

impl RemoteHoles {
    fn ask(&mut self, request: Request<'_>) -> Result<Done, FirewallError> {
        if self.is_lost {
            return Err(FirewallError::Lost);
        }
        self.number += 1;
        let asked = Asked {
            number: self.number,
            request,
        };
        let Link { outgoing, incoming } = &mut self.link;
        let answer = outgoing.send(&asked).and_then(|()| incoming.receive());
        match answer {
            Ok(Answered { number, result }) if number == self.number => result,
            Ok(_) | Err(_) => Err(self.lose()),
        }
    }

    fn do_it(&mut self, request: Request<'_>) -> Result<(), FirewallError> {
        match self.ask(request)? {
            Done::Nothing => Ok(()),
            Done::Connections(_) | Done::Holes(_) => Err(self.lose()),
        }
    }

    /// Who answers something else once is believed nothing more.
    fn lose(&mut self) -> FirewallError {
        self.is_lost = true;
        FirewallError::Lost
    }
}

impl Holes for RemoteHoles {
    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn open(&mut self, holes: &[Hole]) -> Result<(), FirewallError> {
        self.do_it(Request::Open(holes.into()))
    }

    fn close(&mut self, rules: &[Rule], connections: &[Connection]) -> Result<(), FirewallError> {
        self.do_it(Request::Close(rules.into(), connections.into()))
    }

    fn end(&mut self, rules: &[Rule]) -> Result<(), FirewallError> {
        self.do_it(Request::End(rules.into()))
    }

    fn list(&mut self) -> Result<Vec<Hole>, FirewallError> {
        match self.ask(Request::List)? {
            Done::Holes(holes) => Ok(holes),
            Done::Nothing | Done::Connections(_) => Err(self.lose()),
        }
    }

    fn flush(&mut self) -> Result<(), FirewallError> {
        self.do_it(Request::Flush)
    }
}

// === impl RemoteControl ===

impl RemoteControl {
    /// Whether it is under way. That nobody listens is heard by the thread that hears.
    fn wish(&mut self, wish: &Wish<'_>) -> bool {
        self.0.send(wish).is_ok()
    }
}

impl Control for RemoteControl {
    /// The other side does it before it opens.
    fn follow(&mut self, _holes: &[Hole]) {}

    fn look_at(&mut self, connections: Vec<Connection>) {
        self.wish(&Wish::LookAt(connections.into()));
    }

    fn protect(&mut self, ports: Vec<Service>) {
        self.wish(&Wish::Protect(ports.into()));
    }

    fn announce(&mut self) -> bool {
        self.wish(&Wish::Announce)
    }

    fn ready(&mut self) -> bool {
        self.wish(&Wish::Ready)
    }

    fn alive(&mut self) {
        self.wish(&Wish::Alive);
    }
}

// === impl RemoteRunning ===

impl Running for RemoteRunning {
    /// What stays is for the other process to say, when this one has ended.
    fn leave(self: Box<Self>) -> Result<(), FirewallError> {
        let Self { thread, end } = *self;
        end.is_wanted.store(true, Ordering::Release);
        end.notices.hang_up();
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
        if end.is_lost.load(Ordering::Acquire) {
            return Err(FirewallError::Lost);
        }
        Ok(())
    }
}
