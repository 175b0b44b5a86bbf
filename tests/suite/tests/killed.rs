//! Agents and the controller are killed with -9, again and again, while users knock: what was open in
//! the kernel and what stands in the audit are the same.
//!
//! `make test` does it with a few hundred grants, `make soak` with ten thousand
//! (`POSTERN_SOAK_GRANTS`); `POSTERN_SOAK_SEED` repeats a run.

use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use harness::postern::Member;
use harness::{Result, in_lab, wait};
use serde_json::Value;
use suite::{Company, text};

/// Holes outlive the time between two looks at the kernel.
const POLICY: &str = "\
PROTECT tcp/22

NAME alice-ssh
HOSTS role=web
SOURCE ANY
REQUIRE_USERNAME alice
OPEN_PORTS tcp/22
FW_ACCESS_TIMEOUT 300
";

const HOSTS: usize = 2;
/// Grants between two kills.
const GRANTS_PER_KILL: usize = 25;
const GRANTS: usize = 300;

#[test]
fn whatever_is_killed_the_holes_in_the_kernel_are_the_grants_in_the_audit() {
    let grants = number_in("POSTERN_SOAK_GRANTS").unwrap_or(GRANTS);
    let seed = number_in("POSTERN_SOAK_SEED").unwrap_or_else(random);
    in_lab(|lab| {
        let mut company = Company::found(lab, u8::try_from(HOSTS)?, POLICY)?;
        let mut dice = Dice(seed as u64 | 1);
        let stop = AtomicBool::new(false);
        let knocked = AtomicU32::new(0);
        let alice = company.alice.clone();
        let seen = thread::scope(|scope| {
            let knocker = scope.spawn(|| knock(&alice, &knocked, &stop));
            let seen = kill_until(&mut company, &mut dice, grants);
            stop.store(true, Ordering::Relaxed);
            knocker
                .join()
                .map_err(|_| anyhow::anyhow!("the user panicked"))?;
            seen
        })
        .with_context(|| format!("POSTERN_SOAK_SEED={seed}"))?;

        let events = all_events(&mut company, knocked.load(Ordering::Relaxed))?;
        judge(&seen, &events).with_context(|| format!("POSTERN_SOAK_SEED={seed}"))
    });
}

/// Knocks without end, for another address each time: addresses name grants.
fn knock(alice: &Member, knocked: &AtomicU32, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let number = knocked.fetch_add(1, Ordering::Relaxed);
        let [_, a, b, c] = number.to_be_bytes();
        let host = format!("web-{}", number as usize % HOSTS + 1);
        let address = format!("10.{a}.{b}.{c}");
        // Whether it arrives is the matter of whoever is alive.
        let _ = alice.knock(&host, "tcp/22", &["-a", &address, "--no-check"]);
    }
}

/// Kills and starts again at random until so many holes were seen in the kernels; which.
fn kill_until(company: &mut Company, dice: &mut Dice, grants: usize) -> Result<BTreeSet<String>> {
    let mut seen = BTreeSet::new();
    let mut before = 0;
    while seen.len() < grants {
        thread::sleep(Duration::from_millis(50 + dice.below(700)));
        look(company, &mut seen)?;
        if seen.len() < before + GRANTS_PER_KILL {
            continue;
        }
        before = seen.len();
        let victims = dice.below(4);
        let host = usize::try_from(dice.below(HOSTS as u64))? + 1;
        if victims != 1 {
            company.host_mut(host).kill()?;
        }
        if victims >= 1 {
            company.controller.kill()?;
        }
        // What was open when it died is open still.
        look(company, &mut seen)?;
        if dice.below(2) == 0 {
            thread::sleep(Duration::from_millis(dice.below(300)));
        }
        if victims >= 1 {
            company.controller.start_again()?;
        }
        if victims != 1 {
            company.host_mut(host).start_again()?;
        }
    }
    Ok(seen)
}

/// Adds the addresses that are open on any host.
fn look(company: &Company, seen: &mut BTreeSet<String>) -> Result<()> {
    for host in &company.hosts {
        for hole in host.node.holes()? {
            let element = hole.split(' ').nth(2).unwrap_or_default();
            let address = element.split(',').next().unwrap_or_default();
            seen.insert(address.to_owned());
        }
    }
    Ok(())
}

