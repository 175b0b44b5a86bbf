//! Signals and questions without end: a knock does not wait for them.

use std::io::Read as _;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::ensure;
use harness::postern::Agent;
use harness::{Result, in_lab, wait};
use nix::sys::signal::Signal;
use suite::{Alone, STANZA, STOCK_ARGS};

/// So many knocks are timed; of them the middle one counts.
const KNOCKS: u8 = 9;

#[test]
fn two_thousand_hangups_in_three_seconds_neither_delay_a_knock_nor_change_an_unchanged_policy() {
    in_lab(|lab| {
        let alone = Alone::start(lab, &large())?;
        let quiet = median(&alone, 1)?;

        let stormy = beside(
            || storm(&alone.agent, &[Signal::SIGHUP, Signal::SIGUSR1]),
            || {
                let three_seconds = wait::now() + Duration::from_secs(3);
                let mut slowest = Duration::ZERO;
                for net in 2..=255 {
                    slowest = slowest.max(median(&alone, net)?);
                    if wait::now() > three_seconds {
                        break;
                    }
                }
                Ok(slowest)
            },
        )?;

        ensure!(
            stormy < quiet + Duration::from_millis(50),
            "{stormy:?} instead of {quiet:?}"
        );
        let applied = alone.agent.log().matches("policy applied").count();
        ensure!(applied == 1, "applied {applied} times");
        Ok(())
    });
}

#[test]
fn the_last_of_many_changes_is_in_force_after_a_storm_of_hangups() {
    in_lab(|lab| {
        let mut alone = Alone::start(lab, STANZA)?;
        for round in 1..=200 {
            let changed = format!("{STANZA}MAX_FW_TIMEOUT {}\n", 100 + round);
            alone.agent.write_access(&Alone::access(&changed))?;
            alone.agent.signal(Signal::SIGHUP)?;
        }
        // Another port: only the last version opens it.
        let last = STANZA.replace("tcp/22", "tcp/22,tcp/80");
        alone.agent.write_access(&Alone::access(&last))?;
        alone.agent.signal(Signal::SIGHUP)?;
        alone.agent.wait_for("policy applied")?;

        wait::until("the last policy", wait::SOON, || {
            let words = [&["-A", "tcp/80", "-a", "203.0.113.9"], STOCK_ARGS].concat();
            alone.knock(&words)?;
            thread::sleep(Duration::from_millis(100));
            alone.agent.has_hole([203, 0, 113, 9], "tcp:80")
        })?;
        let applied = alone.agent.log().matches("policy applied").count();
        ensure!(applied < 100, "applied {applied} times");
        Ok(())
    });
}

#[test]
fn questions_without_end_and_askers_that_do_not_listen_delay_no_knock() {
    in_lab(|lab| {
        let alone = Alone::start(lab, STANZA)?;
        let quiet = median(&alone, 1)?;
        let socket = alone.agent.state.join("status.sock");
        // They connect and never read.
        let deaf = (0..100).map(|_| UnixStream::connect(&socket));
        let deaf = deaf.collect::<std::io::Result<Vec<_>>>()?;

        let ask = || {
            let mut told = String::new();
            UnixStream::connect(&socket)?.read_to_string(&mut told)?;
            ensure!(told.contains("generation"), "{told}");
            Ok(())
        };
        let stormy = beside(ask, || median(&alone, 2))?;

        ensure!(
            stormy < quiet + Duration::from_millis(50),
            "{stormy:?} instead of {quiet:?}"
        );
        drop(deaf);
        Ok(())
    });
}

/// [`STANZA`] among many others, so that reading it takes a while.
fn large() -> String {
    let other = |number| {
        format!(
            "SOURCE 198.51.100.7\nKEY other-{number}\nHMAC_KEY hmac-{number}\nOPEN_PORTS tcp/22\n\n"
        )
    };
    let others: String = (0..500).map(other).collect();
    format!("{STANZA}\n{others}")
}

/// A signal of each kind in a millisecond.
fn storm(agent: &Agent, signals: &[Signal]) -> Result<()> {
    for signal in signals {
        agent.signal(*signal)?;
    }
    thread::sleep(Duration::from_millis(1));
    Ok(())
}

/// Does `work` once, and `again` and again beside it.
fn beside<T>(again: impl Fn() -> Result<()> + Sync, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let storm = scope.spawn(|| -> Result<()> {
            while !stop.load(Ordering::Relaxed) {
                again()?;
            }
            Ok(())
        });
        let done = work();
        stop.store(true, Ordering::Relaxed);
        storm
            .join()
            .map_err(|_| anyhow::anyhow!("the storm panicked"))??;
        done
    })
}

/// How long it takes from a knock to its hole, in the middle of some.
fn median(alone: &Alone, net: u8) -> Result<Duration> {
    let mut times = Vec::new();
    for number in 1..=KNOCKS {
        let address = [203, 0, net, number];
        let text = format!("203.0.{net}.{number}");
        let words = [&["-A", "tcp/22", "-a", &text], STOCK_ARGS].concat();
        let begun = wait::now();
        alone.knock(&words)?;
        alone.agent.opens(address, "tcp:22")?;
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    Ok(times.get(times.len() / 2).copied().unwrap_or(Duration::MAX))
}
