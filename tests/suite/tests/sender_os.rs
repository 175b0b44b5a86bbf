//! REQUIRE_OS: what the SYNs of clients show, beside the real p0f, and who is let in by it.
#![expect(
    clippy::indexing_slicing,
    reason = "helpers of tests: a missing field should stop here"
)]

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use harness::postern::binary;
use harness::shell::run;
use harness::{Node, Process, Result, in_lab, machine, wait};
use serde_json::Value;
use suite::{Alone, STANZA, same};

/// A SYN as both see it: what it is called, whether only nearly, and its signature.
type Shown = (Option<String>, bool, String);

/// By address; p0f writes all groups of an IPv6 address.
type ByAddress = BTreeMap<IpAddr, Vec<Shown>>;

/// Debian's p0f, unpacked by `tests/p0f.sh`, or that of this machine.
fn p0f(name: &str) -> Result<PathBuf> {
    let agent = binary("postern-agent")?;
    let build = agent.parent().and_then(Path::parent).context("no build")?;
    let places = [build.join("p0f"), PathBuf::from("/")];
    let found = places
        .map(|place| place.join(name))
        .into_iter()
        .find(|file| file.exists());
    found.with_context(|| format!("no {name}: run tests/p0f.sh first, as `make test` does"))
}

fn ours(signatures: &Path, file: &Path) -> Result<ByAddress> {
    let mut command = Command::new(binary("postern-agent")?);
    command
        .args(["syns", "--json", "--os-signatures"])
        .arg(signatures)
        .arg(file);
    let mut all = ByAddress::new();
    for line in run(&mut command)?.ok()?.stdout.lines() {
        let row: Value = serde_json::from_str(line)?;
        let text = |field: &str| row[field].as_str().map(str::to_owned);
        let shown = (
            text("label"),
            row["fuzzy"] == true,
            text("signature").unwrap_or_default(),
        );
        let source = text("source").unwrap_or_default().parse()?;
        all.entry(source).or_default().push(shown);
    }
    Ok(all)
}

fn theirs(signatures: &Path, file: &Path, log: &Path) -> Result<ByAddress> {
    let mut command = Command::new(p0f("usr/sbin/p0f")?);
    command
        .arg("-f")
        .arg(signatures)
        .arg("-r")
        .arg(file)
        .arg("-o")
        .arg(log);
    run(&mut command)?.ok()?;
    let mut all = ByAddress::new();
    for line in std::fs::read_to_string(log)?.lines() {
        let (_, fields) = line.split_once("] ").unwrap_or_default();
        let fields: BTreeMap<&str, &str> = fields
            .split('|')
            .filter_map(|field| field.split_once('='))
            .collect();
        if fields.get("mod") != Some(&"syn") {
            continue;
        }
        let label = fields
            .get("os")
            .or_else(|| fields.get("app"))
            .copied()
            .unwrap_or_default();
        let shown = (
            (label != "???").then(|| label.to_owned()),
            fields["params"].contains("fuzzy"),
            fields["raw_sig"].to_owned(),
        );
        let (address, _) = fields["cli"].split_once('/').unwrap_or_default();
        all.entry(address.parse()?).or_default().push(shown);
    }
    Ok(all)
}

/// The signatures of this product, and Debian's.
fn files() -> Result<[PathBuf; 2]> {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/os.fp");
    Ok([deploy, p0f("etc/p0f/p0f.fp")?])
}

/// A number that is made of another one, as if by chance.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        usize::try_from(self.0 >> 33).unwrap_or_default() % limit
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}

