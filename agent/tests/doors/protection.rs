//! Hide first: what was hidden yesterday is hidden today, whatever has broken in the meantime.

use std::fs;
use std::path::Path;

use crate::world::{AGENT, World, eventually, in_world};

const USUAL: [&str; 2] = ["--interface", "any"];

/// Lets an agent hide port 22 once, and switches the machine off.
fn hidden_once(world: &World) {
    let mut agent = world.start(&USUAL);
    assert!(!world.is_open(22) && world.is_open(80));
    agent.kill();
    world.reboot();
    assert!(world.is_open(22));
}

/// The agent does not start, says `complaint`, ends with `code`, and port 22 is hidden.
#[track_caller]
fn fails_closed(world: &World, arguments: &[&str], code: i32, complaint: &str) {
    let output = world.agent(arguments).output().unwrap();

    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert!(stderr.contains(complaint), "{stderr}");
    assert!(!world.is_open(22), "{complaint}");
    assert!(world.is_open(80), "{complaint}");
}

#[test]
fn a_mistake_in_the_access_file_after_a_reboot_leaves_the_protected_ports_hidden() {
    in_world("PROTECT tcp/22", |world| {
        hidden_once(world);
        world.write_access("PROTECT tcp/22\nNONSENSE 1");

        fails_closed(world, &USUAL, 64, "access.conf:6");
        world.reboot();
        fs::remove_file(world.access()).unwrap();
        fails_closed(world, &USUAL, 64, "cannot read");
    });
}

#[test]
fn a_mistake_in_the_configuration_after_a_reboot_leaves_the_protected_ports_hidden() {
    in_world("PROTECT tcp/22", |world| {
        hidden_once(world);
        let state = world.state();
        let file = world.host.dir.join("agent.toml");
        let file = file.to_str().unwrap();
        for (text, complaint) in [
            ("nonsense = 1\n", "unknown key"),
            ("[[[\n", "agent.toml:1"),
            ("max_age_secs = 0\n", "max_age_secs"),
            ("interfaces = [\"\"]\n", "an empty name"),
        ] {
            let text = format!("{text}state_dir = \"{}\"\n", state.display());
            fs::write(file, text).unwrap();
            let words = [AGENT, "run", "--config", file];

            let ran = world.host.run(&words).unwrap();

            let stderr = ran.stderr;
            assert!(stderr.contains(complaint), "{stderr}");
            assert!(!world.is_open(22), "{complaint}");
            world.reboot();
        }
        let flag = ["--max-age", "0"];
        fails_closed(world, &flag, 64, "max_age_secs");
    });
}

#[test]
fn a_damaged_or_empty_journal_after_a_reboot_leaves_the_protected_ports_hidden() {
    in_world("PROTECT tcp/22", |world| {
        hidden_once(world);
        let journal = world.state().join("journal.db");
        let _ = fs::remove_file(world.state().join("journal.db-wal"));
        fs::write(&journal, [b'x'; 8_192]).unwrap();

        let mut agent = world.launch(&USUAL);

        eventually("port 22 is hidden", || !world.is_open(22));
        agent.kill();
    });
}

#[test]
fn a_disk_that_is_full_or_read_only_after_a_reboot_leaves_the_protected_ports_hidden() {
    in_world("PROTECT tcp/22", |world| {
        hidden_once(world);
        let (state, access) = (world.state(), world.access());
        let (state, access) = (state.display(), access.display());
        let read_only = format!("mount --bind {state} {state}; mount -o remount,bind,ro {state}");
        let full = format!(
            "cp {state}/protected-ports {state}.list; mount -t tmpfs -o size=32k none {state}; \
             cp {state}.list {state}/protected-ports; cat /dev/zero > {state}/filling 2>/dev/null"
        );
        for disk in [read_only, full] {
            // A mount is seen by what the same shell starts, and by nobody else.
            let run = format!("{AGENT} run --interface any --access-file {access} --state {state}");
            let mut shell = world.host.command("sh");
            let shell = shell.arg("-c").arg(format!("{disk}; exec {run}"));
            let mut agent = world.host.start("agent", shell).unwrap();

            eventually("port 22 is hidden", || !world.is_open(22));
            assert!(world.is_open(80));
            agent.kill().unwrap();
            world.reboot();
        }
    });
}

