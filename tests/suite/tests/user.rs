//! The user's day: her port opens and she is told so, or it does not and she is told why.

use std::io::Write as _;
use std::process::Stdio;

use anyhow::{Context as _, ensure};
use harness::postern::{Agent, Member};
use harness::service::Reach;
use harness::shell::run;
use harness::{Node, Ran, Result, in_lab, machine, wait};
use nix::sys::signal::Signal;
use suite::{Company, POLICY, same, text};

const KNOCK: [&str; 4] = ["knock", "web-1", "-A", "tcp/22"];

/// The policy, with holes that end soon.
fn short() -> String {
    POLICY.replace("TIMEOUT 20", "TIMEOUT 3")
}

/// What `--json` says of the one port.
fn row(ran: &Ran) -> Result<serde_json::Value> {
    ran.json_lines()?.pop().context("there is no line")
}

/// Runs `postern` as `member` on a machine whose clock is off by so much, as "-181s".
fn with_clock(member: &Member, off: &str, words: &[&str]) -> Result<Ran> {
    machine::require(&["faketime"])?;
    let typed = member.command(words)?;
    let mut command = member.node.command("faketime");
    command.args(["-f", off]);
    command.arg(typed.get_program()).args(typed.get_args());
    command.env("POSTERN_PROFILE", &member.profile);
    run(&mut command)
}

/// Waits until what a knock opened on a host has ended, whoever closes it.
fn closed_again(from: &Node, host: &Node) -> Result<()> {
    wait::until("the hole to end", wait::SOON, || {
        Ok(from.reach(host.v4, 22)? == Reach::Silent)
    })?;
    Ok(())
}

#[test]
fn a_knock_waits_until_the_port_answers_and_says_after_how_long() {
    in_lab(|lab| {
        let company = Company::found(lab, 2, POLICY)?;
        let _ssh = [
            company.host(1).node.serve_tcp(22)?,
            company.host(2).node.serve_tcp(22)?,
        ];

        let opened = company.alice.run(&KNOCK)?.ok()?;
        let several = company
            .alice
            .run(&["knock", "role=web", "-A", "tcp/22", "--json"])?
            .ok()?;
        let quiet = company.alice.run(&["knock", "web-1", "--quiet"])?.ok()?;

        opened.says("tcp/22 of web-1 open after ")?;
        let hosts: Vec<String> = several
            .json_lines()?
            .iter()
            .map(|row| format!("{} {}", text(row, "host"), text(row, "state")))
            .collect();
        same(
            "what is open",
            &hosts,
            &vec!["web-1 open".to_owned(), "web-2 open".to_owned()],
        )?;
        same("what a quiet knock prints", &quiet.text(), &String::new())
    });
}

#[test]
fn a_knock_that_is_refused_says_why_and_what_to_do() {
    in_lab(|lab| {
        let company = Company::found(lab, 1, POLICY)?;
        let _ssh = company.host(1).node.serve_tcp(22)?;
        let knock = |more: &[&str]| {
            company
                .alice
                .run(&[&KNOCK[..2], more, &["--json"]].concat())
        };

        let other_port = row(&knock(&["-A", "tcp/80"])?.code(1)?)?;
        let late = row(&knock(&["-A", "tcp/22", "--time-offset-minus", "3m"])?.code(1)?)?;
        let sender = row(&knock(&["-A", "tcp/22", "-s"])?.code(1)?)?;

        for (row, because, hint) in [
            (
                &other_port,
                "tcp/80 is not in OPEN_PORTS",
                "on web-1 you may open tcp/22",
            ),
            (&late, "s old; at most 120 s are allowed", "clock"),
            (&sender, "REQUIRE_SOURCE_ADDRESS", "leave -s out"),
        ] {
            ensure!(text(row, "because").contains(because), "{row}");
            ensure!(text(row, "hint").contains(hint), "{row}");
            same("its state", &text(row, "state"), &"denied")?;
        }
        Ok(())
    });
}

#[test]
fn a_clock_that_is_three_minutes_off_is_blamed_and_nothing_else() {
    in_lab(|lab| {
        let company = Company::found(lab, 1, POLICY)?;
        let _ssh = company.host(1).node.serve_tcp(22)?;

        let ran = with_clock(&company.alice, "-181s", &KNOCK)?.code(1)?;

        let blamed = "this machine's clock is 3m behind the controller's";
        ensure!(ran.stderr.contains(blamed), "{}", ran.text());
        Ok(())
    });
}

