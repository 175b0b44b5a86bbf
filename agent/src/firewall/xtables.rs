//! Running the programs of iptables, and reading what they print.
//!
//! Spawned at the start and when something is to be put right, never for a packet. A change is one
//! `iptables-restore --noflush`, which the kernel applies whole or not at all.
//!
//! There are two kinds of them, whose rules do not know of each other: `iptables-nft` writes into
//! nf_tables, `iptables-legacy` into the tables of its own. A host calls one of the two `iptables`.

mod text;

use std::fs;
use std::io::Write as _;
use std::process::{Command, Output, Stdio};

pub(super) use text::{DEPTH_MAX, RuleText, TableText, Target};

use super::FirewallError;
use super::family::Family;

/// Which of the programs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Variant {
    /// What this host calls `iptables`.
    Default,
    Nft,
    Legacy,
}

/// Gives a text to the reader of listings and saves ([`crate::hostile`]), and asks of what was read all
/// that is asked of it.
pub(super) fn read_hostile(text: &str) {
    let table = TableText::of(text);
    for (chain, rules) in table.chains() {
        let _ = (table.policy(chain), table.is_own_chain(chain));
        for rule in rules {
            let _ = rule.is_unconditional();
            if let Target::Jump(to) | Target::Goto(to) = &rule.target {
                let _ = (table.jumps(chain, to), table.kept_from(chain, to));
            }
        }
    }
}

/// The rules of a table in one listing; with `chain`, of one chain of it.
///
/// # Errors
///
/// When the program cannot be run or says no, for instance because there is no such chain.
pub(super) fn list(
    variant: Variant,
    family: Family,
    table: &str,
) -> Result<TableText, FirewallError> {
    let program = lister(variant, family);
    let output = run(program, &["-w", "-t", table, "-S"], None)?;
    if !output.status.success() {
        return Err(refused(program, &output));
    }
    Ok(TableText::of(&String::from_utf8_lossy(&output.stdout)))
}

/// The rules of one chain; `None` when there is no such chain or table.
///
/// # Errors
///
/// When the program cannot be run.
pub(super) fn list_chain(
    variant: Variant,
    family: Family,
    table: &str,
    chain: &str,
) -> Result<Option<TableText>, FirewallError> {
    let program = lister(variant, family);
    let output = run(program, &["-w", "-t", table, "-S", chain], None)?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(output.status.success().then(|| TableText::of(&text)))
}

/// Applies a script to the kernel, whole or not at all.
///
/// # Errors
///
/// When the program cannot be run or the kernel says no.
pub(super) fn restore(variant: Variant, family: Family, script: &str) -> Result<(), FirewallError> {
    let program = restorer(variant, family);
    tracing::debug!(program, script, "rules are changed");
    let output = run(program, &["-w", "--noflush"], Some(script))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(refused(program, &output))
    }
}

/// Whether the old kind has this table in the kernel: to ask its program would make it.
pub(super) fn legacy_has(family: Family, table: &str) -> bool {
    let names = match family {
        Family::V4 => "/proc/thread-self/net/ip_tables_names",
        Family::V6 => "/proc/thread-self/net/ip6_tables_names",
    };
    let names = fs::read_to_string(names);
    names.is_ok_and(|names| names.lines().any(|name| name == table))
}

/// Which kind this host calls `iptables`; `None` where it has none.
pub(super) fn default_kind() -> Option<Variant> {
    let output = run(lister(Variant::Default, Family::V4), &["--version"], None).ok()?;
    let says_nft = String::from_utf8_lossy(&output.stdout).contains("nf_tables");
    Some(if says_nft {
        Variant::Nft
    } else {
        Variant::Legacy
    })
}

pub(super) const fn lister(variant: Variant, family: Family) -> &'static str {
    match (variant, family) {
        (Variant::Default, Family::V4) => "iptables",
        (Variant::Default, Family::V6) => "ip6tables",
        (Variant::Nft, Family::V4) => "iptables-nft",
        (Variant::Nft, Family::V6) => "ip6tables-nft",
        (Variant::Legacy, Family::V4) => "iptables-legacy",
        (Variant::Legacy, Family::V6) => "ip6tables-legacy",
    }
}

const fn restorer(variant: Variant, family: Family) -> &'static str {
    match (variant, family) {
        (Variant::Default, Family::V4) => "iptables-restore",
        (Variant::Default, Family::V6) => "ip6tables-restore",
        (Variant::Nft, Family::V4) => "iptables-nft-restore",
        (Variant::Nft, Family::V6) => "ip6tables-nft-restore",
        (Variant::Legacy, Family::V4) => "iptables-legacy-restore",
        (Variant::Legacy, Family::V6) => "ip6tables-legacy-restore",
    }
}

fn run(
    program: &'static str,
    arguments: &[&str],
    input: Option<&str>,
) -> Result<Output, FirewallError> {
    let failed = |cause: std::io::Error| FirewallError::Spawn {
        program: program.into(),
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
        // Nothing is printed before all of a script is read, so this cannot wait for our reading.
        stdin
            .write_all(input.unwrap_or_default().as_bytes())
            .map_err(failed)?;
    }
    child.wait_with_output().map_err(failed)
}

fn refused(program: &'static str, output: &Output) -> FirewallError {
    FirewallError::Refused {
        program: program.into(),
        stderr: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    }
}
