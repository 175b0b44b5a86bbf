//! What may stand in fwknopd.conf, each variable once: its default, what values it takes, what
//! becomes of it here, and why.
//!
//! From this table come the reading, the warnings, `-D`, and the page about compatibility. A law
//! beside `config::fwknopd` tries every row: what is obeyed changes something, what is moot changes
//! nothing and says so, and what is refused stops the start.

mod capture;
mod firewall;
mod host;
mod others;

/// One variable.
#[derive(Clone, Copy, Debug)]
pub struct Variable {
    /// As it stands in the file.
    pub name: &'static str,
    /// Its value where the file says nothing; `None` where there is none.
    pub default: Option<&'static str>,
    /// What may be written.
    pub kind: Kind,
    /// What becomes of it.
    pub verdict: Verdict,
    /// What it becomes here, or why it does not; half a sentence.
    pub why: &'static str,
    /// A value other than the default, for the tests: with `verdict` Refused, one that is refused.
    pub example: &'static str,
    /// The test that shows it.
    pub test: &'static str,
}

/// What a variable takes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Words up to the `;`.
    Text,
    /// A file or a folder.
    Path,
    /// `Y` or `N`; only the first letter counts.
    Switch,
    /// A number within these bounds, both included.
    Number(u64, u64),
    /// One of the facilities of syslog that fwknopd knows.
    Facility,
    /// Target, table, chain, position, own chain and position in that.
    Chain,
}

/// What becomes of a variable.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// It means what it means to fwknopd.
    Obeyed,
    /// There is nothing here that it could change.
    Moot,
    /// What it asks for cannot be had: the agent does not start.
    Refused,
}

/// For what is obeyed, moot or refused as every row of its kind.
const EVERY_ROW: &str = "every_variable_does_what_its_row_says";

/// What `fwknopd -D` of 2.6.10 as built for iptables prints, in its order, and then what other
/// builds and versions have.
pub static TABLES: [&[Variable]; 4] = [
    capture::VARIABLES,
    host::VARIABLES,
    firewall::VARIABLES,
    others::VARIABLES,
];

/// The order in which fwknopd prints its variables.
pub const PRINTED: [&str; 53] = [
    "PCAP_INTF",
    "PCAP_FILE",
    "ENABLE_PCAP_PROMISC",
    "PCAP_FILTER",
    "PCAP_DISPATCH_COUNT",
    "PCAP_LOOP_SLEEP",
    "ENABLE_PCAP_ANY_DIRECTION",
    "EXIT_AT_INTF_DOWN",
    "MAX_SNIFF_BYTES",
    "ENABLE_SPA_PACKET_AGING",
    "MAX_SPA_PACKET_AGE",
    "ENABLE_DIGEST_PERSISTENCE",
    "RULES_CHECK_THRESHOLD",
    "CMD_EXEC_TIMEOUT",
    "ENABLE_SPA_OVER_HTTP",
    "ENABLE_TCP_SERVER",
    "TCPSERV_PORT",
    "ENABLE_UDP_SERVER",
    "UDPSERV_PORT",
    "UDPSERV_SELECT_TIMEOUT",
    "LOCALE",
    "SYSLOG_IDENTITY",
    "SYSLOG_FACILITY",
    "ENABLE_X_FORWARDED_FOR",
    "ENABLE_DESTINATION_RULE",
    "ENABLE_RULE_PREPEND",
    "ENABLE_NAT_DNS",
    "ENABLE_IPT_FORWARDING",
    "ENABLE_IPT_LOCAL_NAT",
    "ENABLE_IPT_SNAT",
    "SNAT_TRANSLATE_IP",
    "ENABLE_IPT_OUTPUT",
    "FLUSH_IPT_AT_INIT",
    "FLUSH_IPT_AT_EXIT",
    "IPT_INPUT_ACCESS",
    "IPT_OUTPUT_ACCESS",
    "IPT_FORWARD_ACCESS",
    "IPT_DNAT_ACCESS",
    "IPT_SNAT_ACCESS",
    "IPT_MASQUERADE_ACCESS",
    "ENABLE_IPT_COMMENT_CHECK",
    "FWKNOP_RUN_DIR",
    "FWKNOP_CONF_DIR",
    "ACCESS_FILE",
    "ACCESS_FOLDER",
    "FWKNOP_PID_FILE",
    "DIGEST_FILE",
    "GPG_HOME_DIR",
    "GPG_EXE",
    "SUDO_EXE",
    "FIREWALL_EXE",
    "VERBOSE",
    "FAULT_INJECTION_TAG",
];

/// The variable of this name; case counts, as with fwknopd.
#[must_use]
pub fn of_name(name: &str) -> Option<&'static Variable> {
    all().find(|variable| variable.name == name)
}

/// Every variable.
pub fn all() -> impl Iterator<Item = &'static Variable> {
    TABLES.iter().flat_map(|table| table.iter())
}

/// What may have been meant by a name that is none, for the end of a sentence.
pub(super) fn did_you_mean(name: &str) -> String {
    let near = policy::nearest_of(name, all().map(|variable| variable.name));
    near.map_or_else(String::new, |near| format!("; did you mean {near}?"))
}