#[test]
fn a_damaged_list_is_believed_as_far_as_it_can_be_read_and_the_configuration_is_laid_with_it() {
    in_world("PROTECT tcp/22", |world| {
        hidden_once(world);
        let list = world.state().join("protected-ports");
        let whole = fs::read(&list).unwrap();
        world.write_access("PROTECT tcp/22\nNONSENSE 1");
        let flags = ["--interface", "any", "--protect", "tcp/80"];

        for damaged in [&whole[..whole.len() - 20], b"garbage", b""] {
            fs::write(&list, damaged).unwrap();
            let output = world.agent(&flags).output().unwrap();
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert!(stderr.contains("damaged"), "{stderr}");
            assert!(!world.is_open(80), "what the configuration names");
            assert!(!world.is_open(22), "what the access file names");
            world.reboot();
        }
    });
}

#[test]
fn a_first_protection_is_not_laid_by_an_agent_that_cannot_start() {
    in_world("PROTECT tcp/22\nNONSENSE 1", |world| {
        let flags = ["--interface", "any", "--protect", "tcp/80"];

        let output = world.agent(&flags).output().unwrap();

        assert_eq!(output.status.code(), Some(64));
        assert!(world.is_open(22) && world.is_open(80));
    });
}

#[test]
fn at_boot_protect_hides_what_was_hidden_and_needs_nothing_else() {
    in_world("PROTECT tcp/22", |world| {
        let state = world.state();
        let state = state.to_str().unwrap();
        let protect = |more: &[&str]| {
            let words = [&[AGENT, "protect", "--state", state], more].concat();
            world.host.run(&words).unwrap()
        };
        assert!(
            protect(&[])
                .ok()
                .unwrap()
                .stderr
                .contains("nothing was ever")
        );
        assert!(world.is_open(22));
        hidden_once(world);
        fs::write(Path::new(state).join("journal.db"), "x").unwrap();

        protect(&["--protect", "tcp/80"]).ok().unwrap();

        assert!(!world.is_open(22) && !world.is_open(80));
        world.reboot();
        let broken = world.host.dir.join("agent.toml");
        fs::write(&broken, "nonsense = 1").unwrap();
        let ran = protect(&["--config", broken.to_str().unwrap()]);
        ran.code(64).unwrap().says("unknown key").unwrap();
        assert!(!world.is_open(22));
    });
}

#[test]
fn what_the_policy_lifts_is_forgotten_and_flush_forgets_the_rest() {
    in_world("PROTECT tcp/22, tcp/80", |world| {
        let list = world.state().join("protected-ports");
        let mut agent = world.start(&USUAL);
        assert!(!world.is_open(22) && !world.is_open(80));

        world.write_access("PROTECT tcp/22");
        agent.hang_up();

        eventually("port 80 is public", || world.is_open(80));
        eventually("it is remembered", || {
            let text = fs::read_to_string(&list).unwrap();
            text.contains("tcp/22") && !text.contains("tcp/80")
        });
        agent.stop();
        assert!(!world.is_open(22));
        let state = world.state();
        world.on_host(&format!("{AGENT} flush --state {}", state.display()));
        assert!(world.is_open(22) && !list.exists());
    });
}

#[test]
fn the_unit_hides_before_the_network_and_before_the_agent() {
    let unit = include_str!("../../../deploy/postern-protect.service");
    let said = |key: &str| {
        let line = unit.lines().find(|line| line.starts_with(key));
        line.unwrap().split_once('=').unwrap().1.to_owned()
    };

    let before = said("Before=");
    assert!(before.contains("network-pre.target") && before.contains("postern-agent.service"));
    assert!(said("Wants=").contains("network-pre.target"));
    assert!(said("ExecStart=").ends_with("postern-agent protect"));
}
