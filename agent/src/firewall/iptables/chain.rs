//! Running iptables: what a chain should read like, and the few processes that make it so.
//!
//! Spawned at the start and when something is to be repaired, never for a packet. A change is one
//! `iptables-restore --noflush`, which the kernel applies whole or not at all: there is no moment
//! in which a protected port is open, and no other chain is touched.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use spa::{PortRange, Protocol, Service};

use super::super::FirewallError;
use super::super::family::Family;
use super::sets::SetNames;

/// A chain of ours, and the base chain that it is reached from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Hook {
    /// What comes in: who may begin, and what goes on.
    Input,
    /// What goes out: no connection that was cut begins again from this side.
    Output,
}

/// Where the base chains of a family lead to ours.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Jumps {
    input: Vec<usize>,
    output: Vec<usize>,
}

pub(super) const fn lister(family: Family) -> &'static str {
    match family {
        Family::V4 => "iptables",
        Family::V6 => "ip6tables",
    }
}

const fn restorer(family: Family) -> &'static str {
    match family {
        Family::V4 => "iptables-restore",
        Family::V6 => "ip6tables-restore",
    }
}

/// The rules of `chain` as `iptables -S` prints them; `None` when there is no such chain.
pub(super) fn list(family: Family, chain: &str) -> Result<Option<String>, FirewallError> {
    let output = run(lister(family), &["-w", "-S", chain], None)?;
    Ok(output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned()))
}