/// All that the hosts have recorded, after they have stopped and said everything.
fn all_events(company: &mut Company, knocked: u32) -> Result<Vec<Value>> {
    company.operator.hosts_in_sync(HOSTS)?;
    for host in &mut company.hosts {
        ensure!(host.stop()? == 0, "{}", host.log());
    }
    let limit = (u64::from(knocked) * 4 + 10_000).to_string();
    let mut events = Vec::new();
    for number in 1..=HOSTS {
        let host = format!("web-{number}");
        wait::until("the end of a host in the audit", wait::SOON, || {
            let last = company.auditor.audit(&["--host", &host, "--limit", "1"])?;
            Ok(last
                .first()
                .is_some_and(|last| text(last, "kind") == "agent-stopped"))
        })?;
        events.extend(
            company
                .auditor
                .audit(&["--host", &host, "--limit", &limit])?,
        );
    }
    Ok(events)
}

fn judge(seen: &BTreeSet<String>, events: &[Value]) -> Result<()> {
    let of_kind = |kind: &'static str| {
        events
            .iter()
            .filter(move |event| text(event, "kind") == kind)
    };
    whole(events)?;

    let opened: BTreeMap<&str, &Value> = of_kind("grant-opened")
        .map(|event| (text(event, "grant_id"), event))
        .collect();
    ensure!(
        opened.len() == of_kind("grant-opened").count(),
        "a grant is recorded twice"
    );
    for field in ["replay_digest", "opened"] {
        let names: BTreeSet<&str> = opened.values().map(|event| text(event, field)).collect();
        ensure!(
            names.len() == opened.len(),
            "two grants have the same {field}"
        );
    }

    let recorded: BTreeSet<&str> = opened.values().map(|event| text(event, "opened")).collect();
    let unrecorded: Vec<_> = seen
        .iter()
        .filter(|hole| !recorded.contains(hole.as_str()))
        .collect();
    ensure!(
        unrecorded.is_empty(),
        "open without a record: {unrecorded:?}"
    );

    let mut closed = BTreeMap::<&str, usize>::new();
    for event in of_kind("grant-closed").chain(of_kind("grant-revoked")) {
        *closed.entry(text(event, "grant_id")).or_default() += 1;
    }
    for (id, event) in &opened {
        ensure!(
            closed.get(id) == Some(&1),
            "closed {:?} times: {event}",
            closed.get(id)
        );
    }
    ensure!(
        closed.len() == opened.len(),
        "something was closed that was never opened"
    );
    Ok(())
}

/// Numbers without a gap and chains without a flaw, host by host and journal by journal.
fn whole(events: &[Value]) -> Result<()> {
    let mut journals = BTreeMap::<(&str, &str), BTreeSet<u64>>::new();
    let mut count = 0;
    for event in events {
        ensure!(text(event, "flaw").is_empty(), "flawed: {event}");
        let seq = event.get("seq").and_then(Value::as_u64).context("no seq")?;
        let journal = (text(event, "host"), text(event, "epoch"));
        journals.entry(journal).or_default().insert(seq);
        count += 1;
    }
    let mut expected = 0;
    for (journal, seqs) in &journals {
        let last = seqs.last().copied().unwrap_or_default();
        ensure!(
            seqs.len() as u64 == last,
            "{journal:?} has {} of {last}",
            seqs.len()
        );
        expected += seqs.len();
    }
    ensure!(
        journals.len() == HOSTS,
        "a kill began a new journal: {:?}",
        journals.keys()
    );
    ensure!(count == expected, "{count} events, {expected} numbers");
    Ok(())
}

fn number_in(variable: &str) -> Option<usize> {
    std::env::var(variable).ok()?.parse().ok()
}

fn random() -> usize {
    usize::try_from(RandomState::new().build_hasher().finish() >> 40).unwrap_or(1)
}

/// Marsaglia's xorshift: a run is repeated by its seed.
struct Dice(u64);

// === impl Dice ===

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}
