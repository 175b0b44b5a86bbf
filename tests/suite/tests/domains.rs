//! The processes of a real agent: what each of them can and cannot do, as the kernel says it, and what
//! becomes of the host when one of them is killed.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context as _, ensure};
use harness::postern::Agent;
use harness::service::Reach;
use harness::{Result, in_lab, wait};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use suite::{Alone, STANZA, same};

/// Of the kernel's list: `CAP_NET_ADMIN` and `CAP_NET_RAW`.
const FILTER: &str = "0000000000003000";
const RAW: &str = "0000000000002000";
const NONE: &str = "0000000000000000";

#[test]
fn each_domain_holds_what_its_work_takes_and_nobody_else_reads_its_memory() {
    in_lab(|lab| {
        let alone = Alone::start_with(lab, STANZA, &[])?;
        let domains = domains(&alone.agent)?;
        let names: Vec<&str> = domains.keys().map(String::as_str).collect();
        same(
            "domains",
            &names,
            &vec!["capture", "command", "firewall", "gate"],
        )?;
        for (name, user, capabilities) in [
            ("firewall", "0", FILTER),
            ("capture", "65534", RAW),
            ("gate", "0", NONE),
        ] {
            let pid = domains[name];
            for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
                let status = fs::read_to_string(thread?.path().join("status"))?;
                let field = |key| field(&status, key);
                for set in ["CapEff", "CapPrm", "CapBnd"] {
                    same(&format!("{set} of {name}"), &field(set)?, &capabilities)?;
                }
                same(&format!("CapInh of {name}"), &field("CapInh")?, &NONE)?;
                same(&format!("user of {name}"), &first(field("Uid")?), &user)?;
                same(
                    &format!("NoNewPrivs of {name}"),
                    &field("NoNewPrivs")?,
                    &"1",
                )?;
                same(&format!("Seccomp of {name}"), &field("Seccomp")?, &"2")?;
            }
        }
        // Whoever takes the capture domain over is this user, and sees none of the others, nor
        // another process of its own.
        for (name, pid) in &domains {
            let seen = format!("cat /proc/{pid}/environ /proc/{pid}/maps");
            let words = [
                "setpriv",
                "--reuid=65534",
                "--regid=65534",
                "--clear-groups",
            ];
            let words = [&words[..], &["sh", "-c", &seen]].concat();
            let seen = alone.host.run(&words)?;
            ensure!(
                seen.stdout.is_empty() && seen.code != 0,
                "{name}: {}",
                seen.stdout
            );
        }
        // None of them has a file or a socket of another.
        let gate = fs::read_dir(format!("/proc/{}/fd", domains["gate"]))?;
        let open: Vec<_> = gate
            .filter_map(|fd| fs::read_link(fd.ok()?.path()).ok())
            .collect();
        ensure!(open.iter().any(|file| file.ends_with("journal.db")));
        for name in ["capture", "command"] {
            for fd in fs::read_dir(format!("/proc/{}/fd", domains[name]))? {
                let file = fs::read_link(fd?.path())?;
                ensure!(
                    !file.starts_with(&alone.agent.state),
                    "{name}: {}",
                    file.display()
                );
            }
        }
        Ok(())
    });
}

#[test]
fn whichever_domain_is_killed_the_agent_ends_what_is_hidden_stays_so_and_a_start_mends_all() {
    in_lab(|lab| {
        let access = format!("{STANZA}PROTECT tcp/2222\n");
        let mut alone = Alone::start_with(lab, &access, &[])?;
        let service = alone.host.serve_tcp(2_222)?;
        for name in ["capture", "command", "gate", "firewall"] {
            let domains = domains(&alone.agent)?;
            let hidden = || alone.user.reach(alone.host.v4, 2_222);
            ensure!(hidden()? == Reach::Silent, "{name}: before");
            kill(Pid::from_raw(domains[name].cast_signed()), Signal::SIGKILL)?;

            wait::until("the end of the agent", wait::SOON, || {
                Ok(!alone.agent.runs()?)
            })?;
            for (other, pid) in &domains {
                wait::until(&format!("the end of {other}"), wait::SOON, || {
                    let status = fs::read_to_string(format!("/proc/{pid}/status"));
                    Ok(status.map_or(true, |status| status.contains("State:\tZ")))
                })?;
            }

            let still = alone.user.reach(alone.host.v4, 2_222)?;
            ensure!(still == Reach::Silent, "{name}: {still:?}");
            if name != "firewall" {
                let told = format!("the {name} domain was killed by signal 9");
                ensure!(alone.agent.log().contains(&told), "{}", alone.agent.log());
            }
            alone.agent.start_again()?;
        }
        drop(service);
        Ok(())
    });
}

#[test]
fn without_separation_and_in_a_dry_run_all_is_in_one_process_and_that_is_said() {
    for flag in ["--no-separation", "--dry-run"] {
        in_lab(|lab| {
            let alone = Alone::start_with(lab, STANZA, &[flag])?;
            let domains = domains(&alone.agent)?;
            same("domains", &domains.len(), &1)?;
            ensure!(alone.agent.log().contains("are in one process"), "{flag}");
            Ok(())
        });
    }
}

/// The processes of an agent by their names.
fn domains(agent: &Agent) -> Result<BTreeMap<String, u32>> {
    let main = agent.pid();
    let children = fs::read_to_string(format!("/proc/{main}/task/{main}/children"))?;
    let mut domains = BTreeMap::from([("firewall".to_owned(), main)]);
    for pid in children.split_whitespace() {
        let command = fs::read_to_string(format!("/proc/{pid}/cmdline"))?;
        let mut words = command.split('\0');
        let name = words.nth(2).context("no domain")?;
        domains.insert(name.to_owned(), pid.parse()?);
    }
    Ok(domains)
}

fn field<'a>(status: &'a str, key: &str) -> Result<&'a str> {
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    let value = line.and_then(|line| line.strip_prefix(":"));
    Ok(value.with_context(|| format!("no {key}"))?.trim())
}

fn first(words: &str) -> &str {
    words.split_whitespace().next().unwrap_or_default()
}
