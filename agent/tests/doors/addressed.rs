//! A host acts only on what is sent to it.

use crate::world::{eventually, in_world};

#[test]
fn a_packet_that_only_passes_through_is_counted_and_not_judged() {
    in_world("", |world| {
        let host = world.host.v4;
        world.on_client(&format!("ip route add 203.0.113.0/24 via {host}"));
        let mut agent = world.start(&["--interface", "any"]);

        world.knock_at([203, 0, 113, 9]);

        eventually("the packet is counted", || {
            world.counter("not_addressed") > 0
        });
        assert_eq!(world.counter("received"), 0);
        world.knock_at(host);
        agent.wait_for("grant opened");
        agent.stop();
    });
}

#[test]
fn an_address_that_comes_while_the_agent_runs_is_the_hosts_at_once_and_until_it_goes() {
    in_world("", |world| {
        let host = world.host.v4;
        world.on_client(&format!("ip route add 203.0.113.0/24 via {host}"));
        let mut agent = world.start(&["--interface", "any"]);

        for last in 1..=9 {
            let virtual_address = format!("203.0.113.{last}/32");
            world.on_host(&format!("ip address add {virtual_address} dev lo"));
            world.knock_at([203, 0, 113, last]);
            agent.wait_for(if last == 1 {
                "grant opened"
            } else {
                "grant refreshed"
            });
            world.on_host(&format!("ip address del {virtual_address} dev lo"));
            let before = world.counter("not_addressed");
            world.knock_at([203, 0, 113, last]);
            eventually("it is another's again", || {
                world.counter("not_addressed") > before
            });
        }
        agent.stop();
    });
}

#[test]
fn a_gateway_and_a_stanza_with_destination_judge_what_is_sent_to_others() {
    let network = [
        "--interface",
        "any",
        "--accept-destination",
        "203.0.113.0/24",
    ];
    for (access, arguments) in [
        ("", &["--interface", "any", "--gateway"][..]),
        ("", &network),
        ("DESTINATION 203.0.113.9", &["--interface", "any"]),
    ] {
        in_world(access, |world| {
            let host = world.host.v4;
            world.on_client(&format!("ip route add 203.0.113.0/24 via {host}"));
            let mut agent = world.start(arguments);

            world.knock_at([203, 0, 113, 9]);

            agent.wait_for("grant opened");
            agent.stop();
        });
    }
}
