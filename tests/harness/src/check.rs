//! Whether this machine can run the tests at all, asked once before any begins.

use anyhow::Context as _;

use crate::{Lab, Result, machine};

/// Insists that this machine has everything that any test of the workspace needs: root, programs,
/// and a kernel with namespaces, iptables with conntrack, and ipset, for both address families.
///
/// # Errors
///
/// When it lacks something; the text says what.
pub fn check() -> Result<()> {
    machine::require_root()?;
    machine::require_all()?;
    let lab = Lab::new()?;
    let node = lab.node("probe", 1)?;
    for (program, family) in [("iptables", "inet"), ("ip6tables", "inet6")] {
        let established = "-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT";
        let words: Vec<&str> = [program]
            .into_iter()
            .chain(established.split(' '))
            .collect();
        let ran = node.run(&words)?.ok();
        ran.with_context(|| format!("this kernel has no {program} with conntrack in a namespace"))?;
        let set = [
            "ipset",
            "create",
            family,
            "hash:ip,port",
            "family",
            family,
            "timeout",
            "5",
        ];
        let ran = node.run(&set)?.ok();
        ran.context("this kernel has no ipset (hash:ip,port) in a namespace")?;
        let matching = [
            "-A",
            "INPUT",
            "-m",
            "set",
            "--match-set",
            family,
            "src,dst",
            "-j",
            "DROP",
        ];
        let words: Vec<&str> = [program].into_iter().chain(matching).collect();
        let ran = node.run(&words)?.ok();
        ran.with_context(|| format!("{program} of this machine cannot match a set"))?;
    }
    Ok(())
}
