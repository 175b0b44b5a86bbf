//! What fwknopd.conf says about the packet filter: for a fwknopd that was built for iptables, and
//! for one that was built for firewalld, whose variables are the same with another name.

use super::{Ask, RawConfig};
use crate::fwknopd::read::Reading;
use crate::fwknopd::values;

/// Adds it to the layer.
pub(super) fn add(reading: &mut Reading, raw: &mut RawConfig) {
    raw.flush_at_start = switch(reading, "FLUSH_IPT_AT_INIT");
    raw.flush_at_exit = switch(reading, "FLUSH_IPT_AT_EXIT");
    raw.nat_forward = switch(reading, "ENABLE_IPT_FORWARDING");
    raw.nat_local = switch(reading, "ENABLE_IPT_LOCAL_NAT");
    raw.nat_dns = Some(reading.switch("ENABLE_NAT_DNS").unwrap_or(true));
    raw.destination_rule = reading.switch("ENABLE_DESTINATION_RULE");
    raw.accept_answers = switch(reading, "ENABLE_IPT_OUTPUT");
    source_address(reading, raw);
    chain(reading, raw);
}

/// The name of a variable of iptables that was given, or of that of firewalld in its place: in
/// force is the one of the program that FIREWALL_EXE names, where both were given.
fn in_force(reading: &Reading, name: &'static str) -> Option<String> {
    let of_firewalld = name.replace("IPT", "FIREWD");
    let is_firewalld = reading
        .text("FIREWALL_EXE")
        .is_some_and(|path| path.ends_with("firewall-cmd"));
    let given = |name: &str| reading.get(name).map(|_| name.to_owned());
    let (first, second) = if is_firewalld {
        (&*of_firewalld, name)
    } else {
        (name, &*of_firewalld)
    };
    given(first).or_else(|| given(second))
}

fn switch(reading: &Reading, name: &'static str) -> Option<bool> {
    in_force(reading, name).and_then(|name| reading.switch(&name))
}

/// An address means something only where the source is to be translated.
fn source_address(reading: &mut Reading, raw: &mut RawConfig) {
    raw.nat_snat = switch(reading, "ENABLE_IPT_SNAT");
    let Some(address) = reading.text("SNAT_TRANSLATE_IP").map(str::to_owned) else {
        return;
    };
    let place = reading.place("SNAT_TRANSLATE_IP");
    if raw.nat_snat != Some(true) {
        let text = "changes nothing without ENABLE_IPT_SNAT Y";
        return reading.inform(&place, "SNAT_TRANSLATE_IP", text);
    }
    match address.parse::<std::net::IpAddr>() {
        Ok(_) => raw.snat_address = Some(vec![address]),
        Err(_) => {
            let text = format!("`{address}` is no address");
            reading.mistake(place, "SNAT_TRANSLATE_IP", text);
        }
    }
}

/// Where packets to this host pass. What is said about rules that we do not make is moot.
fn chain(reading: &mut Reading, raw: &mut RawConfig) {
    let Some(name) = in_force(reading, "IPT_INPUT_ACCESS") else {
        return;
    };
    let place = reading.place(&name);
    let value = reading.text(&name).unwrap_or_default().to_owned();
    let Some([target, table, from, _, own, _]) = values::chain(&value) else {
        return;
    };
    if target != "ACCEPT" || table != "filter" {
        let text = format!(
            "`{target}` in the table `{table}`: what is opened is accepted in the table filter, \
             and nothing else can be had"
        );
        return reading.mistake(place, &name, text);
    }
    if from != "INPUT" {
        raw.hooks = Some(vec![format!("ip filter {from}")]);
    }
    if own != "FWKNOP_INPUT" {
        raw.chain = Some(own.to_owned());
    }
}
