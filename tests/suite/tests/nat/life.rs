//! From the knock to the last packet.

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::ensure;
use harness::postern::Member;
use harness::service::Reach;
use harness::{Node, in_lab};

use crate::world::{INNER_V6, World, who};

#[test]
fn what_leads_on_is_closed_before_and_after_its_time_and_for_others_and_a_session_outlives_it() {
    in_lab(|lab| {
        let world = World::new(lab)?;
        let _agent = world.agent("NAT_ACCESS 198.51.100.30 tcp/22", "")?;
        let at = SocketAddr::from((world.gateway.v4, 40001));
        ensure!(who(&world.user, at)?.is_none());

        let address = world.user.v4.to_string();
        let nat = [
            "-a",
            &address,
            "-N",
            "198.51.100.30:22",
            "--nat-port",
            "40001",
            "-f",
            "4",
        ];
        world.knock(world.gateway.v4, "tcp/22", &nat)?;
        world.until_answered(&world.user, at, Some("inner"))?;
        let mut session = world.user.session(world.gateway.v4, 40001)?;
        session.talk()?;
        ensure!(who(&world.stranger, at)?.is_none());

        world.until_answered(&world.user, at, None)?;
        session.talk()?;
        ensure!(world.inner_ssh.say_to(SocketAddr::new(
            world.user.v4.into(),
            session.client().port()
        )));
        ensure!(session.hears(Duration::from_secs(3))?);
        Ok(())
    });
}

#[test]
fn a_policy_that_does_not_lead_there_any_more_cuts_the_session_whoever_speaks() {
    in_lab(|lab| {
        let world = World::new(lab)?;
        let mut agent = world.agent("NAT_ACCESS 198.51.100.30 tcp/22", "")?;
        let address = world.user.v4.to_string();
        let nat = [
            "-a",
            &address,
            "-N",
            "198.51.100.30:22",
            "--nat-port",
            "40001",
            "-f",
            "2",
        ];
        world.knock(world.gateway.v4, "tcp/22", &nat)?;
        let at = SocketAddr::from((world.gateway.v4, 40001));
        world.until_answered(&world.user, at, Some("inner"))?;
        let mut session = world.user.session(world.gateway.v4, 40001)?;
        session.talk()?;
        agent.wait_for("grant closed")?;
        session.talk()?;

        agent.write_access("PROTECT tcp/22\n\nSOURCE ANY\nKEY nat-passphrase\nHMAC_KEY nat-hmac-passphrase\nNAT_ACCESS NONE\n")?;
        agent.reload(|| Ok(()))?;
        agent.wait_for("connections cut")?;

        let client = SocketAddr::new(world.user.v4.into(), session.client().port());
        world.inner_ssh.say_to(client);
        ensure!(!session.hears(Duration::from_secs(1))?);
        ensure!(session.is_dead(Duration::from_secs(2))?);
        Ok(())
    });
}

#[test]
fn a_grant_that_is_revoked_while_it_is_open_leads_nowhere_at_once() {
    in_lab(|lab| {
        let world = World::new(lab)?;
        let mut agent = world.agent("FORCE_NAT 198.51.100.30 22", "")?;
        let address = world.user.v4.to_string();
        world.knock(world.gateway.v4, "tcp/40001", &["-a", &address])?;
        let at = SocketAddr::from((world.gateway.v4, 40001));
        world.until_answered(&world.user, at, Some("inner"))?;
        let mut session = world.user.session(world.gateway.v4, 40001)?;

        agent.write_access(
            "PROTECT tcp/22\n\nSOURCE ANY\nKEY nat-passphrase\nHMAC_KEY nat-hmac-passphrase\n",
        )?;
        agent.reload(|| Ok(()))?;
        agent.wait_for("grant revoked")?;

        ensure!(who(&world.user, at)?.is_none());
        ensure!(session.is_dead(Duration::from_secs(2))?);
        Ok(())
    });
}

