//! Every rule, and what it says.

mod cycle;
mod nat;

use std::num::NonZeroU16;

use spa::{Allow, DigestType, Message, MessageType, Request};

use crate::{
    Ask, CommandRule, Denied, HostSettings, HostSource, NatSettings, NoIncludes, OwnAddresses,
    Permit, Permitted, SpaPort, Stanza, parse,
};

const NOW_SECS: u64 = 1_795_422_834;
const ALL_OFF: HostSettings = HostSettings {
    nat: NatSettings {
        is_possible: false,
        forward: false,
        local: false,
        names: false,
        reaches_loopback: false,
        source: HostSource {
            is_translated: false,
            v4: None,
            v6: None,
        },
        destination_rule: false,
    },
    commands: false,
};

static NO_ADDRESSES: OwnAddresses = OwnAddresses::NONE;

fn stanza(lines: &str) -> Stanza {
    let text = format!("SOURCE ANY\n{lines}\nKEY k\n");
    let mut policy = parse("access.conf", &text, &NoIncludes).unwrap();
    policy.stanzas.remove(0)
}

fn access(allow: &str, ports: &str) -> Message {
    let allow = match allow {
        "source" => Allow::Source,
        address => Allow::Address(address.parse().unwrap()),
    };
    let ports = ports.split(',').map(|port| port.parse().unwrap()).collect();
    Message {
        random: *b"1785484479104091",
        username: "mbr".to_owned(),
        timestamp_secs: NOW_SECS,
        version: "3.0.0".to_owned(),
        message_type: MessageType::Access,
        request: Request::Access { allow, ports },
        nat_access: None,
        client_timeout_secs: 0,
        digest_type: DigestType::Sha256,
    }
}

fn command(text: &str) -> Message {
    Message {
        message_type: MessageType::Command,
        request: Request::Command {
            allow: Allow::Source,
            command: text.to_owned(),
        },
        ..access("source", "tcp/22")
    }
}

fn with_timeout(secs: u32) -> Message {
    Message {
        message_type: MessageType::AccessTimeout,
        client_timeout_secs: secs,
        ..access("source", "tcp/22")
    }
}

fn ask(message: &Message) -> Ask<'_> {
    Ask {
        source: "192.0.2.7".parse().unwrap(),
        destination: "198.51.100.1".parse().unwrap(),
        port: SpaPort::Common,
        message,
        now_secs: NOW_SECS,
        host: &ALL_OFF,
        own: &NO_ADDRESSES,
        forwarded_for: None,
    }
}

fn judge(lines: &str, message: &Message) -> Result<Permit, Denied> {
    stanza(lines).judge(&ask(message))
}

fn timeout(lines: &str, message: &Message) -> Result<u32, Denied> {
    judge(lines, message).map(|permit| permit.timeout_secs)
}

#[test]
fn a_permit_says_what_opens_to_whom_and_for_how_long() {
    let permit = judge(
        "NAME ssh\nOPEN_PORTS tcp/22,udp/53",
        &access("source", "udp/53,tcp/22,tcp/22"),
    );

    assert_eq!(
        permit,
        Ok(Permit {
            stanza: 1,
            name: Some("ssh".into()),
            address: "192.0.2.7".parse().unwrap(),
            opens: vec!["192.0.2.7/32".parse().unwrap()],
            what: Permitted::Ports(vec!["tcp/22".parse().unwrap(), "udp/53".parse().unwrap()]),
            at: None,
            timeout_secs: 30,
        })
    );
}

#[test]
fn a_source_outside_of_source_is_denied() {
    let mut stanza = stanza("");
    stanza.source = crate::Networks::parse("10.0.0.0/8").unwrap();
    let message = access("source", "tcp/22");

    let judged = stanza.judge(&ask(&message));

    assert_eq!(judged, Err(Denied::Source("192.0.2.7".parse().unwrap())));
}