#[test]
fn a_clock_that_is_a_day_off_is_what_it_is_because_of_and_stands_in_the_json_too() {
    in_lab(|lab| {
        let company = Company::found(lab, 1, POLICY)?;
        let _ssh = company.host(1).node.serve_tcp(22)?;
        company.alice.run(&["sync"])?.ok()?;
        for off in ["-1d", "+2d"] {
            let ran = with_clock(&company.alice, off, &[&KNOCK[..], &["--json"]].concat())?;
            let row = row(&ran.code(1)?)?;
            ensure!(text(&row, "because").contains("clock is"), "{off}: {row}");
            ensure!(!text(&row, "hint").is_empty(), "{off}: {row}");
        }
        Ok(())
    });
}

#[test]
fn of_several_stanzas_the_one_that_lists_the_port_says_why_not() {
    in_lab(|lab| {
        let source = "\nNAME near\nHOSTS role=web\nSOURCE 198.51.100.0/24\nREQUIRE_USERNAME alice\n\
                      OPEN_PORTS tcp/80\n";
        let company = Company::found(lab, 1, &(POLICY.to_owned() + source))?;
        let words = ["knock", "web-1", "-A", "tcp/80", "--wait", "1", "--json"];

        let row = row(&company.alice.run(&words)?.code(1)?)?;

        let own = company.alice.node.v4;
        let because = format!("source {own} is not in SOURCE");
        ensure!(text(&row, "because").contains(&because), "{row}");
        ensure!(text(&row, "hint").contains("other addresses"), "{row}");
        Ok(())
    });
}

#[test]
fn a_list_is_of_now_and_a_host_that_is_being_installed_anew_is_named_as_such() {
    in_lab(|lab| {
        // alice joined a moment ago, before the policy was applied.
        let company = Company::found(lab, 2, POLICY)?;
        company.alice.run(&["list"])?.ok()?.says("web-1")?;
        company
            .hosts
            .first()
            .context("no host")?
            .signal(Signal::SIGSTOP)?;

        let words = [
            "member",
            "replace",
            "host/web-1",
            "--lost",
            "-m",
            "disk died",
        ];
        let made = company.operator.run(&words)?.ok()?;
        ensure!(made.stdout.lines().count() == 1, "{made:?}");
        ensure!(made.stdout.starts_with("postern1."), "{made:?}");
        made.says("Locked host web-1.")?;

        let knocked = company.alice.run(&KNOCK)?.code(1)?;
        ensure!(!knocked.text().contains("did you mean"), "{knocked:?}");
        knocked.says("web-1 is locked or being installed anew")?;
        let rows = company.alice.run(&["list", "--json"])?.ok()?.json_lines()?;
        let locked =
            |row: &serde_json::Value| (text(row, "host").to_owned(), row["locked"] == true);
        let shown: Vec<_> = rows.iter().map(locked).collect();
        let expected = [("web-2".to_owned(), false), ("web-1".to_owned(), true)];
        same("what is listed", &shown, &expected.to_vec())?;
        company
            .hosts
            .first()
            .context("no host")?
            .signal(Signal::SIGCONT)
    });
}

#[test]
fn a_stanza_of_the_rc_file_gives_run_proxy_and_ssh_their_host_and_what_cannot_run_is_told_apart() {
    in_lab(|lab| {
        let (host, user) = (lab.node("host", 10)?, lab.node("user", 20)?);
        let _ssh = host.serve_tcp(22)?;
        let access =
            "SOURCE ANY\nKEY a-key\nHMAC_KEY an-hmac-key\nOPEN_PORTS tcp/22\nPROTECT tcp/22\n";
        let agent = Agent::alone(&host, access)?;
        let person = Member::stranger(&user, "nobody");
        let server = host.v4;
        let rc = format!(
            "[office]\nSPA_SERVER {server}\nACCESS tcp/22\nALLOW_IP {}\nKEY a-key\nUSE_HMAC Y\nHMAC_KEY an-hmac-key\n",
            user.v4
        );
        user.write(".fwknoprc", &rc)?;

        let run = |command: &str| person.run(&["run", "-n", "office", "--", command]);
        run("true")?.ok()?;
        run("/dev/null")?
            .code(126)?
            .says("cannot start /dev/null")?;
        run("no-such-command")?
            .code(127)?
            .says("there is no command")?;
        let proxied = person.run(&["proxy", "-n", "office", "22"])?;
        ensure!(proxied.code == 0, "{proxied:?}");
        // ssh comes to somebody who is no sshd.
        let ssh = person.run(&["ssh", "-n", "office", "office", "true"])?;
        ensure!(ssh.code == 255, "{ssh:?}");

        let again = person
            .run(&["knock", "-n", "office", "--wait", "5", "--json"])?
            .ok()?;
        same("an open port", &row(&again)?["was_open"], &true.into())?;
        drop(agent);
        Ok(())
    });
}

