//! Our table: laid in one transaction, compared with what was laid, laid again, taken away.

use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::Arc;

use spa::Service;

use super::super::adoption::adopt;
use super::super::lock::ChainLock;
use super::super::{BaseRules, Drift, FirewallError};
use super::element::{self, Listed};
use super::message::{self, Change, Element, Key};
use super::nat;
use super::notices;
use super::ruleset::{self, Laid, Set};
use super::table::{OWNER, Ownership, Reader, Table, TableDigest};
use crate::netlink::{Heard, Listener, Requests};

/// Lays and repairs the table.
#[derive(Debug)]
pub(super) struct NftRules {
    table: Arc<Table>,
    reader: Reader,
    requests: Requests,
    what: Laid,
    protect: Vec<Service>,
    /// The ports that it hid when it was last laid by this process.
    hidden: Option<Vec<Service>>,
    /// What it held right after it was laid.
    digest: Option<TableDigest>,
    /// Hears of changes, where others can make any.
    listener: Option<Listener>,
    #[expect(
        dead_code,
        reason = "held, not used: the table is ours until this goes"
    )]
    locks: Option<[ChainLock; 2]>,
}

// === impl NftRules ===

impl NftRules {
    pub(super) fn new(
        table: Arc<Table>,
        what: Laid,
        locks: Option<[ChainLock; 2]>,
    ) -> Result<Self, FirewallError> {
        let listener = match table.ownership {
            Ownership::Ours => None,
            Ownership::Anybodys => notices::listen(),
        };
        Ok(Self {
            reader: Reader::connect(&table.name)?,
            table,
            requests: Requests::default(),
            what,
            protect: Vec::new(),
            hidden: None,
            digest: None,
            listener,
            locks,
        })
    }

    /// Lays everything with these ports hidden.
    fn lay_with(&mut self, protect: &[Service]) -> Result<(), FirewallError> {
        let found = self.reader.table()?;
        // Sessions that connection tracking has not seen would end with what is hidden now. Of ports
        // that are hidden already there are none, but for those that were cut.
        let newly = self.newly(protect)?;
        adopt(&newly);
        let is_foreign = |flags: u32| flags & OWNER == 0 && self.table.ownership == Ownership::Ours;
        let anew = found.is_some_and(|found| is_foreign(found.flags));
        let ownership = self.table.ownership;
        match self.transact(protect, anew, ownership) {
            // Laid by another version of this program, with sets of another kind.
            Err(_) if found.is_some() && !anew => self.transact(protect, true, ownership)?,
            other => other?,
        }
        self.hidden = Some(protect.to_vec());
        // What has begun since is still one of them: nothing begins from now on.
        adopt(&newly);
        self.digest = Some(self.reader.digest()?);
        Ok(())
    }

    /// One transaction. `anew` takes away first what is there, and keeps what is open and barred.
    fn transact(
        &mut self,
        protect: &[Service],
        anew: bool,
        ownership: Ownership,
    ) -> Result<(), FirewallError> {
        let kept = if anew { self.elements()? } else { Vec::new() };
        let led = if anew && self.what.leads {
            nat::elements_of(&nat::list_sets(&mut self.reader)?)
        } else {
            Vec::new()
        };
        let Self {
            table, requests, ..
        } = self;
        requests.clear();
        message::begin_batch(requests);
        if anew {
            message::delete_table(requests, &table.name);
        }
        message::new_table(requests, &table.name, ownership.flags());
        let hidden = ruleset::protected(protect);
        ruleset::lay(requests, &table.name, self.what, &hidden);
        nat::add(requests, &table.name, &led);
        for (set, elements) in kept {
            message::change_elements(requests, Change::Add, &table.name, set.name(), &elements);
        }
        message::end_batch(requests);
        table.change(requests, "lay")
    }

    /// What is open and what is barred, with the time left.
    fn elements(&mut self) -> Result<Vec<(Set, Vec<Element>)>, FirewallError> {
        let mut all = Vec::new();
        for set in ruleset::all_sets().filter(|set| *set != Set::Protected) {
            let mut elements = Vec::new();
            self.reader.elements(set.name(), &mut |listed| {
                let hole = element::hole(&listed, set.family());
                elements
                    .extend(hole.and_then(|hole| element::of_rule(&hole.rule, Some(hole.timeout))));
            })?;
            all.push((set, elements));
        }
        Ok(all)
    }

