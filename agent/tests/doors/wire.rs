//! What comes off a wire in other clothes: VLAN tags, PPPoE, extension headers, fragments.

use std::net::IpAddr;

use harness::{Node, wait};

use crate::world::{HMAC_KEY, KEY, World, eventually, in_world};

/// The payload of a packet as stock fwknop makes it, which asks for these ports.
pub(crate) fn knock(world: &World, ports: &str) -> Vec<u8> {
    let file = world.client.dir.join("packet");
    let _ = std::fs::remove_file(&file);
    let (own, host) = (world.client.v4.to_string(), world.host.v4.to_string());
    let mut words = vec!["fwknop", "-A", ports, "-a", &own, "-D", &host, "--test"];
    words.extend(["--save-packet", file.to_str().unwrap()]);
    words.extend(["--key-base64-rijndael", KEY, "--key-base64-hmac", HMAC_KEY]);
    world.client.run(&words).and_then(|ran| ran.ok()).unwrap();
    let text = std::fs::read(file).unwrap();
    text.trim_ascii_end().to_vec()
}

/// UDP to the SPA port. Without a checksum, as raw clients send it.
fn udp(payload: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(payload.len() + 8).unwrap().to_be_bytes();
    let header = [0x9c, 0x40, 0xf2, 0xf9, high, low, 0, 0];
    [&header[..], payload].concat()
}

fn ipv4(world: &World, body: &[u8]) -> Vec<u8> {
    ipv4_part(world, 0, body)
}

/// A packet with these flags and offset.
fn ipv4_part(world: &World, flags: u16, body: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(20 + body.len()).unwrap().to_be_bytes();
    let [f0, f1] = flags.to_be_bytes();
    let header = [0x45, 0, high, low, 0x77, 7, f0, f1, 64, 17, 0, 0];
    let ends = [world.client.v4.octets(), world.host.v4.octets()].concat();
    with_checksum([&header[..], &ends, body].concat())
}

/// Of the header only: a bridge drops what has none (br_netfilter).
pub(crate) fn with_checksum(mut packet: Vec<u8>) -> Vec<u8> {
    let words = packet.chunks(2).take(10);
    let sum: u32 = words
        .map(|word| u32::from(word[0]) << 8 | u32::from(word[1]))
        .sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let [.., high, low] = (!folded).to_be_bytes();
    packet[10] = high;
    packet[11] = low;
    packet
}

fn ipv6(world: &World, next: u8, body: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(body.len()).unwrap().to_be_bytes();
    let header = [0x60, 0, 0, 0, high, low, next, 64];
    let ends = [world.client.v6.octets(), world.host.v6.octets()].concat();
    [&header[..], &ends, body].concat()
}

fn ether_type(packet: &[u8]) -> [u8; 2] {
    if packet[0] >> 4 == 4 {
        [8, 0]
    } else {
        [0x86, 0xdd]
    }
}

