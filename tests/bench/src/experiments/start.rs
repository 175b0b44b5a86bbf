//! E8: from start to the first grant, and memory.

use std::fmt::Write as _;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use sha2::{Digest as _, Sha256};

use crate::arena::Arena;
use crate::clock;
use crate::keyring::{ECHO, Form, Keyring};
use crate::report::{Report, Row};
use crate::servers::{Server, rss_mib};

const STANZAS: u32 = 10_000;
const DIGESTS: usize = 100_000;

/// E8: starts the server with ten thousand stanzas and a hundred thousand replay digests.
pub(crate) fn run(arena: &Arena, server: Server, report: &mut Report) -> anyhow::Result<()> {
    let keyring = Keyring::new(STANZAS, 30);
    remember(arena, server, keyring)?;

    let prober = arena.prober()?;
    let packets = keyring.packets(600, Form::Stock, ECHO)?;
    let start = clock::now();
    let mut process = server.spawn(arena, keyring)?;
    let mut first = None;
    // A packet every five milliseconds until one opens; each is lost that comes before the server listens.
    for packet in &packets {
        prober.knock(packet)?;
        let next = clock::now() + Duration::from_millis(5);
        while clock::now() < next {
            prober.probe(0);
            clock::spin_until(clock::now() + Duration::from_micros(100));
            if prober.answer().is_some() {
                first = Some(start.elapsed().as_secs_f64());
                break;
            }
        }
        if first.is_some() {
            break;
        }
    }
    let memory = rss_mib(process.pid())?;
    process.kill()?;
    report.add(Row {
        experiment: "E8",
        case: "start to first grant, 10,000 stanzas, 100,000 digests".to_owned(),
        server,
        measure: "start_s",
        value: first,
        text: first.map_or_else(
            || "-".to_owned(),
            |first| format!("{first:.2} s, {memory:.0} MiB"),
        ),
        goal: "<= 0.3 s, <= 40 MB",
    })
}

/// Lets the server remember a hundred thousand packets: fwknopd by its cache file, whose format is
/// known; ours by being sent them.
fn remember(arena: &Arena, server: Server, keyring: Keyring) -> anyhow::Result<()> {
    let running = server.start(
        arena,
        Keyring {
            stanzas: 1,
            ..keyring
        },
    )?;
    match server {
        Server::Postern | Server::PosternIptables => {
            let one = Keyring {
                stanzas: 1,
                ..keyring
            };
            for _ in 0..DIGESTS / 5_000 {
                let prober = arena.prober()?;
                for packet in one.packets(5_000, Form::Tagged, ECHO)? {
                    prober.knock(&packet)?;
                    clock::spin_until(clock::now() + Duration::from_micros(60));
                }
            }
            std::thread::sleep(Duration::from_secs(1));
            running.stop()
        }
        Server::FwknopdDefault
        | Server::FwknopdTuned
        | Server::FwknopdUdp
        | Server::FwknopdIpset => {
            running.stop()?;
            let mut cache =
                String::from("# <digest> <proto> <src_ip> <src_port> <dst_ip> <dst_port> <time>\n");
            for number in 0..DIGESTS {
                let digest = STANDARD_NO_PAD.encode(Sha256::digest(number.to_be_bytes()));
                let _ = writeln!(
                    cache,
                    "{digest} 17 198.51.100.10 40000 198.51.100.1 62201 {}",
                    clock::wall_secs()
                );
            }
            std::fs::write(arena.server.dir.join("state/digest.cache"), cache)?;
            Ok(())
        }
    }
}
