//! The harness tried on programs that are not ours: what it sees of stock fwknop and fwknopd is
//! what they really do.

use std::time::Duration;

use anyhow::ensure;
use harness::capture::Capture;
use harness::fwknop::{Fwknopd, fwknop};
use harness::service::Reach;
use harness::{SPA_PORT, in_lab, wait};

const ACCESS: &str = "SOURCE ANY\nKEY labpassword\nHMAC_KEY labhmacpassword\nFW_ACCESS_TIMEOUT 4\n";

/// What an administrator of fwknopd sets up beside it.
const DEFAULT_DROP: &[&str] = &[
    "iptables", "-A", "INPUT", "-p", "tcp", "--dport", "22", "-j", "DROP",
];

#[test]
fn a_port_without_rules_is_open_and_one_without_listener_is_refused() {
    in_lab(|lab| {
        let host = lab.node("host", 10)?;
        let user = lab.node("user", 20)?;
        let service = host.serve_tcp(22)?;
        let echo = host.serve_udp(53)?;

        ensure!(user.reach(host.v4, 22)? == Reach::Open);
        ensure!(user.reach(host.v6, 22)? == Reach::Open);
        ensure!(user.reach(host.v4, 23)? == Reach::Refused);
        ensure!(user.reach_udp(host.v6, 53)? == Reach::Open);
        ensure!(service.served() == 2 && echo.served() == 1);
        Ok(())
    });
}

#[test]
fn stock_fwknop_opens_stock_fwknopd_and_a_replay_of_the_capture_is_refused() {
    in_lab(|lab| {
        let host = lab.node("host", 10)?;
        let user = lab.node("user", 20)?;
        let _ssh = host.serve_tcp(22)?;
        host.run(DEFAULT_DROP)?.ok()?;
        let mut server = Fwknopd::start(&host, ACCESS, "")?;
        let capture = Capture::start(&host, "udp port 62201")?;
        ensure!(user.reach(host.v4, 22)? == Reach::Silent);

        let keys = [
            "--key-rijndael",
            "labpassword",
            "--key-hmac",
            "labhmacpassword",
        ];
        let mut words = vec!["-A", "tcp/22", "-s"];
        words.extend(keys);
        fwknop(&user, host.v4, &words)?;
        wait::until("the port to open", wait::SOON, || {
            Ok(user.reach(host.v4, 22)? == Reach::Open)
        })?;
        ensure!(host.rules()?.iter().any(|rule| rule.contains("_exp_")));

        let packet = capture.nth(1)?;
        ensure!(
            packet.source == user.v4 && packet.destination == host.v4 && packet.port == SPA_PORT
        );
        wait::until("the hole to close", wait::SOON, || {
            Ok(!host.rules()?.iter().any(|rule| rule.contains("_exp_")))
        })?;
        user.send(host.v4, SPA_PORT, &packet.payload)?;
        server.wait_for("Replay detected")?;
        ensure!(user.reach(host.v4, 22)? == Reach::Silent);
        capture.stop()?;
        server.stop()
    });
}

#[test]
fn a_lab_leaves_nothing_behind_even_when_its_test_panics() {
    let dir = std::sync::Mutex::new(None);
    let outcome = std::panic::catch_unwind(|| {
        in_lab(|lab| {
            let node = lab.node("host", 10)?;
            lab.small_disk(&node, "small", 64 * 1024)?;
            *dir.lock().unwrap() = Some(lab.dir().to_path_buf());
            let mut command = node.command("sleep");
            let _sleeper = node.start("sleep", command.arg("600"))?;
            panic!("half-way");
        });
    });
    assert!(outcome.is_err());

    let dir = dir
        .into_inner()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
        .unwrap();
    let name = dir.file_name().unwrap().to_str().unwrap().to_owned();
    assert!(!dir.exists());
    let left = std::fs::read_dir("/run/netns")
        .map(|read| {
            read.flatten()
                .filter(|e| {
                    e.file_name()
                        .to_string_lossy()
                        .starts_with(&format!("{name}-"))
                })
                .count()
        })
        .unwrap_or(0);
    assert_eq!(left, 0);
}

#[test]
fn a_condition_that_never_holds_is_reported_by_its_name() {
    let error = wait::until("pigs to fly", Duration::from_millis(50), || Ok(false)).unwrap_err();

    assert!(error.to_string().contains("pigs to fly"));
}
