//! What our chains should read like, and the scripts that make them so. A script is applied whole or
//! not at all: there is no moment in which a protected port is open, and no other chain is touched.
//!
//! All chains stand in the table `mangle`: there the port that was asked for is seen, before any
//! translation, and to let a packet pass decides nothing, since the owner's rules come after it.

use std::fmt::Write as _;

use spa::{PortRange, Protocol, Service};

use super::super::FirewallError;
use super::super::family::Family;
use super::super::names;
use super::super::xtables::{self, RuleText, TableText, Variant};
use super::sets::{SetNames, What};

/// The table of all our chains.
pub(super) const TABLE: &str = "mangle";

/// A base chain that leads to a chain of ours.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Base {
    /// What comes in: who may begin, and what goes on.
    Prerouting,
    /// What has come to this host, translated: what was asked for elsewhere, or by another number.
    Input,
    /// What is led on: no connection that was cut begins again from a machine behind this one.
    Forward,
    /// What goes out: no connection that was cut begins again from this side; answers are marked, where
    /// they are to be.
    Output,
}

/// How the base chains of a family lead to ours, in the order of [`Base::ALL`].
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Ways([Way; 4]);

/// How a base chain leads to a chain of ours.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Way {
    /// How many rules lead there.
    pub(super) jumps: usize,
    /// The rule above the first of them that may keep a packet from it.
    pub(super) kept_from: Option<String>,
}

/// What the chains are made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Guard<'a> {
    pub(super) chain: &'a str,
    pub(super) sets: &'a SetNames,
    /// The bit by which rules of the owner know what passed through a hole.
    pub(super) mark: u32,
    /// Whether answers to what passed have it, too.
    pub(super) marks_answers: bool,
    pub(super) protect: &'a [Service],
}

/// All rules of the table.
///
/// # Errors
///
/// When iptables cannot be run or says no.
pub(super) fn list(family: Family) -> Result<TableText, FirewallError> {
    xtables::list(Variant::Default, family, TABLE)
}

/// Applies a script.
///
/// # Errors
///
/// When iptables cannot be run or says no.
pub(super) fn restore(family: Family, script: &str) -> Result<(), FirewallError> {
    xtables::restore(Variant::Default, family, script)
}

/// Whether the chain for what comes in hides this port.
pub(super) fn hides(rules: &[RuleText], port: Service) -> bool {
    // Either family may have printed it.
    let dropped = Family::ALL.map(|family| format!("{} -j DROP", asks_for(family, port)));
    rules.iter().any(|rule| dropped.contains(&rule.text))
}

/// How many rules of `chain` there are in a script.
pub(super) fn count_rules(script: &str, chain: &str) -> usize {
    let rule = format!("-A {chain} ");
    script
        .lines()
        .filter(|line| line.starts_with(&rule))
        .count()
}

/// What was laid is not there any more when it is looked at.
pub(super) fn changed_meanwhile(family: Family, chain: &str) -> FirewallError {
    FirewallError::Refused {
        program: xtables::lister(Variant::Default, family).into(),
        stderr: format!("the rules of {chain} were changed while they were laid"),
    }
}

/// The script that makes the chains and their jumps exactly what they should be.
pub(super) fn render_install(family: Family, guard: &Guard<'_>, ways: &Ways) -> String {
    // Declaring a chain of ours empties it; base chains are not declared, so they keep what they
    // have.
    let mut script = format!("*{TABLE}\n");
    for base in Base::ALL {
        let _ = writeln!(script, ":{} - [0:0]", base.chain(guard.chain));
    }
    render_incoming(&mut script, family, guard);
    render_translated(&mut script, family, guard);
    render_led_on(&mut script, family, guard);
    render_outgoing(&mut script, guard);
    for (base, way) in ways.iter() {
        let (name, chain) = (base.name(), base.chain(guard.chain));
        if !way.is_good() {
            for _ in 0..way.jumps {
                let _ = writeln!(script, "-D {name} -j {chain}");
            }
            let _ = writeln!(script, "-I {name} 1 -j {chain}");
        }
    }
    script.push_str("COMMIT\n");
    script
}

