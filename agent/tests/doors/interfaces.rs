//! An interface that is not there yet is waited for, and nobody is locked out meanwhile.

use std::time::Duration;

use harness::wait;

use crate::wire::{put, with_checksum};
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
        wait::until_instant(wait::now() + Duration::from_secs(4));

        come(world);

        let came = wait::now();
        agent.wait_for("capturing again");
        assert!(came.elapsed() < Duration::from_millis(500));
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

/// How long it takes from a change until what comes on the interface arrives.
fn until_it_captures(world: &World, change: impl FnOnce(), peer: &str) -> Duration {
    let frames = |world: &World| world.status().captures[1].frames;
    let before = frames(world);
    change();
    let start = wait::now();
    eventually("its frames come", || {
        put(&world.host, peer, &spa_like());
        frames(world) > before
    });
    start.elapsed()
}

/// What the filter lets through, on Ethernet.
fn spa_like() -> Vec<u8> {
    let addresses = [[0xff_u8; 6], [2, 0, 0, 0, 0, 7]].concat();
    let header = [0x45, 0, 0, 188, 0, 7, 0, 0, 64, 17, 0, 0];
    let ends = [198, 51, 100, 9, 198, 51, 100, 1];
    let udp = [0x9c, 0x40, 0xf2, 0xf9, 0, 168, 0, 0];
    let packet = with_checksum([&header[..], &ends, &udp, &[b'A'; 160]].concat());
    [&addresses[..], &[8, 0], &packet].concat()
}

/// Runs `ip` with each of these on the host, or on the client where a line says so.
fn ip(world: &World, lines: &[String]) {
    for line in lines {
        match line.strip_prefix("client: ") {
            Some(line) => world.on_client(&format!("ip {line}")),
            None => world.on_host(&format!("ip {line}")),
        };
    }
}

/// What happens to the interface, what makes it go, and what makes it come.
type Story = (&'static str, Vec<String>, Vec<String>);

/// With a process in each of the two namespaces.
fn stories(on_client: u32, on_host: u32) -> Vec<Story> {
    let lines = |text: &str| -> Vec<String> {
        let text = text.replace(
            "COME",
            "link add tun7 type veth peer name tun8,link set tun8 up,link set tun7 up",
        );
        let lines = text.split(',').filter(|line| !line.is_empty());
        lines.map(str::to_owned).collect()
    };
    let story = |what, away: &str, back: &str| (what, lines(away), lines(back));
    vec![
        story("it comes", "", "COME"),
        story(
            "it is switched off and on",
            "link set tun7 down",
            "link set tun7 up",
        ),
        story(
            "it is switched off and on at once",
            "",
            "link set tun7 down,link set tun7 up",
        ),
        story(
            "it is renamed and gets its name back",
            "link set tun7 name was7",
            "link set was7 name tun7",
        ),
        story(
            "another takes its name while it lives on",
            "link set tun7 name was7",
            "link set tun8 name was8,COME",
        ),
        story("it is made again", "link delete tun7", "COME"),
        story("it is made again at once", "", "link delete tun7,COME"),
        story(
            "it moves to another namespace and back",
            &format!("link set tun7 netns {on_client}"),
            &format!("client: link set tun7 netns {on_host},link set tun7 up,link set tun8 up"),
        ),
        story(
            "a bridge gets its name",
            "link delete tun7",
            "link add tun7 type bridge mcast_snooping 0,link add port7 type veth peer name tun8,\
             link set port7 master tun7,link set port7 up,link set tun8 up,link set tun7 up",
        ),
        story(
            "its name becomes one of two",
            "link set tun7 name was9",
            "link property add dev was9 altname tun7",
        ),
    ]
}

#[test]
fn whatever_becomes_of_an_interface_the_one_that_has_the_name_is_captured_on_within_a_second() {
    in_world("", |world| {
        let mut agent = world.start(&["--interface", "eth0", "--interface", "tun7"]);
        let mut sleep = world.client.command("sleep");
        let on_client = world.client.start("sleep", sleep.arg("600")).unwrap();

        for (what, away, back) in stories(on_client.pid(), agent.pid()) {
            ip(world, &away);
            if !away.is_empty() {
                eventually(what, || world.status().captures[1].down.is_some());
                // Long enough for pauses between attempts to have grown, if there were any.
                wait::until_instant(wait::now() + Duration::from_secs(2));
            }
            let time = until_it_captures(world, || ip(world, &back), "tun8");
            assert!(time < Duration::from_secs(1), "{what}: {time:?}");
        }
        agent.stop();
    });
}

#[test]
fn another_kind_of_device_that_gets_the_name_is_read_as_what_it_is() {
    in_world("", |world| {
        let mut agent = world.start(&["--interface", "eth0", "--interface", "tun7"]);
        let tun7 = || world.status().captures.remove(1);
        let is_up = |link: &'static str| {
            eventually(link, || tun7().link.as_deref() == Some(link));
            assert_eq!(tun7().down, None);
        };
        let is_down = || {
            eventually("it is missed", || tun7().down.is_some());
            assert_eq!(tun7().link, None);
        };

        for (add, link) in [
            ("tuntap add tun7 mode tun", "raw IP"),
            ("tuntap add tun7 mode tap", "Ethernet"),
            ("link add tun7 type bridge", "Ethernet"),
        ] {
            is_down();
            world.on_host(&format!("ip {add}"));
            world.on_host("ip link set tun7 up");
            is_up(link);
            world.on_host("ip link delete tun7");
        }
        agent.stop();
    });
}

#[test]
fn any_captures_on_what_comes_up_though_everything_was_down() {
    in_world("", |world| {
        let down = |interface: &str| world.on_host(&format!("ip link set {interface} down"));
        down("eth0");
        down("lo");
        let mut agent = world.start(&["--interface", "any"]);
        for _ in 0..3 {
            world.on_host("ip link set eth0 up");
            let before = world.status().captures[0].frames;
            let start = wait::now();
            eventually("its frames come", || {
                put(&world.client, "eth0", &spa_like());
                world.status().captures[0].frames > before
            });
            assert!(start.elapsed() < Duration::from_secs(1));
            assert_eq!(world.status().captures[0].down, None);
            down("eth0");
        }
        agent.stop();
    });
}