/// Options of a SYN: those that systems send, and those that none does.
fn options(chance: &mut Chance) -> Vec<u8> {
    const WHOLE: &[&[u8]] = &[
        &[2, 4, 8, 1, 3],
        &[2, 1, 3, 1, 1, 4],
        &[2, 1, 3, 1, 1, 8, 4, 0],
        &[2],
        &[],
    ];
    const ANY: &[u8] = &[0, 1, 2, 3, 4, 5, 8, 30, 254];
    let mut kinds = chance.of(WHOLE).to_vec();
    if chance.below(3) == 0 {
        kinds = (0..chance.below(9)).map(|_| chance.of(ANY)).collect();
    }
    let mut bytes: Vec<u8> = Vec::new();
    for kind in kinds {
        match kind {
            0 | 1 => bytes.push(kind),
            2 => {
                let mss: u16 = chance.of(&[1460, 1460, 1440, 1380, 536, 0, 99]);
                bytes.extend([2, chance.of(&[4, 4, 4, 4, 5])]);
                bytes.extend(mss.to_be_bytes());
            }
            3 => bytes.extend([3, 3, chance.of(&[0, 2, 7, 8, 10, 14, 15, 255])]),
            4 => bytes.extend([4, 2]),
            5 => bytes.extend([5, chance.of(&[10, 9, 18, 35]), 1, 1, 1, 1, 1, 1, 1, 1]),
            8 => {
                bytes.extend([8, 10, 0, 0, 0, chance.of(&[0, 7]), 0, 0, 0]);
                bytes.push(chance.of(&[0, 0, 0, 9]));
            }
            other => bytes.extend([other, chance.of(&[2, 3, 1, 0, 41]), 2]),
        }
    }
    bytes.truncate(40);
    let pad = chance.of(&[0, 0, 0, 1, 0x55]);
    bytes.resize(bytes.len().div_ceil(4) * 4, pad);
    bytes
}

/// One SYN without a link header; `number` makes its source.
fn packet(number: u32, chance: &mut Chance) -> Vec<u8> {
    let options = options(chance);
    let offset = u8::try_from(5 + options.len() / 4).unwrap_or_default() << 4;
    let window: u16 = chance.of(&[
        64_240, 65_535, 29_200, 8192, 5840, 0, 1024, 5792, 10_080, 8568,
    ]);
    let flags = 2 | chance.of(&[0, 0, 0, 0, 0, 0x40, 0xc0, 0x20, 0x08]);
    let mut tcp = vec![0x9c, 0x40, 0, 80, 0, 0, 0, chance.of(&[1, 1, 1, 0])];
    tcp.extend([chance.of(&[0, 0, 0, 0, 1]), 0, 0, chance.of(&[0, 0, 0, 3])]);
    tcp.extend([offset | chance.of(&[0, 0, 0, 1]), flags]);
    tcp.extend(window.to_be_bytes());
    tcp.extend([0, 0, 0, chance.of(&[0, 0, 0, 3])]);
    tcp.extend(options);
    tcp.extend(vec![b'x'; chance.of(&[0, 0, 0, 1])]);
    let length = u16::try_from(tcp.len()).unwrap_or_default();
    let ttl = chance.of(&[64, 63, 57, 128, 120, 255, 250, 30, 20, 1]);
    let [.., b, c, d] = number.to_be_bytes();
    let mut ip = if chance.below(4) == 0 {
        let [high, low] = length.to_be_bytes();
        let mut ip = vec![
            0x60,
            chance.of(&[0, 0, 0x10, 0x20]),
            chance.of(&[0, 5]),
            0,
            high,
            low,
        ];
        ip.extend([6, ttl, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, b, c, d]);
        ip.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        ip
    } else {
        let more = chance.of(&[0, 0, 0, 4]);
        let [high, low] = (20 + u16::from(more) + length).to_be_bytes();
        let mut ip = vec![0x45 + more / 4, chance.of(&[0, 0, 0, 1, 4]), high, low];
        ip.extend([
            0,
            chance.of(&[0, 7]),
            chance.of(&[0x40, 0x40, 0, 0xc0]),
            0,
            ttl,
            6,
            0,
            0,
        ]);
        ip.extend([11, b, c, d, 10, 0, 0, 1]);
        ip.extend(vec![1; usize::from(more)]);
        ip
    };
    ip.extend(tcp);
    ip
}

