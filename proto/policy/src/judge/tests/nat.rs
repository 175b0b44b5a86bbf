//! Where packets are led, and what says so.

use std::net::IpAddr;

use spa::NatAccess;

use super::{ALL_OFF, Denied, HostSettings, Message, NatSettings, access, ask, stanza};
use crate::parse_as;
use crate::{
    Dialect, ForwardTo, Forwarding, HostSource, NoIncludes, OwnAddresses, Permit, Permitted,
    SeenSource,
};
use spa::MessageType;

const ON: NatSettings = NatSettings {
    is_possible: true,
    forward: true,
    local: true,
    names: true,
    reaches_loopback: true,
    ..ALL_OFF.nat
};

fn nat(kind: u8, allow: &str, ports: &str, to: &str) -> Message {
    let (host, port) = to.rsplit_once(',').unwrap();
    Message {
        message_type: MessageType::try_from(kind).unwrap(),
        nat_access: Some(NatAccess {
            host: host.to_owned(),
            port: port.parse().unwrap(),
        }),
        ..access(allow, ports)
    }
}

fn judge_on(nat: NatSettings, lines: &str, message: &Message) -> Result<Permit, Denied> {
    let host = HostSettings {
        nat,
        commands: false,
    };
    stanza(lines).judge(&crate::Ask {
        host: &host,
        ..ask(message)
    })
}

fn judge(lines: &str, message: &Message) -> Result<Permit, Denied> {
    judge_on(ON, lines, message)
}

/// `tcp/22 to 10.0.0.5 port 22`, as rules are written.
fn led(permit: Result<Permit, Denied>) -> String {
    let permit = match permit {
        Ok(permit) => permit,
        Err(denied) => return denied.to_string(),
    };
    let Permitted::Forward(forwarding) = &permit.what else {
        return "stays".to_owned();
    };
    let Forwarding {
        asked,
        is_everything,
        to,
        port,
        source,
    } = &**forwarding;
    let asked: Vec<_> = asked.iter().map(ToString::to_string).collect();
    let asked = if *is_everything {
        "any".to_owned()
    } else {
        asked.join(",")
    };
    let to = match to {
        ForwardTo::Here { is_loopback: true } => "loopback".to_owned(),
        ForwardTo::Here { is_loopback: false } => "here".to_owned(),
        ForwardTo::Inner {
            address,
            is_translated: true,
        } => address.to_string(),
        ForwardTo::Inner {
            address,
            is_translated: false,
        } => format!("{address} untranslated"),
        ForwardTo::Name(target) => format!("name {}", target.name()),
        ForwardTo::Anywhere => "anywhere".to_owned(),
    };
    let port = port.map_or_else(String::new, |port| format!(" port {port}"));
    let source = match source {
        SeenSource::Own => String::new(),
        SeenSource::Address(address) => format!(" as {address}"),
        SeenSource::Masquerade => " as masquerade".to_owned(),
    };
    format!("{asked} to {to}{port}{source}")
}

/// What real fwknopd does for each of these is in the layouts of its rules that were observed.
#[test]
fn every_configuration_of_nat_leads_where_the_real_server_leads() {
    let inner = nat(2, "source", "tcp/22", "192.168.10.5,22");
    let outer = nat(4, "source", "tcp/40001", "192.168.10.5,22");
    let local = nat(5, "source", "tcp/40022", "127.0.0.1,22");
    let plain = access("source", "tcp/22");
    let any = "NAT_ACCESS ANY";
    for (lines, message, expected) in [
        (any, &inner, "tcp/22 to 192.168.10.5 port 22"),
        (any, &outer, "tcp/40001 to 192.168.10.5 port 22"),
        (any, &local, "tcp/40022 to loopback port 22"),
        (any, &plain, "stays"),
        (
            "FORCE_NAT 192.168.77.7 2222",
            &plain,
            "tcp/22 to 192.168.77.7 port 2222",
        ),
        (
            "FORCE_NAT 192.168.77.7 2222",
            &inner,
            "tcp/22 to 192.168.77.7 port 2222",
        ),
        (
            "FORCE_NAT 192.168.77.7 2222\nFORCE_SNAT 198.51.100.1",
            &plain,
            "tcp/22 to 192.168.77.7 port 2222 as 198.51.100.1",
        ),
        (
            "FORCE_NAT 192.168.77.7 2222\nFORCE_MASQUERADE Y",
            &plain,
            "tcp/22 to 192.168.77.7 port 2222 as masquerade",
        ),
        (
            "FORCE_NAT 192.168.77.7 2222\nFORWARD_ALL Y",
            &plain,
            "any to 192.168.77.7",
        ),
        (
            "FORWARD_ALL Y\nDISABLE_DNAT Y\nFORCE_MASQUERADE Y",
            &plain,
            "any to anywhere as masquerade",
        ),
        ("FORWARD_ALL Y", &plain, "stays"),
        (
            "FORWARD_ALL Y\nNAT_ACCESS ANY",
            &inner,
            "any to 192.168.10.5",
        ),
        (
            "DISABLE_DNAT Y\nNAT_ACCESS ANY",
            &inner,
            "tcp/22 to 192.168.10.5 untranslated port 22",
        ),
        (
            "FORCE_NAT 127.0.0.1 22",
            &plain,
            "tcp/22 to loopback port 22",
        ),
    ] {
        assert_eq!(led(judge(lines, message)), expected, "{lines}");
    }
}

