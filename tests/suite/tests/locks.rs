//! Locking, removing and replacing with the programs as they are: what ends, how soon, what is said
//! of it, and what stays shut.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use anyhow::{anyhow, ensure};
use harness::postern::{Agent, Member};
use harness::service::{Reach, Session};
use harness::{Node, Ran, Result, in_lab, wait};
use serde_json::Value;
use suite::{Company, POLICY, SHARED, same, shared_knock, text};

/// From the start of a command until nothing passes through the last session that it ends.
const AT_ONCE: Duration = Duration::from_secs(1);
/// How long an answer may take before a session counts as dead.
const SILENCE: Duration = Duration::from_millis(100);
/// For whom nothing may open; holes for others do not hide one for this.
const ELSEWHERE: [u8; 4] = [203, 0, 113, 9];

#[test]
fn a_locked_users_sessions_end_on_three_hosts_within_a_second_and_each_host_acknowledges() {
    in_lab(|lab| {
        let company = Company::found(lab, 3, &two_users())?;
        let (operator, alice) = (&company.operator, &company.alice);
        let bob = operator.token("user", "bob", &[])?;
        let bob = Member::join(&alice.node, "bob", &bob)?;
        operator.hosts_in_sync(3)?;
        let services: Vec<_> = ssh_on_all(&company)?;
        let mut sessions = Vec::new();
        for host in &company.hosts {
            sessions.push(let_in(alice, host)?);
        }
        for host in &company.hosts {
            hole_closes(host, &alice.node)?;
        }
        for session in &mut sessions {
            session.talk()?;
        }

        let locked = end_with(&mut sessions, || {
            operator.run(&["member", "lock", "alice", "-m", "laptop stolen", "--json"])
        })?;
        acknowledged(&locked.ok()?, &["web-1", "web-2", "web-3"])?;

        alice.run(&["sync"])?.code(1)?.says("locked")?;
        for host in &company.hosts {
            opens_nothing(alice, host)?;
            let_in(&bob, host)?.talk()?;
            ensure!(!host.has_hole(ELSEWHERE, "tcp:22")?, "a locked user opened");
        }
        for (session, service) in sessions.iter_mut().zip(&services) {
            service.say_to(session.client());
            ensure!(session.is_dead(3 * SILENCE)?, "it came back");
        }

        let unlocked = operator.run(&["member", "unlock", "alice", "--json"])?;
        acknowledged(&unlocked.ok()?, &["web-1", "web-2", "web-3"])?;
        for host in &company.hosts {
            let elsewhere = ["-a", "203.0.113.9", "--no-check"];
            alice.knock(&host.node.name, "tcp/22", &elsewhere)?;
            host.opens(ELSEWHERE, "tcp:22")?;
        }
        Ok(())
    });
}

#[test]
fn a_host_locked_without_a_reason_closes_everything_says_so_and_stays_locked_until_unlocked() {
    a_host_is_locked_by(&["member", "lock", "host/web-1"], "no reason was given");
}

#[test]
fn a_banned_host_closes_everything_says_so_and_stays_locked_until_unlocked() {
    a_host_is_locked_by(&["host", "ban", "web-1", "-m", "stolen"], "stolen");
}

fn a_host_is_locked_by(words: &[&str], reason: &str) {
    in_lab(|lab| {
        let mut company = Company::found(lab, 1, &format!("{POLICY}{SHARED}"))?;
        let _ssh = company.host(1).node.serve_tcp(22)?;
        let mut sessions = [let_in(&company.alice, company.host(1))?];

        let operator = company.operator.clone();
        let locked = end_with(&mut sessions, || operator.run(words))?;

        locked.ok()?.says("+ web-1  acknowledged")?;
        // Whoever asks again hears the same.
        operator.run(words)?.ok()?.says("+ web-1  acknowledged")?;
        refuses_everybody(&company, reason, 1)?;
        company.host_mut(1).kill()?;
        ensure!(
            company.stranger.reach(company.host(1).node.v4, 22)? == Reach::Silent,
            "visible"
        );
        company.host_mut(1).start_again()?;
        refuses_everybody(&company, reason, 2)?;
        ensure!(sessions[0].is_dead(AT_ONCE)?, "it came back");
        operator.run(words)?.ok()?.says("+ web-1  acknowledged")?;

        let unlocked = operator.run(&["member", "unlock", "host/web-1"])?.ok()?;
        let unlocked = unlocked.says("+ web-1  acknowledged")?;
        ensure!(!unlocked.text().contains("away"), "{}", unlocked.text());
        let_in(&company.alice, company.host(1))?.talk()
    });
}