#[test]
fn a_port_that_a_stanza_takes_is_for_such_stanzas_alone() {
    let message = access("source", "tcp/22");
    let [own, other] = [4001, 4002].map(|port| NonZeroU16::new(port).unwrap());
    let (bound, free) = (stanza("SPA_SERVER_PORT 4001"), stanza(""));
    let judge = |stanza: &Stanza, port| {
        let judged = stanza.judge(&Ask {
            port,
            ..ask(&message)
        });
        judged.map(|_| ())
    };

    assert_eq!(judge(&bound, SpaPort::Taken(own)), Ok(()));
    assert_eq!(judge(&bound, SpaPort::Any), Ok(()));
    for elsewhere in [SpaPort::Common, SpaPort::Taken(other)] {
        assert_eq!(judge(&bound, elsewhere), Err(Denied::SpaServerPort(own)));
    }
    assert_eq!(judge(&free, SpaPort::Common), Ok(()));
    assert_eq!(judge(&free, SpaPort::Any), Ok(()));
    assert_eq!(
        judge(&free, SpaPort::Taken(own)),
        Err(Denied::PortTaken(own))
    );
}

#[test]
fn a_destination_outside_of_destination_is_denied() {
    let message = access("source", "tcp/22");
    let unknown = Ask {
        destination: "0.0.0.0".parse().unwrap(),
        ..ask(&message)
    };

    assert!(judge("DESTINATION 198.51.100.1", &message).is_ok());
    assert_eq!(
        judge("DESTINATION 198.51.100.2", &message),
        Err(Denied::Destination("198.51.100.1".parse().unwrap()))
    );
    assert_eq!(
        stanza("DESTINATION 198.51.100.1").judge(&unknown),
        Err(Denied::Destination("0.0.0.0".parse().unwrap()))
    );
}

#[test]
fn an_expired_stanza_grants_nothing_from_its_last_second_on() {
    let message = access("source", "tcp/22");
    let at_secs = NOW_SECS;

    assert_eq!(
        judge(&format!("ACCESS_EXPIRE_EPOCH {at_secs}"), &message),
        Err(Denied::Expired { at_secs })
    );
    let told = Denied::Expired { at_secs: 1 }.to_string();
    assert_eq!(told, "the stanza expired at 1970-01-01T00:00:01Z");
    assert!(judge(&format!("ACCESS_EXPIRE_EPOCH {}", at_secs + 1), &message).is_ok());
}

#[test]
fn no_hole_outlives_the_expiry_of_its_stanza() {
    let expires_soon = format!("ACCESS_EXPIRE_EPOCH {}", NOW_SECS + 12);

    assert_eq!(timeout(&expires_soon, &access("source", "tcp/22")), Ok(12));
}

#[test]
fn the_source_is_opened_unless_an_address_must_be_named() {
    let message = access("source", "tcp/22");
    let permit = judge("", &message).unwrap();

    assert_eq!(permit.address.to_string(), "192.0.2.7");
    assert_eq!(
        judge("REQUIRE_SOURCE_ADDRESS Y", &message),
        Err(Denied::SourceAddressRequired)
    );
    assert_eq!(
        judge("REQUIRE_SOURCE Y", &message),
        Err(Denied::SourceAddressRequired)
    );
}

#[test]
fn the_address_in_the_message_is_opened_whatever_the_packet_says() {
    for address in ["203.0.113.9", "2001:db8::9"] {
        let permit = judge("REQUIRE_SOURCE_ADDRESS Y", &access(address, "tcp/22")).unwrap();

        assert_eq!(permit.address.to_string(), address);
    }
}

#[test]
fn a_packet_over_ipv6_opens_its_ipv6_source() {
    let message = access("source", "tcp/22");
    let over_ipv6 = Ask {
        source: "2001:db8::7".parse().unwrap(),
        ..ask(&message)
    };
    let mapped = Ask {
        source: "::ffff:192.0.2.7".parse().unwrap(),
        ..ask(&message)
    };

    let address = |ask: &Ask<'_>| stanza("").judge(ask).unwrap().address.to_string();
    assert_eq!(address(&over_ipv6), "2001:db8::7");
    assert_eq!(address(&mapped), "192.0.2.7");
}