/// Drops what asks for a hidden port and passes through no hole, and marks what does.
///
/// A segment that begins a connection always asks the set, whatever is remembered; every other one
/// must belong to what is established, so a connection that was deleted stays cut. What goes on in a
/// connection that began through a hole carries the mark; what was established otherwise passes as
/// if we were not there.
fn render_incoming(script: &mut String, family: Family, guard: &Guard<'_>) {
    let Guard {
        chain,
        sets,
        mark,
        marks_answers: _,
        protect,
    } = *guard;
    let barred = sets.of(family, What::Barred);
    let (marks, marked) = (
        format!("-j MARK --set-xmark {mark:#x}/{mark:#x}"),
        format!("-m mark --mark {mark:#x}/{mark:#x}"),
    );
    let goes_on = format!(
        "-m conntrack --ctstate ESTABLISHED --ctdir ORIGINAL -m connmark --mark {mark:#x}/{mark:#x}"
    );
    let echo = asks_for(family, Service::Echo);
    let mut rule = |text: &str| {
        let _ = writeln!(script, "-A {chain} {text}");
    };
    // The bit is ours alone: what came out of a tunnel may have it from the packet around it.
    rule(&format!("-j MARK --set-xmark 0x0/{mark:#x}"));
    rule("-i lo -j RETURN");
    rule("-m addrtype --dst-type UNICAST -m addrtype ! --dst-type LOCAL,ANYCAST -j RETURN");
    rule(&format!("-m set --match-set {barred} src,dst -j DROP"));
    rule(&format!("-p tcp -m tcp ! --syn {goes_on} {marks}"));
    rule(&format!("-p udp {goes_on} {marks}"));
    let begins = [
        "-p tcp -m tcp --syn",
        "-p tcp -m conntrack --ctstate UNTRACKED",
        "-p udp",
        &echo,
    ];
    for what in begins {
        for open in sets.open(family) {
            rule(&format!("{what} -m set --match-set {open} src,dst {marks}"));
        }
    }
    rule(&format!(
        "{marked} -j CONNMARK --set-xmark {mark:#x}/{mark:#x}"
    ));
    rule(&format!("{marked} -j RETURN"));
    for service in protect {
        let goes_on = match service {
            Service::Ports(range) if range.protocol() == Protocol::Tcp => {
                "! --syn -m conntrack --ctstate ESTABLISHED"
            }
            // What this host began by speaking from here went through no hole, has no owner and
            // cannot be revoked: no answers to it.
            Service::Ports(_) => "-m conntrack --ctstate ESTABLISHED --ctdir ORIGINAL",
            // Every request begins anew.
            Service::Echo => continue,
        };
        rule(&format!(
            "{} {goes_on} -j RETURN",
            asks_for(family, *service)
        ));
    }
    for service in protect {
        rule(&format!("{} -j DROP", asks_for(family, *service)));
    }
}

/// Drops what was translated to a hidden port and passes through no hole: it was asked for by another
/// number, or under an address that is not this host's, so the chain before did not judge it.
///
/// What passed there carries the mark. Where the address alone is another one, the holes of the port
/// count; the sets are asked for the port that the packet has now, so by another number there is no
/// hole here.
fn render_translated(script: &mut String, family: Family, guard: &Guard<'_>) {
    let Guard {
        sets,
        mark,
        protect,
        ..
    } = *guard;
    let chain = Base::Input.chain(guard.chain);
    let marked = format!("-m mark --mark {mark:#x}/{mark:#x}");
    let mut rule = |text: &str| {
        let _ = writeln!(script, "-A {chain} {text}");
    };
    rule("-m conntrack ! --ctstate DNAT -j RETURN");
    rule("-i lo -j RETURN");
    rule("-m conntrack --ctdir REPLY -j RETURN");
    rule(&format!("{marked} -j RETURN"));
    rule("-p tcp -m tcp ! --syn -m conntrack --ctstate ESTABLISHED -j RETURN");
    rule("-p udp -m conntrack --ctstate ESTABLISHED -j RETURN");
    for service in protect {
        let Service::Ports(range) = service else {
            continue;
        };
        let (asked, ports) = (asks_for(family, *service), ports(*range));
        let begins = match range.protocol() {
            Protocol::Tcp => " --syn",
            Protocol::Udp => "",
        };
        for open in sets.open(family) {
            rule(&format!(
                "{asked}{begins} -m conntrack --ctorigdstport {ports} -m set --match-set {open} \
                 src,dst -j MARK --set-xmark {mark:#x}/{mark:#x}"
            ));
        }
    }
    rule(&format!(
        "{marked} -j CONNMARK --set-xmark {mark:#x}/{mark:#x}"
    ));
    rule(&format!("{marked} -j RETURN"));
    for service in protect {
        rule(&format!("{} -j DROP", asks_for(family, *service)));
    }
}

