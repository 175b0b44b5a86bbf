//! Who is in the fleet, who may what, and what the auditor is told.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use harness::postern::{Member, binary};
use harness::shell::run;
use harness::{Result, in_lab, wait};
use suite::{Company, POLICY, SHARED, same, shared_knock, text};
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
        let mut enrolled = company.auditor.audit(&["--kind", "enrolled"])?;
        enrolled.retain(|event| text(event, "reason").contains("bob"));
        same("enrolments of bob", &enrolled.len(), &1)
    });
}

/// Kills a join after so many milliseconds, and says whether it had come to its end before.
fn killed_after(mut command: Command, ms: u64) -> Result<bool> {
    let mut joining = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    wait::until_instant(wait::now() + Duration::from_millis(ms));
    let has_ended = joining.try_wait()?.is_some();
    joining.kill()?;
    joining.wait()?;
    Ok(has_ended)
}

#[test]
fn a_join_that_is_killed_at_any_moment_is_done_again_with_the_same_token() {
    in_lab(|lab| {
        let company = Company::found(lab, 0, POLICY)?;
        let machine = lab.node("new", 22)?;
        let mut count = 0;
        for role in ["user", "host"] {
            let mut ended = 0;
            for step in 0..60 {
                let name = format!("{role}-{step}");
                let token = company.operator.token(role, &name, &[])?;
                let person = Member::stranger(&machine, &name);
                let command = || {
                    if role == "user" {
                        return person.command(&["join", &token]);
                    }
                    let mut command = machine.command(binary("postern-agent")?);
                    command.args(["join", "--token", &token, "--state"]);
                    command.arg(machine.dir.join(&name));
                    Ok(command)
                };
                ended += usize::from(killed_after(command()?, step * 4)?);

                let again = run(&mut command()?)?;
                ensure!(again.code == 0, "{name} after {} ms: {again:?}", step * 4);
                count += 1;
                // Some more, for those that ended early by chance.
                if ended == 3 {
                    break;
                }
            }
        }
        let members = company.operator.run(&["member", "list", "--json"])?.ok()?;
        let members = members.json_lines()?;
        let new = members.iter().filter(|row| text(row, "name").contains('-'));
        same("members", &new.count(), &count)
    });
}

