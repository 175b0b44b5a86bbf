//! What packets travel in: every way of stock fwknop's, a TCP server, and others that IP carries.

use std::io::Write as _;
use std::net::TcpStream;

use crate::wire::{knock, put, with_checksum};
use crate::world::{Agent, HMAC_KEY, KEY, World, eventually, in_world};

/// The client knocks with stock fwknop, in this way.
fn knock_by(world: &World, more: &[&str]) {
    let (own, host) = (world.client.v4.to_string(), world.host.v4.to_string());
    let mut words = vec!["fwknop", "-A", "tcp/22", "-a", &own, "-D", &host];
    words.extend(["--key-base64-rijndael", KEY, "--key-base64-hmac", HMAC_KEY]);
    words.extend(more);
    world.client.run(&words).and_then(|ran| ran.ok()).unwrap();
}

fn count(world: &World, capture: &str, what: &str) -> u64 {
    let captures = world.status().captures;
    let capture = captures.iter().find(|one| one.name.starts_with(capture));
    let mut counts = capture.unwrap().counts.iter();
    counts.find(|(name, _)| name == what).unwrap().1
}

fn granted(world: &World) -> u64 {
    world.counter("granted")
}

/// Waits until one packet more is granted.
fn grants_one_more(world: &World, agent: &mut Agent, what: &str, knock: impl FnOnce()) {
    let before = granted(world);
    knock();
    agent.wait_for(if before == 0 {
        "grant opened"
    } else {
        "grant refreshed"
    });
    assert_eq!(granted(world), before + 1, "{what}");
}

#[test]
fn every_transport_of_stock_fwknop_opens_and_what_two_captures_show_is_one_packet() {
    in_world("", |world| {
        let mut agent = world.start(&[
            "--interface",
            "any",
            "--transport",
            "udp,tcp,icmp,gre,other",
            "--tcp-server",
            "62201",
            "--spa-over-http",
        ]);
        for way in ["udp", "tcp", "http", "tcpraw", "icmp"] {
            grants_one_more(world, &mut agent, way, || {
                knock_by(world, &["-P", way, "-p", "62201"]);
            });
        }
        for (number, header) in [(47, &[0, 0, 8, 0][..]), (4, &[]), (253, &[])] {
            let text = knock(world, "tcp/22");
            grants_one_more(world, &mut agent, &number.to_string(), || {
                let packet = ipv4(world, number, &[header, &text].concat());
                put(&world.client, "eth0", &ethernet(&packet));
            });
        }
        // The connection's segment was captured, too.
        eventually("both have shown it", || world.counter("duplicates") == 2);
        for refused in ["replayed", "copies", "not_authentic"] {
            assert_eq!(world.counter(refused), 0, "{refused}");
        }
        // What is counted over there is told each second.
        eventually("both connections are counted", || {
            count(world, "tcp", "connections") == 2
        });
        let status = world.status_text();
        assert!(status.contains("tcp [::]:62201, 2 frames"), "{status}");
        agent.stop();
    });
}

fn ethernet(packet: &[u8]) -> Vec<u8> {
    [&[0xff; 6][..], &[2, 0, 0, 0, 0, 0x0a, 8, 0], packet].concat()
}

fn ipv4(world: &World, number: u8, body: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(20 + body.len()).unwrap().to_be_bytes();
    let header = [0x45, 0, high, low, 0x77, 7, 0, 0, 64, number, 0, 0];
    let ends = [world.client.v4.octets(), world.host.v4.octets()].concat();
    with_checksum([&header[..], &ends, body].concat())
}

#[test]
fn weakness_22_many_clients_of_the_tcp_server_are_served_at_once_and_none_is_waited_for() {
    in_world("", |world| {
        let mut agent = world.start(&["--interface", "lo", "--tcp-server", "62201"]);
        let address = (world.host.v4, 62_201);
        // They say nothing, or not enough, and stay.
        let slow = world.client.within(|| {
            let mut slow = Vec::new();
            for number in 0..7 {
                let mut stream = TcpStream::connect(address)?;
                if number > 3 {
                    stream.write_all(b"GET /")?;
                }
                slow.push(stream);
            }
            Ok(slow)
        });
        let slow = slow.unwrap();

        knock_by(world, &["-P", "tcp", "-p", "62201"]);
        agent.wait_for("grant opened");

        assert_eq!(count(world, "tcp", "connections_silent"), 0);
        assert!(world.is_open(22));
        eventually("what was said is judged", || {
            world.counter("malformed") == 3
        });
        // Those that say nothing have some seconds more.
        eventually("theirs is closed", || {
            let open = world.on_host("ss -Htn state established sport = :62201");
            open.lines().count() == 4
        });
        drop(slow);
        agent.stop();
    });
}

#[test]
fn what_the_host_sends_is_judged_on_request_and_any_program_may_ask() {
    in_world("", |world| {
        let out = |world: &World| {
            let (own, there) = (world.client.v4.to_string(), world.client.v4.to_string());
            let mut words = vec!["fwknop", "-A", "tcp/22", "-a", &own, "-D", &there];
            words.extend(["--key-base64-rijndael", KEY, "--key-base64-hmac", HMAC_KEY]);
            world.host.run(&words).and_then(|ran| ran.ok()).unwrap();
        };
        let request = |world: &World| {
            let text = String::from_utf8(knock(world, "tcp/22"))?;
            let path = text.replace('+', "-").replace('/', "_");
            let mut stream = TcpStream::connect((world.host.v4, 62_201))?;
            let head = format!("GET /{path} HTTP/1.1\r\nUser-Agent: curl/8.0\r\n\r\n");
            Ok(stream.write_all(head.as_bytes())?)
        };
        let usual = ["--tcp-server", "62201", "--spa-over-http"];
        let mut agent = world.start(&usual);
        out(world);
        world.host.within(|| request(world)).unwrap();
        eventually("the request is refused", || world.counter("malformed") == 1);
        assert_eq!(world.counter("granted"), 0);
        agent.stop();

        let more = ["--any-direction", "--any-user-agent"];
        let mut agent = world.start(&[&usual[..], &more].concat());
        grants_one_more(world, &mut agent, "what is sent", || out(world));
        grants_one_more(world, &mut agent, "a request", || {
            world.host.within(|| request(world)).unwrap();
        });
        agent.stop();
    });
}
