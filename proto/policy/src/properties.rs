//! What holds for every text and every message.

use std::net::IpAddr;
use std::num::NonZeroU16;

use proptest::prelude::*;
use spa::{Allow, DigestType, Message, MessageType, PortRange, Protocol, Request, Service};

use crate::nat::Place;
use crate::{
    Ask, Dialect, ForwardTo, Forwarding, HostSettings, NatSettings, NoIncludes, OwnAddresses,
    Permit, Permitted, Policy, PortSet, Secrets, SpaPort, Stanza, TIMEOUT_MAX_SECS, diff, parse,
    parse_as,
};

const KEYWORDS: &str = "(SOURCE|DESTINATION|SPA_SERVER_PORT|NAME|HOSTS|OPEN_PORTS|RESTRICT_PORTS|KEY|KEY_BASE64|\
    HMAC_KEY|HMAC_KEY_BASE64|HMAC_DIGEST_TYPE|ENCRYPTION_MODE|FW_ACCESS_TIMEOUT|MAX_FW_TIMEOUT|\
    REQUIRE_USERNAME|REQUIRE_SOURCE_ADDRESS|ACCESS_EXPIRE|ACCESS_EXPIRE_EPOCH|ENABLE_CMD_EXEC|\
    CMD_EXEC_USER|ON_CONTROLLER_LOSS|FORCE_NAT|FORCE_SNAT|FORCE_MASQUERADE|DISABLE_DNAT|FORWARD_ALL|NAT_ACCESS|\
    OPEN_PREFIX|OPEN_PREFIX6|OPEN_PACKET_SOURCE|PROTECT|USER_PUBLIC_KEY|DATA_COLLECT_MODE|GPG_REMOTE_ID|\
    %group|%test|%include|%include_folder|%include_keys)";

fn dialects() -> impl Strategy<Value = Dialect> {
    prop_oneof![
        Just(Dialect::Operator),
        Just(Dialect::Compiled),
        Just(Dialect::Alone)
    ]
}

/// Lines that begin with a keyword and go on with nearly anything.
fn wild_text() -> impl Strategy<Value = String> {
    let value = prop_oneof![
        "\\PC{0,30}",
        "[a-z0-9/,.:= @#;_-]{0,30}",
        "(ANY|NONE|Y|N|tcp/22|10|mbr|10.0.0.5 22|10.0.0.0/8 tcp/22)"
    ];
    let line = (KEYWORDS, "(:| |;|\t|)", value).prop_map(|(word, gap, value)| word + &gap + &value);
    prop::collection::vec(line, 0..30).prop_map(|lines| lines.join("\n"))
}

fn optional(line: &'static str) -> impl Strategy<Value = Option<String>> {
    prop::option::of(line.prop_map(String::from))
}