/// A connection that was deleted begins no new entry when a machine behind this one, to which it was
/// led on, speaks in the middle of it. Its own source is not known here, before it is translated: the
/// clients are, by address and port.
fn render_led_on(script: &mut String, family: Family, guard: &Guard<'_>) {
    let chain = Base::Forward.chain(guard.chain);
    let cut = guard.sets.of(family, What::Cut);
    let _ = writeln!(script, "-A {chain} -m conntrack ! --ctstate NEW -j RETURN");
    for what in ["-p tcp -m tcp ! --syn", "-p udp"] {
        let _ = writeln!(
            script,
            "-A {chain} {what} -m set --match-set {cut} dst,dst -j DROP"
        );
    }
}

/// A connection that was deleted begins no new entry when this host speaks in the middle of it. Answers
/// of one that began through a hole carry the mark, where the owner's rules are to know them by it.
fn render_outgoing(script: &mut String, guard: &Guard<'_>) {
    let (chain, mark) = (Base::Output.chain(guard.chain), guard.mark);
    if guard.marks_answers {
        // A program may have it on its socket, from the packet that began the connection.
        let _ = writeln!(script, "-A {chain} -j MARK --set-xmark 0x0/{mark:#x}");
    }
    let _ = writeln!(script, "-A {chain} -o lo -j RETURN");
    if guard.marks_answers {
        let _ = writeln!(
            script,
            "-A {chain} -m conntrack --ctstate ESTABLISHED --ctdir REPLY -m connmark --mark \
             {mark:#x}/{mark:#x} -j MARK --set-xmark {mark:#x}/{mark:#x}"
        );
    }
    for service in guard.protect {
        let Service::Ports(range) = service else {
            continue;
        };
        if range.protocol() == Protocol::Tcp {
            let ports = ports(*range);
            let _ = writeln!(
                script,
                "-A {chain} -p tcp -m tcp --sport {ports} ! --syn -m conntrack --ctstate NEW -j DROP"
            );
        }
    }
}

/// Removes these chains of ours, each with the base chain that leads to it. What is not there is no
/// error.
///
/// # Errors
///
/// When iptables cannot be run or says no.
pub(super) fn remove(
    family: Family,
    table_name: &str,
    table: &TableText,
    chains: &[(&str, String)],
) -> Result<(), FirewallError> {
    let found: Vec<_> = chains
        .iter()
        .filter(|(_, chain)| table.rules(chain).is_some())
        .map(|(base, chain)| (*base, chain.as_str(), table.jumps(base, chain)))
        .collect();
    if found.is_empty() {
        return Ok(());
    }
    restore(family, &render_remove(table_name, &found))
}

/// The script that removes the chains and their jumps, and nothing else.
fn render_remove(table: &str, chains: &[(&str, &str, usize)]) -> String {
    let mut script = format!("*{table}\n");
    for (_, chain, _) in chains {
        let _ = writeln!(script, ":{chain} - [0:0]");
    }
    for (base, chain, jumps) in chains {
        for _ in 0..*jumps {
            let _ = writeln!(script, "-D {base} -j {chain}");
        }
    }
    for (_, chain, _) in chains {
        let _ = writeln!(script, "-X {chain}");
    }
    script.push_str("COMMIT\n");
    script
}

/// How a rule of iptables says what a packet asks for.
fn asks_for(family: Family, service: Service) -> String {
    match service {
        Service::Ports(range) => {
            let (protocol, ports) = (range.protocol(), ports(range));
            format!("-p {protocol} -m {protocol} --dport {ports}")
        }
        Service::Echo => match family {
            Family::V4 => "-p icmp -m icmp --icmp-type 8".to_owned(),
            Family::V6 => "-p ipv6-icmp -m icmp6 --icmpv6-type 128".to_owned(),
        },
    }
}

fn ports(range: PortRange) -> String {
    let (first, last) = (range.first(), range.last());
    if first == last {
        first.to_string()
    } else {
        format!("{first}:{last}")
    }
}

// === impl Base ===

impl Base {
    pub(super) const ALL: [Self; 4] = [Self::Prerouting, Self::Input, Self::Forward, Self::Output];

    /// Its name.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Prerouting => "PREROUTING",
            Self::Input => "INPUT",
            Self::Forward => "FORWARD",
            Self::Output => "OUTPUT",
        }
    }

    /// Our chain, whose name for what comes in is `chain`.
    pub(super) fn chain(self, chain: &str) -> String {
        match self {
            Self::Prerouting => chain.to_owned(),
            Self::Input => format!("{chain}{}", names::TRANSLATED),
            Self::Forward => format!("{chain}{}", names::LED_ON),
            Self::Output => format!("{chain}{}", names::OUTGOING),
        }
    }
}