#[test]
fn p0f_gives_every_syn_the_same_label_and_the_same_signature() -> Result<()> {
    const COUNT: u32 = 20_000;
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("syns.pcap");
    let mut bytes = vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    bytes.extend([0xff, 0xff, 0, 0, 101, 0, 0, 0]);
    let mut chance = Chance(1);
    for number in 0..COUNT {
        let packet = packet(number, &mut chance);
        let length = u32::try_from(packet.len())?.to_le_bytes();
        bytes.extend((1000 + number / 10).to_le_bytes());
        bytes.extend([0; 4].iter().chain(&length).chain(&length).chain(&packet));
    }
    std::fs::write(&file, bytes)?;

    for (number, signatures) in files()?.iter().enumerate() {
        let theirs = theirs(signatures, &file, &dir.path().join(format!("log{number}")))?;
        let ours = ours(signatures, &file)?;

        same("SYNs", &theirs.len(), &usize::try_from(COUNT)?)?;
        for (address, shown) in &theirs {
            same(&address.to_string(), &ours.get(address), &Some(shown))?;
        }
        let named = ours
            .values()
            .flatten()
            .filter(|(label, ..)| label.is_some());
        ensure!(
            named.count() > 100,
            "{} names too few",
            signatures.display()
        );
    }
    Ok(())
}

/// What a person's kernel sends to the host, with a sysctl of her own.
fn try_port(person: &Node, host: &Node, sysctl: &str) -> Result<()> {
    person.run(&["sysctl", "-qw", sysctl])?.ok()?;
    person.reach(host.v4, 22)?;
    Ok(())
}

fn tcpdump(node: &Node, file: &Path) -> Result<Process> {
    machine::require(&["tcpdump"])?;
    let mut command = node.command("tcpdump");
    command
        .args(["-i", "eth0", "-U", "--immediate-mode", "-w"])
        .arg(file)
        .arg("tcp[13] & 0x17 = 2");
    let mut process = node.start("tcpdump", &mut command)?;
    process.wait_for("listening on", wait::SOON)?;
    Ok(process)
}

#[test]
fn the_last_syn_of_a_sender_must_show_the_system_that_the_stanza_requires() {
    in_lab(|lab| {
        let file = lab
            .node("notes", 99)?
            .write("os.fp", &std::fs::read_to_string(&files()?[0])?)?;
        let [signatures, syns] = [
            file.display().to_string(),
            file.with_extension("pcap").display().to_string(),
        ];
        let config = file.with_extension("toml");
        std::fs::write(&config, format!("os_signatures = {signatures:?}\n"))?;
        let stanza = format!("{STANZA}REQUIRE_OS Linux:6.x\n");
        let config = config.display().to_string();
        let mut alone = Alone::start_with(lab, &stanza, &["--config", &config])?;
        let wire = tcpdump(&alone.host, Path::new(&syns))?;
        let user = alone.user.v4;

        // Nobody saw a SYN yet: refused, and with that reason.
        alone.knock_as_told()?;
        alone
            .agent
            .wait_for("no SYN of 192.0.2.20 was seen within the last 120 s")?;
        alone.nothing_opened()?;
        // Another kind of Linux, by its options.
        try_port(&alone.user, &alone.host, "net.ipv4.tcp_timestamps=0")?;
        alone.knock_as_told()?;
        alone
            .agent
            .wait_for("shows Linux 6.x (no timestamps) (4:64+0:0:1460:mss*44")?;
        alone.nothing_opened()?;
        // The one that is wanted: a prior try of the port is what the agent has seen.
        try_port(&alone.user, &alone.host, "net.ipv4.tcp_timestamps=1")?;
        alone.knock_as_told()?;
        alone.agent.opens(user, "tcp:22")?;

        // Other signatures are taken up as an access file is, and those with mistakes are not.
        std::fs::write(&file, "[tcp:request]\nsig = x\n")?;
        let agent = binary("postern-agent")?.display().to_string();
        let state = alone.agent.state.display().to_string();
        let refused = alone.host.run(&[&agent, "reload", "--state", &state])?;
        ensure!(
            refused.text().contains("os.fp:2: sig: "),
            "{}",
            refused.text()
        );

        drop(wire);
        let ours = ours(&files()?[0], Path::new(&syns))?;
        let theirs = theirs(&files()?[0], Path::new(&syns), &file.with_extension("log"))?;
        same("what the kernel sent", &ours, &theirs)?;
        same("SYNs", &ours.values().flatten().count(), &2)
    });
}
