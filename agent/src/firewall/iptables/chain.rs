//! Running iptables: what a chain should read like, and the few processes that make it so.
//!
//! Spawned at the start and when something is to be repaired, never for a packet. A change is one
//! `iptables-restore --noflush`, which the kernel applies whole or not at all: there is no moment
//! in which a protected port is open, and no other chain is touched.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use spa::{ProtoPort, Protocol};

use super::super::FirewallError;
use super::super::family::Family;
use super::sets::SetNames;

/// The base chain that ours is reached from.
pub(super) const BASE: &str = "INPUT";

const fn lister(family: Family) -> &'static str {
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

/// The rules of the base chain, which is always there.
pub(super) fn list_base(family: Family) -> Result<String, FirewallError> {
    let program = lister(family);
    let output = run(program, &["-w", "-S", BASE], None)?;
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

/// The positions, from 1, of the jumps to `chain` in a listing of the base chain.
pub(super) fn jumps(base: &str, chain: &str) -> Vec<usize> {
    let jump = format!("-A {BASE} -j {chain}");
    base.lines()
        .filter(|line| line.starts_with("-A "))
        .enumerate()
        .filter(|(_, line)| *line == jump)
        .map(|(index, _)| index + 1)
        .collect()
}

/// The script that makes the chain and its jump exactly what they should be.
pub(super) fn render_install(
    family: Family,
    chain: &str,
    sets: &SetNames,
    protect: &[ProtoPort],
    jumps: &[usize],
) -> String {
    // Declaring a chain of ours empties it; INPUT is not declared, so it keeps what it has.
    let mut script = format!("*filter\n:{chain} - [0:0]\n");
    let (open, revoked) = (sets.open(family), sets.revoked(family));
    let _ = write!(
        script,
        "-A {chain} -m set --match-set {revoked} src,dst -j DROP\n\
         -A {chain} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n\
         -A {chain} -m set --match-set {open} src,dst -j ACCEPT\n",
    );
    for port in protect {
        let protocol = match port.protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        };
        let _ = writeln!(
            script,
            "-A {chain} ! -i lo -p {protocol} -m {protocol} --dport {} -j DROP",
            port.port,
        );
    }
    if jumps != [1] {
        for _ in jumps {
            let _ = writeln!(script, "-D {BASE} -j {chain}");
        }
        let _ = writeln!(script, "-I {BASE} 1 -j {chain}");
    }
    script.push_str("COMMIT\n");
    script
}

/// The script that removes the chain and its jumps, and nothing else.
pub(super) fn render_remove(chain: &str, jumps: &[usize]) -> String {
    let mut script = format!("*filter\n:{chain} - [0:0]\n");
    for _ in jumps {
        let _ = writeln!(script, "-D {BASE} -j {chain}");
    }
    let _ = writeln!(script, "-X {chain}");
    script.push_str("COMMIT\n");
    script
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
    fn what_is_revoked_comes_before_what_is_established_and_the_drop_comes_last() {
        let sets = SetNames::of_chain("P");
        let script = render_install(
            Family::V4,
            "P",
            &sets,
            &["tcp/22".parse().unwrap(), "udp/53".parse().unwrap()],
            &[],
        );

        let expected = "\
*filter
:P - [0:0]
-A P -m set --match-set P_R4 src,dst -j DROP
-A P -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A P -m set --match-set P_4 src,dst -j ACCEPT
-A P ! -i lo -p tcp -m tcp --dport 22 -j DROP
-A P ! -i lo -p udp -m udp --dport 53 -j DROP
-I INPUT 1 -j P
COMMIT
";
        assert_eq!(script, expected);
    }

    #[test]
    fn a_jump_that_is_first_and_alone_is_left_alone() {
        let sets = SetNames::of_chain("P");
        let jump_lines = |jumps: &[usize]| {
            render_install(Family::V6, "P", &sets, &[], jumps)
                .lines()
                .filter(|line| line.contains("INPUT"))
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };

        assert_eq!(jump_lines(&[1]), Vec::<String>::new());
        assert_eq!(jump_lines(&[2]), ["-D INPUT -j P", "-I INPUT 1 -j P"]);
    }

    proptest! {
        #[test]
        fn whatever_iptables_prints_only_lines_that_are_the_jump_are_taken_for_it(
            lines in prop::collection::vec(
                prop_oneof![Just("-A INPUT -j P".to_owned()), "(-A INPUT )?[ -~]{0,20}"],
                0..20,
            ),
        ) {
            let found = jumps(&lines.join("\n"), "P");

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

        assert_eq!(jumps(base, "P"), [2]);
        assert_eq!(jumps(base, "PO"), Vec::<usize>::new());
    }
}