// === impl Ways ===

impl Ways {
    /// Looks how the base chains lead to ours.
    pub(super) fn find(table: &TableText, chain: &str) -> Self {
        Self(Base::ALL.map(|base| {
            let (base, own) = (base.name(), base.chain(chain));
            let kept_from = table.kept_from(base, &own);
            Way {
                jumps: table.jumps(base, &own),
                kept_from: kept_from.map(|rule| rule.text.clone()),
            }
        }))
    }

    /// The same where nothing keeps anything from them: how often each base chain leads to ours.
    pub(super) fn free(jumps: [usize; 4]) -> Self {
        Self(jumps.map(|jumps| Way {
            jumps,
            kept_from: None,
        }))
    }

    /// Whether something is kept from a chain of ours that is led to.
    pub(super) fn is_kept(&self) -> bool {
        let Self(ways) = self;
        ways.iter()
            .any(|way| way.jumps == 1 && way.kept_from.is_some())
    }

    /// Leaves what keeps something from ours where it is.
    pub(super) fn yield_order(&mut self) {
        let Self(ways) = self;
        ways.iter_mut().for_each(|way| way.kept_from = None);
    }

    /// Each base chain, and how it leads to ours.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Base, &Way)> {
        Base::ALL.into_iter().zip(&self.0)
    }
}

// === impl Way ===