#[test]
fn a_host_that_is_away_is_said_to_be_offline_and_a_rule_of_its_owner_is_named() {
    in_lab(|lab| {
        let mut company = Company::found(lab, 1, &short())?;
        let host = company.host(1).node.clone();
        let _ssh = host.serve_tcp(22)?;
        let drop = "add table inet theirs; add chain inet theirs input \
                    { type filter hook input priority 10; }; \
                    add rule inet theirs input tcp dport 22 drop";
        host.run(&["nft", drop])?.ok()?;
        wait::until("the agent to see the rule", wait::SOON, || {
            let row = row(&company
                .alice
                .run(&[&KNOCK[..], &["--json"]].concat())?
                .code(1)?)?;
            Ok(text(&row, "because").contains("a rule of its owner drops what comes"))
        })?;
        host.run(&["nft", "delete table inet theirs"])?.ok()?;

        company.host_mut(1).kill()?;
        closed_again(&company.alice.node, &host)?;
        wait::until("the host to be offline", wait::SOON, || {
            let row = row(&company
                .alice
                .run(&[&KNOCK[..], &["--json"]].concat())?
                .code(1)?)?;
            Ok(text(&row, "because").contains("web-1 is offline"))
        })?;
        Ok(())
    });
}

#[test]
fn a_host_that_joined_anew_is_met_under_its_new_key_and_it_is_said() {
    in_lab(|lab| {
        let mut company = Company::found(lab, 1, &short())?;
        let _ssh = company.host(1).node.serve_tcp(22)?;
        company.alice.run(&KNOCK)?.ok()?;

        company.host_mut(1).kill()?;
        let host = company.host(1).node.clone();
        closed_again(&company.alice.node, &host)?;
        let replaced = ["member", "replace", "host/web-1"];
        let token = company
            .operator
            .run(&replaced)?
            .ok()?
            .stdout
            .trim()
            .to_owned();
        let again = lab.node("web-1b", 31)?;
        let _ssh = again.serve_tcp(22)?;
        let _agent = Agent::joined(&again, &token)?;
        company.operator.hosts_in_sync(1)?;

        // The directory is of this minute, and of the host that is gone.
        let knocked = company.alice.run(&KNOCK)?.ok()?;
        ensure!(
            knocked.stderr.contains("web-1 has another key"),
            "{}",
            knocked.text()
        );
        Ok(())
    });
}

#[test]
fn a_new_address_of_a_host_reaches_a_user_with_her_next_knock() {
    in_lab(|lab| {
        let company = Company::found(lab, 1, &short())?;
        let host = company.host(1).node.clone();
        let _ssh = host.serve_tcp(22)?;
        let moves = |address: &str| {
            let words =
                format!("ip -4 address flush dev eth0 && ip address add {address}/24 dev eth0");
            host.run(&["sh", "-c", &words])?.ok()?;
            let set = ["host", "set", "web-1", "--address", address];
            company.operator.run(&set)?.ok()
        };
        let first = host.v4.to_string();
        company.alice.run(&KNOCK)?.ok()?;
        closed_again(&company.alice.node, &host)?;

        // The directory is of this minute: what does not answer is asked about.
        moves("192.0.2.91")?;
        let json = [&KNOCK[..], &["--json"]].concat();
        let ran = company.alice.run(&json)?.ok()?;
        same("where", &text(&row(&ran)?, "address"), &"192.0.2.91")?;
        let told = format!("from {first} to 192.0.2.91; knocking again");
        ensure!(ran.stderr.contains(&told), "{}", ran.text());

        // It is older than that: it is fetched before the knock.
        moves(&first)?;
        let ran = with_clock(&company.alice, "+40s", &json)?.ok()?;
        same("where", &text(&row(&ran)?, "address"), &first.as_str())?;
        let told = format!("from 192.0.2.91 to {first}");
        ensure!(ran.stderr.contains(&told), "{}", ran.text());
        ensure!(!ran.stderr.contains("knocking again"), "{}", ran.text());
        Ok(())
    });
}