#[test]
fn the_host_says_what_the_place_sees_where_the_stanza_does_not() {
    let message = nat(2, "source", "tcp/22", "192.168.10.5,22");
    let source = |source| {
        let nat = NatSettings { source, ..ON };
        led(judge_on(nat, "NAT_ACCESS ANY", &message))
    };
    let masquerade = HostSource {
        is_translated: true,
        ..HostSource::default()
    };
    let address = HostSource {
        v4: Some([198, 51, 100, 1].into()),
        ..masquerade
    };

    assert_eq!(
        source(masquerade),
        "tcp/22 to 192.168.10.5 port 22 as masquerade"
    );
    assert_eq!(
        source(address),
        "tcp/22 to 192.168.10.5 port 22 as 198.51.100.1"
    );
    let local = nat(5, "source", "tcp/40022", "192.0.2.1,22");
    let nat = NatSettings {
        source: address,
        ..ON
    };
    assert_eq!(
        led(judge_on(nat, "NAT_ACCESS LOCAL", &local)),
        "tcp/40022 to here port 22"
    );
}

#[test]
fn nat_is_refused_by_the_switch_that_would_have_to_be_on_and_by_what_the_host_cannot_do() {
    let kinds = [
        (2, "nat_forward"),
        (4, "nat_forward"),
        (5, "nat_local"),
        (6, "nat_local"),
    ];
    for (kind, switch) in kinds {
        let message = nat(kind, "source", "tcp/22", "192.168.10.5,22");
        let off = NatSettings {
            forward: switch != "nat_forward",
            local: switch != "nat_local",
            ..ON
        };
        let refused = judge_on(off, "NAT_ACCESS ANY", &message)
            .unwrap_err()
            .to_string();
        assert!(refused.contains(&format!("`{switch} = true`")), "{refused}");

        let cannot = NatSettings {
            is_possible: false,
            ..off
        };
        assert_eq!(
            judge_on(cannot, "NAT_ACCESS ANY", &message),
            Err(Denied::NatImpossible)
        );
    }
    let plain = access("source", "tcp/22");
    let off = NatSettings {
        is_possible: true,
        ..ALL_OFF.nat
    };
    for (lines, denied) in [
        ("FORCE_NAT 10.0.0.5 22", Denied::NatNotEnabled),
        ("FORCE_NAT 127.0.0.1 22", Denied::LocalNatNotEnabled),
        ("FORWARD_ALL Y\nFORCE_MASQUERADE Y", Denied::NatNotEnabled),
    ] {
        assert_eq!(judge_on(off, lines, &plain), Err(denied));
    }
}