/// A desktop with its keyring, and a machine that was off after she joined: no certificate is left.
const DESKTOP: &str = "\
set -euo pipefail
tree=$1 postern=$2 token=$3 here=$PWD/desktop
mkdir -m 700 $here $here/home $here/run
export XDG_RUNTIME_DIR=$here/run DBUS_SESSION_BUS_ADDRESS=unix:path=$here/run/bus
echo \"<busconfig><type>session</type><listen>$DBUS_SESSION_BUS_ADDRESS</listen><auth>EXTERNAL</auth><policy \
context='default'><allow send_destination='*' eavesdrop='true'/><allow eavesdrop='true'/><allow own='*'/></policy></busconfig>\" >$here/bus.conf
in_desktop() {
    exec env HOME=$here/home LD_LIBRARY_PATH=$(echo $tree/usr/lib/*-linux-gnu) PATH=$PATH:$tree/usr/bin \"$@\"
}
in_desktop dbus-daemon --nofork --config-file=$here/bus.conf & bus=$!
until [[ -S $here/run/bus ]]; do sleep 0.02; done
printf password | in_desktop gnome-keyring-daemon --unlock --components=secrets --foreground >/dev/null 2>&1 & keyring=$!
trap 'kill $keyring $bus' EXIT
until in_desktop dbus-send --session --print-reply --dest=org.freedesktop.DBus / \
    org.freedesktop.DBus.NameHasOwner string:org.freedesktop.secrets 2>/dev/null | grep -q true; do sleep 0.02; done
$postern join - --keyring <<<$token
rm -r $here/run/postern
$postern sync
$postern knock web-1 --wait 5
ls $here/run/postern/*/certificate.json
ls $POSTERN_PROFILE
";

#[test]
fn a_user_joins_into_her_keyring_and_renews_and_knocks_with_the_keys_in_it() {
    in_lab(|lab| {
        let company = Company::found(lab, 1, POLICY)?;
        let _ssh = company.hosts[0].node.serve_tcp(22)?;
        let words = [
            "token",
            "create",
            "--role",
            "user",
            "--name",
            "alice",
            "--key-name",
            "laptop",
        ];
        let token = company.operator.run(&words)?.ok()?.stdout;
        let laptop = Member::stranger(&lab.node("laptop", 22)?, "alice");
        let postern = binary("postern")?;
        let tree = postern.ancestors().map(|dir| dir.join("keyring"));
        let tree = tree.into_iter().find(|tree| tree.join("complete").exists());
        let tree = tree.context("run tests/keyring.sh first, as `make test` does")?;

        let mut desktop = laptop.node.command("timeout");
        desktop
            .env("POSTERN_PROFILE", &laptop.profile)
            .args(["60", "bash", "-c", DESKTOP, "desktop"]);
        let ran = run(desktop.arg(tree).arg(postern).arg(token.trim()))?.ok()?;

        let ran = ran.says("with the key laptop")?;
        let ran = ran.says("tcp/22 of web-1 open after ")?;
        let ran = ran.says("/certificate.json\n")?;
        let left = "\ndirectory.bin\njoining.json\nmembership.json\ntrust.json\n";
        ensure!(ran.stdout.ends_with(left), "{ran:?}");
        Ok(())
    });
}

#[test]
fn an_auditor_completes_the_names_of_the_fleet() {
    in_lab(|lab| {
        let company = Company::found(lab, 2, POLICY)?;
        let completed = |words: &[&str]| -> Result<String> {
            let ran = company
                .auditor
                .run(&[&["complete", "--"], words].concat())?;
            Ok(ran.ok()?.stdout.trim().replace('\n', " "))
        };
        for (words, names) in [
            (&["audit", "list", "--host", "we"][..], "web-1 web-2"),
            (&["who-can", "--user", "al"], "alice"),
            (&["audit", "list", "--stanza", ""], "alice-ssh"),
            (&["can", "alice", "role"], "role=web"),
            (&["member", "show", "host/web-1"], "host/web-1"),
        ] {
            same(&words.join(" "), &completed(words)?, &names.to_owned())?;
        }
        Ok(())
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
fn a_host_that_is_renamed_and_moved_goes_on_and_its_users_knock_by_the_new_name() {
    in_lab(|lab| {
        let mut company = Company::found(lab, 1, POLICY)?;
        let (operator, alice) = (&company.operator, &company.alice);
        let wrong = ["host", "set", "web-1", "--address", "203.0.113.9"];
        operator.run(&wrong)?.ok()?;
        let there = company.host(1).node.v4.to_string();
        operator
            .run(&["host", "set", "web-1", "--address", &there])?
            .ok()?;

        operator.run(&["host", "rename", "web-1", "www-1"])?.ok()?;

        operator.hosts_in_sync(1)?;
        alice.run(&["sync"])?.ok()?;
        alice.knock("www-1", "tcp/22", &[])?;
        company.host(1).opens(alice.node.v4, "tcp:22")?;
        let opened = ["--kind", "grant-opened", "--host", "www-1"];
        company.auditor.audit_until(&opened)?;
        // It says who it is by the certificate and the name that it has.
        company.host_mut(1).start_again()?;
        company.operator.hosts_in_sync(1)?;
        company.auditor.audit_until(&["--kind", "read"])?;
        let agent = company.host(1);
        let state = agent.state.display().to_string();
        for command in ["status", "doctor"] {
            let program = binary("postern-agent")?.display().to_string();
            let said = agent.node.run(&[&program, command, "--state", &state])?;
            let is_said = said.stdout.contains("www-1 (joined as web-1)");
            ensure!(is_said, "{command}: {}", said.stdout);
        }
        let rows = company
            .auditor
            .run(&["audit", "list", "--host", "www-1"])?
            .ok()?;
        ensure!(rows.stdout.contains("web-1 (now www-1)"), "{}", rows.stdout);
        Ok(())
    });
}

#[test]
fn a_users_keys_are_rotated_with_a_host_away_and_she_opens_before_between_and_after() {
    in_lab(|lab| {
        let mut company = Company::found(lab, 1, POLICY)?;
        company.host_mut(1).kill()?;
        let rotate = ["profile", "rotate", "--wait", "1s"];
        let waits = company.alice.run(&rotate)?.code(4)?;
        ensure!(waits.stderr.contains("web-1"), "{}", waits.stderr);
        company.host_mut(1).start_again()?;
        company.operator.hosts_in_sync(1)?;

        let (alice, host) = (&company.alice, company.host(1));
        alice.knock("web-1", "tcp/22", &[])?;
        host.opens(alice.node.v4, "tcp:22")?;
        let switch = ["profile", "rotate", "--wait", "20s", "--keep-old"];
        alice.run(&switch)?.ok()?;
        alice.knock("web-1", "tcp/22", &[])?;
        let opened = ["--kind", "grant-opened"];
        wait::until("grants of both keys", wait::SOON, || {
            let opened = company.auditor.audit(&opened)?;
            let keys: BTreeSet<_> = opened.iter().map(|event| text(event, "key")).collect();
            Ok(keys.len() == 2)
        })?;
        alice.run(&["profile", "rotate", "--wait", "20s"])?.ok()?;
        alice.knock("web-1", "tcp/22", &[])?;
        host.opens(alice.node.v4, "tcp:22")?;
        let shown = company
            .operator
            .run(&["member", "show", "alice", "--json"])?;
        let shown: serde_json::Value = serde_json::from_str(&shown.ok()?.stdout)?;
        let keys = shown.get("keys").and_then(|keys| keys.as_array());
        same("keys of alice", &keys.map(Vec::len), &Some(1))
    });
}

#[test]
fn a_hosts_keys_are_rotated_and_a_user_with_the_directory_of_before_still_opens() {
    in_lab(|lab| {
        let mut company = Company::found(lab, 1, POLICY)?;
        company.alice.run(&["sync"])?.ok()?;
        let program = binary("postern-agent")?.display().to_string();
        let state = company.host(1).state.display().to_string();
        let certificate = company.host(1).state.join("certificate.json");
        let former = fs::read(&certificate)?;
        let rotate = [&*program, "rotate-keys", "--state", &state, "--wait", "20s"];
        company.host(1).node.run(&rotate)?.ok()?;
        company.operator.hosts_in_sync(1)?;

        // She has no controller, and so the host's key of before; also after a kill -9 of the host.
        company.controller.kill()?;
        company.alice.knock("web-1", "tcp/22", &[])?;
        company.host(1).opens(company.alice.node.v4, "tcp:22")?;
        let waits = [&*program, "rotate-keys", "--state", &state, "--wait", "0s"];
        company.host(1).node.run(&waits)?.code(3)?;
        let begun = company.host(1).state.join("rotating.json");
        wait::until("the next keys", wait::SOON, || Ok(begun.exists()))?;
        company.host_mut(1).kill()?;
        // As whoever renewed it in the moment before: of a key that has ended, and no reason to lock itself.
        fs::write(&certificate, former)?;
        company.host_mut(1).start_again()?;
        company.alice.knock("web-1", "tcp/22", &[])?;
        company.host(1).opens(company.alice.node.v4, "tcp:22")?;

        // What was asked for meanwhile goes on by itself.
        company.controller.start_again()?;
        let operator = &company.operator;
        let rotated = |times| {
            wait::until("other keys by themselves", wait::SOON, || {
                let log = company.host(1).log();
                Ok(log.matches("this host has other keys now").count() == times)
            })
        };
        rotated(1)?;
        operator.run(&["member", "rotate", "host/web-1"])?.ok()?;
        rotated(2)?;
        operator.hosts_in_sync(1)?;
        company.alice.run(&["sync"])?.ok()?;
        company.alice.knock("web-1", "tcp/22", &[])?;
        wait::until("grants of both keys", wait::SOON, || {
            let opened = company.auditor.audit(&["--kind", "grant-opened"])?;
            let keys: BTreeSet<_> = opened.iter().map(|event| text(event, "key")).collect();
            Ok(keys.len() == 2)
        })?;
        let shown = operator.run(&["member", "show", "host/web-1", "--json"])?;
        let shown: serde_json::Value = serde_json::from_str(&shown.ok()?.stdout)?;
        let keys = shown.get("keys").and_then(|keys| keys.as_array());
        same("keys of web-1", &keys.map(Vec::len), &Some(1))
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
        let of_nobody = company.auditor.run(&["audit", "list", "--user", "carol"])?;
        of_nobody.code(1)?.says("no user `carol`")?;
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