    /// Those of these ports that are not hidden yet.
    fn newly(&mut self, protect: &[Service]) -> Result<Vec<Service>, FirewallError> {
        let hidden = match &self.hidden {
            Some(hidden) => ruleset::protected(hidden),
            None => self.in_kernel()?,
        };
        let is_hidden = |element: &Element| hidden.iter().any(|it| covers(it, element));
        let newly = protect.iter().copied();
        Ok(newly
            .filter(|service| !ruleset::protected(&[*service]).iter().all(is_hidden))
            .collect())
    }

    /// The hidden ports, as the kernel has them.
    fn in_kernel(&mut self) -> Result<Vec<Element>, FirewallError> {
        let mut hidden = Vec::new();
        let set = Set::Protected.name();
        self.reader.elements(set, &mut |listed: Listed<'_>| {
            hidden.push(Element {
                first: Key::of(&[listed.first]),
                last: Some(Key::of(&[listed.last])),
                timeout_ms: None,
            });
        })?;
        hidden.sort_unstable_by_key(|element| element.first);
        Ok(hidden)
    }
}

impl BaseRules for NftRules {
    fn lay(&mut self, protect: &[Service]) -> Result<(), FirewallError> {
        self.protect = protect.to_vec();
        self.lay_with(protect)
    }

    fn prepare(&mut self) -> Result<(), FirewallError> {
        if self.digest.is_some() && self.check()?.is_none() {
            return Ok(());
        }
        let hidden = ruleset::services(&self.in_kernel()?);
        self.lay_with(&hidden)
    }

    fn protected(&self) -> &[Service] {
        &self.protect
    }

    fn check(&mut self) -> Result<Option<Drift>, FirewallError> {
        let name = &self.table.name;
        let mut findings = Vec::new();
        match self.reader.table()? {
            None => findings.push(format!("table inet {name} is gone")),
            Some(found) if found.flags != self.table.ownership.flags() => {
                findings.push(format!("the flags of table inet {name} were changed"));
            }
            Some(_) => {
                // Twice, because a list is not whole when somebody changes something meanwhile.
                if self.digest != Some(self.reader.digest()?)
                    && self.digest != Some(self.reader.digest()?)
                {
                    findings.push(format!("the rules of table inet {name} were changed"));
                }
                let hidden = ruleset::protected(self.hidden.as_deref().unwrap_or_default());
                if self.in_kernel()? != hidden {
                    let name = &self.table.name;
                    findings.push(format!(
                        "the hidden ports of table inet {name} were changed"
                    ));
                }
            }
        }
        Ok((!findings.is_empty()).then_some(Drift(findings)))
    }

    fn notices(&self) -> Option<BorrowedFd<'_>> {
        self.listener.as_ref().map(Listener::as_fd)
    }

    fn noticed(&mut self) -> bool {
        let (table, mut concerned) = (&self.table, false);
        let Some(listener) = &mut self.listener else {
            return false;
        };
        let heard = listener.drain(&mut |notice| {
            concerned |= notice.port != table.port && notices::concerns(notice, &table.name);
        });
        concerned || !matches!(heard, Ok(Heard::All))
    }

    fn repair(&mut self) -> Result<(), FirewallError> {
        let protect = self.protect.clone();
        self.lay_with(&protect)
    }

    /// Makes the table anybody's: one that has lost its owner is printed by some versions of nft (1.0.6)
    /// so that they refuse to load it, and with it all that a file of the owner's holds beside.
    fn leave(&mut self) -> Result<(), FirewallError> {
        match (self.table.ownership, self.hidden.take()) {
            (Ownership::Ours, Some(hidden)) => {
                self.digest = None;
                self.transact(&hidden, true, Ownership::Anybodys)
            }
            (Ownership::Ours | Ownership::Anybodys, _) => Ok(()),
        }
    }

    fn remove(&mut self) -> Result<(), FirewallError> {
        let Self {
            table, requests, ..
        } = self;
        requests.clear();
        message::begin_batch(requests);
        // So that it is there, and ours to delete.
        if self
            .reader
            .table()?
            .is_none_or(|found| found.flags & OWNER != 0)
        {
            table.claim(requests);
        }
        message::delete_table(requests, &table.name);
        message::end_batch(requests);
        table.change(requests, "remove")?;
        self.hidden = None;
        self.digest = None;
        Ok(())
    }
}

/// Whether an interval of hidden ports has all of another.
fn covers(whole: &Element, part: &Element) -> bool {
    let last = |element: &Element| element.last.unwrap_or(element.first);
    whole.first <= part.first && last(part) <= last(whole)
}