/// The rules of a base chain, which is always there.
pub(super) fn list_base(family: Family, hook: Hook) -> Result<String, FirewallError> {
    let program = lister(family);
    let output = run(program, &["-w", "-S", hook.base()], None)?;
    if !output.status.success() {
        return Err(refused(program, &output));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Applies a script to the kernel, whole or not at all.
pub(super) fn restore(family: Family, script: &str) -> Result<(), FirewallError> {
    tracing::debug!(?family, script, "iptables-restore");
    let program = restorer(family);
    let output = run(program, &["-w", "--noflush"], Some(script))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(refused(program, &output))
    }
}

/// The positions, from 1, of the jumps to `chain` in a listing of a base chain.
pub(super) fn jumps(listing: &str, hook: Hook, chain: &str) -> Vec<usize> {
    let jump = format!("-A {} -j {chain}", hook.base());
    listing
        .lines()
        .filter(|line| line.starts_with("-A "))
        .enumerate()
        .filter(|(_, line)| *line == jump)
        .map(|(index, _)| index + 1)
        .collect()
}

/// Whether a listing of the chain for what comes in hides this port.
pub(super) fn hides(listing: &str, port: Service) -> bool {
    // Either family may have printed it.
    let dropped = Family::ALL.map(|family| format!("{} -j DROP", asks_for(family, port)));
    listing
        .lines()
        .any(|line| dropped.iter().any(|dropped| line.ends_with(dropped)))
}

/// How many rules of `chain` there are in a script or a listing.
pub(super) fn count_rules(text: &str, chain: &str) -> usize {
    let rule = format!("-A {chain} ");
    let rules = text.lines().filter(|line| line.starts_with(&rule));
    rules.count()
}

/// What was laid is not there any more when it is looked at.
pub(super) fn changed_meanwhile(family: Family, chain: &str) -> FirewallError {
    FirewallError::Refused {
        program: lister(family),
        stderr: format!("the rules of {chain} were changed while they were laid"),
    }
}

/// The script that makes the chains and their jumps exactly what they should be.
pub(super) fn render_install(
    family: Family,
    chain: &str,
    sets: &SetNames,
    protect: &[Service],
    jumps: &Jumps,
) -> String {
    // Declaring a chain of ours empties it; base chains are not declared, so they keep what they
    // have.
    let out = Hook::Output.chain(chain);
    let mut script = format!("*filter\n:{chain} - [0:0]\n:{out} - [0:0]\n");
    render_input(&mut script, family, chain, sets, protect);
    render_output(&mut script, &out, protect);
    for hook in Hook::ALL {
        let (base, chain) = (hook.base(), hook.chain(chain));
        let found = jumps.of(hook);
        if found != [1] {
            for _ in found {
                let _ = writeln!(script, "-D {base} -j {chain}");
            }
            let _ = writeln!(script, "-I {base} 1 -j {chain}");
        }
    }
    script.push_str("COMMIT\n");
    script
}

/// A segment that begins a connection always asks the set, whatever is remembered; every other one
/// must belong to what is established, so a connection that was deleted stays cut. Ports that are
/// not protected are the owner's, but for what a hole lets begin.
fn render_input(
    script: &mut String,
    family: Family,
    chain: &str,
    sets: &SetNames,
    protect: &[Service],
) {
    let (open, revoked) = (sets.open(family), sets.revoked(family));
    let _ = writeln!(
        script,
        "-A {chain} -i lo -j RETURN\n\
         -A {chain} -m set --match-set {revoked} src,dst -j DROP"
    );
    for service in protect {
        let goes_on = match service {
            Service::Ports(range) if range.protocol() == Protocol::Tcp => {
                " ! --syn -m conntrack --ctstate ESTABLISHED"
            }
            // What this host began by speaking from here went through no hole, has no owner and
            // cannot be revoked: no answers to it.
            Service::Ports(_) => " -m conntrack --ctstate ESTABLISHED --ctdir ORIGINAL",
            // Every request begins anew.
            Service::Echo => continue,
        };
        let asks = asks_for(family, *service);
        let _ = writeln!(script, "-A {chain} {asks}{goes_on} -j ACCEPT");
    }
    let begins_or_goes_on = [
        "-p tcp -m tcp --syn",
        "-p tcp -m conntrack --ctstate ESTABLISHED,UNTRACKED",
        "-p udp",
    ];
    for what in begins_or_goes_on {
        let _ = writeln!(
            script,
            "-A {chain} {what} -m set --match-set {open} src,dst -j ACCEPT"
        );
    }
    for service in protect {
        let _ = writeln!(script, "-A {chain} {} -j DROP", asks_for(family, *service));
    }
}

/// A connection that was deleted begins no new entry when this host speaks in the middle of it.
fn render_output(script: &mut String, chain: &str, protect: &[Service]) {
    let _ = writeln!(script, "-A {chain} -o lo -j RETURN");
    for service in protect {
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

/// The script that removes the chains and their jumps, and nothing else.
pub(super) fn render_remove(chain: &str, jumps: &Jumps) -> String {
    let out = Hook::Output.chain(chain);
    let mut script = format!("*filter\n:{chain} - [0:0]\n:{out} - [0:0]\n");
    for hook in Hook::ALL {
        for _ in jumps.of(hook) {
            let _ = writeln!(script, "-D {} -j {}", hook.base(), hook.chain(chain));
        }
    }
    let _ = writeln!(script, "-X {chain}\n-X {out}\nCOMMIT");
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

// === impl Hook ===

impl Hook {
    pub(super) const ALL: [Self; 2] = [Self::Input, Self::Output];

    /// The base chain.
    pub(super) const fn base(self) -> &'static str {
        match self {
            Self::Input => "INPUT",
            Self::Output => "OUTPUT",
        }
    }

    /// Our chain, whose name for what comes in is `chain`.
    pub(super) fn chain(self, chain: &str) -> String {
        match self {
            Self::Input => chain.to_owned(),
            Self::Output => format!("{}_OUT", chain.strip_suffix("_INPUT").unwrap_or(chain)),
        }
    }
}

// === impl Jumps ===

impl Jumps {
    /// Looks where the base chains lead to ours.
    pub(super) fn find(family: Family, chain: &str) -> Result<Self, FirewallError> {
        let of = |hook: Hook| {
            let listing = list_base(family, hook)?;
            Ok::<_, FirewallError>(jumps(&listing, hook, &hook.chain(chain)))
        };
        Ok(Self {
            input: of(Hook::Input)?,
            output: of(Hook::Output)?,
        })
    }

    /// At most one of each.
    pub(super) fn at(input: Option<usize>, output: Option<usize>) -> Self {
        Self {
            input: input.into_iter().collect(),
            output: output.into_iter().collect(),
        }
    }

    pub(super) fn of(&self, hook: Hook) -> &[usize] {
        match hook {
            Hook::Input => &self.input,
            Hook::Output => &self.output,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.input.is_empty() && self.output.is_empty()
    }
}

fn run(
    program: &'static str,
    arguments: &[&str],
    input: Option<&str>,
) -> Result<Output, FirewallError> {
    let failed = |cause: std::io::Error| FirewallError::Spawn {
        program,
        reason: cause.to_string(),
    };
    let path = std::env::var("PATH").unwrap_or_default();
    let mut child = Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C")
        .env("PATH", format!("{path}:/usr/local/sbin:/usr/sbin:/sbin"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // Scripts are far smaller than a pipe's buffer, so this cannot wait for our own reading.
        stdin
            .write_all(input.unwrap_or_default().as_bytes())
            .map_err(failed)?;
    }
    child.wait_with_output().map_err(failed)
}

fn refused(program: &'static str, output: &Output) -> FirewallError {
    FirewallError::Refused {
        program,
        stderr: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_begins_asks_the_set_what_goes_on_is_established_and_the_drop_comes_last() {
        let sets = SetNames::of_chain("P");
        let script = render_install(
            Family::V4,
            "P",
            &sets,
            &["tcp/22".parse().unwrap(), "udp/53".parse().unwrap()],
            &Jumps::default(),
        );

        let expected = "\
*filter
:P - [0:0]
:P_OUT - [0:0]
-A P -i lo -j RETURN
-A P -m set --match-set P_R4 src,dst -j DROP
-A P -p tcp -m tcp --dport 22 ! --syn -m conntrack --ctstate ESTABLISHED -j ACCEPT
-A P -p udp -m udp --dport 53 -m conntrack --ctstate ESTABLISHED --ctdir ORIGINAL -j ACCEPT
-A P -p tcp -m tcp --syn -m set --match-set P_4 src,dst -j ACCEPT
-A P -p tcp -m conntrack --ctstate ESTABLISHED,UNTRACKED -m set --match-set P_4 src,dst -j ACCEPT
-A P -p udp -m set --match-set P_4 src,dst -j ACCEPT
-A P -p tcp -m tcp --dport 22 -j DROP
-A P -p udp -m udp --dport 53 -j DROP
-A P_OUT -o lo -j RETURN
-A P_OUT -p tcp -m tcp --sport 22 ! --syn -m conntrack --ctstate NEW -j DROP
-I INPUT 1 -j P
-I OUTPUT 1 -j P_OUT
COMMIT
";
        assert_eq!(script, expected);
    }

    #[test]
    fn a_jump_that_is_first_and_alone_is_left_alone() {
        let sets = SetNames::of_chain("P");
        let jump_lines = |input: &[usize]| {
            let jumps = Jumps {
                input: input.to_vec(),
                output: vec![1],
            };
            render_install(Family::V6, "P", &sets, &[], &jumps)
                .lines()
                .filter(|line| line.contains("PUT"))
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };

        assert_eq!(jump_lines(&[1]), Vec::<String>::new());
        assert_eq!(jump_lines(&[2]), ["-D INPUT -j P", "-I INPUT 1 -j P"]);
    }

    #[test]
    fn the_chain_for_what_goes_out_is_named_after_the_other() {
        assert_eq!(Hook::Output.chain("POSTERN_INPUT"), "POSTERN_OUT");
        assert_eq!(Hook::Output.chain("P"), "P_OUT");
    }

    #[test]
    fn a_port_is_hidden_already_only_if_the_chain_drops_it() {
        let listing = "-N P\n-A P -p tcp -m tcp --dport 22 -j DROP\n";

        assert!(hides(listing, "tcp/22".parse().unwrap()));
        assert!(!hides(listing, "tcp/2".parse().unwrap()));
        assert!(!hides(listing, "udp/22".parse().unwrap()));
    }

    proptest! {
        #[test]
        fn whatever_iptables_prints_only_lines_that_are_the_jump_are_taken_for_it(
            lines in prop::collection::vec(
                prop_oneof![Just("-A INPUT -j P".to_owned()), "(-A INPUT )?[ -~]{0,20}"],
                0..20,
            ),
        ) {
            let found = jumps(&lines.join("\n"), Hook::Input, "P");

            let appended: Vec<_> = lines.iter().filter(|line| line.starts_with("-A ")).collect();
            for (at, line) in (1..).zip(appended) {
                prop_assert_eq!(found.contains(&at), line == "-A INPUT -j P");
            }
        }
    }

    #[test]
    fn finds_the_jumps_in_what_iptables_prints() {
        // Printed by iptables v1.8.9 (nf_tables) after
        // `iptables -A INPUT -s 10.0.0.1 -j ACCEPT; iptables -A INPUT -j P`.
        let base = "-P INPUT ACCEPT\n-A INPUT -s 10.0.0.1/32 -j ACCEPT\n-A INPUT -j P\n";

        assert_eq!(jumps(base, Hook::Input, "P"), [2]);
        assert_eq!(jumps(base, Hook::Input, "PO"), Vec::<usize>::new());
        assert_eq!(jumps(base, Hook::Output, "P"), Vec::<usize>::new());
    }
}