#[test]
fn only_what_nat_access_names_is_reached() {
    let lines = "NAT_ACCESS 10.0.0.0/24,2001:db8:1::/64 tcp/22\nNAT_ACCESS LOCAL tcp/8080";
    let led = |message: Message| led(judge(lines, &message));

    assert_eq!(
        led(nat(2, "source", "tcp/40001", "10.0.0.5,22")),
        "tcp/40001 to 10.0.0.5 port 22"
    );
    assert_eq!(
        led(nat(2, "2001:db8::7", "tcp/40001", "2001:db8:1::5,22")),
        "tcp/40001 to 2001:db8:1::5 port 22"
    );
    assert_eq!(
        led(nat(5, "source", "tcp/80", "192.0.2.1,8080")),
        "tcp/80 to here port 8080"
    );
    for (message, refused) in [
        (
            nat(2, "source", "tcp/22", "10.0.1.5,22"),
            "tcp/22 of 10.0.1.5 is not in NAT_ACCESS",
        ),
        (
            nat(2, "source", "tcp/22", "10.0.0.5,23"),
            "tcp/23 of 10.0.0.5 is not in NAT_ACCESS",
        ),
        (
            nat(2, "source", "udp/22", "10.0.0.5,22"),
            "udp/22 of 10.0.0.5 is not in NAT_ACCESS",
        ),
        (
            nat(5, "source", "tcp/80", "127.0.0.1,22"),
            "tcp/22 of this host (LOCAL) is not in NAT_ACCESS",
        ),
    ] {
        assert_eq!(led(message), refused);
    }
    let fleet = judge("", &nat(2, "source", "tcp/22", "10.0.0.5,22"));
    assert_eq!(self::led(fleet), "tcp/22 of 10.0.0.5 is not in NAT_ACCESS");
    let all = judge(
        "FORWARD_ALL Y\nNAT_ACCESS 10.0.0.5 tcp/22",
        &nat(2, "source", "tcp/22", "10.0.0.5,22"),
    );
    assert_eq!(
        self::led(all),
        "everything of 10.0.0.5 is not in NAT_ACCESS"
    );
}

#[test]
fn an_access_file_alone_permits_every_address_as_the_real_server_does() {
    let text = "SOURCE ANY\nKEY k\n";
    let policy = parse_as(Dialect::Alone, "access.conf", text, &NoIncludes).unwrap();
    let message = nat(2, "source", "tcp/22", "203.0.113.9,22");
    let host = HostSettings {
        nat: ON,
        commands: false,
    };

    let judged = policy.stanzas[0].judge(&crate::Ask {
        host: &host,
        ..ask(&message)
    });

    assert_eq!(led(judged), "tcp/22 to 203.0.113.9 port 22");
}

#[test]
fn packets_are_led_to_an_address_of_another_host_and_of_their_own_family_only() {
    for to in [
        "0.0.0.0",
        "127.0.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "ff02::1",
        "fe80::1",
    ] {
        let denied = judge(
            "NAT_ACCESS ANY",
            &nat(2, "source", "tcp/22", &format!("{to},22")),
        );
        assert!(
            matches!(denied, Err(Denied::NatHost(_))),
            "{to}: {denied:?}"
        );
    }
    let [v4, v6]: [IpAddr; 2] = ["10.0.0.5", "2001:db8::5"].map(|text| text.parse().unwrap());
    for (client, to) in [("2001:db8::7", v4), ("192.0.2.7", v6)] {
        let message = nat(2, client, "tcp/22", &format!("{to},22"));
        let client = client.parse().unwrap();
        assert_eq!(
            judge("NAT_ACCESS ANY", &message),
            Err(Denied::NatFamily {
                address: to,
                client
            })
        );
        let forced = judge(&format!("FORCE_NAT {to} 22"), &message);
        assert_eq!(
            forced,
            Err(Denied::NatFamily {
                address: to,
                client
            })
        );
    }
}

#[test]
fn all_ports_of_a_request_are_led_on_where_it_is_clear_to_which() {
    let led = |ports, to| led(judge("NAT_ACCESS ANY", &nat(2, "source", ports, to)));

    assert_eq!(
        led("udp/53,tcp/53", "10.0.0.5,5353"),
        "tcp/53,udp/53 to 10.0.0.5 port 5353"
    );
    assert_eq!(
        led("tcp/443,udp/4500", "10.0.0.5,8443"),
        "tcp/443,udp/4500 to 10.0.0.5 port 8443"
    );
    // What a client fills in for `-A tcp/80,tcp/22 -N 10.0.0.5`.
    assert_eq!(
        led("tcp/80,tcp/22", "10.0.0.5,80"),
        "tcp/22,tcp/80 to 10.0.0.5"
    );
    for to in ["10.0.0.5,22", "10.0.0.5,8080"] {
        assert!(
            led("tcp/80,tcp/22", to).starts_with("several ports are asked for"),
            "{to}"
        );
    }
    let forced = judge(
        "FORCE_NAT 10.0.0.5 8080",
        &access("source", "tcp/80,tcp/443"),
    );
    assert_eq!(self::led(forced), "tcp/80,tcp/443 to 10.0.0.5 port 8080");
}

