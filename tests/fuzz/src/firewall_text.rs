//! What the programs of iptables and the kernel print of rules and routes, whoever gave them names:
//! reading ends, and so does looking for the way of a packet through what was read.

use agent::hostile::read_firewall_text;

pub(crate) fn check(bytes: &[u8]) {
    read_firewall_text(&String::from_utf8_lossy(bytes));
}
