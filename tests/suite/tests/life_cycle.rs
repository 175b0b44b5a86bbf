//! What stays open, what closes and what is remembered when the agent is reloaded, ended, killed or disturbed.

use std::time::Duration;

use anyhow::ensure;
use harness::capture::Capture;
use harness::postern::Agent;
use harness::service::Reach;
use harness::{in_lab, wait};
use nix::sys::signal::Signal;
use suite::{Alone, STANZA};

/// Long enough to look at, short enough to wait for.
const SHORT: &str = "FW_ACCESS_TIMEOUT 5\n";

#[test]
fn a_session_outlives_its_hole() {
    in_lab(|lab| {
        let alone = Alone::start(lab, &short())?;
        alone.knock_as_told()?;
        alone.agent.opens(alone.user.v4, "tcp:22")?;
        let mut session = alone.user.session(alone.host.v4, 22)?;
        session.talk()?;

        wait::until("the hole to close", wait::SOON, || {
            Ok(alone.holes()?.is_empty())
        })?;

        alone.user_sees(alone.host.v4, Reach::Silent)?;
        session.talk()
    });
}

#[test]
fn killed_with_9_the_hole_closes_on_time_and_the_port_stays_hidden() {
    in_lab(|lab| {
        let mut alone = Alone::start(lab, &short())?;
        alone.knock_as_told()?;
        alone.agent.opens(alone.user.v4, "tcp:22")?;
        let opened = wait::now();

        alone.agent.kill()?;

        alone.user_sees(alone.host.v4, Reach::Open)?;
        wait::until("the hole to close", Duration::from_secs(8), || {
            Ok(alone.holes()?.is_empty())
        })?;
        ensure!(
            opened.elapsed() > Duration::from_secs(3),
            "closed after {:?}",
            opened.elapsed()
        );
        alone.user_sees(alone.host.v4, Reach::Silent)
    });
}

#[test]
fn killed_and_started_again_it_still_refuses_a_replay_and_serves_a_new_knock() {
    in_lab(|lab| {
        let mut alone = Alone::start(lab, &short())?;
        let capture = Capture::start(&alone.host, "udp port 62201")?;
        alone.knock_as_told()?;
        alone.agent.opens(alone.user.v4, "tcp:22")?;
        let packet = capture.nth(1)?.payload;
        alone.agent.kill()?;
        wait::until("the hole to close", wait::SOON, || {
            Ok(alone.holes()?.is_empty())
        })?;

        alone.agent.start_again()?;
        alone.send(&alone.user, &packet)?;
        alone.nothing_opened()?;

        alone.knock_as_told()?;
        alone.agent.opens(alone.user.v4, "tcp:22")?;
        alone.user_sees(alone.host.v4, Reach::Open)
    });
}

#[test]
fn a_reload_loses_no_grant_and_no_packet() {
    in_lab(|lab| {
        let mut alone = Alone::start(lab, STANZA)?;
        alone.knock_as_told()?;
        alone.agent.opens(alone.user.v4, "tcp:22")?;

        for round in 1..=5_u8 {
            let (user, host) = (alone.user.clone(), alone.host.clone());
            let changed = format!("{STANZA}MAX_FW_TIMEOUT {}\n", 100 + u16::from(round));
            alone.agent.write_access(&Alone::access(&changed))?;
            alone.agent.reload(|| {
                (1..=4).try_for_each(|knock| {
                    knock_from(&user, &host, &format!("203.0.113.{}", round * 10 + knock))
                })
            })?;
            ensure!(
                alone.agent.has_hole(alone.user.v4, "tcp:22")?,
                "the reload closed a hole"
            );
        }

        for round in 1..=5_u8 {
            for knock in 1..=4_u8 {
                alone
                    .agent
                    .opens([203, 0, 113, round * 10 + knock], "tcp:22")?;
            }
        }
        alone.user_sees(alone.host.v4, Reach::Open)
    });
}

#[test]
fn a_reload_with_a_broken_file_keeps_the_policy_that_was_and_says_so() {
    in_lab(|lab| {
        let mut alone = Alone::start(lab, STANZA)?;
        alone.agent.write_access("SOURCE ANY\nKYE oops\n")?;

        alone.agent.signal(Signal::SIGHUP)?;
        alone.agent.wait_for("access.conf:2: ")?;

        alone.knock_as_told()?;
        alone.agent.opens(alone.user.v4, "tcp:22")?;
        ensure!(alone.agent.runs()?);
        Ok(())
    });
}