/// Everything that a packet on Ethernet may wear, by name.
fn clothes(packet: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let inner = ether_type(packet);
    let protocol = if inner == [8, 0] { 0x21 } else { 0x57 };
    let length = u16::try_from(packet.len() + 2).unwrap().to_be_bytes();
    let pppoe = [
        0x88, 0x64, 0x11, 0, 0, 17, length[0], length[1], 0, protocol,
    ];
    let tags: [(&'static str, &[u8]); 6] = [
        ("nothing", &[]),
        ("802.1Q", &[0x81, 0, 0, 5]),
        ("a priority tag", &[0x81, 0, 0xc0, 0]),
        ("802.1ad and 802.1Q", &[0x88, 0xa8, 0, 100, 0x81, 0, 0, 5]),
        ("802.1Q twice", &[0x81, 0, 0, 100, 0x81, 0, 0, 5]),
        ("0x9100 and 802.1Q", &[0x91, 0, 0, 100, 0x81, 0, 0, 5]),
    ];
    let addresses = [[0xff; 6], [2, 0, 0, 0, 0, 0x0a]].concat();
    let in_session = [
        ("PPPoE", [&addresses[..], &pppoe, packet].concat()),
        (
            "PPPoE in 802.1Q",
            [&addresses[..], &[0x81, 0, 0, 7], &pppoe, packet].concat(),
        ),
    ];
    let tagged = tags.map(|(name, tags)| (name, [&addresses[..], tags, &inner, packet].concat()));
    tagged.into_iter().chain(in_session).collect()
}

/// Puts a frame on a node's wire.
pub(crate) fn put(node: &Node, interface: &str, frame: &[u8]) {
    node.within(|| {
        let device = pcap::Capture::from_device(interface)?;
        Ok(device.open()?.sendpacket(frame)?)
    })
    .unwrap();
}

#[test]
fn a_packet_is_judged_whatever_it_wears_on_the_wire() {
    for interface in ["eth0", "any"] {
        in_world("", |world| {
            let mut agent = world.start(&["--interface", interface]);
            let names = clothes(&ipv4(world, &[])).into_iter().map(|(name, _)| name);
            for (at, name) in names.enumerate() {
                for is_v6 in [false, true] {
                    let body = udp(&knock(world, "tcp/22"));
                    let packet = if is_v6 {
                        ipv6(world, 17, &body)
                    } else {
                        ipv4(world, &body)
                    };
                    let before = world.counter("granted");

                    put(&world.client, "eth0", &clothes(&packet)[at].1);

                    eventually(&format!("{name} on {interface}, IPv6 {is_v6}"), || {
                        world.counter("granted") == before + 1
                    });
                }
            }
            assert_eq!(world.counter("replayed"), 0);
            agent.stop();
        });
    }
}

#[test]
fn behind_extension_headers_and_in_a_fragment_that_is_all_of_it_a_packet_is_judged() {
    let options = [0, 1, 4, 0, 0, 0, 0];
    let fragment = [0, 0, 0, 0, 0, 0, 9];
    for extensions in [&[0_u8, 60][..], &[60], &[0, 60, 60], &[44], &[0, 44]] {
        in_world("", |world| {
            let mut agent = world.start(&["--interface", "eth0"]);
            let mut body = udp(&knock(world, "tcp/22"));
            let mut next = 17;
            for number in extensions.iter().rev() {
                let rest = if *number == 44 { fragment } else { options };
                body = [&[next][..], &rest, &body].concat();
                next = *number;
            }

            put(
                &world.client,
                "eth0",
                &clothes(&ipv6(world, next, &body))[0].1,
            );

            agent.wait_for("grant opened");
            agent.stop();
        });
    }
}

/// Some ports, so that the packet is as long as fwknop makes them: longer ones it cannot read itself.
const PORTS: &str = "tcp/22,tcp/40001,tcp/40002,tcp/40003,tcp/40004,tcp/40005";

#[test]
fn a_user_behind_a_small_mtu_gets_in_with_stock_fwknop() {
    let stanza =
        format!("SOURCE ANY\nOPEN_PORTS {PORTS}\nKEY_BASE64 {KEY}\nHMAC_KEY_BASE64 {HMAC_KEY}");
    for (mtu, parts) in [(576, 0), (296, 2), (128, 3), (68, 6)] {
        in_world(&stanza, |world| {
            world.on_client(&format!("ip link set eth0 mtu {mtu}"));
            let mut agent = world.start(&["--interface", "eth0"]);
            let (own, host) = (world.client.v4.to_string(), world.host.v4.to_string());
            let mut words = vec!["fwknop", "-A", PORTS, "-a", &own, "-D", &host];
            words.extend(["--key-base64-rijndael", KEY, "--key-base64-hmac", HMAC_KEY]);

            world.client.run(&words).and_then(|ran| ran.ok()).unwrap();

            agent.wait_for("grant opened");
            assert!(world.counter("fragments") >= parts, "{mtu}");
            assert_eq!(world.counter("reassembled"), u64::from(parts > 0));
            assert_eq!(world.counter("fragments_waiting"), 0);
            agent.stop();
        });
    }
}

/// A packet in three parts, as frames with these clothes.
fn in_parts(world: &World, is_v6: bool, wears: usize) -> Vec<Vec<u8>> {
    let body = udp(&knock(world, "tcp/22"));
    let cut = 64;
    let parts = body.chunks(cut).enumerate();
    let frame = |(n, part): (usize, &[u8])| {
        let offset = u16::try_from(n * cut).unwrap();
        let more = u16::from(usize::from(offset) + part.len() < body.len());
        let packet = if is_v6 {
            let [o0, o1] = (offset | more).to_be_bytes();
            let [.., id] = world.client.v4.octets();
            let header = [17, 0, o0, o1, 0, 0, 0, id];
            ipv6(world, 44, &[&header[..], part].concat())
        } else {
            ipv4_part(world, (offset / 8) | (more << 13), part)
        };
        clothes(&packet)[wears].1.clone()
    };
    parts.map(frame).collect()
}

#[test]
fn fragments_are_put_together_in_any_order_and_behind_tags_and_what_stays_incomplete_is_shown() {
    in_world("", |world| {
        let mut agent = world.start(&["--interface", "any"]);
        for is_v6 in [false, true] {
            // As it is, 802.1Q, 802.1ad and 802.1Q, PPPoE.
            for wears in [0, 1, 3, 6] {
                let mut frames = in_parts(world, is_v6, wears);
                assert!(frames.len() > 2);
                let turn = wears % frames.len();
                frames.rotate_left(turn);
                for frame in frames.iter().chain(&frames) {
                    put(&world.client, "eth0", frame);
                }
                // Opened at first, and refreshed from then on.
                agent.wait_for("grant_id=");
            }
        }
        assert_eq!(world.counter("reassembled"), 8);
        assert_eq!(
            world.counter("replayed") + world.counter("not_authentic"),
            0
        );

        put(&world.client, "eth0", &in_parts(world, false, 0)[1]);

        eventually("it waits", || world.counter("fragments_waiting") == 1);
        eventually("it is given up", || world.counter("fragments_expired") == 1);
        assert_eq!(world.counter("fragments_waiting"), 0);
        agent.stop();
    });
}

#[test]
fn fragments_that_a_bridge_and_its_port_show_are_one_packet() {
    in_world("", |world| {
        let (v4, v6) = (world.host.v4, world.host.v6);
        for line in [
            "link add br0 type bridge mcast_snooping 0".to_owned(),
            "link set br0 up".to_owned(),
            "link set eth0 master br0".to_owned(),
            format!("addr flush dev eth0 to {v4}/24"),
            format!("addr add {v4}/24 dev br0"),
            format!("addr add {v6}/64 dev br0 nodad"),
        ] {
            world.on_host(&format!("ip {line}"));
        }
        for interfaces in [
            &["--interface", "any"][..],
            &["--interface", "br0", "--interface", "eth0"],
        ] {
            let mut agent = world.start(interfaces);
            let frames = in_parts(world, false, 0);
            for frame in &frames {
                put(&world.client, "eth0", frame);
            }
            agent.wait_for("grant opened");
            // A bridge may put them together itself (br_netfilter).
            eventually("both were seen", || {
                world.counter("fragments") == 2 * frames.len() as u64
                    || world.counter("duplicates") == 1
            });
            assert_eq!(world.counter("granted"), 1);
            assert_eq!(world.counter("replayed") + world.counter("copies"), 0);
            agent.stop();
        }
    });
}

#[test]
fn strangers_fragments_take_a_fixed_room_and_the_user_gets_in_beside_them() {
    const FLOOD: u32 = 20_000;
    in_world("", |world| {
        let mut agent = world.start(&["--interface", "eth0"]);
        let part = ipv4_part(world, 8, &[b'A'; 64]);
        world
            .client
            .within(|| {
                let mut wire = pcap::Capture::from_device("eth0")?.open()?;
                let mut frame = clothes(&part)[0].1.clone();
                for n in 0..FLOOD {
                    // The source's address, and no checksum yet.
                    frame[24..26].fill(0);
                    frame[26..30].copy_from_slice(&(0x0a00_0000 | n).to_be_bytes());
                    let packet = with_checksum(frame.split_off(14));
                    frame.extend(packet);
                    wire.sendpacket(&frame[..])?;
                }
                Ok(())
            })
            .unwrap();

        // What the kernel has no room for while the flood is read is lost, whosever it is: she sends it again.
        let parts = in_parts(world, false, 0);
        wait::until("the user to get in", wait::SOON, || {
            for frame in &parts {
                put(&world.client, "eth0", frame);
            }
            Ok(world.counter("grants_open") > 0)
        })
        .unwrap();
        agent.wait_for("grant opened");
        assert!(world.counter("fragments_waiting") <= 256);
        let text = world.status_text();
        assert!(text.contains("crowded out"), "{text}");
        agent.stop();
    });
}

#[test]
fn a_socket_receives_fragments_as_the_kernel_puts_them_together() {
    in_world("", |world| {
        world.on_client("ip link set eth0 mtu 128");
        let address: IpAddr = world.host.v4.into();
        let mut agent = world.start(&["--udp-server", &format!("{address}:62201")]);

        world.knock_at(address);

        agent.wait_for("grant opened");
        agent.stop();
    });
}
