//! Weaknesses of fwknop that are seen from outside, tried here: the numbers are those of
//! docs/compatibility.md.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use harness::{Result, in_lab, wait};
use suite::{Alone, STANZA, STOCK_ARGS};

fn knock(alone: &Alone, address: &str, more: &[&str]) -> Result<()> {
    alone.knock(&[&["-A", "tcp/22", "-a", address], STOCK_ARGS, more].concat())
}

/// Seconds that the hole for an address still has.
fn left_secs(alone: &Alone, address: &str) -> Result<u64> {
    let holes = alone.holes()?;
    let element = format!(" {address},");
    let hole = holes
        .iter()
        .find(|hole| hole.contains(&element))
        .context("no hole")?;
    let secs = hole
        .split("timeout ")
        .nth(1)
        .and_then(|rest| rest.split(' ').next());
    Ok(secs.context("no timeout")?.parse()?)
}

#[test]
fn w4_with_sixty_holes_open_a_short_one_ends_on_time() {
    in_lab(|lab| {
        let alone = Alone::start(lab, &format!("{STANZA}MAX_FW_TIMEOUT 300\n"))?;
        for number in 0..60 {
            knock(&alone, &format!("203.0.113.{number}"), &["-f", "300"])?;
        }
        alone.agent.opens([203, 0, 113, 59], "tcp:22")?;

        knock(&alone, "203.0.113.100", &["-f", "3"])?;

        alone.agent.opens([203, 0, 113, 100], "tcp:22")?;
        wait::until("the short one to end", Duration::from_secs(6), || {
            Ok(!alone.agent.has_hole([203, 0, 113, 100], "tcp:22")?)
        })?;
        ensure!(alone.holes()?.len() == 60);
        Ok(())
    });
}

#[test]
fn w10_a_timeout_of_the_stanza_is_capped_too() {
    in_lab(|lab| {
        let access = STANZA.replace(
            "FW_ACCESS_TIMEOUT 30",
            "FW_ACCESS_TIMEOUT 600\nMAX_FW_TIMEOUT 40",
        );
        let alone = Alone::start(lab, &access)?;

        knock(&alone, "203.0.113.1", &[])?;

        alone.agent.opens([203, 0, 113, 1], "tcp:22")?;
        let left = left_secs(&alone, "203.0.113.1")?;
        ensure!((1..=40).contains(&left), "{left} s");
        Ok(())
    });
}

/// Minor faults of children that have ended: any program that the agent has run since shows here.
fn faults_of_children(pid: u32) -> Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(") ").context("no fields")?;
    Ok(fields.split(' ').nth(8).context("no field")?.parse()?)
}

#[test]
fn w17_and_w20_no_program_is_run_for_a_grant_nor_while_long_holes_outlive_short_ones() {
    in_lab(|lab| {
        let alone = Alone::start_with(lab, STANZA, &["--backend", "nftables"])?;
        let pid = alone.agent.pid();
        let before = faults_of_children(pid)?;

        knock(&alone, "203.0.113.1", &["-f", "60"])?;
        knock(&alone, "203.0.113.2", &["-f", "1"])?;

        alone.agent.opens([203, 0, 113, 1], "tcp:22")?;
        wait::until("the short one to end", Duration::from_secs(5), || {
            Ok(!alone.agent.has_hole([203, 0, 113, 2], "tcp:22")?)
        })?;
        alone.wait_until_judged()?;
        let after = faults_of_children(pid)?;
        ensure!(
            before == after,
            "programs were run: {before} faults became {after}"
        );
        Ok(())
    });
}

#[test]
fn w24_who_asks_again_has_one_hole_with_the_later_end() {
    in_lab(|lab| {
        let alone = Alone::start(lab, &format!("{STANZA}MAX_FW_TIMEOUT 300\n"))?;

        for secs in ["20", "200", "30"] {
            knock(&alone, "203.0.113.1", &["-f", secs])?;
        }

        alone.wait_until_judged()?;
        let holes = alone.holes()?;
        ensure!(holes.len() == 1, "{holes:?}");
        let left = left_secs(&alone, "203.0.113.1")?;
        ensure!((150..=200).contains(&left), "{left} s");
        Ok(())
    });
}

#[test]
fn w28_a_message_of_more_than_400_characters_opens_where_the_client_can_send_it() {
    in_lab(|lab| {
        let ports: Vec<_> = (2000..2016).map(|port| format!("tcp/{port}")).collect();
        let access = STANZA.replace("OPEN_PORTS tcp/22", "OPEN_PORTS tcp/2000-2100");
        let alone = Alone::start(lab, &access)?;

        let words = ["-A", &ports.join(","), "-a", "203.0.113.1", "-m", "sha512"];
        alone.knock(&[&words[..], STOCK_ARGS].concat())?;

        alone.agent.opens([203, 0, 113, 1], "tcp:2000")?;
        alone.agent.opens([203, 0, 113, 1], "tcp:2015")?;
        Ok(())
    });
}
