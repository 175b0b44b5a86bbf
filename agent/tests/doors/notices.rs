//! What others throw away is noticed at once.

use std::time::Duration;

use harness::wait;

use crate::world::{World, in_world};

/// From the end of a command that throws our rules away until they are back.
fn closed_after(world: &World, command: &str, rule: &str) -> Duration {
    let program = command.split(' ').next().unwrap();
    world.on_host(command);
    let start = wait::now();
    loop {
        if world
            .on_host(&format!("{program} -w -t mangle -S"))
            .contains(rule)
        {
            return start.elapsed();
        }
        assert!(start.elapsed() < wait::SOON, "still open after {command}");
    }
}

#[test]
fn a_flushed_table_is_laid_again_within_milliseconds() {
    in_world("PROTECT tcp/22", |world| {
        let mut agent = world.start(&["--backend", "iptables", "--interface", "any"]);
        let (jump, drop) = ("-A PREROUTING -j POSTERN", "--dport 22 -j DROP");
        let mut times = Vec::new();

        for program in ["iptables", "ip6tables"] {
            for (change, rule) in [
                ("-F PREROUTING", jump),
                ("-F", jump),
                ("-F POSTERN", drop),
                ("-D PREROUTING -j POSTERN", jump),
            ] {
                let command = format!("{program} -w -t mangle {change}");
                for _ in 0..4 {
                    times.push(closed_after(world, &command, rule));
                }
            }
        }

        times.sort_unstable();
        let median = times.get(times.len() / 2).unwrap();
        assert!(*median < Duration::from_millis(200), "{times:?}");
        assert!(!world.is_open(22));
        agent.stop();
    });
}

#[test]
fn the_agents_own_changes_are_not_taken_for_anothers() {
    in_world("PROTECT tcp/22", |world| {
        let mut agent = world.start(&["--backend", "iptables", "--interface", "any"]);

        for (ports, said) in [
            ("PROTECT tcp/22, tcp/80", "grant opened"),
            ("PROTECT tcp/22", "grant refreshed"),
        ] {
            world.write_access(ports);
            agent.hang_up();
            agent.wait_for("policy applied");
            world.knock_at(world.host.v4);
            agent.wait_for(said);
        }
        wait::until_instant(wait::now() + Duration::from_secs(2));

        assert!(
            !agent.log().contains("changed by someone else"),
            "{}",
            agent.log()
        );
        agent.stop();
    });
}

#[test]
fn beside_twenty_thousand_rules_of_others_a_change_of_theirs_costs_little_and_a_flush_is_noticed() {
    in_world("PROTECT tcp/22", |world| {
        let mut agent = world.start(&["--backend", "iptables", "--interface", "any"]);
        let rules: String = (0..20_000_u32)
            .map(|n| {
                let [.., a, b] = n.to_be_bytes();
                format!("-A INPUT -s 10.77.{a}.{b}/32 -p tcp -m tcp --dport 25 -j DROP\n")
            })
            .collect();
        let script = world.host.dir.join("rules");
        std::fs::write(&script, format!("*filter\n{rules}COMMIT\n")).unwrap();
        let idle = resting_ticks(&agent);
        world.on_host(&format!(
            "iptables-restore -w --noflush {}",
            script.display()
        ));
        // That so many rules have come is looked at once: what a look costs here and now.
        let before = resting_ticks(&agent);
        let look = (before - idle).max(5);

        for _ in 0..20 {
            world.on_host("iptables -w -A FORWARD -s 10.9.9.9 -j DROP");
            world.on_host("nft add rule ip filter INPUT ip saddr 10.9.9.8 drop");
        }
        wait::until_instant(wait::now() + Duration::from_secs(1));

        let ticks = cpu_ticks(&agent) - before;
        // Of forty changes.
        assert!(ticks < 10 * look, "{ticks}, where a look costs {look}");
        closed_after(
            world,
            "iptables -w -t mangle -F PREROUTING",
            "-A PREROUTING -j POSTERN",
        );
        agent.stop();
    });
}

/// The same once none of it has been used for a while.
fn resting_ticks(agent: &crate::world::Agent) -> u64 {
    let mut ticks = cpu_ticks(agent);
    loop {
        wait::until_instant(wait::now() + Duration::from_millis(700));
        let now = cpu_ticks(agent);
        if now <= ticks + 1 {
            return now;
        }
        ticks = now;
    }
}

/// User and system time of the agent and of what it has run, in ticks.
fn cpu_ticks(agent: &crate::world::Agent) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", agent.pid())).unwrap();
    let after_name = stat.rsplit_once(')').unwrap().1;
    let fields = after_name.split_whitespace().skip(11).take(4);
    fields.map(|field| field.parse::<u64>().unwrap()).sum()
}