#[test]
fn what_no_client_can_be_is_not_opened() {
    for address in [
        "0.0.0.0",
        "255.255.255.255",
        "224.0.0.1",
        "ff02::1",
        "::",
        "::ffff:0.0.0.0",
    ] {
        let judged = judge("", &access(address, "tcp/22"));

        assert!(matches!(judged, Err(Denied::NotAClient(_))), "{address}");
    }
}

#[test]
fn a_user_must_be_named_exactly() {
    let message = access("source", "tcp/22");

    assert!(judge("REQUIRE_USERNAME alice,mbr", &message).is_ok());
    for others in ["alice", "MBR", "mb", "mbr2"] {
        assert_eq!(
            judge(&format!("REQUIRE_USERNAME {others}"), &message),
            Err(Denied::Username("mbr".to_owned()))
        );
    }
}

#[test]
fn every_port_asked_for_must_be_open() {
    let asked = access("source", "tcp/22,tcp/443");

    assert!(judge("OPEN_PORTS tcp/22,tcp/443", &asked).is_ok());
    assert_eq!(
        judge("OPEN_PORTS tcp/22,udp/443", &asked),
        Err(Denied::PortNotOpen("tcp/443".parse().unwrap()))
    );
}

/// Weakness 2 of fwknop: it counts the ports that match.
#[test]
fn a_port_listed_twice_lets_no_other_port_through() {
    let port = "tcp/80".parse().unwrap();

    assert_eq!(
        judge(
            "OPEN_PORTS tcp/22,tcp/22",
            &access("source", "tcp/22,tcp/80")
        ),
        Err(Denied::PortNotOpen(port))
    );
    assert_eq!(
        judge(
            "OPEN_PORTS tcp/22,tcp/25",
            &access("source", "tcp/22,tcp/22,tcp/80")
        ),
        Err(Denied::PortNotOpen(port))
    );
}

#[test]
fn without_open_ports_any_port_opens() {
    assert!(judge("", &access("source", "udp/65535")).is_ok());
}

#[test]
fn one_restricted_port_denies_the_whole_request() {
    let restricted = Err(Denied::PortRestricted("tcp/23".parse().unwrap()));
    let asked = access("source", "tcp/22,tcp/23");

    assert_eq!(judge("RESTRICT_PORTS tcp/23", &asked), restricted);
    assert_eq!(
        judge("OPEN_PORTS tcp/22,tcp/23\nRESTRICT_PORTS tcp/23", &asked),
        restricted
    );
}

#[test]
fn a_request_without_ports_opens_nothing() {
    let message = Message {
        request: Request::Access {
            allow: Allow::Source,
            ports: Vec::new(),
        },
        ..access("source", "tcp/22")
    };

    assert_eq!(judge("", &message), Err(Denied::NoPorts));
}

#[test]
fn a_client_timeout_counts_up_to_the_cap() {
    assert_eq!(timeout("", &with_timeout(60)), Ok(60));
    assert_eq!(timeout("", &with_timeout(3600)), Ok(300));
    assert_eq!(
        timeout("MAX_FW_TIMEOUT 7200", &with_timeout(3600)),
        Ok(3600)
    );
    assert_eq!(timeout("MAX_FW_TIMEOUT 10", &with_timeout(3600)), Ok(10));
}

#[test]
fn a_client_timeout_of_zero_is_none() {
    assert_eq!(timeout("FW_ACCESS_TIMEOUT 45", &with_timeout(0)), Ok(45));
}

