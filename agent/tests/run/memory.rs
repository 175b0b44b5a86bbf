//! What the memory of a running agent holds, as root sees it.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;

use super::host::{Host, on_host};
use harness::wait;

/// 32 bytes that stand nowhere by accident, and their base64.
const OLD: [&str; 2] = [
    "c2VjcmV0cy1vZi1hLXBvbGljeS1sb25nLWdvbmUhISE=",
    "YW4taG1hYy1rZXktb2YtYS1wb2xpY3ktbG9uZy1nb25lIQ==",
];
const OLD_BYTES: [&str; 2] = [
    "secrets-of-a-policy-long-gone!!!",
    "an-hmac-key-of-a-policy-long-gone!",
];

/// In how many places of the memory of this process, and of those that it has started, these stand.
fn found(pid: u32, patterns: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for pid in with_children(pid) {
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
        let Ok(memory) = File::open(format!("/proc/{pid}/mem")) else {
            continue;
        };
        for line in maps.lines() {
            let mut words = line.split_whitespace();
            let (range, mode) = (words.next().unwrap(), words.next().unwrap());
            let name = words.nth(3).unwrap_or_default();
            let (from, to) = range.split_once('-').unwrap();
            let [from, to] = [from, to].map(|text| u64::from_str_radix(text, 16).unwrap());
            if !mode.starts_with("rw") || name.starts_with("[v") {
                continue;
            }
            let mut bytes = vec![0; usize::try_from(to - from).unwrap()];
            // What is not there, as behind a stack's guard, is not read.
            if memory.read_exact_at(&mut bytes, from).is_err() {
                continue;
            }
            for pattern in patterns {
                let at = bytes
                    .windows(pattern.len())
                    .position(|window| window == pattern.as_bytes());
                found.extend(at.map(|at| format!("{pid} {name} {from:x}+{at:x}: {pattern}")));
            }
        }
    }
    found
}

fn with_children(pid: u32) -> Vec<u32> {
    let mut all = vec![pid];
    let mut next = 0;
    while let Some(parent) = all.get(next).copied() {
        let tasks = fs::read_dir(format!("/proc/{parent}/task"));
        for task in tasks.into_iter().flatten().flatten() {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            all.extend(
                children
                    .split_whitespace()
                    .filter_map(|pid| pid.parse::<u32>().ok()),
            );
        }
        next += 1;
    }
    all
}

fn write(host: &Host, [key, hmac]: [&str; 2]) {
    let text = format!("SOURCE ANY\nOPEN_PORTS tcp/22\nKEY_BASE64 {key}\nHMAC_KEY_BASE64 {hmac}\n");
    fs::write(host.access(), text).unwrap();
}

#[test]
fn after_a_reload_no_key_of_the_policy_before_is_in_the_memory_of_the_agent() {
    on_host("", |host| {
        write(host, OLD);
        let mut agent = host.start(&["--interface", "lo"]);
        let [key, hmac] = OLD;
        host.knock_with(&[
            "-A",
            "tcp/22",
            "--key-base64-rijndael",
            key,
            "--key-base64-hmac",
            hmac,
        ]);
        agent.wait_for("grant opened");
        let pid = agent.0.pid();
        assert!(found(pid, &OLD_BYTES).len() >= 2, "this would see one");

        let new = [
            "dGhlIGtleSBvZiB0aGUgcG9saWN5IGluIGZvcmNlISE=",
            "bmV3ISBuZXchIG5ldyE=",
        ];
        write(host, new);
        agent.hang_up();
        agent.wait_for("policy applied generation=2");

        let patterns = [&OLD[..], &OLD_BYTES].concat();
        let mut left = Vec::new();
        let gone = wait::until("the keys to go", wait::SOON, || {
            left = found(pid, &patterns);
            Ok(left.is_empty())
        });
        assert!(gone.is_ok(), "{left:#?}");
        agent.stop();
    });
}
