//! What other builds and other versions of fwknopd have.

use super::{EVERY_ROW, Kind, Variable, Verdict};

const FOREIGN: &str = "of a packet filter that Linux does not have";
const LONG_GONE: &str =
    "no fwknopd since 2.0 has read it; CMD_CYCLE_OPEN of a stanza runs commands";

/// A variable that may say what it likes.
const fn without_effect(name: &'static str, why: &'static str, example: &'static str) -> Variable {
    Variable {
        name,
        default: None,
        kind: Kind::Text,
        verdict: Verdict::Moot,
        why,
        example,
        test: EVERY_ROW,
    }
}

/// A row of a fwknopd that was built for firewalld: that of iptables by another name.
macro_rules! of_firewalld {
    ($name:literal, $of:literal) => {
        Variable {
            name: $name,
            why: concat!("as ", $of, ", for a fwknopd that was built for firewalld"),
            ..of_iptables($of)
        }
    };
}

/// The row of this name among those of iptables.
const fn of_iptables(name: &str) -> Variable {
    let mut rows = super::firewall::VARIABLES;
    while let [row, more @ ..] = rows {
        if is_same(row.name.as_bytes(), name.as_bytes()) {
            return *row;
        }
        rows = more;
    }
    panic!("no row has this name")
}

const fn is_same(mut one: &[u8], mut other: &[u8]) -> bool {
    while let ([a, more @ ..], [b, others @ ..]) = (one, other) {
        if *a != *b {
            return false;
        }
        (one, other) = (more, others);
    }
    one.is_empty() && other.is_empty()
}

/// Its rows.
pub(super) static VARIABLES: &[Variable] = &[
    of_firewalld!("ENABLE_FIREWD_FORWARDING", "ENABLE_IPT_FORWARDING"),
    of_firewalld!("ENABLE_FIREWD_LOCAL_NAT", "ENABLE_IPT_LOCAL_NAT"),
    of_firewalld!("ENABLE_FIREWD_SNAT", "ENABLE_IPT_SNAT"),
    of_firewalld!("ENABLE_FIREWD_OUTPUT", "ENABLE_IPT_OUTPUT"),
    of_firewalld!("FLUSH_FIREWD_AT_INIT", "FLUSH_IPT_AT_INIT"),
    of_firewalld!("FLUSH_FIREWD_AT_EXIT", "FLUSH_IPT_AT_EXIT"),
    of_firewalld!("FIREWD_INPUT_ACCESS", "IPT_INPUT_ACCESS"),
    of_firewalld!("FIREWD_OUTPUT_ACCESS", "IPT_OUTPUT_ACCESS"),
    of_firewalld!("FIREWD_FORWARD_ACCESS", "IPT_FORWARD_ACCESS"),
    of_firewalld!("FIREWD_DNAT_ACCESS", "IPT_DNAT_ACCESS"),
    of_firewalld!("FIREWD_SNAT_ACCESS", "IPT_SNAT_ACCESS"),
    of_firewalld!("FIREWD_MASQUERADE_ACCESS", "IPT_MASQUERADE_ACCESS"),
    of_firewalld!("ENABLE_FIREWD_COMMENT_CHECK", "ENABLE_IPT_COMMENT_CHECK"),
    Variable {
        name: "ENABLE_NFQ_CAPTURE",
        default: Some("N"),
        kind: Kind::Switch,
        verdict: Verdict::Obeyed,
        why: "captured at NFQ_INTERFACE instead, without a queue",
        example: "Y",
        test: EVERY_ROW,
    },
    Variable {
        name: "NFQ_INTERFACE",
        default: None,
        kind: Kind::Text,
        verdict: Verdict::Obeyed,
        why: "where packets are captured, with ENABLE_NFQ_CAPTURE Y",
        example: "eth7",
        test: EVERY_ROW,
    },
    Variable {
        name: "NFQ_PORT",
        default: Some("62201"),
        kind: Kind::Number(1, 65_535),
        verdict: Verdict::Obeyed,
        why: "spa_port, with ENABLE_NFQ_CAPTURE Y",
        example: "62207",
        test: EVERY_ROW,
    },
    Variable {
        name: "NFQ_TABLE",
        default: Some("mangle"),
        kind: Kind::Text,
        verdict: Verdict::Moot,
        why: "no queue is made",
        example: "raw",
        test: EVERY_ROW,
    },
    Variable {
        name: "NFQ_CHAIN",
        default: Some("FWKNOP_NFQ"),
        kind: Kind::Text,
        verdict: Verdict::Moot,
        why: "no queue is made",
        example: "X",
        test: EVERY_ROW,
    },
    Variable {
        name: "NFQ_QUEUE_NUMBER",
        default: Some("1"),
        kind: Kind::Number(0, 65_535),
        verdict: Verdict::Moot,
        why: "no queue is made",
        example: "2",
        test: EVERY_ROW,
    },
    Variable {
        name: "NFQ_LOOP_SLEEP",
        default: Some("500000"),
        kind: Kind::Number(1, 8_388_608),
        verdict: Verdict::Moot,
        why: "nothing sleeps between packets",
        example: "7",
        test: EVERY_ROW,
    },
    without_effect("FLUSH_IPFW_AT_INIT", FOREIGN, "N"),
    without_effect("FLUSH_IPFW_AT_EXIT", FOREIGN, "N"),
    without_effect("IPFW_START_RULE_NUM", FOREIGN, "7"),
    without_effect("IPFW_MAX_RULES", FOREIGN, "7"),
    without_effect("IPFW_ACTIVE_SET_NUM", FOREIGN, "7"),
    without_effect("IPFW_EXPIRE_SET_NUM", FOREIGN, "7"),
    without_effect("IPFW_EXPIRE_PURGE_INTERVAL", FOREIGN, "7"),
    without_effect("IPFW_ADD_CHECK_STATE", FOREIGN, "Y"),
    without_effect("PF_ANCHOR_NAME", FOREIGN, "x"),
    without_effect("PF_EXPIRE_INTERVAL", FOREIGN, "7"),
    without_effect("ENABLE_EXTERNAL_CMDS", LONG_GONE, "N"),
    without_effect("EXTERNAL_CMD_OPEN", LONG_GONE, "x"),
    without_effect("EXTERNAL_CMD_CLOSE", LONG_GONE, "x"),
    without_effect("EXTERNAL_CMD_ALARM", LONG_GONE, "7"),
    without_effect("ENABLE_EXT_CMD_PREFIX", LONG_GONE, "N"),
    without_effect("EXT_CMD_PREFIX", LONG_GONE, "X"),
];
