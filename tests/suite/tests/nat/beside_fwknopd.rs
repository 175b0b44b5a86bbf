//! Configuration by configuration, with traffic: real fwknopd and ours in the same place.

use std::collections::BTreeSet;
use std::net::IpAddr;

use anyhow::ensure;
use harness::fwknop::{Fwknopd, fwknop};
use harness::{Result, in_lab, wait};

use crate::world::{KEYS, STOCK, World};

/// What is asked for, and where one looks afterwards.
struct Case {
    name: &'static str,
    stanza: &'static str,
    /// fwknopd.conf, and the same in ours.
    conf: [&'static str; 2],
    client: &'static [&'static str],
    /// What the user must reach afterwards.
    reached: &'static [&'static str],
    /// Whether fwknopd reaches the same; else why not.
    alike: std::result::Result<(), &'static str>,
}

const FORWARDING: &str = "ENABLE_IPT_FORWARDING Y;\nENABLE_IPT_LOCAL_NAT Y;\n";
const SNAT: [&str; 2] = ["ENABLE_IPT_SNAT Y;", "nat_snat = true"];
const SNAT_TO: [&str; 2] = [
    "ENABLE_IPT_SNAT Y;\nSNAT_TRANSLATE_IP 198.51.100.10;",
    "snat_address = [\"198.51.100.10\"]",
];
const NONE: [&str; 2] = ["", ""];
const INNER: &str = "198.51.100.30";

fn cases() -> Vec<Case> {
    let case = |name, stanza, conf, client, reached| Case {
        name,
        stanza,
        conf,
        client,
        reached,
        alike: Ok(()),
    };
    vec![
        case("plain access", "", NONE, &["-A", "tcp/22"], &["22=gateway"]),
        case(
            "NAT",
            "",
            NONE,
            &["-A", "tcp/22", "-N", "198.51.100.30:22"],
            &["22=inner"],
        ),
        case(
            "NAT, another port",
            "",
            NONE,
            &["-A", "tcp/22", "-N", INNER, "--nat-port", "40001"],
            &["40001=inner"],
        ),
        case(
            "NAT, masqueraded",
            "",
            SNAT,
            &["-A", "tcp/22", "-N", "198.51.100.30:22"],
            &["22=inner"],
        ),
        case(
            "NAT, under an address",
            "",
            SNAT_TO,
            &["-A", "tcp/22", "-N", "198.51.100.30:22"],
            &["22=inner"],
        ),
        case(
            "FORCE_NAT",
            "FORCE_NAT 198.51.100.30 2222",
            NONE,
            &["-A", "tcp/22"],
            &["22=inner"],
        ),
        case(
            "FORCE_NAT and FORCE_SNAT",
            "FORCE_NAT 198.51.100.30 2222\nFORCE_SNAT 198.51.100.10",
            SNAT,
            &["-A", "tcp/22"],
            &["22=inner"],
        ),
        case(
            "FORCE_NAT and FORCE_MASQUERADE",
            "FORCE_NAT 198.51.100.30 2222\nFORCE_MASQUERADE Y",
            SNAT,
            &["-A", "tcp/22"],
            &["22=inner"],
        ),
        case(
            "FORCE_NAT over what the message asks",
            "FORCE_NAT 198.51.100.30 2222",
            NONE,
            &["-A", "tcp/22", "-N", "198.51.100.99:22"],
            &["22=inner"],
        ),
        case(
            "FORWARD_ALL and FORCE_NAT",
            "FORCE_NAT 198.51.100.30 2222\nFORWARD_ALL Y",
            NONE,
            &["-A", "tcp/22"],
            &["22=inner", "80=inner", "2222=inner"],
        ),
        case(
            "FORWARD_ALL alone",
            "FORWARD_ALL Y",
            NONE,
            &["-A", "tcp/22"],
            &["22=gateway"],
        ),
        case(
            "FORWARD_ALL with NAT",
            "FORWARD_ALL Y",
            NONE,
            &["-A", "tcp/22", "-N", "198.51.100.30:22"],
            &["22=inner", "80=inner", "2222=inner"],
        ),
        case(
            "FORWARD_ALL, DISABLE_DNAT and FORCE_MASQUERADE",
            "FORWARD_ALL Y\nDISABLE_DNAT Y\nFORCE_MASQUERADE Y",
            SNAT,
            &["-A", "tcp/22"],
            &["inner:22=inner", "inner:80=inner", "inner:2222=inner"],
        ),
        case(
            "DISABLE_DNAT with NAT",
            "DISABLE_DNAT Y",
            NONE,
            &["-A", "tcp/22", "-N", "198.51.100.30:22"],
            &["inner:22=inner"],
        ),
        Case {
            alike: Err("leads to 127.0.0.1, where the kernel lets nothing be led"),
            ..case(
                "local NAT, another port",
                "",
                NONE,
                &[
                    "-A",
                    "tcp/22",
                    "-N",
                    "127.0.0.1",
                    "--nat-local",
                    "--nat-port",
                    "40022",
                ],
                &["40022=gateway"],
            )
        },
    ]
}

