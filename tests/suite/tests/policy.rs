//! The life of a policy: apply, race, refuse, revoke, roll back; and what it never shows.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::thread;
use std::time::Duration;

use anyhow::ensure;
use harness::postern::binary;
use harness::{Result, in_lab, wait};
use suite::{Company, POLICY, SHARED, same, shared_knock};
#[test]
fn of_two_applies_from_one_base_one_wins_and_the_other_is_told_that_it_is_stale() {
    in_lab(|lab| {
        let company = Company::found(lab, 1, POLICY)?;
        let texts = [POLICY.replace("20", "21"), POLICY.replace("20", "22")];
        let base = generation(&company)?.to_string();
        let files = [
            company.operator.node.write("a.conf", &texts[0])?,
            company.operator.node.write("b.conf", &texts[1])?,
        ];

        let outcomes: Vec<_> = thread::scope(|scope| {
            let running: Vec<_> = files
                .iter()
                .map(|file| {
                    let file = file.display().to_string();
                    let (operator, base) = (company.operator.clone(), base.clone());
                    scope.spawn(move || {
                        operator.run(&["policy", "apply", &file, "-m", "race", "--base", &base])
                    })
                })
                .collect();
            running
                .into_iter()
                .map(|one| one.join().unwrap())
                .collect::<Result<_>>()
        })?;

        let mut codes: Vec<i32> = outcomes.iter().map(|outcome| outcome.code).collect();
        codes.sort_unstable();
        ensure!(codes == [0, 1], "{outcomes:#?}");
        let loser = outcomes.iter().find(|outcome| outcome.code == 1).unwrap();
        let said = loser.text().to_lowercase();
        ensure!(
            said.contains("stale") || said.contains("generation"),
            "{}",
            loser.text()
        );
        same(
            "generation",
            &generation(&company)?,
            &(base.parse::<u64>()? + 1),
        )
    });
}

#[test]
fn a_stanza_that_is_removed_closes_its_holes_and_their_live_sessions_within_a_second() {
    in_lab(|lab| {
        let other = POLICY
            .replace("alice-ssh", "bob-ssh")
            .replace("NAME alice", "NAME bob");
        let company = Company::found(lab, 1, &format!("{POLICY}{SHARED}"))?;
        let host = company.host(1);
        let _ssh = host.node.serve_tcp(22)?;
        company.alice.knock("web-1", "tcp/22", &[])?;
        host.opens(company.alice.node.v4, "tcp:22")?;
        shared_knock(&company.stranger, host, &["-s"])?;
        host.opens(company.stranger.v4, "tcp:22")?;
        let mut hers = company.alice.node.session(host.node.v4, 22)?;
        let mut theirs = company.stranger.session(host.node.v4, 22)?;
        hers.talk()?;
        theirs.talk()?;

        company
            .operator
            .apply(
                &format!(
                    "{}{SHARED}",
                    other.replace("REQUIRE_USERNAME alice", "REQUIRE_USERNAME bob")
                ),
                "alice left",
            )?
            .ok()?;

        wait::until("her hole to close", Duration::from_secs(1), || {
            Ok(!host.has_hole(company.alice.node.v4, "tcp:22")?)
        })?;
        ensure!(
            hers.is_dead(Duration::from_secs(2))?,
            "her session still answers"
        );
        theirs.talk()?;
        company.alice.run(&["knock", "web-1", "-A", "tcp/22"])?;
        shared_knock(&company.stranger, host, &["-a", "203.0.113.7"])?;
        host.opens([203, 0, 113, 7], "tcp:22")?;
        ensure!(
            !host.has_hole(company.alice.node.v4, "tcp:22")?,
            "she knocked again and was let in"
        );
        company
            .auditor
            .audit_until(&["--kind", "grant-revoked", "--user", "alice"])?;
        Ok(())
    });
}

#[test]
fn a_broken_policy_is_refused_with_every_mistake_and_changes_nothing() {
    in_lab(|lab| {
        let company = Company::found(lab, 1, POLICY)?;
        let before = generation(&company)?;
        let broken = format!(
            "{POLICY}\nNAME broken\nSOURCE 300.1.2.3\nOPEN_PORTS tcp/99999\nFW_ACCESS_TIMEOUT soon\n"
        );

        let refused = company.operator.apply(&broken, "oops")?.code(64)?;

        for line in [
            "policy.conf:11: SOURCE",
            "policy.conf:12: OPEN_PORTS",
            "policy.conf:13: FW_ACCESS_TIMEOUT",
        ] {
            ensure!(
                refused.text().contains(line),
                "no {line:?} in\n{}",
                refused.text()
            );
        }
        same("generation", &generation(&company)?, &before)?;
        company.alice.knock("web-1", "tcp/22", &[])?;
        company.host(1).opens(company.alice.node.v4, "tcp:22")?;
        Ok(())
    });
}

#[test]
fn a_rollback_is_a_new_generation_with_the_old_text() {
    in_lab(|lab| {
        let company = Company::found(lab, 1, POLICY)?;
        let first = generation(&company)?;
        company.apply(&format!("PROTECT tcp/22\n{SHARED}"), "without alice")?;

        company
            .operator
            .run(&["policy", "rollback", &first.to_string()])?
            .ok()?;
        company.operator.hosts_in_sync(1)?;

        same("generation", &generation(&company)?, &(first + 2))?;
        let shown = company.operator.run(&["policy", "show"])?.ok()?;
        ensure!(shown.stdout.contains("alice-ssh"), "{}", shown.stdout);
        let history = company
            .operator
            .run(&["policy", "history", "--json"])?
            .ok()?
            .json_lines()?;
        ensure!(history.len() >= 3, "{history:?}");
        company.alice.knock("web-1", "tcp/22", &[])?;
        company.host(1).opens(company.alice.node.v4, "tcp:22")?;
        Ok(())
    });
}

