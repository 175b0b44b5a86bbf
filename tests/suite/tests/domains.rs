//! The processes of a real agent: what each of them can and cannot do, as the kernel says it, and what
//! becomes of the host when one of them is killed.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};

use anyhow::{Context as _, ensure};
use harness::Ran;
use harness::postern::{Agent, binary};
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
            ("capture", &capture_user()?, RAW),
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
        // another process of its own; whoever is nobody cannot even stop it.
        for (name, pid) in &domains {
            let seen = format!("cat /proc/{pid}/environ /proc/{pid}/maps");
            let stop = format!("kill -STOP {pid}");
            for (user, what) in [
                (&*capture_user()?, &seen),
                ("65534", &seen),
                ("65534", &stop),
            ] {
                let (user, group) = (format!("--reuid={user}"), format!("--regid={user}"));
                let words = ["setpriv", &user, &group, "--clear-groups", "sh", "-c", what];
                let ran = alone.host.run(&words)?;
                let has_failed = ran.stdout.is_empty() && ran.code != 0;
                ensure!(has_failed, "{name}: {what}: {}", ran.stdout);
            }
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
fn a_domain_that_is_stopped_is_named_and_systemd_hears_no_more_that_all_is_well() {
    in_lab(|lab| {
        let alone = Alone::start_with(lab, STANZA, &[])?;
        let domains = domains(&alone.agent)?;
        let send = |name: &str, signal| send(domains[name], signal);
        let named = |name: &str, what: &str| {
            let log = alone.agent.log();
            let said = format!("domain=\"{name}\"");
            log.lines()
                .any(|line| line.contains(what) && line.contains(&said))
        };
        let gate_knows = |silent: bool| {
            let report = status(&alone)?;
            let domains = report["domains"].as_array().context("no domains")?.clone();
            let silent_ones = domains.iter().filter(|one| one["answers"] == false);
            let names: Vec<_> = silent_ones.filter_map(|one| one["name"].as_str()).collect();
            Ok(names
                == if silent {
                    vec!["capture", "command"]
                } else {
                    vec![]
                })
        };

        // Stopped is seen at once, by whoever looks; who asks needs longer to be sure.
        send("capture", Signal::SIGSTOP)?;
        send("command", Signal::SIGSTOP)?;
        let doctor = ask(&alone, &["doctor"])?.stdout;
        ensure!(
            doctor.contains("capture is stopped, command is stopped"),
            "{doctor}"
        );
        let said = ask(&alone, &["status"])?.code(1)?;
        for (words, said) in [
            ("opens        nothing: the process capture", &said.stdout),
            ("nothing opens on this host", &said.stderr),
        ] {
            ensure!(said.contains(words), "{said}");
        }
        let grants = ask(&alone, &["grants"])?.ok()?.stderr;
        ensure!(grants.contains("nothing else opens now"), "{grants}");
        wait::until("the gate to know", wait::SOON * 2, || gate_knows(true))?;
        for name in ["capture", "command"] {
            ensure!(named(name, "does not answer"), "{}", alone.agent.log());
            send(name, Signal::SIGCONT)?;
        }
        wait::until("the gate to know", wait::SOON, || gate_knows(false))?;
        ensure!(named("capture", "answers again"), "{}", alone.agent.log());
        Ok(())
    });
}

#[test]
fn a_gate_that_is_stopped_is_named_by_every_command_that_asks_it_with_what_to_do() {
    in_lab(|lab| {
        let alone = Alone::start_with(lab, STANZA, &[])?;
        let gate = domains(&alone.agent)?["gate"];
        send(gate, Signal::SIGSTOP)?;

        let stopped = format!("its process {gate} is stopped");
        for (words, code) in [("status", 1), ("grants", 0), ("rotate-keys", 1)] {
            let said = ask(&alone, &[words])?.code(code)?.stderr;
            for what in [stopped.as_str(), "systemctl restart postern-agent"] {
                ensure!(said.contains(what), "{words}: {said}");
            }
        }
        let doctor = ask(&alone, &["doctor"])?.code(1)?.stdout;
        ensure!(doctor.contains(&stopped), "{doctor}");
        send(gate, Signal::SIGCONT)?;
        Ok(())
    });
}

#[test]
fn while_the_packet_filters_process_is_stopped_nothing_is_granted_said_to_be_in_force_or_well() {
    in_lab(|lab| {
        let alone = Alone::start_with(lab, STANZA, &[])?;
        let domains = domains(&alone.agent)?;
        let send = |signal| send(domains["firewall"], signal);
        send(Signal::SIGSTOP)?;

        let reload = ask(&alone, &["reload"])?;
        same("exit of reload", &reload.code, &1)?;
        let why = "the process that changes the packet filter does not answer";
        ensure!(reload.stderr.contains(why), "{}", reload.stderr);
        let doctor = ask(&alone, &["doctor"])?.stdout;
        ensure!(doctor.contains("fail  drift         not known"), "{doctor}");
        alone.knock_as_told()?;
        wait::until("the refusal", wait::SOON, || {
            Ok(alone.agent.log().contains("cannot open"))
        })?;
        send(Signal::SIGCONT)?;
        wait::until("the packet filter", wait::SOON, || {
            Ok(alone.agent.log().contains("answers again"))
        })?;

        alone.knock_as_told()?;
        alone.agent.opens(alone.user.v4, "tcp:22")?;
        Ok(())
    });
}

#[test]
fn a_state_directory_that_is_taken_away_ends_the_agent_and_a_start_mends_all() {
    in_lab(|lab| {
        let access = format!("{STANZA}PROTECT tcp/2222\n");
        let mut alone = Alone::start_with(lab, &access, &[])?;
        let service = alone.host.serve_tcp(2_222)?;
        fs::rename(&alone.agent.state, alone.agent.state.with_extension("away"))?;

        wait::until("the end of the agent", wait::SOON, || {
            Ok(!alone.agent.runs()?)
        })?;
        let why = "was taken away; it is made anew at the next start";
        ensure!(alone.agent.log().contains(why), "{}", alone.agent.log());
        let hidden = alone.user.reach(alone.host.v4, 2_222)?;
        ensure!(hidden == Reach::Silent, "{hidden:?}");
        let remembered = fs::read_to_string(alone.agent.state.join("protected-ports"))?;
        ensure!(remembered.contains("tcp/2222"), "{remembered}");
        alone.agent.start_again()?;
        alone.wait_until_judged()?;
        drop(service);
        Ok(())
    });
}

#[test]
fn a_reload_that_may_not_read_a_file_says_whose_it_is_or_that_its_place_is_new() {
    in_lab(|lab| {
        let mut alone = Alone::start_with(lab, STANZA, &[])?;
        let access = alone.host.dir.join("access.conf");
        fs::set_permissions(&access, Permissions::from_mode(0o600))?;
        chown(&access, Some(1_000), Some(1_000))?;

        let foreign = ask(&alone, &["reload"])?.code(64)?.stderr;
        let mend = format!("mend it with `chown root {}`", access.display());
        ensure!(
            foreign.contains(&mend) && foreign.contains("mode 0600"),
            "{foreign}"
        );

        chown(&access, Some(0), Some(0))?;
        let elsewhere = tempfile::tempdir()?;
        let file = elsewhere.path().join("more.conf");
        fs::write(&file, STANZA)?;
        fs::set_permissions(&file, Permissions::from_mode(0o600))?;
        alone
            .agent
            .write_access(&format!("%include {}\n", file.display()))?;
        let refused = ask(&alone, &["reload"])?.code(64)?.stderr;
        ensure!(
            refused.contains("is open to it after a restart"),
            "{refused}"
        );
        alone.agent.kill()?;
        alone.agent.start_again()
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

/// Sends a signal, and waits until who is to stop has stopped.
fn send(pid: u32, signal: Signal) -> Result<()> {
    kill(Pid::from_raw(pid.cast_signed()), signal)?;
    wait::until("it to stop", wait::SOON, || {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        Ok(signal != Signal::SIGSTOP || field(&status, "State")?.starts_with('T'))
    })?;
    Ok(())
}

/// As whom packets are read here: the account of the package, or a number that no account has.
fn capture_user() -> Result<String> {
    let users = fs::read_to_string("/etc/passwd")?;
    let account = users
        .lines()
        .find(|line| line.starts_with("postern-capture:"));
    let number = account.and_then(|line| line.split(':').nth(2));
    Ok(number.unwrap_or("61101").to_owned())
}

/// What a command of the agent says, of the one that runs.
fn ask(alone: &Alone, words: &[&str]) -> Result<Ran> {
    let (program, state) = (binary("postern-agent")?, &alone.agent.state);
    let (program, state) = (program.to_string_lossy(), state.to_string_lossy());
    alone
        .host
        .run(&[&[&*program], words, &["--state", &state]].concat())
}

fn status(alone: &Alone) -> Result<serde_json::Value> {
    // It says so by its exit code, too, where a process does not do its work.
    Ok(serde_json::from_str(
        &ask(alone, &["status", "--json"])?.stdout,
    )?)
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
