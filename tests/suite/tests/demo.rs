//! `make demo`, told to its end and broken off in the middle.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::ensure;
use harness::lab::{Whose, sweep};
use harness::{Process, Result, in_lab, wait};
use nix::sys::signal::Signal;

#[test]
fn the_demo_tells_its_story_to_the_end_within_three_minutes() {
    in_lab(|lab| {
        let mut demo = start(lab.dir())?;
        let pid = demo.pid();

        let code = demo.wait(Duration::from_secs(170))?;

        ensure!(code == 0, "it left with {code}:\n{}", demo.log());
        nothing_left(pid)
    });
}

#[test]
fn a_demo_that_is_interrupted_leaves_nothing_behind() {
    in_lab(|lab| {
        let mut demo = start(lab.dir())?;
        let pid = demo.pid();
        demo.wait_for("web-2 (192.0.2.12) has joined", Duration::from_secs(60))?;

        demo.signal(Signal::SIGINT)?;
        let code = demo.wait(wait::SOON)?;

        ensure!(code == 130, "it left with {code}:\n{}", demo.log());
        nothing_left(pid)
    });
}

#[test]
fn what_a_killed_demo_left_is_swept_away_by_the_next_lab() {
    in_lab(|lab| {
        let mut demo = start(lab.dir())?;
        let pid = demo.pid();
        demo.wait_for("web-2 (192.0.2.12) has joined", Duration::from_secs(60))?;
        // Asked while it lives: once it is dead, any other lab may sweep before this one.
        ensure!(nothing_left(pid).is_err(), "there was nothing to sweep");
        demo.kill()?;

        sweep(Whose::Dead);

        // Another lab may be sweeping it away at this moment.
        let is_swept = || Ok(nothing_left(pid).is_ok());
        wait::until("it is swept away", wait::SOON, is_swept)?;
        Ok(())
    });
}

fn start(dir: &Path) -> Result<Process> {
    Process::start(
        &mut Command::new(harness::postern::binary("demo")?),
        &dir.join("demo.log"),
    )
}

fn nothing_left(pid: u32) -> Result<()> {
    let lab = format!("pt{pid}x");
    for dir in ["/run/netns", "/tmp/postern-labs"] {
        for entry in std::fs::read_dir(dir)?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            ensure!(!name.starts_with(&lab), "{dir}/{name} is left");
        }
    }
    Ok(())
}