/// Nothing opens on `web-1`, nothing is seen there, and the audit says why, for the `count`th time.
fn refuses_everybody(company: &Company, reason: &str, count: usize) -> Result<()> {
    let host = company.host(1);
    let reason = format!("this host is locked: {reason}");
    opens_nothing(&company.alice, host)?;
    shared_knock(&company.stranger, host, &["-a", "203.0.113.9"])?;
    for user in [["--stanza", "alice-ssh"], ["--stanza", "shared-ssh"]] {
        wait::until("the refusals", wait::SOON, || {
            let words = [&["--host", "web-1", "--kind", "refused"], user.as_slice()].concat();
            let mut refused = company.auditor.audit(&words)?;
            refused.retain(|event| text(event, "reason").contains(&reason));
            Ok(refused.len() == count)
        })?;
    }
    let holes = host.node.holes()?;
    ensure!(holes.is_empty(), "open: {holes:?}");
    let seen = company.stranger.reach(host.node.v4, 22)?;
    same("port 22", &seen, &Reach::Silent)
}

#[test]
fn an_owner_who_locks_herself_is_told_that_it_is_done() {
    in_lab(|lab| {
        let company = Company::found(lab, 1, POLICY)?;
        let token = company.operator.token("owner", "eve", &[])?;
        let eve = Member::join(&company.operator.node, "eve", &token)?;

        let locked = eve.run(&["member", "lock", "owner", "eve", "-m", "going on leave"])?;

        locked.code(0)?.says("Locked owner eve")?;
        eve.run(&["host", "list"])?.code(1)?;
        Ok(())
    });
}

#[test]
fn a_host_that_is_away_when_a_user_is_locked_is_named_and_cuts_her_session_when_it_comes_back() {
    in_lab(|lab| {
        let mut company = Company::found(lab, 2, &two_users())?;
        let operator = company.operator.clone();
        let _services = ssh_on_all(&company)?;
        let mut near = [let_in(&company.alice, company.host(1))?];
        let mut far = let_in(&company.alice, company.host(2))?;
        hole_closes(company.host(2), &company.alice.node)?;
        company.host_mut(2).kill()?;
        wait::until("web-2 to be away", wait::SOON, || {
            let hosts = operator.hosts()?;
            let connected = |host: &Value| host.get("connected") == Some(&Value::Bool(true));
            Ok(hosts.iter().filter(|host| connected(host)).count() == 1)
        })?;

        let words = ["member", "lock", "alice", "-m", "left", "--wait", "2s"];
        let locked = end_with(&mut near, || operator.run(&words))?.code(4)?;

        let locked = locked
            .says("+ web-1  acknowledged")?
            .says("- web-2  away")?;
        locked.says("in force at the controller, and not yet on web-2")?;
        far.talk()?;
        company.host_mut(2).start_again()?;
        wait::until("her session to end", Duration::from_secs(5), || {
            far.is_dead(SILENCE)
        })?;
        ensure!(far.is_dead(AT_ONCE)?, "it came back");
        operator.run(&words)?.ok()?.says("+ web-2  acknowledged")?;
        Ok(())
    });
}

#[test]
fn who_replaces_a_lost_laptop_ends_its_sessions_and_its_profile_opens_nothing_any_more() {
    in_lab(|lab| {
        let company = Company::found(lab, 2, &two_users())?;
        let (operator, lost) = (&company.operator, &company.alice);
        let _services = ssh_on_all(&company)?;
        let mut sessions = [
            let_in(lost, company.host(1))?,
            let_in(lost, company.host(2))?,
        ];
        let token = operator.run(&["member", "replace", "alice"])?.ok()?;
        let token = token.stdout.trim().to_owned();
        for session in &mut sessions {
            session.talk()?;
        }

        let found = Member::stranger(&lab.node("laptop-2", 22)?, "alice");
        end_with(&mut sessions, || found.run(&["join", &token]))?.ok()?;

        operator.hosts_in_sync(2)?;
        only_the_new_one_opens(&company, lost, &found)
    });
}