/// The lines of one stanza that make sense, under a name of its own.
fn stanza_text() -> impl Strategy<Value = String> {
    const PORTS: &str =
        "(tcp|udp)/[1-9][0-9]{0,3}(-[1-5][0-9]{4})?(,(tcp|udp)/[1-9][0-9]{0,3}){0,3}(, icmp/echo)?";
    let keys = prop_oneof![
        Just(String::new()),
        "KEY [a-z #:]{0,14}[a-z]",
        "(KEY [a-m]{1,30}\nHMAC_KEY [n-z]{1,100}\n){1,3}HMAC_DIGEST_TYPE (md5|sha1|sha384|sha3_512)",
        "KEY_BASE64 ([A-Za-z0-9+/]{4}){1,10}\nENCRYPTION_MODE (CTR|cfb|OFB|ECB|legacy)",
    ];
    let who = (
        "SOURCE (ANY|192\\.0\\.2\\.[1-9]/2[0-9]|2001:db8::[a-f]{1,4}/[1-9]{2}, 10\\.0\\.0\\.1)",
        optional("DESTINATION 198\\.51\\.100\\.[1-9][0-9]?(\nSPA_SERVER_PORT [1-9][0-9]{0,3})?"),
        optional("HOSTS (ANY|role=[a-z]{1,5} env=[a-z]{1,5})(\nHOSTS name=[a-z]{1,9})?"),
        optional("REQUIRE_USERNAME ([a-z]{1,10}, ){0,3}@sre(,[A-Z]{1,5})?"),
        keys,
    );
    let what = (
        optional("FW_ACCESS_TIMEOUT [0-9]{1,6}"),
        optional("MAX_FW_TIMEOUT [0-9]{1,6}"),
        optional("REQUIRE_SOURCE_ADDRESS (Y|n)"),
        optional("ACCESS_EXPIRE(_EPOCH [1-9][0-9]{0,10}| 1?[12]/2?[1-8]/20[0-9]{2})"),
        optional(
            "ENABLE_CMD_EXEC [YN]\nCMD_EXEC_USER [a-z]{1,8}(\nENABLE_CMD_SUDO_EXEC [YN]\nCMD_SUDO_EXEC_USER [a-z]{1,8})?(\nCMD_CYCLE_OPEN /o \\$IP \"\\$PORT\"\nCMD_CYCLE_CLOSE (NONE|/c \\$SRC)\nCMD_CYCLE_TIMER [1-9][0-9]{0,3})?",
        ),
        optional(
            "ON_CONTROLLER_LOSS (allow|deny)(\nOPEN_PREFIX (16|24|32))?(\nOPEN_PREFIX6 56\nOPEN_PACKET_SOURCE [YN])?",
        ),
        PORTS.prop_map(|ports| Some(format!("OPEN_PORTS {ports}"))),
        prop::option::of(PORTS.prop_map(|ports| format!("RESTRICT_PORTS {ports}"))),
        prop::option::of(PORTS.prop_map(|ports| format!("PROTECT {ports}"))),
    );
    let nat = (
        optional("FORCE_NAT (10\\.0\\.0\\.[1-9]|127\\.0\\.0\\.1) [1-9][0-9]{0,3}(\nFORCE_SNAT 10\\.0\\.0\\.9)?"),
        optional("FORWARD_ALL Y\nFORCE_MASQUERADE [YN]"),
        optional("DISABLE_DNAT [YN]"),
        optional("NAT_ACCESS (NONE|ANY|(LOCAL,)?10\\.[0-9]\\.0\\.0/1[0-6]( tcp/[1-9],udp/1-[1-9])?(\nNAT_ACCESS 2001:db8::[1-9])?)"),
    )
        .prop_map(|(force, all, sent, access)| [force, all, sent, access]);
    (who, what, nat).prop_map(|((source, to, hosts, users, keys), what, nat)| {
        let (own, max, address, expire, command, loss, open, restrict, protect) = what;
        let lines = [
            to, hosts, users, own, max, address, expire, command, loss, open, restrict, protect,
        ];
        let lines: Vec<String> = lines.into_iter().chain(nat).flatten().collect();
        format!("{source}\n{}\n{keys}\n", lines.join("\n"))
    })
}

pub(crate) fn policies() -> impl Strategy<Value = Policy> {
    prop::collection::vec((any::<bool>(), stanza_text()), 0..8).prop_map(|stanzas| {
        let mut text = "%group sre zoe, Al\nPROTECT tcp/22\n".to_owned();
        for (index, (is_named, stanza)) in stanzas.into_iter().enumerate() {
            if is_named {
                text += &format!("NAME stanza-{index}\n");
            }
            text += &stanza;
        }
        parse("fleet.conf", &text, &NoIncludes).unwrap_or_else(|e| panic!("{e}\n{text}"))
    })
}

pub(crate) fn services() -> impl Strategy<Value = Service> {
    let range = (any::<bool>(), 1..6_u16, 0..3_u16).prop_map(|(is_tcp, first, more)| {
        let protocol = if is_tcp { Protocol::Tcp } else { Protocol::Udp };
        let first = NonZeroU16::new(first).unwrap();
        PortRange::new(protocol, first, first.saturating_add(more)).unwrap()
    });
    prop_oneof![9 => range.prop_map(Service::Ports), 1 => Just(Service::Echo)]
}

fn ports() -> impl Strategy<Value = Vec<Service>> {
    prop::collection::vec(services(), 0..5)
}