/// Weakness 10 of fwknop: a 600 s FW_ACCESS_TIMEOUT gives a 600 s rule.
#[test]
fn the_cap_holds_for_the_timeout_of_the_stanza_as_well() {
    let message = access("source", "tcp/22");

    assert_eq!(timeout("FW_ACCESS_TIMEOUT 600", &message), Ok(300));
    assert_eq!(
        timeout("FW_ACCESS_TIMEOUT 600\nMAX_FW_TIMEOUT 600", &message),
        Ok(600)
    );
    assert_eq!(timeout("MAX_FW_TIMEOUT 20", &message), Ok(20));
}

#[test]
fn a_timeout_of_zero_opens_nothing() {
    let message = access("source", "tcp/22");

    assert_eq!(
        timeout("FW_ACCESS_TIMEOUT 0", &message),
        Err(Denied::NoTime)
    );
    assert_eq!(
        timeout("MAX_FW_TIMEOUT 0", &with_timeout(60)),
        Err(Denied::NoTime)
    );
    assert_eq!(timeout("FW_ACCESS_TIMEOUT 0", &with_timeout(60)), Ok(60));
}

#[test]
fn a_command_runs_where_stanza_and_host_allow_it() {
    let message = command("/bin/true; ls");
    let stanza = stanza("ENABLE_CMD_EXEC Y\nCMD_EXEC_USER nobody\nCMD_EXEC_GROUP users");
    let host = HostSettings {
        commands: true,
        ..ALL_OFF
    };

    let permit = stanza.judge(&Ask {
        host: &host,
        ..ask(&message)
    });

    assert_eq!(
        permit.map(|permit| (permit.what, permit.timeout_secs)),
        Ok((
            Permitted::Command {
                text: "/bin/true; ls".to_owned(),
                rule: CommandRule {
                    user: Some("nobody".into()),
                    group: Some("users".into()),
                    sudo: None,
                },
            },
            0
        ))
    );
    assert_eq!(stanza.judge(&ask(&message)), Err(Denied::CommandsOff));
    assert_eq!(judge("", &message), Err(Denied::CommandNotEnabled));
    assert_eq!(
        judge("ENABLE_CMD_EXEC N", &message),
        Err(Denied::CommandNotEnabled)
    );
}

#[test]
fn a_command_keeps_to_source_address_user_and_expiry() {
    let message = command("/bin/true");

    for (line, denied) in [
        ("REQUIRE_SOURCE_ADDRESS Y", Denied::SourceAddressRequired),
        ("REQUIRE_USERNAME bob", Denied::Username("mbr".to_owned())),
        ("ACCESS_EXPIRE_EPOCH 1", Denied::Expired { at_secs: 1 }),
    ] {
        assert_eq!(
            judge(&format!("ENABLE_CMD_EXEC Y\n{line}"), &message),
            Err(denied)
        );
    }
}

#[test]
fn a_range_is_permitted_only_with_all_its_ports_and_denied_with_one_restricted_one() {
    let lines = "OPEN_PORTS tcp/8000-8004,tcp/8005-8010,icmp/echo\nRESTRICT_PORTS tcp/8008-8009";
    let judge = |ports| judge(lines, &access("source", ports)).map(|permit| permit.what);
    let permitted = |ports: &str| {
        let ports = ports.split(',').map(|port| port.parse().unwrap());
        Ok(Permitted::Ports(ports.collect()))
    };

    assert_eq!(judge("tcp/8003-8007"), permitted("tcp/8003-8007"));
    assert_eq!(judge("icmp/echo,tcp/8010"), permitted("tcp/8010,icmp/echo"));
    assert_eq!(
        judge("tcp/8000-8002,tcp/8001-8004"),
        permitted("tcp/8000-8004")
    );
    let [wide, touching] = ["tcp/7999-8001", "tcp/8007-8010"].map(|text| text.parse().unwrap());
    assert_eq!(judge("tcp/7999-8001"), Err(Denied::PortNotOpen(wide)));
    assert_eq!(
        judge("tcp/8007-8010"),
        Err(Denied::PortRestricted(touching))
    );
}