#[test]
fn a_reload_adopts_the_new_file_and_closes_what_it_would_not_give() {
    in_lab(|lab| {
        let mut alone = Alone::start(lab, &format!("{STANZA}\n{}", other_stanza()))?;
        alone.knock_as_told()?;
        alone.agent.opens(alone.user.v4, "tcp:22")?;

        alone.agent.write_access(&Alone::access(&other_stanza()))?;
        alone.agent.reload(|| Ok(()))?;

        wait::until(
            "the hole of the stanza that is gone to close",
            wait::SOON,
            || Ok(alone.holes()?.is_empty()),
        )?;
        alone.knock_as_told()?;
        alone.nothing_opened()
    });
}

#[test]
fn sigterm_closes_every_hole_but_hides_what_is_protected_until_told_to_take_that_away_too() {
    in_lab(|lab| {
        let mut alone = Alone::start(lab, STANZA)?;
        alone.knock_as_told()?;
        alone.agent.opens(alone.user.v4, "tcp:22")?;
        ensure!(
            alone.agent.flush()?.code != 0,
            "flushed under a running agent"
        );

        ensure!(alone.agent.stop()? == 0);
        ensure!(alone.host.holes()?.is_empty());
        alone.user_sees(alone.host.v4, Reach::Silent)?;

        alone.agent.flush()?.ok()?;
        alone.user_sees(alone.host.v4, Reach::Open)?;
        let rules = alone.host.rules()?;
        ensure!(
            !rules.iter().any(|rule| rule.contains("POSTERN")),
            "left behind: {rules:#?}"
        );
        let sets = alone.host.run(&["ipset", "save"])?.ok()?;
        ensure!(sets.stdout.is_empty(), "left behind: {}", sets.stdout);
        let tables = alone.host.run(&["nft", "list", "tables", "inet"])?.ok()?;
        ensure!(tables.stdout.is_empty(), "left behind: {}", tables.stdout);
        Ok(())
    });
}

#[test]
fn sigterm_leaves_grants_and_the_drop_when_told_to_keep_them_and_the_next_start_takes_them_over() {
    in_lab(|lab| {
        let more = ["--flush-at-exit", "no", "--flush-at-start", "no"];
        let mut alone = Alone::start_with(lab, STANZA, &more)?;
        alone.knock_as_told()?;
        alone.agent.opens(alone.user.v4, "tcp:22")?;

        ensure!(alone.agent.stop()? == 0);
        alone.user_sees(alone.host.v4, Reach::Open)?;
        ensure!(alone.stranger.reach(alone.host.v4, 22)? == Reach::Silent);

        alone.agent.start_again()?;
        ensure!(alone.agent.has_hole(alone.user.v4, "tcp:22")?);
        alone.user_sees(alone.host.v4, Reach::Open)
    });
}

#[test]
fn rules_that_someone_else_flushed_are_repaired() {
    in_lab(|lab| {
        let alone = Alone::start(lab, STANZA)?;
        let before = alone.host.rules()?;

        for program in ["iptables", "ip6tables"] {
            alone.host.run(&[program, "-F"])?.ok()?;
        }

        wait::until("the rules to be repaired", wait::SOON, || {
            Ok(alone.host.rules()? == before)
        })?;
        alone.user_sees(alone.host.v4, Reach::Silent)?;
        alone.knock_as_told()?;
        alone.agent.opens(alone.user.v4, "tcp:22")?;
        alone.user_sees(alone.host.v4, Reach::Open)
    });
}

#[test]
fn rules_of_others_are_never_touched() {
    in_lab(|lab| {
        let host = lab.node("host", 10)?;
        let theirs = [
            "iptables", "-A", "INPUT", "-p", "tcp", "--dport", "8080", "-j", "DROP",
        ];
        host.run(&theirs)?.ok()?;
        host.run(&["ipset", "create", "theirs", "hash:ip"])?.ok()?;
        let before = host.rules()?;

        let mut agent = Agent::alone(&host, &Alone::access(STANZA))?;
        let during = host.rules()?;
        ensure!(during.iter().any(|rule| rule.contains("8080")) && during.len() > before.len());
        ensure!(agent.stop()? == 0);
        agent.flush()?.ok()?;

        let ours_gone: Vec<String> = host
            .rules()?
            .into_iter()
            .filter(|rule| rule.starts_with("-A"))
            .collect();
        ensure!(
            ours_gone.len() == 1 && ours_gone[0].contains("8080"),
            "{ours_gone:?}"
        );
        host.run(&["ipset", "list", "theirs"])?.ok()?;
        Ok(())
    });
}