#[test]
fn a_plan_shows_what_would_change_and_static_keys_are_never_shown() {
    in_lab(|lab| {
        let company = Company::found(lab, 2, &format!("{POLICY}{SHARED}"))?;
        let changed = format!("{POLICY}{SHARED}").replace("HOSTS ANY", "HOSTS number=2");
        let file = company
            .operator
            .node
            .write("next.conf", &changed)?
            .display()
            .to_string();

        let diff = company.operator.run(&["policy", "diff", &file])?.ok()?;
        ensure!(
            diff.stdout.contains("web-1") && diff.stdout.contains("shared-ssh"),
            "{}",
            diff.stdout
        );
        ensure!(
            !diff.stdout.contains("web-2"),
            "web-2 does not change:\n{}",
            diff.stdout
        );

        for words in [
            ["policy", "show", "--json"].as_slice(),
            &["policy", "render", "--host", "web-1"],
            &["policy", "show"],
        ] {
            let shown = company.operator.run(words)?.ok()?;
            ensure!(
                !shown.text().contains("shared-passphrase"),
                "{words:?} shows a key"
            );
            ensure!(
                !shown.text().contains("shared-hmac-passphrase"),
                "{words:?} shows a key"
            );
        }
        let logs = lab.logs();
        ensure!(
            !logs.contains("shared-passphrase") && !logs.contains("shared-hmac-passphrase"),
            "a key in a log"
        );
        let database = read_all(&company.controller.data)?;
        ensure!(
            !contains(&database, b"shared-passphrase"),
            "a key in the open in the database"
        );
        Ok(())
    });
}

fn generation(company: &Company) -> Result<u64> {
    let history = company
        .operator
        .run(&["policy", "history", "--json"])?
        .ok()?
        .json_lines()?;
    let newest = history
        .iter()
        .filter_map(|row| row.get("generation")?.as_u64())
        .max();
    newest.ok_or_else(|| anyhow::anyhow!("no generation in {history:?}"))
}

fn read_all(dir: &std::path::Path) -> Result<Vec<u8>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir)?.flatten() {
        if entry.path().is_file() {
            all.extend(fs::read(entry.path())?);
        }
    }
    Ok(all)
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack
        .windows(needle.len())
        .any(|window| window == needle)
}

#[test]
fn a_pipeline_applies_policy_with_a_read_only_profile_and_no_home() {
    in_lab(|lab| {
        let company = Company::found(lab, 1, POLICY)?;
        let operator = &company.operator;
        let profile = operator.profile.display();
        for name in ["membership.json", "certificate.json"] {
            let group_reads = Permissions::from_mode(0o440);
            fs::set_permissions(operator.profile.join(name), group_reads)?;
        }
        let program = binary("postern")?;
        let pipeline = |words: &str| {
            let script = format!(
                "mount --bind {profile} {profile} && mount -o remount,bind,ro {profile} && \
                 exec env -i PATH=/usr/bin:/bin POSTERN_PROFILE={profile} {} policy {words}",
                program.display()
            );
            let words = ["unshare", "--mount", "--propagation", "private", "sh", "-c"];
            operator.node.run(&[&words[..], &[&script]].concat())
        };
        let text = format!("%test deny * web-1 tcp/23\n{}", POLICY.replace("20", "25"));
        operator.node.write("ci.conf", &text)?;
        let before = generation(&company)?;

        pipeline("diff --exit-code ci.conf")?.code(1)?;
        pipeline("apply ci.conf -m 'from git'")?.ok()?;
        let again = pipeline("apply ci.conf -m 'from git'")?.ok()?;

        ensure!(
            again.stdout.contains("Nothing to apply"),
            "{}",
            again.text()
        );
        same("generation", &generation(&company)?, &(before + 1))?;
        pipeline("diff --exit-code ci.conf")?.ok()?;
        pipeline("history")?.ok()?;
        pipeline("show")?.ok()?;
        let open = text.replace("tcp/23", "tcp/22");
        operator.node.write("ci.conf", &open)?;
        let refused = pipeline("apply ci.conf -m 'from git'")?.code(64)?;
        ensure!(
            refused
                .stderr
                .contains("ci.conf:1: %test deny * web-1 tcp/22: "),
            "{}",
            refused.text()
        );
        same("generation", &generation(&company)?, &(before + 1))
    });
}

#[test]
fn may_not_is_an_answer_and_a_question_about_nobody_ends_otherwise() {
    in_lab(|lab| {
        let company = Company::found(lab, 1, POLICY)?;
        for (words, code) in [
            (["alice", "web-1", "tcp/22"], 0),
            (["alice", "web-1", "tcp/80"], 1),
            (["alcie", "web-1", "tcp/22"], 2),
            (["alice", "web-7", "tcp/22"], 2),
            (["alice", "web-1", "tpc/22"], 2),
        ] {
            let can = [&["can"], &words[..], &["--json"]].concat();
            let ran = company.operator.run(&can)?.code(code)?;
            // Standard output is the answer, and empty where there is none.
            same("an answer", &ran.stdout.is_empty(), &(code == 2))?;
        }
        let hers = company.alice.run(&["can", "alice", "web-1", "tcp/22"])?;
        hers.code(2)?.says("--profile")?;
        Ok(())
    });
}