#[test]
fn a_command_that_runs_has_its_port_open_where_the_host_has_moved_to() {
    in_lab(|lab| {
        let company = Company::found(lab, 1, &short())?;
        let host = company.host(1).node.clone();
        let _ssh = host.serve_tcp(22)?;
        // Twice as long as a hole stands: by then only packets to the new address have opened it.
        let script = "touch begun; until [ -e moved ]; do sleep 0.1; done; sleep 6
                      exec timeout 2 bash -c 'exec 3<>/dev/tcp/192.0.2.91/22; head -c 4 <&3; exit 7'";
        let words = ["run", "web-1", "-A", "tcp/22", "--", "bash", "-c", script];
        let mut command = company.alice.command(&words)?;
        let running = command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let dir = &company.alice.node.dir;
        wait::until("the command to run", wait::SOON, || {
            Ok(dir.join("begun").exists())
        })?;

        let moves = "ip -4 address flush dev eth0 && ip address add 192.0.2.91/24 dev eth0";
        host.run(&["sh", "-c", moves])?.ok()?;
        let set = ["host", "set", "web-1", "--address", "192.0.2.91"];
        company.operator.run(&set)?.ok()?;
        company.alice.node.write("moved", "")?;

        let ended = running.wait_with_output()?;
        let told = String::from_utf8_lossy(&ended.stderr).into_owned();
        same("how it ended", &ended.status.code(), &Some(7))?;
        ensure!(told.contains("to 192.0.2.91"), "{told}");
        Ok(())
    });
}

#[test]
fn without_a_controller_a_knock_opens_and_a_port_that_does_not_answer_is_told() {
    in_lab(|lab| {
        let mut company = Company::found(lab, 1, POLICY)?;
        let _ssh = company.host(1).node.serve_tcp(22)?;
        company.alice.run(&KNOCK)?.ok()?;
        company.controller.kill()?;

        let began = wait::now();
        company
            .alice
            .run(&KNOCK)?
            .ok()?
            .says("tcp/22 of web-1 open after ")?;
        ensure!(began.elapsed().as_secs() < 3, "{:?}", began.elapsed());
        let silent = company
            .alice
            .run(&["knock", "web-1", "-A", "tcp/80"])?
            .code(1)?;
        ensure!(
            silent.stderr.contains("the controller could not be asked"),
            "{}",
            silent.text()
        );
        Ok(())
    });
}

#[test]
fn the_proxy_passes_through_and_a_command_has_its_port_open_for_as_long_as_it_runs() {
    in_lab(|lab| {
        let company = Company::found(lab, 1, &short())?;
        let _ssh = company.host(1).node.serve_tcp(22)?;
        let address = company.host(1).node.v4.to_string();

        let mut command = company.alice.command(&["proxy", "web-1", "22"])?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut proxy = command.spawn()?;
        proxy
            .stdin
            .take()
            .context("no stdin")?
            .write_all(b"said and heard\n")?;
        let heard = proxy.wait_with_output()?;
        let heard = String::from_utf8_lossy(&heard.stdout).into_owned();
        ensure!(heard.contains("said and heard"), "{heard}");

        // Twice as long as a hole stands, and it is open at the end.
        let connect = format!("sleep 7; exec 3<>/dev/tcp/{address}/22; head -c 4 <&3; exit 7");
        let words = [
            "run", "web-1", "-A", "tcp/22", "--", "timeout", "20", "bash", "-c", &connect,
        ];
        let ran = company.alice.run(&words)?.code(7)?;
        ensure!(!ran.stdout.is_empty(), "{}", ran.text());
        company
            .alice
            .run(&["run", "web-1", "-A", "tcp/80", "--", "touch", "never"])?
            .code(1)?;
        ensure!(!company.alice.node.dir.join("never").exists());
        Ok(())
    });
}

#[test]
fn a_user_sees_what_she_may_open_and_what_of_it_is_open() {
    in_lab(|lab| {
        let company = Company::found(lab, 2, POLICY)?;
        let _ssh = company.host(1).node.serve_tcp(22)?;
        company.alice.run(&KNOCK)?.ok()?;

        let listed = || company.alice.run(&["list", "--json"])?.ok()?.json_lines();
        wait::until("the grant to be known", wait::SOON, || {
            let rows = listed()?;
            let open = |row: &serde_json::Value| row["open"].as_array().map_or(0, Vec::len);
            Ok(rows.iter().map(open).collect::<Vec<_>>() == [1, 0])
        })?;
        let rows = listed()?;
        let own = company.alice.node.v4.to_string();
        ensure!(
            rows.iter().all(|row| row["labels"]["role"] == "web"),
            "{rows:?}"
        );
        same(
            "the address",
            &text(&rows[0]["open"][0], "address"),
            &own.as_str(),
        )?;
        company
            .alice
            .run(&["list", "number=2"])?
            .ok()?
            .says("web-2")?;
        company.alice.run(&["list", "number=3"])?.code(1)?;
        let nobody = Member::stranger(&company.stranger, "nobody");
        nobody
            .run(&["knock", "web-1"])?
            .code(1)?
            .says("postern join -")?;
        Ok(())
    });
}
