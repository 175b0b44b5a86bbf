//! What rules of the host hand out to NFLOG.

use std::net::UdpSocket;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::world::{World, eventually, in_world};

fn nft(world: &World, rule: &str) {
    let line = format!("nft add rule inet owner input {rule}");
    world.on_host(&line);
}

fn with_owner(world: &World) {
    world.on_host("nft add table inet owner");
    world.on_host("nft add chain inet owner input { type filter hook input priority 0 ; }");
}

#[test]
fn what_a_rule_of_nftables_or_iptables_hands_out_is_judged_at_once() {
    in_world("", |world| {
        with_owner(world);
        nft(world, "udp dport 62201 log group 5 queue-threshold 1");
        let mut agent = world.start(&["--nflog-group", "5"]);

        world.knock_at(world.host.v4);
        agent.wait_for("grant opened");
        world.knock_at(world.host.v4);
        agent.wait_for("grant refreshed");

        let status = world.status_text();
        assert!(
            status.contains("nflog:5, NFLOG, 2 frames, 0 packets lost, up"),
            "{status}"
        );
        // One program reads a group; the second is told who does.
        let other = world.host.dir.join("other");
        let words = ["--state", other.to_str().unwrap(), "--chain", "OTHER"];
        let mut second = world.host.command(crate::world::AGENT);
        second.args(["run", "--access-file"]).arg(world.access());
        second.args(words).args(["--nflog-group", "5"]);
        let mut second = world.host.start("second", &mut second).unwrap();
        let code = second.wait(harness::wait::SOON).unwrap();
        assert_ne!(code, 0);
        let log = second.log();
        assert!(log.contains("another program reads this group"), "{log}");
        agent.stop();

        // By libpcap's name, from a rule of iptables that hands out late by default.
        world.on_host("iptables -w -I INPUT -p udp --dport 62201 -j NFLOG --nflog-group 6");
        let mut agent = world.start(&["--interface", "nflog:6"]);
        world.knock_at(world.host.v4);
        agent.wait_for("grant opened");
        agent.stop();
    });
}

#[test]
fn every_packet_that_a_rule_hands_out_is_judged_or_counted_as_lost() {
    const SENT: u64 = 3_000;
    in_world("", |world| {
        with_owner(world);
        nft(
            world,
            "udp dport 62201 counter log group 5 queue-threshold 1",
        );
        let mut command = world.agent(&["--nflog-group", "5"]);
        command.env("POSTERN_AGENT_BUFFER_MIB", "1");
        let mut agent = world.host.start("agent", &mut command).unwrap();
        agent
            .wait_for_next("postern-agent is ready", harness::wait::SOON)
            .unwrap();
        let domains = world.status().domains;
        let capture = domains.iter().find(|one| one.name == "capture");
        let pid = Pid::from_raw(capture.unwrap().pid);

        kill(pid, Signal::SIGSTOP).unwrap();
        let send = |count: u64| {
            world.client.within(|| {
                let socket = UdpSocket::bind("0.0.0.0:0")?;
                for _ in 0..count {
                    socket.send_to(&[b'A'; 1_000], (world.host.v4, 62_201))?;
                }
                Ok(())
            })
        };
        send(SENT).unwrap();
        kill(pid, Signal::SIGCONT).unwrap();
        let capture = || world.status().captures.remove(0);
        let handed_out = || {
            let rules = world.on_host("nft list chain inet owner input");
            let mut words = rules.split_ascii_whitespace();
            words.find(|word| *word == "packets").unwrap();
            words.next().unwrap().parse::<u64>().unwrap()
        };
        eventually("all are accounted for", || {
            // Only the number of one that came tells of all that are missing before it.
            send(1).unwrap();
            let capture = capture();
            capture.frames + capture.dropped == handed_out()
        });
        let capture = capture();
        assert!(capture.dropped > 0, "{capture:?}");
        let overflows = ("overflows".to_owned(), 1);
        assert!(capture.counts[0] >= overflows, "{capture:?}");
        agent.kill().unwrap();
    });
}