#[test]
fn ports_that_are_asked_for_must_be_in_open_ports_with_nat_too() {
    let message = nat(2, "source", "tcp/40001", "10.0.0.5,22");

    let denied = judge("OPEN_PORTS tcp/22\nNAT_ACCESS ANY", &message);

    assert_eq!(
        denied,
        Err(Denied::PortNotOpen("tcp/40001".parse().unwrap()))
    );
}

#[test]
fn a_name_is_led_to_an_address_of_it_that_nat_access_names() {
    let lines = "NAT_ACCESS 10.0.0.0/24 tcp/22";
    let message = nat(2, "source", "tcp/22", "db.internal,22");
    let permit = judge(lines, &message).unwrap();
    assert_eq!(permit.unresolved(), Some("db.internal"));

    let resolved = |addresses: &[&str]| {
        let addresses: Vec<IpAddr> = addresses.iter().map(|a| a.parse().unwrap()).collect();
        led(permit.resolved(&addresses))
    };
    assert_eq!(
        resolved(&["2001:db8::5", "10.0.1.9", "10.0.0.9"]),
        "tcp/22 to 10.0.0.9 port 22"
    );
    assert_eq!(
        resolved(&["10.0.1.9"]),
        "tcp/22 of 10.0.1.9 is not in NAT_ACCESS"
    );
    assert!(resolved(&["127.0.0.1"]).contains("is not the address of another host"));
    assert!(resolved(&[]).contains("db.internal has no address"));

    let off = NatSettings { names: false, ..ON };
    assert_eq!(
        judge_on(off, lines, &message),
        Err(Denied::NatName("db.internal".to_owned()))
    );
    for host in ["010.1.2.3", "10.1", "0x7f000001", "-db", "1"] {
        let message = nat(2, "source", "tcp/22", &format!("{host},22"));
        assert!(
            matches!(judge(lines, &message), Err(Denied::NatHost(_))),
            "{host}"
        );
    }
}

#[test]
fn with_a_destination_rule_a_permit_names_the_address_that_the_message_was_sent_to() {
    let nat = NatSettings {
        destination_rule: true,
        ..ALL_OFF.nat
    };
    let at = |allow: &str| judge_on(nat, "", &access(allow, "tcp/22")).map(|permit| permit.at());

    assert_eq!(at("source"), Ok(Some("198.51.100.1".parse().unwrap())));
    let v6 = "2001:db8::7".parse().unwrap();
    assert_eq!(at("2001:db8::7"), Err(Denied::NoDestination(v6)));
    let no_rule = judge_on(ALL_OFF.nat, "", &access("source", "tcp/22"));
    assert_eq!(no_rule.map(|permit| permit.at()), Ok(None));
}

#[test]
fn another_port_of_this_host_is_led_to_loopback_only_where_the_kernel_lets_it() {
    let host = NatSettings {
        reaches_loopback: false,
        ..ON
    };
    let local = nat(5, "source", "tcp/40022", "127.0.0.1,22");

    let led_here = led(judge_on(host, "NAT_ACCESS LOCAL", &local));

    assert_eq!(led_here, "tcp/40022 to here port 22");
    let v6 = nat(5, "2001:db8::7", "tcp/40022", "127.0.0.1,22");
    assert_eq!(led(judge("NAT_ACCESS LOCAL", &v6)), led_here);
    let forced = judge_on(
        host,
        "FORCE_NAT 127.0.0.1 22",
        &access("source", "tcp/40022"),
    );
    assert_eq!(led(forced), led_here);
}

/// A judge on a host with these addresses, that leads packets on.
fn judge_at_home(nat: NatSettings, lines: &str, message: &Message) -> Result<Permit, Denied> {
    let assigned = ["172.17.0.1/16", "2001:db8:1::1/64"].map(|own| own.parse().unwrap());
    let own: OwnAddresses = assigned.into_iter().collect();
    let host = HostSettings {
        nat,
        commands: false,
    };
    stanza(lines).judge(&crate::Ask {
        host: &host,
        own: &own,
        ..ask(message)
    })
}

