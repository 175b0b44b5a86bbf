//! A fleet under one policy: shared keys and siblings, a controller that is gone, operators who race.

use std::thread;
use std::time::Duration;

use anyhow::ensure;
use harness::capture::Capture;
use harness::fwknop::{fwknop, fwknop_with_rc};
use harness::postern::{Agent, Member};
use harness::service::Reach;
use harness::{Node, Result, SPA_PORT, in_lab, wait};
use suite::{Company, same, text};

const POLICY: &str = "\
PROTECT tcp/22

NAME alice-ssh
HOSTS role=web
SOURCE ANY
REQUIRE_USERNAME alice
OPEN_PORTS tcp/22
FW_ACCESS_TIMEOUT 20
";

const SHARED: &str = "
NAME shared-ssh
HOSTS ANY
SOURCE ANY
KEY shared-passphrase
HMAC_KEY shared-hmac-passphrase
OPEN_PORTS tcp/22
FW_ACCESS_TIMEOUT 5
";

const SHARED_ARGS: &[&str] = &[
    "--key-rijndael",
    "shared-passphrase",
    "--key-hmac",
    "shared-hmac-passphrase",
];

#[test]
fn a_users_own_key_opens_the_host_she_names_and_is_noise_to_its_siblings() {
    in_lab(|lab| {
        let company = Company::found(lab, 2, POLICY)?;
        let alice = &company.alice;
        let _ssh = company.host(1).node.serve_tcp(22)?;
        let capture = Capture::start(&company.host(1).node, "udp port 62201")?;
        ensure!(alice.node.reach(company.host(1).node.v4, 22)? == Reach::Silent);

        alice.knock("web-1", "tcp/22", &[])?;
        company.host(1).opens(alice.node.v4, "tcp:22")?;
        ensure!(alice.node.reach(company.host(1).node.v4, 22)? == Reach::Open);

        let packet = capture.nth(1)?.payload;
        for host in [company.host(1), company.host(2)] {
            company.stranger.send(host.node.v4, SPA_PORT, &packet)?;
            alice.node.send(host.node.v4, SPA_PORT, &packet)?;
        }
        company
            .auditor
            .audit_until(&["--kind", "replay", "--host", "web-1"])?;
        alice.knock("web-2", "tcp/22", &["-a", "203.0.113.1"])?;
        company.host(2).opens([203, 0, 113, 1], "tcp:22")?;
        same("holes on web-2", &company.host(2).node.holes()?.len(), &1)?;
        ensure!(!company.host(1).has_hole(company.stranger.v4, "tcp:22")?);
        Ok(())
    });
}

#[test]
fn a_message_of_a_shared_key_grants_once_in_the_whole_fleet() {
    in_lab(|lab| {
        let company = Company::found(lab, 3, &format!("{POLICY}{SHARED}"))?;
        let capture = Capture::start(&company.host(1).node, "udp port 62201")?;

        shared_knock(&company.alice.node, company.host(1), &["-s"])?;
        company.host(1).opens(company.alice.node.v4, "tcp:22")?;
        let packet = capture.nth(1)?.payload;
        for number in [1, 2, 3] {
            company
                .stranger
                .send(company.host(number).node.v4, SPA_PORT, &packet)?;
        }

        company
            .auditor
            .audit_until(&["--kind", "replay", "--host", "web-1"])?;
        for number in [2, 3] {
            let name = format!("web-{number}");
            let event =
                company
                    .auditor
                    .audit_until(&["--kind", "replay-elsewhere", "--host", &name])?;
            ensure!(text(&event, "reason").contains("web-1"), "{event}");
            ensure!(company.host(number).node.holes()?.is_empty());
        }
        ensure!(!company.host(1).has_hole(company.stranger.v4, "tcp:22")?);
        Ok(())
    });
}

#[test]
fn one_message_sent_to_all_hosts_at_once_opens_exactly_one() {
    in_lab(|lab| {
        let company = Company::found(lab, 3, &format!("{POLICY}{SHARED}"))?;
        let packet = sealed_elsewhere(lab, &company)?;

        for number in [1, 2, 3] {
            company
                .stranger
                .send(company.host(number).node.v4, SPA_PORT, &packet)?;
        }

        let judged = || -> Result<usize> {
            let lost = company
                .auditor
                .audit(&["--kind", "replay-elsewhere"])?
                .len();
            Ok(lost + company.auditor.audit(&["--kind", "grant-opened"])?.len())
        };
        wait::until("all three verdicts", wait::SOON, || Ok(judged()? >= 3))?;
        same("verdicts", &judged()?, &3)?;
        same(
            "grants",
            &company.auditor.audit(&["--kind", "grant-opened"])?.len(),
            &1,
        )
    });
}