impl Way {
    /// Whether everything gets there, once.
    pub(super) fn is_good(&self) -> bool {
        self.jumps == 1 && self.kept_from.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard<'a>(sets: &'a SetNames, protect: &'a [Service]) -> Guard<'a> {
        Guard {
            chain: "P",
            sets,
            mark: 0x2000_0000,
            marks_answers: false,
            protect,
        }
    }

    #[test]
    fn what_begins_asks_the_set_what_goes_on_is_established_and_the_drop_comes_last() {
        let sets = SetNames::of_chain("P");
        let protect = ["tcp/22", "udp/53", "icmp/echo"].map(|text| text.parse().unwrap());
        let script = render_install(Family::V4, &guard(&sets, &protect), &Ways::default());

        let expected = "\
*mangle
:P - [0:0]
:P_IN - [0:0]
:P_FWD - [0:0]
:P_OUT - [0:0]
-A P -j MARK --set-xmark 0x0/0x20000000
-A P -i lo -j RETURN
-A P -m addrtype --dst-type UNICAST -m addrtype ! --dst-type LOCAL,ANYCAST -j RETURN
-A P -m set --match-set P_B4 src,dst -j DROP
-A P -p tcp -m tcp ! --syn -m conntrack --ctstate ESTABLISHED --ctdir ORIGINAL -m connmark --mark 0x20000000/0x20000000 -j MARK --set-xmark 0x20000000/0x20000000
-A P -p udp -m conntrack --ctstate ESTABLISHED --ctdir ORIGINAL -m connmark --mark 0x20000000/0x20000000 -j MARK --set-xmark 0x20000000/0x20000000
-A P -p tcp -m tcp --syn -m set --match-set P_4 src,dst -j MARK --set-xmark 0x20000000/0x20000000
-A P -p tcp -m tcp --syn -m set --match-set P_N4 src,dst -j MARK --set-xmark 0x20000000/0x20000000
-A P -p tcp -m conntrack --ctstate UNTRACKED -m set --match-set P_4 src,dst -j MARK --set-xmark 0x20000000/0x20000000
-A P -p tcp -m conntrack --ctstate UNTRACKED -m set --match-set P_N4 src,dst -j MARK --set-xmark 0x20000000/0x20000000
-A P -p udp -m set --match-set P_4 src,dst -j MARK --set-xmark 0x20000000/0x20000000
-A P -p udp -m set --match-set P_N4 src,dst -j MARK --set-xmark 0x20000000/0x20000000
-A P -p icmp -m icmp --icmp-type 8 -m set --match-set P_4 src,dst -j MARK --set-xmark 0x20000000/0x20000000
-A P -p icmp -m icmp --icmp-type 8 -m set --match-set P_N4 src,dst -j MARK --set-xmark 0x20000000/0x20000000
-A P -m mark --mark 0x20000000/0x20000000 -j CONNMARK --set-xmark 0x20000000/0x20000000
-A P -m mark --mark 0x20000000/0x20000000 -j RETURN
-A P -p tcp -m tcp --dport 22 ! --syn -m conntrack --ctstate ESTABLISHED -j RETURN
-A P -p udp -m udp --dport 53 -m conntrack --ctstate ESTABLISHED --ctdir ORIGINAL -j RETURN
-A P -p tcp -m tcp --dport 22 -j DROP
-A P -p udp -m udp --dport 53 -j DROP
-A P -p icmp -m icmp --icmp-type 8 -j DROP
-A P_IN -m conntrack ! --ctstate DNAT -j RETURN
-A P_IN -i lo -j RETURN
-A P_IN -m conntrack --ctdir REPLY -j RETURN
-A P_IN -m mark --mark 0x20000000/0x20000000 -j RETURN
-A P_IN -p tcp -m tcp ! --syn -m conntrack --ctstate ESTABLISHED -j RETURN
-A P_IN -p udp -m conntrack --ctstate ESTABLISHED -j RETURN
-A P_IN -p tcp -m tcp --dport 22 --syn -m conntrack --ctorigdstport 22 -m set --match-set P_4 src,dst -j MARK --set-xmark 0x20000000/0x20000000
-A P_IN -p tcp -m tcp --dport 22 --syn -m conntrack --ctorigdstport 22 -m set --match-set P_N4 src,dst -j MARK --set-xmark 0x20000000/0x20000000
-A P_IN -p udp -m udp --dport 53 -m conntrack --ctorigdstport 53 -m set --match-set P_4 src,dst -j MARK --set-xmark 0x20000000/0x20000000
-A P_IN -p udp -m udp --dport 53 -m conntrack --ctorigdstport 53 -m set --match-set P_N4 src,dst -j MARK --set-xmark 0x20000000/0x20000000
-A P_IN -m mark --mark 0x20000000/0x20000000 -j CONNMARK --set-xmark 0x20000000/0x20000000
-A P_IN -m mark --mark 0x20000000/0x20000000 -j RETURN
-A P_IN -p tcp -m tcp --dport 22 -j DROP
-A P_IN -p udp -m udp --dport 53 -j DROP
-A P_IN -p icmp -m icmp --icmp-type 8 -j DROP
-A P_FWD -m conntrack ! --ctstate NEW -j RETURN
-A P_FWD -p tcp -m tcp ! --syn -m set --match-set P_C4 dst,dst -j DROP
-A P_FWD -p udp -m set --match-set P_C4 dst,dst -j DROP
-A P_OUT -o lo -j RETURN
-A P_OUT -p tcp -m tcp --sport 22 ! --syn -m conntrack --ctstate NEW -j DROP
-I PREROUTING 1 -j P
-I INPUT 1 -j P_IN
-I FORWARD 1 -j P_FWD
-I OUTPUT 1 -j P_OUT
COMMIT
";
        assert_eq!(script, expected);
    }

    #[test]
    fn a_jump_that_everything_gets_to_is_left_alone_and_one_below_an_accept_is_put_first() {
        let sets = SetNames::of_chain("P");
        let jump_lines = |listing: &str| {
            let base = "-P PREROUTING ACCEPT\n-A INPUT -j P_IN\n-A FORWARD -j P_FWD\n\
                        -A OUTPUT -j P_OUT\n";
            let table = TableText::of(&format!("{base}{listing}"));
            let ways = Ways::find(&table, "P");
            render_install(Family::V6, &guard(&sets, &[]), &ways)
                .lines()
                .filter(|line| line.starts_with("-I ") || line.starts_with("-D "))
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };

        let mark = "-A PREROUTING -j MARK --set-xmark 0x1/0x1\n-A PREROUTING -j P\n";
        assert_eq!(jump_lines(mark), Vec::<String>::new());
        let accept = "-A PREROUTING -i eth0 -j ACCEPT\n-A PREROUTING -j P\n";
        let again = ["-D PREROUTING -j P", "-I PREROUTING 1 -j P"];
        assert_eq!(jump_lines(accept), again);
        assert_eq!(
            jump_lines("-A PREROUTING -j P\n-A PREROUTING -j P\n"),
            [again[0], again[0], again[1]]
        );
    }

    #[test]
    fn a_port_is_hidden_already_only_if_the_chain_drops_it() {
        let table = TableText::of("-N P\n-A P -p tcp -m tcp --dport 22 -j DROP\n");
        let rules = table.rules("P").unwrap();

        assert!(hides(rules, "tcp/22".parse().unwrap()));
        assert!(!hides(rules, "tcp/2".parse().unwrap()));
        assert!(!hides(rules, "udp/22".parse().unwrap()));
    }
}