#[test]
fn ipv6_and_udp_are_led_on_by_our_own_client() {
    in_lab(|lab| {
        let world = World::new(lab)?;
        let mut agent = world.agent("NAT_ACCESS 198.51.100.30,fd00:1::/64", "")?;
        let v6 = world.user.v6.to_string();
        let inner = format!("[{INNER_V6}]:22");
        world.knock(
            world.gateway.v6,
            "tcp/22",
            &["-a", &v6, "-N", &inner, "--nat-port", "40001"],
        )?;
        let at = SocketAddr::from((world.gateway.v6, 40001));
        world.until_answered(&world.user, at, Some("inner"))?;
        ensure!(who(&world.stranger, at)?.is_none());

        let v4 = world.user.v4.to_string();
        ensure!(world.user.reach_udp(world.gateway.v4, 5353)? != Reach::Open);
        world.knock(
            world.gateway.v4,
            "udp/53",
            &["-a", &v4, "-N", "198.51.100.30", "--nat-port", "5353"],
        )?;
        agent.wait_for("udp/5353->198.51.100.30:53")?;
        ensure!(world.user.reach_udp(world.gateway.v4, 5353)? == Reach::Open);
        ensure!(world.stranger.reach_udp(world.gateway.v4, 5353)? != Reach::Open);
        Ok(())
    });
}

#[test]
fn several_ports_and_a_range_are_led_on_at_their_own_numbers() {
    in_lab(|lab| {
        let world = World::new(lab)?;
        let mut agent = world.agent("NAT_ACCESS 198.51.100.30", "")?;
        let address = world.user.v4.to_string();
        let nat = ["-a", &address, "-N", "198.51.100.30"];

        world.knock(world.gateway.v4, "tcp/22,tcp/80", &nat)?;
        agent.wait_for("grant opened")?;
        world.until_answered(&world.user, (world.gateway.v4, 80).into(), Some("inner"))?;
        world.until_answered(&world.user, (world.gateway.v4, 22).into(), Some("inner"))?;

        world.knock(world.gateway.v4, "tcp/2220-2230", &nat)?;
        world.until_answered(&world.user, (world.gateway.v4, 2222).into(), Some("inner"))?;
        ensure!(who(&world.stranger, (world.gateway.v4, 2222).into())?.is_none());
        Ok(())
    });
}

#[test]
fn after_kill_minus_nine_what_leads_on_ends_by_itself_and_the_next_start_knows_it() {
    in_lab(|lab| {
        let world = World::new(lab)?;
        let config = "flush_at_start = false\n";
        let mut agent = world.agent("NAT_ACCESS 198.51.100.30", config)?;
        let address = world.user.v4.to_string();
        let nat = [
            "-a",
            &address,
            "-N",
            "198.51.100.30:22",
            "--nat-port",
            "40001",
            "-f",
            "8",
        ];
        world.knock(world.gateway.v4, "tcp/22", &nat)?;
        let at = SocketAddr::from((world.gateway.v4, 40001));
        world.until_answered(&world.user, at, Some("inner"))?;

        agent.kill()?;
        ensure!(who(&world.user, at)?.as_deref() == Some("inner"));
        agent.start_again()?;
        ensure!(
            who(&world.user, at)?.as_deref() == Some("inner"),
            "{}",
            world.table()?
        );
        agent.wait_for("grant closed")?;

        world.until_answered(&world.user, at, None)?;
        Ok(())
    });
}

#[test]
fn who_asks_again_for_another_place_is_led_there_from_then_on() {
    in_lab(|lab| {
        let world = World::new(lab)?;
        let mut agent = world.agent("NAT_ACCESS ANY", "")?;
        let address = world.user.v4.to_string();
        let at = SocketAddr::from((world.gateway.v4, 40001));
        world.knock(
            world.gateway.v4,
            "tcp/22",
            &["-a", &address, "-N", "198.51.100.30", "--nat-port", "40001"],
        )?;
        world.until_answered(&world.user, at, Some("inner"))?;

        world.knock(
            world.gateway.v4,
            "tcp/8080",
            &["-a", &address, "--nat-local", "--nat-port", "40001"],
        )?;

        world.until_answered(&world.user, at, Some("gateway"))?;
        agent.wait_for("led elsewhere by grant")?;
        Ok(())
    });
}

