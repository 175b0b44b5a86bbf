//! A host that has the files and the scripts of fwknopd: the same values as the real one prints,
//! the same life, and what that one has seen is a replay here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use harness::capture::Capture;
use harness::fwknop::{Fwknopd, fwknop};
use harness::postern::binary;
use harness::{Lab, Node, Process, Ran, Result, in_lab, machine, wait};
use nix::sys::signal::Signal;
use suite::same;

const ACCESS: &str =
    "SOURCE ANY\nKEY alone-key-for-tests\nHMAC_KEY alone-hmac-for-tests\nOPEN_PORTS tcp/22\n";

/// A host with fwknopd's files, a run directory of its own, and ours under that name.
struct Site {
    host: Node,
    program: String,
    conf: String,
}

// === impl Site ===

impl Site {
    fn new(lab: &Lab, name: &str, number: u8, more: &str) -> Result<Self> {
        machine::require(&["fwknopd", "fwknop"])?;
        let host = lab.node(name, number)?;
        let program = host.dir.join("fwknopd");
        std::os::unix::fs::symlink(binary("postern-agent")?, &program)?;
        host.write("access.conf", ACCESS)?;
        let conf = conf(&host.dir, more);
        let conf = host.write("site.conf", &conf)?;
        Ok(Self {
            program: program.display().to_string(),
            conf: conf.display().to_string(),
            host,
        })
    }

    /// Ours, with this site's configuration.
    fn run(&self, switches: &[&str]) -> Result<Ran> {
        let words = [&[&*self.program, "-c", &self.conf], switches].concat();
        self.host.run(&words)
    }

    fn pid(&self) -> Result<String> {
        let path = self.host.dir.join("run/fwknopd.pid");
        Ok(std::fs::read_to_string(path)?.trim().to_owned())
    }

    fn has_hole(&self) -> Result<bool> {
        Ok(!self.host.holes()?.is_empty())
    }

    fn opens(&self) -> Result<()> {
        wait::until("the hole", wait::SOON, || self.has_hole())?;
        Ok(())
    }
}

/// The stock client asks for its own packet: tcp/22 for this address.
fn knock(user: &Node, host: &Node, opened: &str) -> Result<()> {
    knock_by(user, host, opened, &[])
}

/// The same with further options.
fn knock_by(user: &Node, host: &Node, opened: &str, more: &[&str]) -> Result<()> {
    let keys = [
        "--key-rijndael",
        "alone-key-for-tests",
        "--key-hmac",
        "alone-hmac-for-tests",
    ];
    let words = [&["-A", "tcp/22", "-a", opened], &keys[..], more].concat();
    fwknop(user, host.v4, &words)?;
    Ok(())
}

fn conf(dir: &Path, more: &str) -> String {
    let dir = dir.display();
    format!(
        "PCAP_INTF eth0;\nFWKNOP_RUN_DIR {dir}/run;\nFWKNOP_PID_FILE $FWKNOP_RUN_DIR/fwknopd.pid;\n\
         ACCESS_FILE {dir}/access.conf;\n{more}"
    )
}