#[test]
fn a_new_member_of_a_removed_ones_name_opens_and_the_old_key_does_not() {
    in_lab(|lab| {
        let company = Company::found(lab, 2, &two_users())?;
        let (operator, old) = (&company.operator, &company.alice);
        let _services = ssh_on_all(&company)?;
        let mut sessions = [let_in(old, company.host(1))?, let_in(old, company.host(2))?];

        let words = ["member", "remove", "alice", "-m", "left", "--json"];
        let removed = end_with(&mut sessions, || operator.run(&words))?.ok()?;

        acknowledged(&removed, &["web-1", "web-2"])?;
        let token = operator.token("user", "alice", &[])?;
        let new = Member::join(&lab.node("laptop-2", 22)?, "alice", &token)?;
        operator.hosts_in_sync(2)?;
        only_the_new_one_opens(&company, old, &new)
    });
}

/// On every host one profile of alice opens, and the other does not and learns nothing.
fn only_the_new_one_opens(company: &Company, old: &Member, new: &Member) -> Result<()> {
    old.run(&["sync"])?.code(1)?;
    old.run(&["host", "list"])?.code(1)?;
    for host in &company.hosts {
        opens_nothing(old, host)?;
        let_in(new, host)?.talk()?;
        ensure!(!host.has_hole(ELSEWHERE, "tcp:22")?, "an old key opened");
    }
    Ok(())
}

// === parts ===

/// alice and bob, each with keys of their own, through holes that close soon.
fn two_users() -> String {
    let alice = POLICY.replace("FW_ACCESS_TIMEOUT 20", "FW_ACCESS_TIMEOUT 3");
    let (_, stanza) = alice.split_once("\n\n").unwrap_or_default();
    format!("{alice}\n{}", stanza.replace("alice", "bob"))
}

fn ssh_on_all(company: &Company) -> Result<Vec<harness::service::TcpService>> {
    let hosts = company.hosts.iter();
    hosts.map(|host| host.node.serve_tcp(22)).collect()
}

/// Knocks and connects.
fn let_in(member: &Member, host: &Agent) -> Result<Session> {
    member.knock(&host.node.name, "tcp/22", &[])?;
    host.opens(member.node.v4, "tcp:22")?;
    let mut session = member.node.session(host.node.v4, 22)?;
    session.talk()?;
    Ok(session)
}

/// Knocks for somebody else's address. That it opened nothing is to be seen when a later knock has
/// been judged.
fn opens_nothing(member: &Member, host: &Agent) -> Result<()> {
    let name = host.node.name.as_str();
    let words = ["-A", "tcp/22", "-a", "203.0.113.9", "--no-check"];
    member.run(&[&["knock", name], words.as_slice()].concat())?;
    Ok(())
}

fn hole_closes(host: &Agent, from: &Node) -> Result<()> {
    wait::until("the hole to close", wait::SOON, || {
        Ok(!host.has_hole(from.v4, "tcp:22")?)
    })?;
    Ok(())
}

/// Runs a command, and insists that every session is dead within [`AT_ONCE`] of its start.
fn end_with(sessions: &mut [Session], command: impl FnOnce() -> Result<Ran> + Send) -> Result<Ran> {
    let start = wait::now();
    thread::scope(|scope| {
        let watch = |session: &mut Session| {
            wait::until("a session to end", wait::SOON, || session.is_dead(SILENCE))?;
            Ok::<_, anyhow::Error>(start.elapsed())
        };
        let watching: Vec<_> = sessions
            .iter_mut()
            .map(|session| scope.spawn(move || watch(session)))
            .collect();
        let ran = command()?;
        for watched in watching {
            let took = watched.join().map_err(|_| anyhow!("a panic"))??;
            ensure!(
                took <= AT_ONCE + SILENCE,
                "dead after {took:?}; the command said\n{}",
                ran.text()
            );
        }
        Ok(ran)
    })
}

/// Insists on the hosts that a command with `--json` named as having acknowledged, and on no other.
fn acknowledged(ran: &Ran, wanted: &[&str]) -> Result<()> {
    let lines = ran.json_lines()?;
    let hosts = lines.iter().filter(|line| line.get("host").is_some());
    let seen: BTreeSet<_> = hosts
        .map(|line| {
            let said = line.get("acknowledged").and_then(Value::as_bool);
            (text(line, "host"), said)
        })
        .collect();
    let wanted = wanted.iter().map(|&host| (host, Some(true)));
    same("hosts", &seen, &wanted.collect())
}