fn messages() -> impl Strategy<Value = Message> {
    let allow = prop::option::of(any::<IpAddr>()).prop_map(|address| match address {
        None => Allow::Source,
        Some(address) => Allow::Address(address),
    });
    let request = (allow, ports(), 0..4).prop_map(|(allow, ports, kind)| match kind {
        0 => {
            let command = "/bin/true".to_owned();
            Request::Command { allow, command }
        }
        1 => Request::Close {
            allow,
            ports,
            cut: true,
        },
        _ => Request::Access { allow, ports },
    });
    let kind = prop::sample::select(MessageType::ALL.to_vec());
    let nat = (
        "(10\\.0\\.0\\.[1-3]|127\\.0\\.0\\.1|::1|2001:db8::1|db)",
        1..6_u16,
    );
    let kind = (kind, nat).prop_map(|(kind, (host, port))| {
        let nat = kind.has_nat().then_some(spa::NatAccess { host, port });
        (kind, nat)
    });
    (kind, request, any::<u32>(), "[a-c]").prop_map(
        |((kind, nat_access), request, timeout, user)| Message {
            random: *b"1785484479104091",
            username: user,
            timestamp_secs: 0,
            version: "3.0.0".to_owned(),
            message_type: kind,
            request,
            nat_access,
            client_timeout_secs: timeout,
            digest_type: DigestType::Sha256,
        },
    )
}

/// Stanzas in which most rules have a chance to bite.
fn stanzas() -> impl Strategy<Value = Stanza> {
    let numbers = (0..400_u32, 0..400_u32, prop::option::of(1..2000_u64));
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    let nat = "(CMD_CYCLE_OPEN /o \\$IP\nCMD_CYCLE_CLOSE NONE\nCMD_CYCLE_TIMER [1-9]00\n)?(FORCE_NAT 10\\.0\\.0\\.1 22\n|FORWARD_ALL Y\nFORCE_MASQUERADE Y\n)?(DISABLE_DNAT Y\n)?\
        (NAT_ACCESS (10\\.0\\.0\\.[12]|2001:db8::1|LOCAL)( tcp/[1-5])?)?";
    (numbers, prop::option::of(ports()), (ports(), nat), flags).prop_map(
        |((own, max, expire), open, (restrict, nat), (named, address, commands))| {
            let text = format!("SOURCE 0.0.0.0/1,::/1\nKEY k\n{nat}");
            let mut stanza = parse("a", &text, &NoIncludes).unwrap().stanzas.remove(0);
            stanza.fw_access_timeout_secs = own;
            stanza.max_fw_timeout_secs = max;
            stanza.expire_at_secs = expire;
            stanza.open_ports = open.map(|ports| ports.into_iter().collect::<PortSet>());
            stanza.restrict_ports = restrict.into_iter().take(1).collect();
            stanza.require_username = named.then_some(["a", "b"]).into_iter().flatten().collect();
            stanza.require_source_address = address;
            stanza.command = commands.then(Box::default);
            stanza.open_packet_source = address;
            stanza.open_prefix = if named { 24 } else { 32 };
            stanza
        },
    )
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(dialect in dialects(), text in "\\PC*") {
        let _ = parse_as(dialect, "access.conf", &text, &NoIncludes);
    }

    #[test]
    fn no_lines_make_the_parser_panic(dialect in dialects(), text in wild_text()) {
        let parsed = parse_as(dialect, "access.conf", &text, &NoIncludes);

        if let Ok(policy) = parsed {
            let printed = policy.print(Secrets::Show);
            prop_assert_eq!(parse_as(dialect, "access.conf", &printed, &NoIncludes), Ok(policy));
        } else {
            prop_assert!(!parsed.unwrap_err().mistakes.is_empty());
        }
    }

    #[test]
    fn what_is_printed_reads_back(policy in policies()) {
        let printed = policy.print(Secrets::Show);

        let read = parse("fleet.conf", &printed, &NoIncludes);

        prop_assert_eq!(read.as_ref(), Ok(&policy), "{}", printed);
        prop_assert!(diff(&policy, &read.unwrap()).is_empty());
    }

    #[test]
    fn a_permit_keeps_to_its_stanza(
        stanza in stanzas(),
        message in messages(),
        source in any::<IpAddr>(),
        now_secs in 0..2000_u64,
        commands in any::<bool>(),
        nat in any::<[bool; 4]>(),
    ) {
        let [is_possible, forward, local, names] = nat;
        let nat = NatSettings { is_possible, forward, local, names, ..NatSettings::default() };
        let host = HostSettings { nat, commands };
        let ask = Ask { source, destination: source, port: SpaPort::Any, message: &message, now_secs, host: &host, own: &OwnAddresses::NONE, forwarded_for: None };

        if let Ok(permit) = stanza.judge(&ask) {
            prop_assert!(stanza.source.contains(source));
            prop_assert!(!permit.address().is_unspecified() && !permit.address().is_multicast());
            let ends_secs = now_secs + u64::from(permit.timeout_secs().max(1));
            prop_assert!(stanza.expire_at_secs.is_none_or(|at| ends_secs <= at));
            prop_assert!(
                stanza.require_username.is_empty()
                    || stanza.require_username.contains(&message.username)
            );
            prop_assert!(permit.timeout_secs() <= stanza.max_fw_timeout_secs.min(TIMEOUT_MAX_SECS));
            let (ports, forwarding) = match permit.what() {
                Permitted::Ports(ports) => (ports, None),
                Permitted::Forward(forwarding) => (&forwarding.asked, Some(forwarding)),
                Permitted::Close { .. } => {
                    prop_assert!(permit.timeout_secs() == 0);
                    return Ok(());
                }
                Permitted::Command { .. } => {
                    prop_assert!(commands && stanza.command.is_some());
                    return Ok(());
                }
                Permitted::Cycle(cycle) => {
                    prop_assert!(commands && stanza.cycle.is_some());
                    prop_assert!(permit.timeout_secs() > 0 && message.nat_access.is_none());
                    let Request::Access { ports: asked, .. } = &message.request else {
                        return Err(TestCaseError::fail("a cycle for a command"));
                    };
                    prop_assert_eq!(asked.first(), Some(&cycle.port));
                    for port in asked {
                        prop_assert!(!stanza.restrict_ports.touches(*port));
                        prop_assert!(stanza.open_ports.as_ref().is_none_or(|o| o.contains(*port)));
                    }
                    return Ok(());
                }
            };
            let Request::Access { ports: asked, .. } = &message.request else {
                return Err(TestCaseError::fail("ports for a command"));
            };
            prop_assert!(!ports.is_empty() && permit.timeout_secs() > 0);
            prop_assert!(asked.iter().all(|port| ports.iter().any(|p| p.covers(*port))));
            prop_assert!(stanza.gives(permit.opens()) && !permit.opens().is_empty());
            let asked: PortSet = asked.iter().copied().collect();
            for port in ports {
                prop_assert!(asked.contains(*port));
                prop_assert!(!stanza.restrict_ports.touches(*port));
                prop_assert!(stanza.open_ports.as_ref().is_none_or(|o| o.contains(*port)));
            }
            match forwarding {
                Some(forwarding) => keeps_to_nat(&stanza, host.nat, &permit, forwarding)?,
                None => prop_assert!(stanza.cycle.is_none() && message.nat_access.is_none() && stanza.nat.force.is_none()),
            }
        }
    }
}

