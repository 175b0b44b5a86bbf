//! What the owner saves while the agent runs can be restored without us, and brings no hole back.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, ensure};
use harness::service::Reach;
use harness::{Lab, Owner, Result, in_lab};

use crate::boot::protect;
use crate::place::{BOTH, BackEnd, Place};
use crate::world::{Service, World};
use crate::{iptables, native};

/// How an owner saves and restores.
struct Save {
    world: World,
    /// Writes files into the directory `saved`.
    save: &'static str,
    /// Reads them on a host where nothing has been laid yet.
    restore: &'static str,
    /// Shows that the owner's rules are there.
    shows: &'static str,
}

#[test]
fn what_iptables_saves_while_the_agent_runs_is_restored_without_it_and_brings_no_hole_back() {
    // In the order of netfilter-persistent, with an agent that has not started yet.
    let save = Save {
        world: World {
            // Nothing else than our own rules hides the port: what is restored must not show it.
            ..iptables::IPTABLES
        },
        save: "iptables-save >saved/rules.v4; ip6tables-save >saved/rules.v6",
        restore: "iptables-restore <saved/rules.v4; ip6tables-restore <saved/rules.v6",
        shows: "iptables -S INPUT | grep -qx -- '-P INPUT DROP'
ip6tables -S INPUT | grep -q 62201",
    };
    restored(&save);
}

#[test]
fn a_table_of_nftables_that_is_saved_while_the_agent_runs_is_restored_and_brings_no_hole_back() {
    let save = Save {
        world: native::MARKED,
        save: "nft list table inet filter >saved/filter.nft",
        restore: "nft -f saved/filter.nft",
        shows: "nft list chain inet filter input | grep -q 62201",
    };
    restored(&save);
}

fn restored(save: &Save) {
    for back_end in BOTH {
        in_lab(|lab| restored_by(lab, save, *back_end));
    }
}

fn restored_by(lab: &Lab, save: &Save, back_end: BackEnd) -> Result<()> {
    let place = Place::new(lab, &save.world)?;
    let mut agent = place.agent(back_end, save.world.hooks)?;
    place.knock()?;
    place.opens()?;
    let saved = place.host.dir.join("saved");
    fs::create_dir_all(&saved)?;
    place.owner_does(&at(&saved, save.save))?;
    for file in fs::read_dir(&saved)? {
        let text = fs::read_to_string(file?.path())?;
        let user = place.user.v4.to_string();
        ensure!(!text.contains(&user), "a hole is in the save:\n{text}");
    }

    // The machine after a boot: another network, the same files.
    let rebooted = lab.node("rebooted", 11)?;
    let owner = Owner::of(&rebooted)?;
    if back_end == BackEnd::Iptables {
        // What was saved names our sets: they are made first.
        protect(&rebooted, &agent, back_end)?;
    }
    let restore = format!("{}\n{}", save.restore, save.shows);
    owner
        .shell(&at(&saved, &restore))
        .context("restored without the agent")?;
    // And once more on the running host, beside the agent.
    place.knock()?;
    place.opens()?;
    if !matches!(save.world.service, Service::Container) && save.restore.contains("iptables") {
        place
            .owner_does(&at(&saved, &restore))
            .context("restored beside the agent")?;
    }
    place.sees(&place.stranger, Reach::Silent)?;
    agent.stop()?;
    Ok(())
}

fn at(saved: &Path, lines: &str) -> String {
    let parent = saved.parent().unwrap_or(saved).display();
    format!("cd {parent}\n{lines}")
}