#[test]
fn a_stanza_opens_the_network_around_the_address_and_says_so() {
    let lines = "OPEN_PREFIX 24\nOPEN_PREFIX6 /56";
    let opens = |address| {
        let permit = judge(lines, &access(address, "tcp/22")).unwrap();
        (
            permit.address().to_string(),
            permit.opens_words().collect::<Vec<_>>(),
        )
    };

    assert_eq!(
        opens("203.0.113.7"),
        ("203.0.113.7".to_owned(), vec!["203.0.113.0/24".to_owned()])
    );
    assert_eq!(opens("source").1, ["192.0.2.0/24"]);
    assert_eq!(opens("2001:db8:1:2ff::9").1, ["2001:db8:1:200::/56"]);
}

#[test]
fn the_source_of_the_packet_is_opened_beside_the_address_only_where_the_stanza_says_so() {
    let message = access("203.0.113.7", "tcp/22");
    let opens = |lines: &str, ask: Ask<'_>| {
        let permit = stanza(lines).judge(&ask).unwrap();
        permit.opens_words().collect::<Vec<_>>().join(" ")
    };
    let both = "OPEN_PACKET_SOURCE Y";

    assert_eq!(opens("", ask(&message)), "203.0.113.7");
    assert_eq!(opens(both, ask(&message)), "203.0.113.7 192.0.2.7");
    assert_eq!(opens(both, ask(&access("source", "tcp/22"))), "192.0.2.7");
    let proxied = Ask {
        forwarded_for: Some("2001:db8::7".parse().unwrap()),
        ..ask(&message)
    };
    assert_eq!(opens(both, proxied), "203.0.113.7 2001:db8::7");
    let near = access("192.0.2.200", "tcp/22");
    assert_eq!(
        opens("OPEN_PREFIX 24\nOPEN_PACKET_SOURCE Y", ask(&near)),
        "192.0.2.0/24"
    );
}

#[test]
fn a_stanza_gives_what_is_as_narrow_as_it_says() {
    let networks = |text: &str| -> Vec<ipnet::IpNet> {
        text.split(' ')
            .map(|network| network.parse().unwrap())
            .collect()
    };
    let gives = |lines: &str, opens: &str| stanza(lines).gives(&networks(opens));

    assert!(gives("", "192.0.2.7/32") && gives("OPEN_PREFIX 24", "192.0.2.7/32"));
    assert!(!gives("", "192.0.2.0/24") && !gives("OPEN_PREFIX 24", "192.0.0.0/16"));
    assert!(!gives("OPEN_PREFIX 24", "2001:db8::/64"));
    assert!(!gives("", "192.0.2.7/32 192.0.2.8/32"));
    assert!(gives(
        "OPEN_PACKET_SOURCE Y",
        "192.0.2.7/32 2001:db8::7/128"
    ));
}

#[test]
fn whoever_may_send_may_close_also_what_she_may_not_open_any_more() {
    let closing = Message {
        request: Request::Close {
            allow: Allow::Source,
            ports: vec!["tcp/8000-9000".parse().unwrap()],
            cut: false,
        },
        ..access("source", "tcp/22")
    };

    let permit = judge("OPEN_PORTS tcp/22\nFW_ACCESS_TIMEOUT 0", &closing).unwrap();

    let ports = vec!["tcp/8000-9000".parse().unwrap()];
    assert_eq!(permit.what(), &Permitted::Close { ports, cut: false });
    assert_eq!(permit.timeout_secs(), 0);
    for lines in [
        "REQUIRE_SOURCE_ADDRESS Y",
        "REQUIRE_USERNAME zoe",
        "ACCESS_EXPIRE 01/01/2020",
        "DESTINATION 198.51.100.2",
        "SPA_SERVER_PORT 4000",
    ] {
        assert!(judge(lines, &closing).is_err(), "{lines}");
    }
}