#[test]
fn without_the_controller_own_keys_work_and_shared_keys_do_as_the_stanza_says() {
    in_lab(|lab| {
        let lenient = SHARED
            .replace("shared-ssh", "lenient-ssh")
            .replace("KEY shared-", "KEY lenient-")
            .replace(
                "FW_ACCESS_TIMEOUT 5",
                "FW_ACCESS_TIMEOUT 60\nON_CONTROLLER_LOSS allow",
            );
        let mut company = Company::found(lab, 2, &format!("{POLICY}{SHARED}{lenient}"))?;
        company.alice.run(&["sync"])?.ok()?;
        company.controller.kill()?;

        company.alice.knock("web-1", "tcp/22", &[])?;
        company.host(1).opens(company.alice.node.v4, "tcp:22")?;
        let lenient_args = [
            "--key-rijndael",
            "lenient-passphrase",
            "--key-hmac",
            "lenient-hmac-passphrase",
        ];
        shared_knock(&company.alice.node, company.host(1), &["-a", "203.0.113.1"])?;
        let words = [
            &["-A", "tcp/22", "-a", "203.0.113.2"],
            lenient_args.as_slice(),
        ]
        .concat();
        fwknop(&company.alice.node, company.host(1).node.v4, &words)?;
        company.host(1).opens([203, 0, 113, 2], "tcp:22")?;
        company
            .alice
            .knock("web-1", "tcp/22", &["-a", "203.0.113.3"])?;
        company.host(1).opens([203, 0, 113, 3], "tcp:22")?;

        company.controller.start_again()?;
        company.operator.hosts_in_sync(2)?;
        let refused = company
            .auditor
            .audit_until(&["--kind", "refused", "--host", "web-1"])?;
        same("stanza", &text(&refused, "stanza"), &"shared-ssh")?;
        ensure!(
            !company.host(1).has_hole([203, 0, 113, 1], "tcp:22")?,
            "a shared key opened without a claim"
        );
        wait::until("the grants made meanwhile in the audit", wait::SOON, || {
            Ok(company
                .auditor
                .audit(&["--kind", "grant-opened", "--host", "web-1"])?
                .len()
                == 3)
        })?;
        Ok(())
    });
}

#[test]
fn an_agent_that_starts_without_the_controller_enforces_the_last_policy() {
    in_lab(|lab| {
        let mut company = Company::found(lab, 1, POLICY)?;
        let _ssh = company.host(1).node.serve_tcp(22)?;
        company.alice.run(&["sync"])?.ok()?;
        company.controller.kill()?;
        company.host_mut(1).kill()?;

        company.host_mut(1).start_again()?;

        ensure!(company.stranger.reach(company.host(1).node.v4, 22)? == Reach::Silent);
        company.alice.knock("web-1", "tcp/22", &[])?;
        company.host(1).opens(company.alice.node.v4, "tcp:22")?;
        Ok(())
    });
}

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
fn a_token_redeemed_twice_at_once_makes_one_member() {
    in_lab(|lab| {
        let company = Company::found(lab, 1, POLICY)?;
        let token = company.operator.token("user", "bob", &[])?;
        let machine = lab.node("bob", 22)?;

        let outcomes: Vec<_> = thread::scope(|scope| {
            let running: Vec<_> = ["one", "two", "three"]
                .into_iter()
                .map(|name| {
                    let (machine, token) = (machine.clone(), token.clone());
                    scope.spawn(move || Member::stranger(&machine, name).run(&["join", &token]))
                })
                .collect();
            running
                .into_iter()
                .map(|one| one.join().unwrap())
                .collect::<Result<_>>()
        })?;

        let mut codes: Vec<i32> = outcomes.iter().map(|outcome| outcome.code).collect();
        codes.sort_unstable();
        ensure!(codes == [0, 1, 1], "{outcomes:#?}");
        let enrolled = company
            .auditor
            .audit(&["--kind", "enrolled", "--user", "bob"])?;
        same("enrolments of bob", &enrolled.len(), &1)
    });
}

