//! A configuration that is wrong is refused as a whole, with every mistake and its place; nothing runs, nothing opens.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::ensure;
use harness::postern::{Agent, binary};
use harness::service::Reach;
use harness::{Result, in_lab, shell};
use suite::{Alone, same};

#[test]
fn every_mistake_of_an_access_conf_is_reported_at_once_with_its_place() {
    const BROKEN: &str = "\
SOURCE 999.1.2.3
KEY __CHANGEME__
OPEN_PORTS tcp/0, icmp/8
FW_ACCESS_TIMEOUT ten

SOURCE ANY
KEY this-key-is-far-too-long-for-aes-as-fwknop-uses-it
HMAC_KEY_BASE64 not!base64
HMAC_DIGEST_TYPE sha7
ENCRYPTION_MODE pcbc
OPEN_PROTS tcp/22
FORCE_NAT 10.0.0.1
ACCESS_EXPIRE 13/45/2030

SOURCE ANY
OPEN_PORTS tcp/22
";
    const PLACES: &[&str] = &[
        ":1: SOURCE",
        ":2: KEY",
        ":3: OPEN_PORTS",
        ":4: FW_ACCESS_TIMEOUT",
        ":7: KEY",
        ":8: HMAC_KEY_BASE64",
        ":9: HMAC_DIGEST_TYPE",
        ":10: ENCRYPTION_MODE",
        ":11: OPEN_PROTS",
        ":12: FORCE_NAT",
        ":13: ACCESS_EXPIRE",
        // A stanza without a key, in an agent alone.
        ":15: ",
    ];
    in_lab(|lab| {
        let host = lab.node("host", 10)?;

        let refused = Agent::refused(&host, BROKEN, &[])?.code(64)?;

        for place in PLACES {
            let whole = format!("access.conf{place}");
            ensure!(
                refused.text().contains(&whole),
                "no {whole:?} in\n{}",
                refused.text()
            );
        }
        ensure!(
            refused.text().contains("OPEN_PORTS"),
            "no hint for the misspelt keyword:\n{}",
            refused.text()
        );
        for secret in ["this-key-is-far-too-long", "not!base64"] {
            ensure!(
                !refused.text().contains(secret),
                "a key in an error text:\n{}",
                refused.text()
            );
        }
        ensure!(
            host.rules()?.iter().all(|rule| !rule.starts_with("-A")),
            "rules of a refused start"
        );
        Ok(())
    });
}

#[test]
fn a_missing_file_and_a_state_that_is_no_directory_are_clear_errors_that_touch_nothing() {
    in_lab(|lab| {
        let host = lab.node("host", 10)?;
        let words = |words: &[&str]| {
            words
                .iter()
                .map(|&word| word.to_owned())
                .collect::<Vec<_>>()
        };
        let state = host.dir.join("state").display().to_string();

        let missing = words(&[
            "--access-file",
            "/nowhere/access.conf",
            "--interface",
            "eth0",
            "--state",
            &state,
        ]);
        let refused = Agent::refused_with(&host, &missing)?;
        ensure!(
            refused.code == 64 && refused.text().contains("/nowhere/access.conf"),
            "{refused:?}"
        );

        let file = host.write("a-file", "")?.display().to_string();
        let refused = Agent::refused(&host, suite::STANZA, &["--state", &file])?;
        ensure!(
            refused.code != 0 && refused.text().contains("a-file"),
            "{refused:?}"
        );

        ensure!(
            host.rules()?.iter().all(|rule| !rule.starts_with("-A")),
            "rules of a refused start"
        );
        Ok(())
    });
}

#[test]
fn an_interface_that_is_not_there_is_waited_for_while_the_others_serve_and_hide() {
    in_lab(|lab| {
        let host = lab.node("host", 10)?;
        let user = lab.node("user", 20)?;
        let _ssh = host.serve_tcp(22)?;

        let agent = Agent::alone_with(
            &host,
            &Alone::access(suite::STANZA),
            &["--interface", "nosuch0"],
        )?;

        ensure!(
            agent.log().matches("nosuch0").count() == 1,
            "{}",
            agent.log()
        );
        ensure!(host.holes()?.is_empty());
        ensure!(user.reach(host.v4, 22)? == Reach::Silent);
        Ok(())
    });
}

#[test]
fn policy_check_finds_the_same_mistakes_without_a_controller() {
    in_lab(|lab| {
        let desk = lab.node("desk", 5)?;
        let file = desk.write(
            "broken.conf",
            "NAME x\nSOURCE ANY\nOPEN_PORTS tcp/70000\nFW_ACCESS_TIMEOUT -1\n",
        )?;

        let checked = check(&file)?.code(64)?;

        for place in [
            "broken.conf:3: OPEN_PORTS",
            "broken.conf:4: FW_ACCESS_TIMEOUT",
        ] {
            ensure!(
                checked.text().contains(place),
                "no {place:?} in\n{}",
                checked.text()
            );
        }
        Ok(())
    });
}

#[test]
fn every_sample_in_deploy_parses() -> Result<()> {
    let mut samples = Vec::new();
    collect(&root().join("deploy"), &mut samples)?;
    samples.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "conf")
    });
    ensure!(samples.len() >= 2, "only {samples:?}");
    for sample in samples {
        let checked = check(&sample)?;
        same(
            &format!("{}:\n{}", sample.display(), checked.text()),
            &checked.code,
            &0,
        )?;
    }
    Ok(())
}

fn check(file: &Path) -> Result<harness::Ran> {
    shell::run(
        Command::new(binary("postern")?)
            .args(["policy", "check"])
            .arg(file),
    )
}

fn collect(dir: &Path, into: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(dir)?.flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, into)?;
        } else {
            into.push(path);
        }
    }
    Ok(())
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