#[test]
fn as_fwknopd_a_host_is_started_asked_reread_and_stopped() {
    in_lab(|lab| {
        let site = Site::new(lab, "host", 10, "")?;
        let user = lab.node("user", 20)?;

        site.run(&["-S"])?.code(1)?;
        // It returns when it is ready, not before: a packet right after it opens.
        site.run(&[])?.ok()?;
        knock(&user, &site.host, "192.0.2.7")?;
        site.opens()?;
        let pid = site.pid()?;
        let told = site.run(&["-S"])?.ok()?;
        ensure!(told.text().contains(&pid), "{}", told.text());
        // The real one sees ours by the lock, too.
        let words = ["fwknopd", "-S", "-c", &site.conf];
        let told = site.host.run(&words)?.ok()?;
        ensure!(told.text().contains(&pid), "{}", told.text());
        let listed = site.run(&["--fw-list"])?.ok()?;
        ensure!(listed.text().contains("192.0.2.7"), "{}", listed.text());
        // A second one does not start, and does not disturb the first.
        let refused = site.run(&["-f"])?.code(1)?;
        ensure!(refused.text().contains(&pid), "{}", refused.text());

        site.host
            .write("access.conf", &format!("{ACCESS}FW_ACCESS_TIMEOUT 7\n"))?;
        site.run(&["-R"])?.ok()?;
        site.host.write("access.conf", "SOURCE ANY\nKYE x\n")?;
        let refused = site.run(&["-R"])?.code(1)?;
        ensure!(
            refused.text().contains("access.conf:2: KYE"),
            "{}",
            refused.text()
        );
        same("the process", &site.pid()?, &pid)?;
        ensure!(site.has_hole()?, "a reload has closed what was open");

        site.run(&["-K"])?.ok()?;
        site.run(&["-S"])?.code(1)?;
        site.run(&["-K"])?.code(1)?;
        // Gone, or only to be reaped by whoever does that here.
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        ensure!(stat.is_empty() || stat.contains(") Z "), "{stat}");
        // A file with mistakes: nothing is started, and it is said where.
        site.run(&[])?.code(1)?;
        site.run(&["--exit-parse-config"])?.code(1)?;
        // So is one whose commands need a user that this host does not have.
        let access = format!("{ACCESS}ENABLE_CMD_EXEC Y\nCMD_EXEC_USER no-such-user\n");
        site.host.write("access.conf", &access)?;
        for switches in [&["--exit-parse-config"][..], &["-D"], &["-f"]] {
            let refused = site.run(switches)?.code(1)?;
            let said = "access.conf:6: CMD_EXEC_USER";
            ensure!(refused.text().contains(said), "{}", refused.text());
        }
        Ok(())
    });
}

#[test]
fn switches_of_where_packets_come_from_and_when_it_ends_do_what_they_do_for_fwknopd() {
    in_lab(|lab| {
        let user = lab.node("user", 20)?;
        // Whatever the file says, the switches win.
        let more = "PCAP_INTF nowhere0;\n";
        let ours = Site::new(lab, "ours", 10, more)?;
        let theirs = Site::new(lab, "theirs", 11, more)?;
        for (site, program, ready) in [
            (&ours, &*ours.program, "postern-agent is ready"),
            (&theirs, "fwknopd", "main event loop"),
        ] {
            let start = |ready: &str, switches: &[&str]| -> Result<Process> {
                let mut command = site.host.command(program);
                command.args(["-f", "-c", &site.conf]).args(switches);
                let mut process = site.host.start("fwknopd", &mut command)?;
                process.wait_for(ready, wait::SOON)?;
                Ok(process)
            };
            let is_open = |address: &str| {
                let ruleset = site.host.run(&["nft", "list", "ruleset"])?.ok()?;
                Ok(ruleset.text().contains(address))
            };
            let opens = |address: &str| {
                wait::until(&format!("{program} to open {address}"), wait::SOON, || {
                    is_open(address)
                })
            };

            let mut counts = start(ready, &["-i", "eth0", "-C", "2"])?;
            // In its first second a host that knows no past trusts no packet.
            wait::until_next_second();
            wait::until_next_second();
            knock(&user, &site.host, "203.0.113.1")?;
            opens("203.0.113.1")?;
            knock(&user, &site.host, "203.0.113.2")?;
            same(program, &counts.wait(wait::SOON)?, &0)?;

            let mut filters = start(ready, &["-i", "eth0", "-P", "udp port 5555"])?;
            knock(&user, &site.host, "203.0.113.3")?;
            knock_by(&user, &site.host, "203.0.113.4", &["-p", "5555"])?;
            opens("203.0.113.4")?;
            ensure!(!is_open("203.0.113.3")?, "{program}: -P");
            filters.signal(Signal::SIGTERM)?;
            same(program, &filters.wait(wait::SOON)?, &0)?;

            let mut receives = start("", &["-U"])?;
            wait::until("a socket", wait::SOON, || {
                let sockets = site.host.run(&["ss", "-uln"])?.ok()?;
                Ok(sockets.text().contains(":62201 "))
            })?;
            knock(&user, &site.host, "203.0.113.5")?;
            opens("203.0.113.5")?;
            receives.signal(Signal::SIGTERM)?;
            same(program, &receives.wait(wait::SOON)?, &0)?;
            let words = [program, "-c", &site.conf, "--fw-flush"];
            site.host.run(&words)?.ok()?;
            ensure!(!is_open("203.0.113.")?, "{program}: --fw-flush");
        }
        Ok(())
    });
}

