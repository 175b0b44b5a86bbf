//! What becomes of a packet after our guard: the way through the owner's chains, for all sources at
//! once. Pure.
//!
//! A drop is certain when no rule before it, in its base chain, may have accepted the packet. What a
//! base chain accepts goes on to the next one; what one drops is gone.

use std::collections::HashMap;
use std::net::IpAddr;

use super::bytes::{Byte, Meaning, Split};
use super::packet::Packet;
use super::ruleset::{Hook, Place, Rule, Ruleset, Set, Step, Table, Verdict};
use super::sources::Sources;
use super::truth::Truth;

/// Jumps inside jumps. The kernel knows 16.
const DEPTH_MAX: usize = 20;
/// Bytes of all registers, and room behind them.
const REGISTERS: usize = 64 + 64;

/// Where packets are dropped.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) struct Cause<'r> {
    /// The table, by its place in the ruleset.
    pub(super) table: usize,
    pub(super) chain: &'r str,
    /// The rule, by its place in the chain; `None` for the chain's policy.
    pub(super) rule: Option<usize>,
    /// Whether no rule before may have let the packet pass.
    pub(super) is_certain: bool,
    pub(super) stage: Stage,
}

/// What is dropped.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) enum Stage {
    /// What comes, before our guard has seen it: no mark of ours is on it.
    Before,
    /// The same, behind our guard.
    Behind,
    /// What this host answers.
    Answer,
}

/// Why a walk did not come to its end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Stop {
    /// The ports must be looked at apart.
    Split(u16),
    /// The rules are too many.
    TooMuch,
}

/// For whom packets are led to another place.
#[derive(Clone, Debug)]
pub(super) struct Lead {
    pub(super) sources: Truth,
    /// `None` is this host.
    pub(super) address: Option<IpAddr>,
    pub(super) port: Option<u16>,
}

/// What many walks share.
#[derive(Debug)]
pub(super) struct Shared<'r> {
    pub(super) ruleset: &'r Ruleset,
    /// Rules and elements that may still be looked at.
    pub(super) budget: usize,
    /// Sets of sources, by where they are.
    sources: HashMap<(usize, usize), Sources>,
}

/// One packet's way through base chains.
#[derive(Debug)]
pub(super) struct Walk<'s, 'r> {
    pub(super) shared: &'s mut Shared<'r>,
    pub(super) meaning: &'s Meaning<'r>,
    pub(super) packet: Packet,
    pub(super) stage: Stage,
    /// Those whose packets have not been dropped.
    pub(super) alive: Sources,
    pub(super) drops: HashMap<Cause<'r>, Sources>,
    pub(super) leads: Vec<Lead>,
    /// Those who have not left the base chain, and of them those who may have been accepted in it.
    left: Sources,
    unsure: Sources,
    registers: Vec<Byte>,
}

/// A chain that is being walked.
#[derive(Clone, Debug)]
struct Frame<'r> {
    table: &'r Table,
    index: usize,
    chain: &'r str,
    /// Those who are in it; and those of them who may not be.
    here: Sources,
    iffy: Sources,
    depth: usize,
}

/// Those for whom a verdict holds, and those for whom it may.
#[derive(Debug)]
struct Concerned {
    sure: Sources,
    maybe: Sources,
}

// === impl Shared ===

impl<'r> Shared<'r> {
    pub(super) fn new(ruleset: &'r Ruleset, budget: usize) -> Self {
        Self {
            ruleset,
            budget,
            sources: HashMap::new(),
        }
    }

    fn spend(&mut self, count: usize) -> Result<(), Stop> {
        self.budget = self.budget.checked_sub(count).ok_or(Stop::TooMuch)?;
        Ok(())
    }
}

impl From<Split> for Stop {
    fn from(Split(at): Split) -> Self {
        Self::Split(at)
    }
}

// === impl Walk ===

impl<'s, 'r> Walk<'s, 'r> {
    pub(super) fn new(
        shared: &'s mut Shared<'r>,
        meaning: &'s Meaning<'r>,
        packet: Packet,
        alive: Sources,
    ) -> Self {
        Self {
            shared,
            meaning,
            packet,
            stage: Stage::Behind,
            left: Sources::none(),
            unsure: Sources::none(),
            alive,
            drops: HashMap::new(),
            leads: Vec::new(),
            registers: vec![Byte::UNKNOWN; REGISTERS],
        }
    }

