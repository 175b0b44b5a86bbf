//! Where packets come from, and which of them are judged.

use std::net::SocketAddr;
use std::path::Path;

use policy::Networks;

use super::{BUFFER_MIB, Mistakes, RawConfig};
use crate::capture::{CaptureConfig, CaptureSource, Filter, Transports};

/// How far a followed capture file was read, in the state directory.
const BOOKMARK: &str = "capture-file.json";
/// An interface of libpcap's that is a group of NFLOG.
const NFLOG: &str = "nflog:";

/// Every source that is named, or all interfaces where none is. A TCP server stands beside what
/// captures, unless there is none of that by `interfaces = []`: packets over UDP come where they came.
pub(super) fn sources(raw: &RawConfig, mistakes: &mut Mistakes) -> Vec<CaptureSource> {
    let mut sources: Vec<CaptureSource> = Vec::new();
    for name in raw.interfaces.iter().flatten() {
        let source = match name.strip_prefix(NFLOG).map(str::parse) {
            Some(Ok(group)) => CaptureSource::Nflog(group),
            Some(Err(_)) | None => CaptureSource::Interface(name.clone()),
        };
        if sources.contains(&source) {
            mistakes.add("interfaces", format_args!("{name} is named twice"));
        }
        mistakes.check("interfaces", !name.is_empty(), || {
            "an empty name".to_owned()
        });
        sources.push(source);
    }
    if let Some(group) = raw.nflog_group.map(CaptureSource::Nflog) {
        mistakes.check("nflog_group", !sources.contains(&group), || {
            "interfaces names the same group".to_owned()
        });
        sources.push(group);
    }
    if let Some(path) = &raw.pcap_file {
        sources.push(CaptureSource::File {
            path: path.clone(),
            follow: raw.follow.unwrap_or(false),
        });
    } else if raw.follow == Some(true) {
        mistakes.add("follow", "there is no pcap_file to follow");
    }
    let mut listen = |key, text: &Option<String>| {
        let text = text.as_ref()?;
        let address = listen_address(text);
        mistakes.check(key, address.is_some(), || {
            format!("`{text}` is not [ADDRESS:]PORT")
        });
        address
    };
    sources.extend(listen("udp_server", &raw.udp_server).map(CaptureSource::Socket));
    let tcp = listen("tcp_server", &raw.tcp_server).map(CaptureSource::TcpServer);
    let is_tcp_alone = tcp.is_some() && raw.interfaces.as_ref().is_some_and(Vec::is_empty);
    if sources.is_empty() && !is_tcp_alone {
        sources.push(CaptureSource::Interface("any".to_owned()));
    }
    sources.extend(tcp);
    sources
}

/// All captures differ in their source only.
pub(super) fn captures(
    raw: &RawConfig,
    sources: Vec<CaptureSource>,
    mistakes: &mut Mistakes,
) -> Vec<CaptureConfig> {
    let port = raw.spa_port.unwrap_or(fleet::DEFAULT_SPA_PORT);
    mistakes.check("spa_port", port > 0, || "0 is no port".to_owned());
    let transports = transports(raw, mistakes);
    let filter = match &raw.filter {
        Some(text) => Filter::Own(text.clone()),
        None => Filter::in_transports(port, transports),
    };
    let capture = |source| CaptureConfig {
        source,
        filter: filter.clone(),
        buffer_bytes: raw.buffer_mib.unwrap_or(BUFFER_MIB) << 20,
        promiscuous: raw.promiscuous.unwrap_or(false),
        any_direction: raw.any_direction.unwrap_or(false),
        bookmark: raw.state_dir_or_default().join(BOOKMARK),
    };
    sources.into_iter().map(capture).collect()
}

/// UDP where nothing is said.
fn transports(raw: &RawConfig, mistakes: &mut Mistakes) -> Transports {
    let Some(names) = &raw.transports else {
        return Transports::UDP;
    };
    mistakes.check("transports", !names.is_empty(), || {
        "none of udp, tcp, icmp, gre and other".to_owned()
    });
    mistakes.check("transports", raw.filter.is_none(), || {
        "filter says already what is looked at".to_owned()
    });
    let mut all: Option<Transports> = None;
    for name in names {
        match name.trim().parse() {
            Ok(one) => all = Some(all.map_or(one, |all| all.and(one))),
            Err(cause) => {
                let cause: crate::capture::NoTransport = cause;
                mistakes.add("transports", format_args!("`{name}` {cause}"));
            }
        }
    }
    all.unwrap_or(Transports::UDP)
}