#[test]
fn the_one_of_its_run_directory_is_ended_and_no_other_and_no_stranger_with_its_number() {
    in_lab(|lab| {
        let one = Site::new(lab, "one", 10, "")?;
        let other = Site::new(lab, "other", 11, "")?;
        one.run(&[])?.ok()?;
        other.run(&[])?.ok()?;

        one.run(&["-K"])?.ok()?;

        other.run(&["-S"])?.ok()?;
        // The number of a process that runs, in the file of one that does not.
        let pid = other.pid()?;
        std::fs::write(one.host.dir.join("run/fwknopd.pid"), format!("{pid}\n"))?;
        one.run(&["-K"])?.code(1)?;
        one.run(&["-R"])?.code(1)?;
        other.run(&["-S"])?.ok()?;
        other.run(&["-K"])?.ok()?;
        Ok(())
    });
}

#[test]
fn what_fwknopd_has_seen_is_a_replay_here() {
    in_lab(|lab| {
        // Without ageing, so that no date refuses what the digest cache must.
        let site = Site::new(lab, "host", 10, "ENABLE_SPA_PACKET_AGING N;\n")?;
        let user = lab.node("user", 20)?;
        let capture = Capture::start(&site.host, "udp port 62201")?;
        let mut theirs = Fwknopd::start(&site.host, ACCESS, "ENABLE_SPA_PACKET_AGING N;")?;
        knock(&user, &site.host, "192.0.2.6")?;
        theirs.wait_for("Added access rule")?;
        theirs.stop()?;
        let packet = capture.nth(1)?.payload;
        let cache = site.host.dir.join("fwknop-run/digest.cache");
        let cache = cache.display().to_string();

        let counted = site
            .run(&["-d", &cache, "--exit-parse-digest-cache"])?
            .ok()?;
        ensure!(counted.text().contains(": 1 packets"), "{}", counted.text());
        site.run(&["-d", &cache])?.ok()?;
        user.send(site.host.v4, 62201, &packet)?;
        knock(&user, &site.host, "192.0.2.7")?;
        site.opens()?;
        let holes = site.host.holes()?;
        ensure!(
            holes.len() == 1 && holes.concat().contains("192.0.2.7"),
            "{holes:?}"
        );
        // Also when that file is gone.
        site.run(&["-K"])?.ok()?;
        std::fs::remove_file(&cache)?;
        site.run(&["-d", &cache])?.ok()?;
        user.send(site.host.v4, 62201, &packet)?;
        knock(&user, &site.host, "192.0.2.8")?;
        site.opens()?;
        let holes = site.host.holes()?;
        ensure!(
            holes.len() == 1 && holes.concat().contains("192.0.2.8"),
            "{holes:?}"
        );
        site.run(&["-K"])?.ok()?;
        Ok(())
    });
}

/// What `-D` prints for each variable.
fn printed(ran: &Ran) -> BTreeMap<String, String> {
    let text = ran.text();
    let lines = text.lines().filter_map(|line| {
        let (name, value) = line.split_once("=  ")?;
        let name = name.split_once(". ")?.1.trim();
        Some((name.to_owned(), value.trim().to_owned()))
    });
    lines
        .filter(|(name, _)| !matches!(&**name, "CONFIG_FILE" | "OVERRIDE_CONFIG"))
        .collect()
}