#[test]
fn an_expired_a_spent_and_an_invented_token_are_refused() {
    in_lab(|lab| {
        let company = Company::found(lab, 0, POLICY)?;
        let machine = lab.node("bob", 22)?;
        let token = company.operator.token("user", "bob", &[])?;
        Member::join(&machine, "bob", &token)?;

        Member::stranger(&machine, "again")
            .run(&["join", &token])?
            .code(1)?;
        let short = company
            .operator
            .run(&[
                "token", "create", "--role", "user", "--name", "carol", "--ttl", "1s",
            ])?
            .ok()?;
        let short = short
            .text()
            .split_whitespace()
            .find(|word| word.starts_with("postern1."))
            .map(str::to_owned);
        let short = short.ok_or_else(|| anyhow::anyhow!("no token"))?;
        wait::until_instant(wait::now() + Duration::from_millis(2100));
        Member::stranger(&machine, "late")
            .run(&["join", &short])?
            .code(1)?;
        let invented = Member::stranger(&machine, "inventor").run(&["join", "postern1.AAAA"])?;
        ensure!(
            invented.code == 1 || invented.code == 2 || invented.code == 64,
            "{invented:?}"
        );
        Ok(())
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
        company.apply(SHARED, "without alice")?;

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

#[test]
fn stock_fwknop_opens_with_the_stanza_that_a_users_profile_exports() {
    in_lab(|lab| {
        let company = Company::found(lab, 2, POLICY)?;
        company.alice.run(&["sync"])?.ok()?;

        let rc = company
            .alice
            .run(&["profile", "export", "--format", "fwknoprc"])?
            .ok()?;
        fwknop_with_rc(
            &company.alice.node,
            &rc.stdout,
            "web-2",
            &["-A", "tcp/22", "-a", "203.0.113.4", "-U", "alice"],
        )?;

        company.host(2).opens([203, 0, 113, 4], "tcp:22")?;
        Ok(())
    });
}

#[test]
fn the_audit_answers_who_opened_what_when_and_where_by_every_filter() {
    in_lab(|lab| {
        let company = Company::found(lab, 2, &format!("{POLICY}{SHARED}"))?;
        let alice = company.alice.node.v4.to_string();
        company.alice.knock("web-1", "tcp/22", &[])?;
        company.host(1).opens(company.alice.node.v4, "tcp:22")?;
        shared_knock(
            &company.stranger,
            company.host(2),
            &["-a", "203.0.113.5", "-U", "bob"],
        )?;
        company.host(2).opens([203, 0, 113, 5], "tcp:22")?;
        company
            .auditor
            .audit_until(&["--kind", "grant-opened", "--host", "web-2"])?;

        let grant = company
            .auditor
            .audit_until(&["--kind", "grant-opened", "--host", "web-1"])?;
        for (field, wanted) in [
            ("user", "alice"),
            ("stanza", "alice-ssh"),
            ("source", &alice),
            ("opened", &alice),
            ("host", "web-1"),
        ] {
            same(field, &text(&grant, field), &wanted)?;
        }
        ensure!(grant.to_string().contains("tcp/22"), "{grant}");

        let count =
            |filters: &[&str]| Ok::<_, anyhow::Error>(company.auditor.audit(filters)?.len());
        let opened = ["--kind", "grant-opened"];
        same("all grants", &count(&opened)?, &2)?;
        same(
            "of alice",
            &count(&[&opened, ["--user", "alice"].as_slice()].concat())?,
            &1,
        )?;
        same(
            "of bob",
            &count(&[&opened, ["--user", "bob"].as_slice()].concat())?,
            &1,
        )?;
        same("of nobody", &count(&["--user", "carol"])?, &0)?;
        same(
            "from her",
            &count(&[&opened, ["--source", &alice].as_slice()].concat())?,
            &1,
        )?;
        same(
            "from the network",
            &count(&[&opened, ["--source", "192.0.2.0/24"].as_slice()].concat())?,
            &2,
        )?;
        same(
            "opened for 203.0.113.5",
            &count(&[&opened, ["--source", "203.0.113.5"].as_slice()].concat())?,
            &1,
        )?;
        same("limit", &count(&["--limit", "1"])?, &1)?;
        same(
            "since an hour",
            &count(&[&opened, ["--since", "1h"].as_slice()].concat())?,
            &2,
        )?;
        same(
            "until an hour ago",
            &count(&[&opened, ["--until", "1h"].as_slice()].concat())?,
            &0,
        )?;
        let table = company
            .auditor
            .run(&["audit", "list", "--user", "alice"])?
            .ok()?;
        ensure!(
            table.stdout.contains("grant-opened") && table.stdout.contains("web-1"),
            "{}",
            table.stdout
        );
        Ok(())
    });
}

#[test]
fn who_may_not_may_not() {
    in_lab(|lab| {
        let company = Company::found(lab, 1, POLICY)?;
        let file = company
            .operator
            .node
            .write("again.conf", POLICY)?
            .display()
            .to_string();

        for member in [&company.auditor, &company.alice] {
            member
                .run(&["policy", "apply", &file, "-m", "mine"])?
                .code(1)?;
            member
                .run(&["token", "create", "--role", "operator"])?
                .code(1)?;
            member.run(&["host", "ban", "web-1"])?.code(1)?;
        }
        company.alice.run(&["audit", "list"])?.code(1)?;
        let nobody = Member::stranger(&company.stranger, "nobody").run(&["host", "list"])?;
        ensure!(nobody.code != 0, "{nobody:?}");
        Ok(())
    });
}

#[test]
fn a_banned_host_is_cut_off_at_once_and_cannot_come_back() {
    in_lab(|lab| {
        let mut company = Company::found(lab, 2, POLICY)?;

        company.operator.run(&["host", "ban", "web-2"])?.ok()?;
        wait::until("web-2 to be gone", wait::SOON, || {
            let hosts = company.operator.hosts()?;
            let banned = hosts.iter().find(|host| text(host, "name") == "web-2");
            Ok(banned.is_none_or(|host| {
                host.get("connected").and_then(serde_json::Value::as_bool) == Some(false)
            }))
        })?;

        company.host_mut(2).start_again()?;
        company
            .apply(&POLICY.replace("20", "25"), "after the ban")
            .err();
        let shown = company.operator.run(&["host", "show", "web-2", "--json"])?;
        ensure!(
            !shown.stdout.contains("\"connected\":true"),
            "{}",
            shown.stdout
        );
        company.auditor.audit_until(&["--kind", "banned"])?;
        Ok(())
    });
}

#[test]
fn without_a_controller_commands_end_with_3_and_unknown_names_with_1() {
    in_lab(|lab| {
        let mut company = Company::found(lab, 1, POLICY)?;
        company.operator.run(&["host", "show", "nobody"])?.code(1)?;
        company
            .alice
            .run(&["knock", "nobody", "-A", "tcp/22"])?
            .code(1)?;
        company.operator.run(&["host", "shwo"])?.code(2)?;

        company.controller.kill()?;

        company.operator.run(&["host", "list"])?.code(3)?;
        company.auditor.run(&["audit", "list"])?.code(3)?;
        Ok(())
    });
}

fn shared_knock(from: &Node, host: &Agent, more: &[&str]) -> Result<()> {
    fwknop(
        from,
        host.node.v4,
        &[&["-A", "tcp/22"], more, SHARED_ARGS].concat(),
    )?;
    Ok(())
}

/// A packet of the shared key that no host has seen: sent where nobody listens, and caught there.
fn sealed_elsewhere(lab: &harness::Lab, company: &Company) -> Result<Vec<u8>> {
    let nowhere = lab.node("nowhere", 99)?;
    let capture = Capture::start(&nowhere, "udp port 62201")?;
    fwknop(
        &company.alice.node,
        nowhere.v4,
        &[&["-A", "tcp/22", "-s"], SHARED_ARGS].concat(),
    )?;
    Ok(capture.nth(1)?.payload)
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
    for entry in std::fs::read_dir(dir)?.flatten() {
        if entry.path().is_file() {
            all.extend(std::fs::read(entry.path())?);
        }
    }
    Ok(all)
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack
        .windows(needle.len())
        .any(|window| window == needle)
}