#[test]
fn the_inner_host_sees_the_address_that_it_is_to_see_and_needs_no_way_back_to_another() {
    in_lab(|lab| {
        let world = World::new(lab)?;
        world.inner.run(&["ip", "route", "del", "default"])?.ok()?;
        world
            .inner
            .run(&["ip", "-6", "route", "del", "default"])?
            .ok()?;
        let stanza = "NAT_ACCESS 198.51.100.30,fd00:1::/64";
        let config = "nat_snat = true\nsnat_address = [\"198.51.100.10\"]\n";
        let _agent = world.agent(stanza, config)?;
        let address = world.user.v4.to_string();
        let nat = [
            "-a",
            &address,
            "-N",
            "198.51.100.30:22",
            "--nat-port",
            "40001",
        ];
        world.knock(world.gateway.v4, "tcp/22", &nat)?;
        let at = SocketAddr::from((world.gateway.v4, 40001));
        world.until_answered(&world.user, at, Some("inner"))?;
        let session = world.user.session(world.gateway.v4, 40001)?;
        let seen = SocketAddr::new(world.inside_v4.into(), session.client().port());
        ensure!(world.inner_ssh.say_to(seen), "{}", world.table()?);

        // No address of this family: that of the interface on the way there.
        let address = world.user.v6.to_string();
        let inner = format!("[{INNER_V6}]:22");
        let nat = ["-a", &address, "-N", &inner, "--nat-port", "40001"];
        world.knock(world.gateway.v6, "tcp/22", &nat)?;
        world.until_answered(&world.user, (world.gateway.v6, 40001).into(), Some("inner"))
    });
}

#[test]
fn what_a_user_closes_leads_nowhere_at_once_also_after_it_has_been_led_elsewhere() {
    in_lab(|lab| {
        let world = World::new(lab)?;
        let mut agent = world.agent("NAT_ACCESS 198.51.100.30", "")?;
        let address = world.user.v4.to_string();
        let at = SocketAddr::from((world.gateway.v4, 40001));
        for port in ["22", "80"] {
            let place = format!("198.51.100.30:{port}");
            let nat = [
                "-a",
                &address,
                "-N",
                &place,
                "--nat-port",
                "40001",
                "-f",
                "60",
            ];
            world.knock(world.gateway.v4, "tcp/22", &nat)?;
            world.until_answered(&world.user, at, Some("inner"))?;
        }
        agent.wait_for("led elsewhere by grant")?;

        let gateway = world.gateway.v4.to_string();
        let person = Member::stranger(&world.user, "nobody");
        person
            .run(&["close", &gateway, "-n", "lab", "-a", &address])?
            .ok()?;
        agent.wait_for("closed by the user")?;

        ensure!(who(&world.user, at)?.is_none(), "{}", world.table()?);
        Ok(())
    });
}

#[test]
fn where_the_kernel_lets_packets_be_led_to_loopback_a_service_there_is_reached_through_its_hole() {
    in_lab(|lab| {
        let world = World::new(lab)?;
        let sysctl = ["sysctl", "-qw", "net.ipv4.conf.all.route_localnet=1"];
        world.gateway.run(&sysctl)?.ok()?;
        let listener = world
            .gateway
            .within(|| Ok(TcpListener::bind("127.0.0.1:9090")?))?;
        let stanza = "FORCE_NAT 127.0.0.1 9090\nFW_ACCESS_TIMEOUT 3";
        let mut agent = world.agent(stanza, "")?;
        let address = world.user.v4.to_string();

        world.knock(world.gateway.v4, "tcp/40001", &["-a", &address])?;
        agent.wait_for("grant opened")?;

        let at = SocketAddr::from((world.gateway.v4, 40001));
        let connects = |node: &Node| {
            let patience = Duration::from_secs(1);
            node.within(|| Ok(TcpStream::connect_timeout(&at, patience).is_ok()))
        };
        ensure!(connects(&world.user)?, "{}", world.table()?);
        let (_, from) = listener.accept()?;
        ensure!(from.ip() == IpAddr::from(world.user.v4), "{from}");
        ensure!(!connects(&world.stranger)?);
        agent.wait_for("grant closed")?;
        ensure!(!connects(&world.user)?);
        Ok(())
    });
}

#[test]
fn with_destination_rule_a_hole_is_for_the_address_that_the_message_was_sent_to_and_for_no_other() {
    in_lab(|lab| {
        let world = World::new(lab)?;
        let mut agent = world.agent("FW_ACCESS_TIMEOUT 2", "destination_rule = true\n")?;
        let address = world.user.v4.to_string();

        world.knock(world.gateway.v4, "tcp/22", &["-a", &address])?;

        let at = SocketAddr::from((world.gateway.v4, 22));
        world.until_answered(&world.user, at, Some("gateway"))?;
        let inside = SocketAddr::from((world.inside_v4, 22));
        ensure!(who(&world.user, inside)?.is_none(), "{}", world.table()?);
        ensure!(who(&world.stranger, at)?.is_none());
        agent.wait_for("grant closed")?;
        ensure!(who(&world.user, at)?.is_none());
        Ok(())
    });
}
