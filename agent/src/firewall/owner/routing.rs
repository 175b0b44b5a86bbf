//! The rules of routing that ask for packets' marks (`ip rule fwmark`). Numbers: linux/rtnetlink.h and
//! linux/fib_rules.h.

use std::ops::ControlFlow;

use super::super::family::Family;
use super::ruleset::Asked;
use crate::netlink::{NLM_F_DUMP, Netlink, Notice, Requests};

const RTM_NEWRULE: u16 = 32;
const RTM_GETRULE: u16 = 34;
/// `struct fib_rule_hdr`
const HEADER_LEN: usize = 12;
/// Where its flags are, and `FIB_RULE_INVERT` of them.
const FLAGS_AT: usize = 8;
const INVERTED: u32 = 2;
const FRA_FWMARK: u16 = 10;
const FRA_FWMASK: u16 = 16;

/// The marks that are asked for, each once; nothing where the kernel does not say.
pub(super) fn marks_asked() -> Vec<Asked> {
    let mut marks = Vec::new();
    let Ok(mut netlink) = Netlink::open_route() else {
        return marks;
    };
    for family in Family::ALL {
        let mut requests = Requests::default();
        let mut header = [0; HEADER_LEN];
        if let Some(first) = header.first_mut() {
            *first = family.number();
        }
        requests.begin_other(RTM_GETRULE, NLM_F_DUMP, &header);
        requests.end();
        let mut each = |notice: Notice<'_>| {
            let number = |kind| {
                let value = notice.attributes(HEADER_LEN).find(kind)?;
                Some(u32::from_ne_bytes(value.try_into().ok()?))
            };
            // One that asks for what is not so marked means our packets as it means others.
            if is_inverted(notice.body) {
                return ControlFlow::Continue(());
            }
            if let (RTM_NEWRULE, Some(value)) = (notice.kind, number(FRA_FWMARK)) {
                let mask = number(FRA_FWMASK).unwrap_or(u32::MAX);
                marks.push(Asked { value, mask });
            }
            ControlFlow::Continue(())
        };
        // A kernel without such rules has none that ask.
        let _ = netlink.list(&mut requests, &mut each);
    }
    marks.sort_unstable();
    marks.dedup();
    marks
}

fn is_inverted(body: &[u8]) -> bool {
    let flags = body
        .get(FLAGS_AT..FLAGS_AT + 4)
        .and_then(|flags| flags.try_into().ok());
    flags.is_some_and(|flags| u32::from_ne_bytes(flags) & INVERTED != 0)
}
