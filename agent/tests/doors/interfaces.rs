//! An interface that is not there yet is waited for, and nobody is locked out meanwhile.

use harness::wait;

use crate::world::{World, eventually, in_world};

/// What a VPN does when it starts.
fn come(world: &World) {
    world.on_host("ip link add tun7 type veth peer name tun8");
    world.on_host("ip link set tun7 up");
}

#[test]
fn a_first_protection_waits_for_an_interface_and_the_owner_is_not_locked_out() {
    in_world("PROTECT tcp/22", |world| {
        let mut agent = world.launch(&["--interface", "tun7"]);
        agent.wait_for("the interface is waited for");
        agent.wait_for("no packets come from anywhere yet");
        assert!(world.is_open(22));
        let captures = world.status().captures;
        assert!(captures.iter().all(|capture| capture.down.is_some()));
        assert!(!agent.log().contains("postern-agent is ready"));

        come(world);

        agent.wait_for("postern-agent is ready");
        assert!(!world.is_open(22));
        agent.stop();
    });
}

#[test]
fn the_interfaces_that_are_there_serve_while_one_is_waited_for_and_it_is_named_once() {
    in_world("PROTECT tcp/22", |world| {
        let mut agent = world.start(&["--interface", "eth0", "--interface", "tun7"]);

        world.knock_at(world.host.v4);

        agent.wait_for("grant opened");
        let down = |name: &str| {
            let captures = world.status().captures;
            let capture = captures.into_iter().find(|capture| capture.name == name);
            capture.unwrap().down
        };
        assert!(down("eth0").is_none() && down("tun7").is_some());
        assert_eq!(agent.log().matches("tun7").count(), 1, "{}", agent.log());
        agent.stop();
    });
}

#[test]
fn an_interface_that_comes_is_captured_on_within_milliseconds() {
    in_world("", |world| {
        let mut agent = world.start(&["--interface", "eth0", "--interface", "tun7"]);
        // Long enough for the pauses between attempts to have grown.
        wait::until_instant(wait::now() + std::time::Duration::from_secs(4));

        come(world);

        let came = wait::now();
        agent.wait_for("capturing again");
        assert!(came.elapsed() < std::time::Duration::from_millis(500));
        for _ in 0..3 {
            world.on_host("ip link delete tun7");
            eventually("it is missed", || world.status().captures[1].down.is_some());
            come(world);
            agent.wait_for("capturing again");
        }
        agent.stop();
    });
}

#[test]
fn a_filter_that_is_none_is_a_mistake_though_the_interface_is_not_there_yet() {
    in_world("", |world| {
        let arguments = ["--interface", "tun7", "--filter", "nonsense and more"];

        let output = world.agent(&arguments).output().unwrap();

        assert_eq!(output.status.code(), Some(64));
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains("is no filter"), "{stderr}");
    });
}