/// Everything that can be written in a line, and what is laid over it.
const FILES: &[(&str, &[&str])] = &[
    ("", &[]),
    ("PCAP_INTF eth1;\nPCAP_INTF eth2", &[]),
    (
        "  PCAP_INTF\teth1;  # c\n# PCAP_INTF x;\n;PCAP_INTF x;\nPCAP_INTF: y;\npcap_intf z;\nFOO bar;\n",
        &[],
    ),
    (
        "SYSLOG_IDENTITY $PCAP_INTF;\nPCAP_INTF eth9;\nLOCALE $PCAP_INTF-x;\nGPG_EXE /a/$PCAP_INTF;\n",
        &[],
    ),
    (
        "SYSLOG_IDENTITY $PATH;\nPCAP_FILTER tcp port 80 or udp;\nPCAP_INTF;\nPCAP_INTF ;\n",
        &[],
    ),
    (
        "PCAP_INTF a;\n",
        &[
            "PCAP_INTF b;\nSYSLOG_IDENTITY $PCAP_INTF;\n",
            "PCAP_INTF c;\n",
        ],
    ),
    ("PCAP_FILE /x.pcap;\n", &[]),
    (
        "PCAP_FILE /x.pcap;\nENABLE_SPA_PACKET_AGING Y;\n",
        &["MAX_SPA_PACKET_AGE 7;\n"],
    ),
    (
        "PCAP_INTF eth1\r\nVERBOSE 0;\r\nSYSLOG_FACILITY LOG_LOCAL7;\r\n",
        &[],
    ),
    (
        "FWKNOP_PID_FILE /x/p;\nDIGEST_FILE /x/d;\nENABLE_IPT_FORWARDING Y;\nIPT_INPUT_ACCESS ACCEPT,filter,INPUT,1,X,1;\n",
        &[],
    ),
];

#[test]
fn the_values_in_force_are_those_that_fwknopd_prints_for_the_same_files() {
    in_lab(|lab| {
        let site = Site::new(lab, "host", 10, "")?;
        let access = site.host.dir.join("access.conf").display().to_string();
        for (text, over) in FILES {
            let file = |name: &str, text: &str| -> Result<String> {
                Ok(site.host.write(name, text)?.display().to_string())
            };
            let run_dir = site.host.dir.join("run");
            let conf = file(
                "f.conf",
                &format!("FWKNOP_RUN_DIR {};\n{text}", run_dir.display()),
            )?;
            let mut words = vec![
                "-D".to_owned(),
                "-f".to_owned(),
                "-c".to_owned(),
                conf,
                "-a".to_owned(),
                access.clone(),
            ];
            for (number, text) in over.iter().enumerate() {
                words.extend(["-O".to_owned(), file(&format!("o{number}.conf"), text)?]);
            }
            let with = |program: &str| {
                let words: Vec<&str> = [program]
                    .into_iter()
                    .chain(words.iter().map(String::as_str))
                    .collect();
                site.host.run(&words)?.ok()
            };

            let (theirs, ours) = (printed(&with("fwknopd")?), printed(&with(&site.program)?));

            ensure!(theirs.len() == 53, "{theirs:?}");
            same(text, &ours, &theirs)?;
        }
        // What the real one refuses is refused.
        for line in [
            "MAX_SPA_PACKET_AGE 0",
            "MAX_SPA_PACKET_AGE 100001",
            "PCAP_DISPATCH_COUNT 0",
            "PCAP_LOOP_SLEEP 8388609",
            "MAX_SNIFF_BYTES 32769",
            "RULES_CHECK_THRESHOLD 131072",
            "TCPSERV_PORT 0",
            "UDPSERV_PORT x",
            "UDPSERV_SELECT_TIMEOUT 0",
            "SYSLOG_FACILITY LOG_KERN",
            "IPT_INPUT_ACCESS ACCEPT, filter",
        ] {
            let conf = site
                .host
                .write("f.conf", &format!("{line};\n"))?
                .display()
                .to_string();
            for program in ["fwknopd", &site.program] {
                site.host
                    .run(&[program, "-D", "-f", "-c", &conf, "-a", &access])?
                    .code(1)?;
            }
        }
        Ok(())
    });
}