#[test]
fn an_address_of_the_host_itself_is_local_whatever_network_it_lies_in() {
    let lines = "NAT_ACCESS 172.17.0.0/16,2001:db8:1::/64";
    let here = [
        ("source", "172.17.0.1"),
        ("source", "::ffff:172.17.0.1"),
        ("source", "172.17.255.255"),
        ("2001:db8::7", "2001:db8:1::1"),
        ("2001:db8::7", "2001:db8:1::"),
    ];
    let local_off = NatSettings { local: false, ..ON };
    for (client, address) in here {
        let message = nat(2, client, "tcp/8000", &format!("{address},2222"));
        for more in ["", "\nFORWARD_ALL Y", "\nFORWARD_ALL Y\nFORCE_MASQUERADE Y"] {
            let refused = led(judge_at_home(ON, &format!("{lines}{more}"), &message));
            assert_eq!(
                refused, "tcp/2222 of this host (LOCAL) is not in NAT_ACCESS",
                "{address}{more}"
            );
        }
        let permitted = format!("{lines}\nNAT_ACCESS LOCAL tcp/2222");
        assert_eq!(
            led(judge_at_home(ON, &permitted, &message)),
            "tcp/8000 to here port 2222",
            "{address}"
        );
        assert_eq!(
            judge_at_home(local_off, &permitted, &message),
            Err(Denied::LocalNatNotEnabled),
            "{address}"
        );
    }
    let neighbour = nat(2, "source", "tcp/8000", "172.17.0.2,2222");
    assert_eq!(
        led(judge_at_home(local_off, lines, &neighbour)),
        "tcp/8000 to 172.17.0.2 port 2222"
    );
}

#[test]
fn force_nat_to_an_address_of_the_host_itself_is_local() {
    let message = access("source", "tcp/8000");
    let line = "FORCE_NAT 172.17.0.1 2222\nFORWARD_ALL Y";
    let local_off = NatSettings { local: false, ..ON };

    assert_eq!(
        judge_at_home(local_off, line, &message),
        Err(Denied::LocalNatNotEnabled)
    );
    assert_eq!(
        led(judge_at_home(ON, line, &message)),
        "tcp/8000 to here port 2222"
    );
}

#[test]
fn a_name_that_means_the_host_itself_is_local() {
    let message = nat(2, "source", "tcp/8000", "docker.internal,2222");
    let to = |nat: NatSettings, lines: &str, addresses: &[&str]| {
        let permit = judge_at_home(nat, lines, &message).unwrap();
        let addresses: Vec<IpAddr> = addresses.iter().map(|a| a.parse().unwrap()).collect();
        led(permit.resolved(&addresses))
    };
    let refused = "tcp/2222 of this host (LOCAL) is not in NAT_ACCESS";
    let lines = "NAT_ACCESS 172.17.0.0/16";

    assert_eq!(to(ON, lines, &["172.17.0.1"]), refused);
    assert_eq!(to(ON, lines, &["::ffff:172.17.0.1"]), refused);
    assert_eq!(
        to(ON, lines, &["172.17.0.1", "172.17.0.2"]),
        "tcp/8000 to 172.17.0.2 port 2222"
    );
    let local = "NAT_ACCESS LOCAL\nFORWARD_ALL Y";
    assert_eq!(to(ON, local, &["172.17.0.1"]), "tcp/8000 to here");
    let local_off = NatSettings { local: false, ..ON };
    assert!(to(local_off, local, &["172.17.0.1"]).contains("nat_local = true"));
}

#[test]
fn a_router_for_the_sender_keeps_no_list_of_places_and_refuses_where_one_is_written() {
    let message = access("source", "tcp/22");
    let led_by = |line: &str| {
        let lines = format!("FORWARD_ALL Y\nFORCE_MASQUERADE Y\n{line}");
        led(judge(&lines, &message))
    };

    for limit in [
        "10.50.0.5 tcp/22",
        "10.50.0.5",
        "ANY tcp/22",
        "NONE",
        "LOCAL",
    ] {
        assert_eq!(
            led_by(&format!("NAT_ACCESS {limit}")),
            "everything of every host is not in NAT_ACCESS",
            "{limit}"
        );
    }
    for all in ["", "NAT_ACCESS ANY"] {
        assert_eq!(led_by(all), "any to anywhere as masquerade");
    }
}