/// Where everybody looks. 8080 is the gateway's own and open to all.
fn places(world: &World) -> Vec<(IpAddr, u16)> {
    let outside = [22, 80, 2222, 8081, 40001, 40022].map(|port| (world.gateway.v4.into(), port));
    let inside = [22, 80, 2222].map(|port| (world.inner_v4.into(), port));
    outside.into_iter().chain(inside).collect()
}

fn knock(world: &World, case: &Case) -> Result<()> {
    let address = world.user.v4.to_string();
    let words: Vec<&str> = case
        .client
        .iter()
        .chain(STOCK)
        .copied()
        .chain(["-a", &address])
        .collect();
    fwknop(&world.user, world.gateway.v4, &words)?;
    Ok(())
}

/// What the user reaches after her knock, once it is what it must be or does not become it.
fn reached(world: &World, wanted: &BTreeSet<String>) -> Result<BTreeSet<String>> {
    let places = places(world);
    let mut seen = BTreeSet::new();
    let _ = wait::until(
        "what must be reached",
        std::time::Duration::from_secs(6),
        || {
            seen = world.seen(&world.user, &places)?;
            Ok(wanted.is_subset(&seen))
        },
    );
    Ok(seen)
}

fn wanted(case: &Case) -> BTreeSet<String> {
    case.reached.iter().map(ToString::to_string).collect()
}

/// The table in parts, so that they run beside each other.
const PARTS: usize = 4;

#[test]
fn every_configuration_reaches_what_real_fwknopd_reaches_and_nothing_that_was_not_asked_for() {
    compare(0);
}

#[test]
fn every_configuration_reaches_what_real_fwknopd_reaches_second_part() {
    compare(1);
}

#[test]
fn every_configuration_reaches_what_real_fwknopd_reaches_third_part() {
    compare(2);
}

#[test]
fn every_configuration_reaches_what_real_fwknopd_reaches_fourth_part() {
    compare(3);
}

fn compare(part: usize) {
    for case in cases().into_iter().skip(part).step_by(PARTS) {
        let real = std::cell::OnceCell::new();
        in_lab(|lab| {
            let world = World::new(lab)?;
            world.as_for_fwknopd()?;
            let conf = format!("{FORWARDING}{}", case.conf[0]);
            let access = format!("SOURCE ANY\n{KEYS}{}\n", case.stanza);
            let _server = Fwknopd::start(&world.gateway, &access, &conf)?;
            knock(&world, &case)?;
            let _ = real.set(reached(&world, &wanted(&case))?);
            Ok(())
        });
        let real = real.into_inner().unwrap_or_default();

        in_lab(|lab| {
            let world = World::new(lab)?;
            let before = world.seen(&world.user, &places(&world))?;
            let mut agent = world.agent(case.stanza, case.conf[1])?;
            ensure!(
                before == BTreeSet::from(["22=gateway".to_owned()]),
                "{before:?}"
            );
            let closed = world.seen(&world.user, &places(&world))?;
            ensure!(closed.is_empty(), "{}: before: {closed:?}", case.name);

            knock(&world, &case)?;
            agent.wait_for("grant opened")?;
            let ours = world.seen(&world.user, &places(&world))?;

            ensure!(
                ours == wanted(&case),
                "{}: ours: {ours:?}\n{}",
                case.name,
                world.table()?
            );
            match case.alike {
                Ok(()) => ensure!(ours.is_subset(&real), "{}: real: {real:?}", case.name),
                Err(_) => ensure!(!ours.is_subset(&real), "{}: real: {real:?}", case.name),
            }
            // At the gateway it is the very same: what is more is behind it, on routes of its own.
            let outside = |all: &BTreeSet<String>| -> Vec<String> {
                all.iter()
                    .filter(|place| !place.starts_with("inner:"))
                    .cloned()
                    .collect()
            };
            let alike = outside(&ours) == outside(&real);
            ensure!(alike == case.alike.is_ok(), "{}: real: {real:?}", case.name);
            let others = world.seen(&world.stranger, &places(&world))?;
            ensure!(others.is_empty(), "{}: a stranger: {others:?}", case.name);
            Ok(())
        });
    }
}