/// The file that Debian's package installs.
fn sample() -> PathBuf {
    "/etc/fwknop/fwknopd.conf".into()
}

#[test]
fn the_sample_that_debian_ships_is_taken_as_it_is_and_with_every_line_of_it_in_force() {
    in_lab(|lab| {
        let site = Site::new(lab, "host", 10, "")?;
        let access = site.host.dir.join("access.conf").display().to_string();
        let sample = sample();
        let named = sample.display().to_string();
        let as_it_is = site
            .host
            .run(&[
                &site.program,
                "--exit-parse-config",
                "-c",
                &named,
                "-a",
                &access,
            ])?
            .ok()?;
        ensure!(!as_it_is.text().contains("WARN"), "{}", as_it_is.text());

        let text = std::fs::read(&sample).context("fwknop-server is not installed")?;
        let text = String::from_utf8_lossy(&text);
        // What is a variable of it and has a value: one line at a time, as somebody would who edits
        // it.
        let lines = text.lines().filter_map(|line| line.strip_prefix('#'));
        let lines = lines.map(str::trim_start).filter(|line| {
            let name = line.split_ascii_whitespace().next().unwrap_or_default();
            line.ends_with(';')
                && name.len() > 4
                && name
                    .bytes()
                    .all(|b| b.is_ascii_uppercase() || b"_0123456789".contains(&b))
        });
        let mut tried = 0;
        for line in lines {
            let conf = site
                .host
                .write("f.conf", &format!("{line}\n"))?
                .display()
                .to_string();
            let ours = site.host.run(&[
                &site.program,
                "--exit-parse-config",
                "-c",
                &conf,
                "-a",
                &access,
            ])?;
            let theirs = site.host.run(&[
                "fwknopd",
                "--exit-parse-config",
                "-f",
                "-c",
                &conf,
                "-a",
                &access,
            ])?;
            // Three of its lines fwknopd itself refuses, or would if it could read them.
            ensure!(
                ours.code == 0 || theirs.code != 0,
                "{line}: {}",
                ours.text()
            );
            tried += 1;
        }
        ensure!(tried > 60, "{tried} lines");
        Ok(())
    });
}

#[test]
fn what_is_imported_means_the_same_and_runs() {
    in_lab(|lab| {
        let site = Site::new(
            lab,
            "host",
            10,
            "MAX_SPA_PACKET_AGE 60;\nPCAP_LOOP_SLEEP 7;\n",
        )?;
        let user = lab.node("user", 20)?;
        let agent = binary("postern-agent")?.display().to_string();
        let new = site.host.dir.join("new");
        let to = new.display().to_string();
        let import = [&*agent, "import", "--fwknopd-conf", &site.conf, "--to", &to];

        let told = site.host.run(&import)?.ok()?;

        ensure!(
            told.text()
                .contains("PCAP_LOOP_SLEEP: changes nothing here"),
            "{}",
            told.text()
        );
        for name in ["agent.toml", "access.conf"] {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = std::fs::metadata(new.join(name))?.permissions().mode() & 0o777;
            same(name, &mode, &0o600)?;
        }
        let text = std::fs::read_to_string(new.join("agent.toml"))?;
        ensure!(text.contains("max_age_secs = 60"), "{text}");
        ensure!(!text.contains("alone-key"), "{text}");
        // Nothing is written over.
        site.host.run(&import)?.code(1)?;
        let config = new.join("agent.toml").display().to_string();
        let mut command = site.host.command(&agent);
        command.args(["run", "--config", &config]);
        let mut process = site.host.start("imported", &mut command)?;
        process.wait_for("postern-agent is ready", wait::SOON)?;
        knock(&user, &site.host, "192.0.2.7")?;
        site.opens()
    });
}