/// All for a gateway, and where what is sent to others is to be judged.
pub(super) fn accept_destinations(raw: &RawConfig, mistakes: &mut Mistakes) -> Networks {
    if [raw.gateway, raw.any_direction].contains(&Some(true)) {
        return Networks::Any;
    }
    let mut networks = Vec::new();
    for text in raw.accept_destinations.iter().flatten() {
        match Networks::parse(text) {
            Ok(Networks::Only(own)) => networks.extend(own),
            Ok(Networks::Any) => return Networks::Any,
            Err(cause) => mistakes.add("accept_destinations", cause),
        }
    }
    Networks::Only(networks.into())
}

fn listen_address(text: &str) -> Option<SocketAddr> {
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    // IPv4 too, where the kernel has both; only IPv4 where it has no IPv6.
    let port: u16 = text.parse().ok().filter(|port| *port > 0)?;
    let has_v6 = Path::new("/proc/thread-self/net/if_inet6").exists();
    Some(if has_v6 {
        SocketAddr::from(([0_u16; 8], port))
    } else {
        SocketAddr::from(([0_u8; 4], port))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn sources_of(raw: RawConfig) -> String {
        let config = Config::try_from(raw).unwrap();
        let sources = config.captures.iter().map(|c| format!("{:?}", c.source));
        sources.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_tcp_server_stands_beside_what_captures_and_alone_where_nothing_is_to_be_captured() {
        let with = |interfaces: Option<Vec<String>>| RawConfig {
            interfaces,
            tcp_server: Some("0.0.0.0:7".to_owned()),
            ..RawConfig::default()
        };

        let default = sources_of(with(None));
        assert_eq!(default, "Interface(\"any\") TcpServer(0.0.0.0:7)");
        let named = sources_of(with(Some(vec!["eth1".to_owned()])));
        assert_eq!(named, "Interface(\"eth1\") TcpServer(0.0.0.0:7)");
        assert_eq!(sources_of(with(Some(Vec::new()))), "TcpServer(0.0.0.0:7)");
    }

    #[test]
    fn a_group_of_nflog_is_one_by_its_number_or_by_libpcaps_name() {
        let group = RawConfig {
            nflog_group: Some(5),
            ..RawConfig::default()
        };
        let named = RawConfig {
            interfaces: Some(vec!["nflog:5".to_owned()]),
            ..RawConfig::default()
        };
        assert_eq!(sources_of(group.clone()), "Nflog(5)");
        assert_eq!(sources_of(named.clone()), "Nflog(5)");

        let twice = Config::try_from(named.overlaid(group)).unwrap_err();
        assert!(
            twice.to_string().contains("nflog_group: interfaces names"),
            "{twice}"
        );
    }

    #[test]
    fn any_direction_judges_whatever_address_a_packet_is_sent_to() {
        let raw = RawConfig {
            any_direction: Some(true),
            ..RawConfig::default()
        };
        let config = Config::try_from(raw).unwrap();

        assert_eq!(config.accept_destinations, Networks::Any);
        assert!(config.captures.iter().all(|capture| capture.any_direction));
    }

    #[test]
    fn transports_are_chosen_by_name_and_not_beside_a_filter() {
        let raw = |names: &[&str], filter: Option<&str>| RawConfig {
            transports: Some(names.iter().map(|&name| name.to_owned()).collect()),
            filter: filter.map(str::to_owned),
            ..RawConfig::default()
        };
        let config = Config::try_from(raw(&["udp", "icmp"], None)).unwrap();
        let both = Transports::UDP.and(Transports::ICMP);
        let expected = Filter::in_transports(fleet::DEFAULT_SPA_PORT, both);
        assert_eq!(config.captures[0].filter, expected);
        for (names, filter) in [(&[][..], None), (&["sctp"], None), (&["tcp"], Some("tcp"))] {
            let told = Config::try_from(raw(names, filter)).unwrap_err();
            assert!(told.to_string().contains("transports: "), "{told}");
        }
    }
}