#[test]
fn a_second_agent_on_the_same_chain_is_refused_and_the_first_is_not_disturbed() {
    in_lab(|lab| {
        let mut alone = Alone::start(lab, STANZA)?;
        alone.knock_as_told()?;
        alone.agent.opens(alone.user.v4, "tcp:22")?;

        let other_state = alone.host.dir.join("second-state").display().to_string();
        let second = Agent::refused(
            &alone.host,
            &Alone::access(STANZA),
            &["--state", &other_state],
        )?;

        ensure!(second.code != 0, "a second agent runs");
        ensure!(alone.agent.runs()? && alone.agent.has_hole(alone.user.v4, "tcp:22")?);
        alone.user_sees(alone.host.v4, Reach::Open)
    });
}

#[test]
fn a_full_disk_opens_nothing_and_says_so() {
    in_lab(|lab| {
        let host = lab.node("host", 10)?;
        let user = lab.node("user", 20)?;
        let small = lab.small_disk(&host, "small", 2 * 1024 * 1024)?;
        let state = small.display().to_string();
        let mut agent = Agent::alone_with(&host, &Alone::access(STANZA), &["--state", &state])?;
        knock_from(&user, &host, "203.0.113.1")?;
        agent.opens([203, 0, 113, 1], "tcp:22")?;

        fill(&small)?;
        let mut refused = None;
        for last in 2..=250_u8 {
            knock_from(&user, &host, &format!("203.0.113.{last}"))?;
            if agent.log().to_lowercase().contains("disk") {
                refused = Some(last);
                break;
            }
        }

        let Some(last) = refused else {
            anyhow::bail!("249 grants on a full disk, and no word of it");
        };
        agent.wait_for("disk")?;
        ensure!(
            !agent.has_hole([203, 0, 113, last], "tcp:22")?,
            "opened without a record"
        );
        ensure!(agent.runs()?, "it gave up");

        std::fs::remove_file(small.join("filler"))?;
        wait::until("it to serve again when there is room", wait::SOON, || {
            knock_from(&user, &host, "203.0.113.254")?;
            agent.has_hole([203, 0, 113, 254], "tcp:22")
        })?;
        Ok(())
    });
}

#[test]
fn a_truncated_journal_is_reported_and_old_packets_are_refused() {
    in_lab(|lab| {
        let mut alone = Alone::start(lab, &short())?;
        let capture = Capture::start(&alone.host, "udp port 62201")?;
        alone.knock_as_told()?;
        alone.agent.opens(alone.user.v4, "tcp:22")?;
        let packet = capture.nth(1)?.payload;
        alone.agent.kill()?;
        wait::until("the hole to close", wait::SOON, || {
            Ok(alone.holes()?.is_empty())
        })?;
        truncate_journal(&alone.agent)?;

        let outcome = alone.agent.start_again();

        if outcome.is_ok() {
            // It may start with a fresh journal, but then nothing from before may open.
            alone.send(&alone.user, &packet)?;
            alone.nothing_opened()?;
        } else {
            ensure!(!alone.agent.runs()?);
            alone.send(&alone.user, &packet)?;
            ensure!(alone.holes()?.is_empty());
        }
        let log = alone.agent.log().to_lowercase();
        ensure!(log.contains("journal"), "no word of the journal in\n{log}");
        alone.user_sees(alone.host.v4, Reach::Silent)
    });
}

fn short() -> String {
    STANZA.replace("FW_ACCESS_TIMEOUT 30\n", SHORT)
}

fn other_stanza() -> String {
    "SOURCE ANY\nKEY other-passphrase\nHMAC_KEY other-hmac-passphrase\nOPEN_PORTS tcp/22\n"
        .to_owned()
}

fn knock_from(user: &harness::Node, host: &harness::Node, address: &str) -> harness::Result<()> {
    let words = [&["-A", "tcp/22", "-a", address], suite::STOCK_ARGS].concat();
    harness::fwknop::fwknop(user, host.v4, &words)?;
    Ok(())
}

/// Writes until nothing more fits.
fn fill(disk: &std::path::Path) -> harness::Result<()> {
    use std::io::Write as _;

    let mut filler = std::fs::File::create(disk.join("filler"))?;
    while filler.write_all(&[0; 4096]).is_ok() {}
    while filler.write_all(&[0]).is_ok() {}
    Ok(())
}

/// Cuts the journal in the middle, as a disk that died would.
fn truncate_journal(agent: &Agent) -> harness::Result<()> {
    let mut cut = 0;
    for entry in std::fs::read_dir(&agent.state)?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with("-wal") || name.ends_with("-shm") {
            std::fs::remove_file(entry.path())?;
        } else if name.contains(".db") || name.contains(".sqlite") {
            let file = std::fs::File::options().write(true).open(entry.path())?;
            file.set_len(file.metadata()?.len() / 2 + 100)?;
            cut += 1;
        }
    }
    ensure!(cut == 1, "{cut} databases in {}", agent.state.display());
    Ok(())
}
