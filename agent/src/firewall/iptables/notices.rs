//! Hearing that somebody has changed rules, and a glance at those that are ours.
//!
//! iptables as distributions have it today writes into nf_tables, which tells of every change and
//! lists one chain in microseconds, whatever else there is. With the old iptables nothing is heard:
//! then a chain of ours seems empty here, and everything is looked at now and then.
//! Numbers: linux/netfilter/nf_tables.h, nfnetlink.h.

use std::ops::ControlFlow;
use std::os::fd::{AsFd as _, BorrowedFd};

use sha2::{Digest as _, Sha256};

use super::super::FirewallError;
use super::super::changes::{Change, expressions, text};
use super::super::family::Family;
use super::super::numbers::nf_tables as nf;
use super::chain::TABLE;
use crate::netlink::{Attributes, Heard, Listener, NLM_F_DUMP, Netlink, NetlinkError, Requests};

/// Hears of changes, and looks.
#[derive(Debug)]
pub(super) struct NftWatch {
    listener: Listener,
    requests: Requests,
}

/// What a chain holds, without what changes by itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct ChainDigest {
    sum: [u8; 32],
    rules: usize,
}

// === impl ChainDigest ===

impl ChainDigest {
    /// How many rules.
    pub(super) const fn rules(self) -> usize {
        self.rules
    }
}

// === impl NftWatch ===

impl NftWatch {
    /// Starts to listen; `None` where nothing can be heard.
    pub(super) fn open() -> Option<Self> {
        let listener = Listener::netfilter(&[nf::GROUP]);
        let listener = listener.inspect_err(|cause| {
            tracing::info!(error = %program::one_line(cause), "changes of the firewall are not told");
        });
        Some(Self {
            listener: listener.ok()?,
            requests: Requests::default(),
        })
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    /// Takes all notices. Says whether one of them may concern our chains, or what leads to them;
    /// what was missed may.
    pub(super) fn noticed(&mut self) -> bool {
        let mut concerned = false;
        let heard = self.listener.drain(&mut |notice| {
            let change = Change::of(notice);
            concerned |= change.is_some_and(|change| change.table == TABLE);
        });
        concerned || !matches!(heard, Ok(Heard::All))
    }

    /// What `chain` holds now; `None` when that is not so many rules, or they cannot be seen here.
    ///
    /// # Errors
    ///
    /// When the kernel cannot be asked.
    pub(super) fn digest(
        &mut self,
        family: Family,
        chain: &str,
        expected: usize,
    ) -> Result<Option<ChainDigest>, FirewallError> {
        let mut sum = Sha256::new();
        let mut rules = 0;
        self.rules(family, chain, &mut |rule| {
            rules += 1;
            add_rule(&mut sum, rule);
            ControlFlow::Continue(())
        })?;
        Ok((rules == expected && rules > 0).then(|| ChainDigest {
            sum: sum.finalize().into(),
            rules,
        }))
    }

    /// Which rule of `base`, from 1, is the first that leads to `chain`, whatever the packet. Stops
    /// there, which is at the top, so that it does not matter how many follow.
    ///
    /// # Errors
    ///
    /// When the kernel cannot be asked.
    pub(super) fn way(
        &mut self,
        family: Family,
        base: &str,
        chain: &str,
    ) -> Result<Option<usize>, FirewallError> {
        let (mut at, mut leads) = (0, false);
        self.rules(family, base, &mut |rule| {
            at += 1;
            leads = is_jump(rule, chain);
            if leads {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })?;
        Ok(leads.then_some(at))
    }

    fn rules(
        &mut self,
        family: Family,
        chain: &str,
        each: &mut dyn FnMut(Attributes<'_>) -> ControlFlow<()>,
    ) -> Result<(), FirewallError> {
        let requests = &mut self.requests;
        requests.clear();
        requests.begin(nf::SUBSYSTEM, nf::GETRULE, NLM_F_DUMP, family.number());
        requests.text(nf::TABLE_NAME, TABLE);
        requests.text(nf::RULE_CHAIN, chain);
        requests.end();
        // A list that is not read to its end leaves the socket useless, so each has its own.
        let mut list = |requests: &mut Requests| {
            Netlink::open()?.list(requests, &mut |notice| {
                let rule = notice.attributes(nf::HEADER_LEN);
                if rule.find(nf::RULE_CHAIN).map(text) != Some(chain) {
                    return ControlFlow::Continue(());
                }
                each(rule)
            })
        };
        list(requests).map_err(|cause: NetlinkError| FirewallError::Netlink {
            doing: "list the rules of a chain".into(),
            reason: cause.to_string(),
        })
    }
}

fn add_rule(sum: &mut Sha256, rule: Attributes<'_>) {
    sum.update(b"rule");
    for (name, value) in expressions(rule) {
        sum.update((name.len() as u64).to_le_bytes());
        sum.update(name);
        // Counters count.
        if name != "counter" {
            sum.update((value.len() as u64).to_le_bytes());
            sum.update(value);
        }
    }
}

fn is_jump(rule: Attributes<'_>, chain: &str) -> bool {
    let mut leads = false;
    for (name, value) in expressions(rule) {
        match name {
            "counter" => {}
            "immediate" => leads = jumps_to(value, chain),
            // A condition.
            _ => return false,
        }
    }
    leads
}

fn jumps_to(immediate: &[u8], chain: &str) -> bool {
    let inside = |value: Option<_>, kind| Attributes::inside(value?).find(kind);
    let verdict = inside(
        inside(Some(immediate), nf::IMMEDIATE_DATA),
        nf::DATA_VERDICT,
    );
    inside(verdict, nf::VERDICT_CODE) == Some(&nf::JUMP.to_be_bytes()[..])
        && inside(verdict, nf::VERDICT_CHAIN).map(text) == Some(chain)
}
