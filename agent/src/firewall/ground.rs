//! What must be there before a hole can open: sets, chain, jump. Made once, checked every few
//! seconds, repaired when it differs, taken away at the end.

use std::fmt;
use std::path::Path;

use spa::ProtoPort;

use super::ipset::{Family, IpsetFirewall, SetNames};
use super::{FirewallError, iptables};

/// Which chain is ours, and which ports it hides.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct GroundworkOptions {
    /// Name of the chain; sets are named after it.
    pub chain: String,
    /// Ports that are dropped unless opened.
    pub protect: Vec<ProtoPort>,
}

/// Lays and repairs the chain, the jump and the sets.
#[derive(Debug)]
pub struct Groundwork {
    options: GroundworkOptions,
    names: SetNames,
    sets: IpsetFirewall,
    families: Vec<Laid>,
}

/// One address family, and how its chain read right after we made it. Listings differ between
/// versions of iptables, so the expected text is what this one printed.
#[derive(Debug)]
struct Laid {
    family: Family,
    listing: Option<String>,
}

/// How the host differs from what we made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Drift(pub Vec<String>);

/// How often a script is tried that another program's change has made obsolete in between.
const ATTEMPTS: u32 = 3;
/// Longest name of a chain: a set's name has at most 31 characters, and ours append three.
const CHAIN_LEN_MAX: usize = 24;

// === impl Groundwork ===

impl Groundwork {
    /// Looks at the host; changes nothing.
    ///
    /// # Errors
    ///
    /// When the chain's name cannot be one, iptables cannot be run, or IPv6 is on but ip6tables
    /// does not work.
    pub fn survey(options: GroundworkOptions) -> Result<Self, FirewallError> {
        check_name(&options.chain)?;
        let names = SetNames::of_chain(&options.chain);
        let sets = IpsetFirewall::connect(names.clone())?;
        let mut families = vec![Family::V4];
        iptables::list_base(Family::V4)?;
        match iptables::list_base(Family::V6) {
            Ok(_) => families.push(Family::V6),
            // The file exists exactly when the kernel has IPv6 in it.
            Err(cause) if Path::new("/proc/net/if_inet6").exists() => {
                return Err(FirewallError::NoIp6tables(cause.to_string()));
            }
            Err(_) => tracing::info!("this kernel has no IPv6: only IPv4 is managed"),
        }
        let laid = |family| Laid {
            family,
            listing: None,
        };
        Ok(Self {
            options,
            names,
            sets,
            families: families.into_iter().map(laid).collect(),
        })
    }

    /// Names of the kernel sets.
    pub fn names(&self) -> &SetNames {
        &self.names
    }

    /// Makes sets, chain and jump what they should be, whatever they are now. What is open stays
    /// open. Doing it twice changes nothing.
    ///
    /// # Errors
    ///
    /// [`FirewallError`]; no protected port has been opened by trying.
    pub fn install(&mut self) -> Result<(), FirewallError> {
        self.sets.create()?;
        let Self {
            options,
            names,
            families,
            ..
        } = self;
        for laid in families {
            let family = laid.family;
            attempt(|| {
                let jumps = iptables::jumps(&iptables::list_base(family)?, &options.chain);
                let script = iptables::render_install(
                    family,
                    &options.chain,
                    names,
                    &options.protect,
                    &jumps,
                );
                iptables::restore(family, &script)
            })?;
            laid.listing = iptables::list(family, &options.chain)?;
        }
        Ok(())
    }

    /// Whether any port is hidden.
    pub fn protects(&self) -> bool {
        !self.options.protect.is_empty()
    }

    /// Hides other ports from now on.
    ///
    /// # Errors
    ///
    /// As [`Self::install`].
    pub fn protect(&mut self, protect: Vec<ProtoPort>) -> Result<(), FirewallError> {
        if self.options.protect == protect {
            return Ok(());
        }
        self.options.protect = protect;
        self.install()
    }

    /// Compares the host with what [`Self::install`] made.
    ///
    /// # Errors
    ///
    /// When the host cannot be asked.
    pub fn check(&mut self) -> Result<Option<Drift>, FirewallError> {
        let mut findings = Vec::new();
        if !self.sets.complete()? {
            findings.push("a kernel set is missing".to_owned());
        }
        let chain = &self.options.chain;
        for Laid { family, listing } in &self.families {
            match iptables::jumps(&iptables::list_base(*family)?, chain).as_slice() {
                [1] => {}
                [] => findings.push(format!("{family}: INPUT does not lead to {chain}")),
                [at] => findings.push(format!("{family}: {chain} is only rule {at} of INPUT")),
                several => findings.push(format!(
                    "{family}: INPUT leads to {chain} {} times",
                    several.len()
                )),
            }
            let now = iptables::list(*family, chain)?;
            if now.is_none() {
                findings.push(format!("{family}: chain {chain} is gone"));
            } else if now != *listing {
                findings.push(format!("{family}: the rules of {chain} were changed"));
            }
        }
        Ok((!findings.is_empty()).then_some(Drift(findings)))
    }

    /// Removes chain, jump and sets, and nothing else. What is not there is no error.
    ///
    /// # Errors
    ///
    /// [`FirewallError`] when the host refuses.
    pub fn uninstall(&mut self) -> Result<(), FirewallError> {
        let chain = &self.options.chain;
        for Laid { family, .. } in &self.families {
            attempt(|| {
                let jumps = iptables::jumps(&iptables::list_base(*family)?, chain);
                if jumps.is_empty() && iptables::list(*family, chain)?.is_none() {
                    return Ok(());
                }
                iptables::restore(*family, &iptables::render_remove(chain, &jumps))
            })?;
        }
        self.sets.destroy()
    }
}

/// Tries again when another program changed the table between our look and our script.
fn attempt(mut change: impl FnMut() -> Result<(), FirewallError>) -> Result<(), FirewallError> {
    let mut result = change();
    for _ in 1..ATTEMPTS {
        if result.is_ok() {
            break;
        }
        result = change();
    }
    result
}

fn check_name(chain: &str) -> Result<(), FirewallError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let fits = (1..=CHAIN_LEN_MAX).contains(&chain.len());
    if fits && chain.chars().all(plain) && !chain.starts_with('-') {
        Ok(())
    } else {
        Err(FirewallError::ChainName(chain.to_owned()))
    }
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("; "))
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_name_cannot_become_an_option_or_a_second_line() {
        for name in ["POSTERN_INPUT", "a-b"] {
            assert_eq!(check_name(name), Ok(()));
        }
        for name in ["", "-j", "a b", "a\n-F", "A234567890123456789012345"] {
            assert!(check_name(name).is_err(), "{name:?}");
        }
    }
}