/// Packets are led only where FORCE_NAT, FORWARD_ALL or a line of NAT_ACCESS says, on a host that can
/// and wants to.
fn keeps_to_nat(
    stanza: &Stanza,
    host: NatSettings,
    permit: &Permit,
    forwarding: &Forwarding,
) -> Result<(), TestCaseError> {
    prop_assert!(host.is_possible);
    let place = match &forwarding.to {
        ForwardTo::Here { .. } => Place::Local,
        ForwardTo::Inner {
            address,
            is_translated,
        } => {
            prop_assert_eq!(address.is_ipv4(), permit.address().is_ipv4());
            prop_assert_eq!(*is_translated, !stanza.nat.disable_dnat);
            Place::Inner(*address)
        }
        ForwardTo::Name(_) => {
            prop_assert!(host.names && host.forward);
            return Ok(());
        }
        ForwardTo::Anywhere => {
            prop_assert!(stanza.nat.forward_all && stanza.nat.source.is_some());
            prop_assert!(host.forward);
            return Ok(());
        }
    };
    let is_local = place == Place::Local;
    prop_assert!((!is_local || host.local) && (is_local || host.forward));
    if let Some(forced) = stanza.nat.force {
        prop_assert_eq!(place, Place::Inner(forced.address));
        return Ok(());
    }
    for asked in &forwarding.asked {
        let there = forwarding.port.map_or(*asked, |port| asked.at_port(port));
        let service = (!forwarding.is_everything).then_some(there);
        prop_assert!(stanza.nat.access.permits(place, service));
    }
    Ok(())
}
