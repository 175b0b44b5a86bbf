//! What the configuration says about leading packets on to other places.

use std::net::IpAddr;

use policy::{HostSource, NatSettings};

use super::{Mistakes, RawConfig};

/// Reads the keys. What the packet filter and the kernel can do is for them to say.
pub(super) fn nat(raw: &RawConfig, mistakes: &mut Mistakes) -> NatSettings {
    let addresses = snat_addresses(raw, mistakes);
    let source = HostSource {
        is_translated: raw.nat_snat.unwrap_or(!addresses.is_empty()),
        v4: addresses.iter().find_map(|address| match address {
            IpAddr::V4(v4) => Some(*v4),
            IpAddr::V6(_) => None,
        }),
        v6: addresses.iter().find_map(|address| match address {
            IpAddr::V6(v6) => Some(*v6),
            IpAddr::V4(_) => None,
        }),
    };
    if raw.nat_snat == Some(false) && !addresses.is_empty() {
        mistakes.add("snat_address", "means nothing with nat_snat = false");
    }
    NatSettings {
        is_possible: false,
        forward: raw.nat_forward.unwrap_or(false),
        local: raw.nat_local.unwrap_or(false),
        names: raw.nat_dns.unwrap_or(false),
        reaches_loopback: false,
        source,
        destination_rule: raw.destination_rule.unwrap_or(false),
    }
}

/// One of each family at most.
fn snat_addresses(raw: &RawConfig, mistakes: &mut Mistakes) -> Vec<IpAddr> {
    let mut addresses: Vec<IpAddr> = Vec::new();
    for text in raw.snat_address.iter().flatten() {
        let address: Option<IpAddr> = text.trim().parse().ok();
        let address = address.filter(|address| !address.is_unspecified() && !address.is_loopback());
        match address.map(|address| address.to_canonical()) {
            Some(address) if addresses.iter().any(|a| a.is_ipv4() == address.is_ipv4()) => {
                mistakes.add(
                    "snat_address",
                    format_args!("{address} is the second of its family"),
                );
            }
            Some(address) if !address.is_multicast() => addresses.push(address),
            Some(_) | None => {
                mistakes.add(
                    "snat_address",
                    format_args!("`{text}` is not an address of this host"),
                );
            }
        }
    }
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(raw: &RawConfig) -> (NatSettings, Vec<String>) {
        let mut mistakes = Mistakes::default();
        let nat = nat(raw, &mut mistakes);
        let mistakes = mistakes.0.iter().map(ToString::to_string);
        (nat, mistakes.collect())
    }

    #[test]
    fn nothing_is_led_on_unless_it_is_said() {
        assert_eq!(
            read(&RawConfig::default()),
            (NatSettings::default(), Vec::new())
        );
    }

    #[test]
    fn an_address_of_each_family_may_be_what_others_see() {
        let address = |texts: &[&str]| RawConfig {
            snat_address: Some(texts.iter().map(ToString::to_string).collect()),
            ..RawConfig::default()
        };

        let (nat, mistakes) = read(&address(&["198.51.100.1", "2001:db8::1"]));
        assert_eq!(mistakes, Vec::<String>::new());
        assert!(nat.source.is_translated);
        assert_eq!(nat.source.v4, Some([198, 51, 100, 1].into()));
        assert_eq!(nat.source.v6, "2001:db8::1".parse().ok());

        let (_, mistakes) = read(&address(&[
            "198.51.100.1",
            "198.51.100.2",
            "x",
            "127.0.0.1",
        ]));
        assert_eq!(mistakes.len(), 3, "{mistakes:?}");
        let both = RawConfig {
            nat_snat: Some(false),
            ..address(&["198.51.100.1"])
        };
        assert_eq!(read(&both).1.len(), 1);
    }
}
