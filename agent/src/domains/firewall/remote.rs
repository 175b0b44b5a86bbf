//! The packet filter in another process, as the gate's process has it.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use engine::{Capabilities, Connection, Hole, Rule};
use spa::Service;

use super::link::{Incoming, Link, Outgoing};
use super::message::{Answered, Asked, Done, Hello, Request, Wish};
use super::{Domain, Facts, FirewallEnds, Running, Tell};
use crate::clock;
use crate::domains::channel::{Channel, ChannelError, Sent};
use crate::domains::pulse::Beat;
use crate::firewall::{self, Control, FirewallError, Holes, Notice};
use crate::orders::OrderSender;

/// The packet filter, before the gate thread runs.
#[derive(Debug)]
pub struct Remote {
    facts: Facts,
    holes: RemoteHoles,
    notices: Link,
}

/// How long the other process may take to say what it is: until then it may wait for another program
/// that has the packet filter.
const HELLO_MAX: Duration = Duration::from_secs(120);
/// How long a wish may wait for room.
const WISH_MAX: Duration = Duration::from_secs(1);

/// Asks for one thing after the other, and waits for each, but not for ever.
#[derive(Debug)]
pub(super) struct RemoteHoles {
    link: Link,
    capabilities: Capabilities,
    number: u64,
    /// What was not answered in time, and may be yet: nothing else is asked meanwhile.
    late: Option<Late>,
    beat: Beat,
    /// The number of the last beat.
    beat_number: u64,
    /// What was opened when nobody waited for it any more: it is to be closed.
    stray: Vec<Rule>,
    /// No request is waited for longer.
    limit_max: Duration,
    /// Whether something else was answered once: nothing is asked any more.
    is_lost: bool,
}

/// A request that was given up.
#[derive(Debug)]
struct Late {
    number: u64,
    /// What it opens, if it is carried out all the same.
    opens: Vec<Rule>,
}

#[derive(Debug)]
struct RemoteControl {
    outgoing: Outgoing,
    /// What is to be hidden, and could not be said.
    unsaid: Option<Vec<Service>>,
}

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
    } = link.incoming.receive_within(HELLO_MAX)?;
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
        late: None,
        beat: Beat::new(),
        beat_number: 0,
        stray: Vec::new(),
        limit_max: Duration::MAX,
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
            control: Box::new(RemoteControl {
                outgoing,
                unsaid: None,
            }),
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
    /// Nothing is waited for longer than this.
    #[cfg(test)]
    pub(super) fn hurry(&mut self, limit: Duration) {
        self.limit_max = limit;
    }

    fn ask(&mut self, request: Request<'_>) -> Result<Done, FirewallError> {
        if self.late.is_some() {
            self.catch_up();
        }
        if self.is_lost {
            return Err(FirewallError::Lost);
        }
        if self.late.is_some() {
            return Err(FirewallError::Silent);
        }
        let limit = request.limit().min(self.limit_max);
        // Borrowed, both of it.
        let number = self.say(request.clone(), limit)?;
        loop {
            match self.link.incoming.receive_within::<Answered>(limit) {
                Ok(answered) if answered.number == number => {
                    self.beat.answered();
                    return answered.result;
                }
                // It was asked before, and not waited for.
                Ok(answered) if answered.number == self.beat_number => self.beat.answered(),
                Err(ChannelError::Silent) => {
                    let opens = match &request {
                        Request::Open(holes) => holes.iter().map(|hole| hole.rule).collect(),
                        Request::Begin(_)
                        | Request::Start
                        | Request::Close(..)
                        | Request::End(_)
                        | Request::List
                        | Request::Flush
                        | Request::Beat => Vec::new(),
                    };
                    self.late = Some(Late { number, opens });
                    return Err(FirewallError::Silent);
                }
                Ok(_) | Err(_) => return Err(self.lose()),
            }
        }
    }

    /// Says it; returns its number.
    fn say(&mut self, request: Request<'_>, limit: Duration) -> Result<u64, FirewallError> {
        self.number += 1;
        let asked = Asked {
            number: self.number,
            until: clock::since_boot() + limit,
            request,
        };
        match self.link.outgoing.send_within(&asked, limit) {
            Ok(Sent::Taken) => Ok(self.number),
            // There is room for what is asked one after the other.
            Ok(Sent::Full) | Err(_) => Err(self.lose()),
        }
    }

    /// Hears what has been answered meanwhile; waits for nothing.
    fn catch_up(&mut self) {
        let Link { outgoing, incoming } = &mut self.link;
        let mut heard = outgoing.go_on().map(|_| ());
        while heard.is_ok() {
            let Answered { number, result } = match incoming.receive_now() {
                Ok(Some(answered)) => answered,
                Ok(None) => return,
                Err(cause) => {
                    heard = Err(cause);
                    break;
                }
            };
            match self.late.take() {
                Some(late) if late.number == number => {
                    if result.is_ok() {
                        self.stray.extend(late.opens);
                    }
                    self.beat.answered();
                }
                late if number == self.beat_number => {
                    self.late = late;
                    self.beat.answered();
                }
                _ => heard = Err(ChannelError::Malformed),
            }
        }
        if heard.is_err() {
            self.lose();
        }
    }

    /// Closes what was opened for nobody.
    fn close_stray(&mut self) {
        if !self.stray.is_empty() && self.late.is_none() {
            let stray = std::mem::take(&mut self.stray);
            if self
                .do_it(Request::Close((&*stray).into(), Cow::Borrowed(&[])))
                .is_err()
            {
                self.stray = stray;
            }
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

    fn answers(&mut self) -> bool {
        self.catch_up();
        self.close_stray();
        if !self.is_lost && self.late.is_none() && self.beat.is_due() {
            match self.say(Request::Beat, Duration::ZERO) {
                Ok(number) => self.beat_number = number,
                Err(_) => return false,
            }
        }
        !self.is_lost && self.late.is_none() && !self.beat.is_silent()
    }

    fn reach(&mut self) -> Result<(), FirewallError> {
        self.do_it(Request::Beat)
    }
}

// === impl RemoteControl ===

impl RemoteControl {
    /// Whether it is under way. That nobody listens is heard by the thread that hears.
    fn wish(&mut self, wish: &Wish<'_>) -> bool {
        self.hide_unsaid();
        self.say(wish)
    }

    fn say(&mut self, wish: &Wish<'_>) -> bool {
        let sent = self.outgoing.send_within(wish, WISH_MAX);
        sent.is_ok_and(|sent| sent == Sent::Taken)
    }

    fn hide_unsaid(&mut self) {
        if let Some(ports) = self.unsaid.take()
            && !self.say(&Wish::Protect((&*ports).into()))
        {
            self.unsaid = Some(ports);
        }
    }
}

impl Control for RemoteControl {
    /// The other side does it before it opens.
    fn follow(&mut self, _holes: &[Hole]) {}

    fn look_at(&mut self, connections: Vec<Connection>) {
        self.wish(&Wish::LookAt(connections.into()));
    }

    /// Said again and again until it is heard: the last list is the one that counts.
    fn protect(&mut self, ports: Vec<Service>) {
        self.unsaid = Some(ports);
        self.hide_unsaid();
        if self.unsaid.is_some() {
            tracing::error!(
                "the process that changes the packet filter does not listen: the protected ports are \
                 changed when it does"
            );
        }
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