    /// Goes through a base chain.
    pub(super) fn pass(&mut self, place: Place<'r>) -> Result<(), Stop> {
        let tables = &self.shared.ruleset.tables;
        let index = tables
            .iter()
            .position(|table| std::ptr::eq(table, place.table));
        let mut frame = Frame {
            table: place.table,
            index: index.unwrap_or_default(),
            chain: place.name,
            here: self.entering(place),
            iffy: Sources::none(),
            depth: 0,
        };
        self.left = frame.here.clone();
        self.unsure = Sources::none();
        self.chain(&mut frame, &place.chain.rules)?;
        if place.base.drops {
            let all = Concerned {
                sure: self.left.clone(),
                maybe: Sources::none(),
            };
            self.drop_all(&frame, None, &all);
        }
        Ok(())
    }

    /// Those whose packets come into a base chain: at ingress, by its interfaces.
    fn entering(&self, place: Place<'r>) -> Sources {
        if place.base.hook != Hook::Ingress {
            return self.alive.clone();
        }
        let mut behind = Sources::none();
        for interface in &self.shared.ruleset.routes.interfaces {
            if place.chain.devices.contains(&interface.name) {
                behind.add(interface.of(self.packet.family));
            }
        }
        self.alive.and(&behind)
    }

    fn chain(&mut self, frame: &mut Frame<'r>, rules: &'r [Rule]) -> Result<(), Stop> {
        for (at, rule) in rules.iter().enumerate() {
            self.shared.spend(1)?;
            self.rule(frame, at, rule)?;
            if frame.here.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn rule(&mut self, frame: &mut Frame<'r>, at: usize, rule: &'r Rule) -> Result<(), Stop> {
        self.registers.fill(Byte::UNKNOWN);
        let mut truth = Truth::YES;
        for step in &rule.steps {
            match step {
                Step::Verdict(verdict) => return self.act(frame, at, &truth, verdict),
                Step::UnknownVerdict(_) => {
                    let maybe = Truth::MAYBE.and(&truth);
                    self.act(frame, at, &maybe, &Verdict::Queue)?;
                }
                Step::Lookup {
                    from,
                    set,
                    is_outside: _,
                    gives_verdict: true,
                } => return self.verdict_map(frame, at, &truth, (*from, set)),
                Step::Lead { address, port } => {
                    let lead = self.lead(*address, *port);
                    return self.lead_on(frame, at, &truth, lead);
                }
                Step::LeadTo { address, port } => {
                    return self.lead_on(frame, at, &truth, (*address, *port));
                }
                Step::SetMark { from } => {
                    let mark = self.read(*from, 4).to_vec();
                    self.set_mark(frame, &truth, &mark);
                }
                Step::ChangeMark { value, mask } => {
                    let bytes = mask.to_ne_bytes().into_iter().zip(value.to_ne_bytes());
                    let mark = self.packet.mark.iter().zip(bytes);
                    let mark = mark.map(|(byte, (mask, value))| byte.masked(!mask, value));
                    let mark: Vec<Byte> = mark.collect();
                    self.set_mark(frame, &truth, &mark);
                }
                Step::Load { .. }
                | Step::Immediate { .. }
                | Step::Mask { .. }
                | Step::Swap { .. }
                | Step::Forget { .. }
                | Step::Compare { .. }
                | Step::Range { .. }
                | Step::Lookup { .. }
                | Step::Match(_)
                | Step::Aside(_)
                | Step::Pass(_)
                | Step::Unknown(_) => truth = truth.and(&self.condition(frame.table, step)?),
            }
            if truth.is_no() {
                break;
            }
        }
        Ok(())
    }

    /// For whom a rule may do what it says. Which ports they ask for is not looked at.
    pub(super) fn reach(&mut self, table: &'r Table, rule: &'r Rule) -> Sources {
        self.registers.fill(Byte::UNKNOWN);
        let mut truth = Truth::YES;
        for step in &rule.steps {
            let holds = self.condition(table, step);
            truth = truth.and(&holds.unwrap_or(Truth::MAYBE));
        }
        truth.possible()
    }

    /// What a step that is no verdict says.
    fn condition(&mut self, table: &'r Table, step: &'r Step) -> Result<Truth, Stop> {
        Ok(match step {
            Step::Load { to, what } => {
                let bytes = self.packet.load(*what);
                self.write(*to, &bytes);
                Truth::YES
            }
            Step::Immediate { to, bytes } => {
                self.write(*to, &super::bytes::known(bytes));
                Truth::YES
            }
            Step::Mask {
                from,
                to,
                mask,
                xor,
            } => {
                let bytes = self
                    .read(*from, mask.len())
                    .iter()
                    .zip(mask.iter().zip(xor));
                let bytes: Vec<Byte> = bytes
                    .map(|(b, (mask, xor))| b.masked(*mask, *xor))
                    .collect();
                self.write(*to, &bytes);
                Truth::YES
            }
            Step::Swap {
                from,
                to,
                len,
                size,
            } => {
                let mut bytes = self.read(*from, *len).to_vec();
                bytes.chunks_mut((*size).max(1)).for_each(<[Byte]>::reverse);
                self.write(*to, &bytes);
                Truth::YES
            }
            Step::Forget { to, len } => {
                self.write(*to, &vec![Byte::UNKNOWN; (*len).min(REGISTERS)]);
                Truth::YES
            }
            Step::Compare {
                from,
                comparison,
                with,
            } => self
                .meaning
                .compare(self.read(*from, with.len()), *comparison, with)?,
            Step::Range {
                from,
                is_outside,
                low,
                high,
            } => {
                let bytes = self.read(*from, low.len());
                let inside = self.meaning.is_between(bytes, low, high)?;
                inside.inverted_if(*is_outside)
            }
            Step::Lookup {
                from,
                set,
                is_outside,
                gives_verdict: _,
            } => match table.sets.get(set) {
                Some(set) => self.is_in(*from, set)?.inverted_if(*is_outside),
                None => Truth::MAYBE,
            },
            Step::Match(asked) => super::asks::holds(asked, &self.packet, self.meaning)?,
            Step::Unknown(_) | Step::UnknownVerdict(_) => Truth::MAYBE,
            Step::Pass(_)
            | Step::Aside(_)
            | Step::Verdict(_)
            | Step::SetMark { .. }
            | Step::ChangeMark { .. }
            | Step::Lead { .. }
            | Step::LeadTo { .. } => Truth::YES,
        })
    }

    fn is_in(&mut self, from: usize, set: &'r Set) -> Result<Truth, Stop> {
        let len = set.len();
        let is_source = self.read(from, len) == self.packet.source().as_slice();
        let key = (std::ptr::from_ref(set).addr(), len);
        let mut truth = Truth::NO;
        if is_source && let Some(sources) = self.shared.sources.get(&key) {
            truth = Truth::sources(sources.clone());
        } else {
            self.shared.spend(set.elements.len())?;
            for (found, _) in self.meaning.look_up(self.read(from, len), set)? {
                truth.or(&found);
            }
            if is_source && truth.maybe.is_none() {
                self.shared.sources.insert(key, truth.yes.clone());
            }
        }
        if set.is_partial {
            truth.or(&Truth::MAYBE);
        }
        Ok(truth)
    }

    fn verdict_map(
        &mut self,
        frame: &mut Frame<'r>,
        at: usize,
        truth: &Truth,
        (from, name): (usize, &str),
    ) -> Result<(), Stop> {
        let Some(set) = frame.table.sets.get(name) else {
            return self.act(frame, at, &Truth::MAYBE.and(truth), &Verdict::Queue);
        };
        self.shared.spend(set.elements.len())?;
        for (found, element) in self.meaning.look_up(self.read(from, set.len()), set)? {
            let verdict = element.verdict.as_ref().unwrap_or(&Verdict::Queue);
            self.act(frame, at, &truth.and(&found), verdict)?;
        }
        Ok(())
    }

    fn act(
        &mut self,
        frame: &mut Frame<'r>,
        at: usize,
        truth: &Truth,
        verdict: &'r Verdict,
    ) -> Result<(), Stop> {
        let concerned = frame.concerned(truth);
        if concerned.is_nobody() {
            return Ok(());
        }
        match verdict {
            Verdict::Continue => {}
            Verdict::Accept => self.leave(frame, &concerned),
            Verdict::Drop | Verdict::Reject => {
                self.drop_all(frame, Some(at), &concerned);
                self.leave_chain(frame, &concerned.sure);
            }
            Verdict::Queue => {
                let all = Concerned {
                    sure: Sources::none(),
                    maybe: concerned.all(),
                };
                self.drop_all(frame, Some(at), &all);
                self.leave(frame, &all);
            }
            Verdict::Return => {
                frame.here.remove(&concerned.sure);
                frame.iffy.add(&concerned.maybe);
            }
            Verdict::Jump(to) | Verdict::Goto(to) => {
                self.jump(frame, to, &concerned)?;
                if matches!(verdict, Verdict::Goto(_)) {
                    frame.here.remove(&concerned.sure);
                    frame.iffy.add(&concerned.maybe);
                }
            }
        }
        Ok(())
    }

    fn jump(
        &mut self,
        frame: &mut Frame<'r>,
        to: &'r str,
        concerned: &Concerned,
    ) -> Result<(), Stop> {
        let table = frame.table;
        // A chain of ours is not there.
        let Some(chain) = table.chains.get(to) else {
            return Ok(());
        };
        if frame.depth >= DEPTH_MAX {
            return Err(Stop::TooMuch);
        }
        let mut inner = Frame {
            chain: to,
            here: concerned.all(),
            iffy: concerned.maybe.clone(),
            depth: frame.depth + 1,
            ..*frame
        };
        self.chain(&mut inner, &chain.rules)?;
        frame.here = frame.here.and(&self.left);
        Ok(())
    }

    /// Accepted: they leave this base chain, or may.
    fn leave(&mut self, frame: &mut Frame<'r>, concerned: &Concerned) {
        self.leave_chain(frame, &concerned.sure);
        self.unsure.add(&concerned.maybe);
    }

    fn leave_chain(&mut self, frame: &mut Frame<'r>, sources: &Sources) {
        frame.here.remove(sources);
        self.left.remove(sources);
    }

    fn drop_all(&mut self, frame: &Frame<'r>, rule: Option<usize>, concerned: &Concerned) {
        let certain = concerned.sure.without(&self.unsure);
        let mut uncertain = concerned.all();
        uncertain.remove(&certain);
        for (is_certain, sources) in [(true, &certain), (false, &uncertain)] {
            if !sources.is_none() {
                let cause = Cause {
                    table: frame.index,
                    chain: frame.chain,
                    rule,
                    is_certain,
                    stage: self.stage,
                };
                let dropped = self.drops.entry(cause).or_insert_with(Sources::none);
                dropped.add(sources);
            }
        }
        self.alive.remove(&certain);
    }

    fn lead(&self, address: Option<usize>, port: Option<usize>) -> (Option<IpAddr>, Option<u16>) {
        let len = self.packet.address_len();
        let value = |at: usize, len| super::bytes::values(self.read(at, len));
        let address = address.and_then(|at| super::sources::of_bytes(&value(at, len)?));
        let port = port.and_then(|at| Some(u16::from_be_bytes(value(at, 2)?.try_into().ok()?)));
        (address, port)
    }

    fn lead_on(
        &mut self,
        frame: &mut Frame<'r>,
        at: usize,
        truth: &Truth,
        (address, port): (Option<IpAddr>, Option<u16>),
    ) -> Result<(), Stop> {
        let Concerned { sure, maybe } = frame.concerned(truth);
        self.leads.push(Lead {
            sources: Truth { yes: sure, maybe },
            address,
            port,
        });
        self.act(frame, at, truth, &Verdict::Accept)
    }

    /// The packet's mark is another one from now on, for some at least.
    fn set_mark(&mut self, frame: &Frame<'r>, truth: &Truth, mark: &[Byte]) {
        let concerned = frame.concerned(truth);
        if concerned.is_nobody() {
            return;
        }
        let rest = self.alive.without(&concerned.sure);
        if rest.is_none() {
            self.packet.mark = mark.to_vec();
            return;
        }
        for (old, new) in self.packet.mark.iter_mut().zip(mark) {
            if let (Byte::Bits { known, value }, Byte::Bits { known: k, value: v }) = (*old, *new) {
                let known = known & k & !(value ^ v);
                *old = Byte::Bits { known, value };
            } else {
                *old = Byte::UNKNOWN;
            }
        }
    }

    fn read(&self, at: usize, len: usize) -> &[Byte] {
        self.registers.get(at..at + len).unwrap_or_default()
    }

    /// Puts bytes into the registers, and zeros behind them up to the next 4.
    fn write(&mut self, at: usize, bytes: &[Byte]) {
        let padding = bytes.len().next_multiple_of(4) - bytes.len();
        let bytes = bytes.iter().copied();
        let bytes = bytes.chain(std::iter::repeat_n(Byte::known(0), padding));
        for (slot, byte) in self.registers.iter_mut().skip(at).zip(bytes) {
            *slot = byte;
        }
    }
}

// === impl Frame ===

impl Frame<'_> {
    fn concerned(&self, truth: &Truth) -> Concerned {
        let yes = self.here.and(&truth.yes);
        let sure = yes.without(&self.iffy);
        let mut maybe = self.here.and(&truth.maybe);
        maybe.add(&yes.and(&self.iffy));
        Concerned { sure, maybe }
    }
}

// === impl Concerned ===

impl Concerned {
    fn is_nobody(&self) -> bool {
        self.sure.is_none() && self.maybe.is_none()
    }

    fn all(&self) -> Sources {
        let mut all = self.sure.clone();
        all.add(&self.maybe);
        all
    }
}
