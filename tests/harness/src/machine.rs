//! What a machine must have, and the one rule for a machine that lacks something: it is named, and
//! the test fails.
//!
//! No test passes because it looked at nothing. Whatever a lab is about to use is asked for here
//! first; `make test` asks for everything at once before it begins ([`check`](fn@crate::check)).

use std::path::Path;

use anyhow::bail;
use nix::unistd::Uid;

use crate::Result;

/// Programs that labs use, and the Debian package that brings each.
const PACKAGES: &[(&str, &str)] = &[
    ("ip", "iproute2"),
    ("iptables", "iptables"),
    ("iptables-save", "iptables"),
    ("ip6tables", "iptables"),
    ("ip6tables-save", "iptables"),
    ("ipset", "ipset"),
    ("nft", "nftables"),
    ("tcpdump", "tcpdump"),
    ("fwknop", "fwknop-client"),
    ("fwknopd", "fwknop-server"),
    ("gpg", "gnupg"),
    ("openssl", "openssl"),
    ("nc", "netcat-openbsd"),
    ("faketime", "faketime"),
    ("ssh", "openssh-client"),
];

/// Where programs of administrators are, also when they are not on the path.
const ADMIN_DIRS: &[&str] = &["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// Insists that this machine has these programs.
///
/// # Errors
///
/// When it lacks some; the text names all of them and the packages that bring them.
pub fn require(programs: &[&str]) -> Result<()> {
    let path = std::env::var("PATH").unwrap_or_default();
    let dirs: Vec<&str> = path.split(':').chain(ADMIN_DIRS.iter().copied()).collect();
    let is_there = |program: &str| {
        dirs.iter()
            .any(|dir| Path::new(dir).join(program).is_file())
    };
    let lacking: Vec<String> = programs
        .iter()
        .filter(|program| !is_there(program))
        .map(|program| describe(program))
        .collect();
    if !lacking.is_empty() {
        bail!(
            "this machine lacks {}; `make setup` installs what the tests need",
            lacking.join(", ")
        );
    }
    Ok(())
}

/// Insists on every program that any test of the workspace uses.
///
/// # Errors
///
/// As [`require`].
pub(crate) fn require_all() -> Result<()> {
    let every: Vec<&str> = PACKAGES.iter().map(|(program, _)| *program).collect();
    require(&every)
}

/// Insists on root.
///
/// # Errors
///
/// When we are somebody else.
pub(crate) fn require_root() -> Result<()> {
    if !Uid::effective().is_root() {
        bail!("the tests make network namespaces and need root: run them with sudo -E");
    }
    Ok(())
}

fn describe(program: &str) -> String {
    let package = PACKAGES.iter().find(|(name, _)| *name == program);
    package.map_or_else(
        || format!("`{program}`"),
        |(_, package)| format!("`{program}` (Debian package {package})"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_programs_that_are_missing_are_named_with_their_packages() {
        let missing = require(&["sh", "fwknop-that-is-not-there", "no-such-program"]);

        let text = missing.unwrap_err().to_string();

        assert!(
            text.contains("`fwknop-that-is-not-there`, `no-such-program`"),
            "{text}"
        );
        assert!(!text.contains("`sh`"), "{text}");
        assert_eq!(describe("ipset"), "`ipset` (Debian package ipset)");
        assert_eq!(require(&["sh"]).map_err(|error| error.to_string()), Ok(()));
    }
}
