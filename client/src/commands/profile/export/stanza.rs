//! The stanzas of an fwknoprc, each with what one packet can ask for.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use fleet::wire::DirectoryHost;
use member::Membership;
use spa::ProtoPort;

use crate::error::Result;
use crate::knock::listed::spa_port;
use crate::knock::target::pairwise;

/// A stanza of the policy on one host, under the name that it has in the file.
#[derive(Debug)]
pub(super) struct ToExport<'a> {
    pub(super) name: String,
    pub(super) host: &'a DirectoryHost,
    /// What it opens; empty for anything.
    ports: BTreeSet<&'a str>,
    /// It is not the only one of its host.
    has_twin: bool,
}

/// One for each entry of the directory: a host judges a packet by one stanza at a time, so what two of
/// them open cannot be asked for together. What opens nothing new is left out.
pub(super) fn of(hosts: &[DirectoryHost]) -> Vec<ToExport<'_>> {
    let mut stanzas: Vec<ToExport<'_>> = Vec::new();
    let of_hosts: BTreeSet<&str> = hosts.iter().map(|host| &*host.name).collect();
    for host in hosts {
        let ports: BTreeSet<&str> = host.ports.iter().map(String::as_str).collect();
        let same = || stanzas.iter().filter(|it| it.host.name == host.name);
        let is_first = same().next().is_none();
        let has_port = |it: &ToExport<'_>| spa_port(it.host) == spa_port(host);
        if same().any(|it| has_port(it) && it.ports == ports) {
            continue;
        }
        let is_free = |name: &String| {
            !of_hosts.contains(name.as_str()) && !stanzas.iter().any(|it| it.name == *name)
        };
        let by_port = (!same().any(has_port)).then(|| format!("{}-{}", host.name, spa_port(host)));
        let numbered = (2..).map(|number: u32| format!("{}-{number}", host.name));
        let name = if is_first {
            Some(host.name.clone())
        } else {
            by_port.into_iter().chain(numbered).find(is_free)
        };
        stanzas.push(ToExport {
            name: name.unwrap_or_default(),
            host,
            ports,
            has_twin: !is_first,
        });
    }
    let twins: Vec<&str> = stanzas
        .iter()
        .filter(|it| it.has_twin)
        .map(|it| it.host.name.as_str())
        .collect();
    let twins: BTreeSet<&str> = twins.into_iter().collect();
    for stanza in &mut stanzas {
        stanza.has_twin = twins.contains(stanza.host.name.as_str());
    }
    stanzas
}

// === impl ToExport ===

impl ToExport<'_> {
    /// What a stock client can ask for in one packet, and the rest.
    pub(super) fn askable(&self) -> (Vec<&str>, Vec<&str>) {
        // A request has 192 bytes, of which an IPv6 address takes up to 39.
        let mut room: usize = 192 - 39;
        self.ports.iter().copied().partition(|port| {
            let is_port = port.parse::<ProtoPort>().is_ok();
            let fits = is_port && room > port.len();
            if fits {
                room -= port.len() + 1;
            }
            fits
        })
    }

    /// Adds the stanza to a text.
    ///
    /// # Errors
    ///
    /// Exit code 1 when the host's public key is unfit.
    pub(super) fn write(
        &self,
        text: &mut String,
        membership: &Membership,
        allow_ip: &str,
    ) -> Result {
        let host = self.host;
        let keys = pairwise(membership, host)?;
        let _ = writeln!(text, "[{}]", self.name);
        let mut line = |name: &str, value: &str| {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{name:<18} {value}");
        };
        if self.has_twin {
            line("# Policy's stanza:", &host.stanza);
        }
        line("SPA_SERVER", &host.address);
        line("SPA_SERVER_PORT", &spa_port(host).to_string());
        let (access, rest) = self.askable();
        if !access.is_empty() {
            line("ACCESS", &access.join(","));
        }
        if !rest.is_empty() {
            line("# Not in ACCESS:", &rest.join(","));
            line(
                "#",
                "a stock client asks for single ports, as many as one packet has room for",
            );
        }
        line("ALLOW_IP", allow_ip);
        line("SPOOF_USER", &membership.name);
        line("KEY_BASE64", &keys.encryption().secret().to_base64());
        if let Some((key, digest)) = keys.hmac() {
            line("USE_HMAC", "Y");
            line("HMAC_KEY_BASE64", &key.secret().to_base64());
            line("HMAC_DIGEST_TYPE", &digest.to_string());
        }
        text.push('\n');
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, spa_port: u32, ports: &[&str]) -> DirectoryHost {
        DirectoryHost {
            name: name.to_owned(),
            spa_port,
            ports: ports.iter().map(|port| (*port).to_owned()).collect(),
            ..DirectoryHost::default()
        }
    }

    #[test]
    fn what_two_stanzas_open_is_never_asked_for_in_one_packet_and_each_has_its_own_name() {
        let hosts = [
            entry("web", 62201, &["tcp/22", "udp/53"]),
            entry("web", 62201, &["tcp/80"]),
            entry("web", 62201, &["udp/53", "tcp/22"]),
            entry("web", 4000, &["tcp/443"]),
            entry("web", 4000, &["tcp/444"]),
            entry("web-2", 62201, &["icmp/echo", "tcp/22"]),
            entry("db", 62201, &[]),
        ];
        let stanzas = of(&hosts);

        let shown: Vec<_> = stanzas
            .iter()
            .map(|it| (it.name.as_str(), it.askable().0.join(","), it.has_twin))
            .collect();
        let expected = [
            ("web", "tcp/22,udp/53", true),
            ("web-3", "tcp/80", true),
            ("web-4000", "tcp/443", true),
            ("web-4", "tcp/444", true),
            ("web-2", "tcp/22", false),
            ("db", "", false),
        ]
        .map(|(name, access, twin)| (name, access.to_owned(), twin));
        assert_eq!(shown, expected);
    }
}
