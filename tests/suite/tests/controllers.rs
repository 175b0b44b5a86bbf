//! A controller with two addresses, of which one goes away: who knows both goes on. Two controllers over one database:
//! what is done at one holds at the other.

use std::fs::{OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use harness::postern::{Agent, CONTROLLER_PORT, Controller, Member, binary};
use harness::{Lab, Node, Postgres, Result, in_lab, shell, wait};
use serde_json::Value;
use suite::{Company, POLICY, SHARED, same, shared_knock, text};

/// Beside the one of its node, 192.0.2.1.
const SECOND: &str = "192.0.2.2";
/// From the moment in which an address refuses, or a machine or a line is gone, until whoever is there knows and a host is
/// somewhere else: twenty seconds (`fleet::keep_alive`), and what a look and a session take.
const GONE: Duration = Duration::from_secs(22);

/// Where the host's agent is connected; `None` for nowhere.
fn connected(host: &Agent) -> Result<Option<String>> {
    let program = binary("postern-agent")?.display().to_string();
    let state = host.state.display().to_string();
    let status = host
        .node
        .run(&[&program, "status", "--json", "--state", &state])?;
    let status: Value = serde_json::from_str(&status.ok()?.stdout)?;
    let link = status.get("link").context("no link")?;
    let is_connected = link.get("is_connected").and_then(Value::as_bool) == Some(true);
    let known = link.get("controllers").and_then(Value::as_array);
    ensure!(known.is_some_and(|known| !known.is_empty()), "{status}");
    let at = link.get("controller").and_then(Value::as_str);
    Ok(at.filter(|_| is_connected).map(str::to_owned))
}

/// The controller's own packet filter does this with whoever asks at this address.
fn refuse_at(controller: &Node, address: &str, verdict: &str) -> Result<()> {
    let rules = format!(
        "table inet away {{\n chain input {{\n type filter hook input priority 0\n \
         ip daddr {address} tcp dport {CONTROLLER_PORT} {verdict}\n }}\n}}"
    );
    controller.run(&["nft", &rules])?.ok()?;
    Ok(())
}

/// A controller with two addresses, which all its members are told.
fn at_two_addresses(lab: &Lab) -> Result<(Controller, [String; 2])> {
    let mut controller = Controller::start(&lab.node("control", 1)?)?;
    let node = controller.node.clone();
    let add = format!(
        "ip addr add {SECOND}/24 dev $(ip -o -4 addr show to {} | awk '{{print $2; exit}}')",
        node.v4
    );
    node.run(&["sh", "-c", &add])?.ok()?;
    let both = [node.v4.to_string(), SECOND.to_owned()];
    let both = both.map(|address| format!("{address}:{CONTROLLER_PORT}"));
    let settings = controller.data.join("controller.toml");
    let mut settings = OpenOptions::new().append(true).open(settings)?;
    writeln!(settings, "controllers = {both:?}")?;
    controller.start_again()?;
    Ok((controller, both))
}

/// For longer than a host waits for word of a machine.
const BUSY: Duration = Duration::from_secs(21);

#[test]
fn a_host_stays_at_a_controller_that_is_busy_and_leaves_one_whose_machine_is_gone_within_twenty_seconds()
 {
    in_lab(|lab| {
        let (controller, both) = at_two_addresses(lab)?;
        let token = controller.token("host", "web-1", &["role=web"])?;
        let host = Agent::joined(&lab.node("web-1", 11)?, &token)?;
        let (first, _) = wait::some("a session", wait::SOON, || connected(&host))?;

        let signal = |name: &str| {
            let pid = controller.pid().to_string();
            controller.node.run(&["kill", name, &pid])?.ok()
        };
        signal("-STOP")?;
        std::thread::sleep(BUSY);
        let meanwhile = connected(&host);
        signal("-CONT")?;
        same("where it is", &meanwhile?, &Some(first.clone()))?;
        // It is heard again, in the session that it had.
        let token = controller.token("host", "web-2", &["role=web"])?;
        Agent::join(&lab.node("web-2", 12)?, &token)?.ok()?;
        let opened = controller.log().matches("session opened").count();
        same("sessions", &opened, &1)?;

        let (address, _) = first.rsplit_once(':').context("no port")?;
        refuse_at(&controller.node, address, "drop")?;
        let other = both.iter().find(|other| **other != first);
        wait::until("a session at the other address", GONE, || {
            Ok(connected(&host)?.as_ref() == other)
        })?;
        Ok(())
    });
}

#[test]
fn a_line_that_is_cut_without_a_word_is_known_at_both_ends_within_twenty_seconds_and_all_is_well_when_it_holds_again()
 {
    in_lab(|lab| {
        let company = Company::found(lab, 2, POLICY)?;
        let (controller, host) = (&company.controller.node, company.host(1));
        let address = host.node.v4;
        let rules = format!(
            "table inet cut {{\n chain in {{\n type filter hook input priority 0\n ip saddr {address} drop\n }}\n \
             chain out {{\n type filter hook output priority 0\n ip daddr {address} drop\n }}\n}}"
        );
        controller.run(&["nft", &rules])?.ok()?;

        let is_away = || -> Result<bool> {
            let hosts = company.operator.hosts()?;
            let this = hosts.iter().find(|host| text(host, "name") == "web-1");
            Ok(this.and_then(|host| host.get("connected")) == Some(&Value::Bool(false)))
        };
        let (mut at_host, mut at_controller) = (false, false);
        wait::until("both ends to know", GONE, || {
            at_host = at_host || connected(host)?.is_none();
            at_controller = at_controller || is_away()?;
            Ok(at_host && at_controller)
        })?;
        // Her key is of this host alone, which opens by itself.
        let elsewhere = ["-a", "203.0.113.9", "--no-check"];
        company.alice.knock("web-1", "tcp/22", &elsewhere)?;
        host.opens([203, 0, 113, 9], "tcp:22")?;

        let mend = ["nft", "delete", "table", "inet", "cut"];
        controller.run(&mend)?.ok()?;
        company.operator.hosts_in_sync(2)?;
        company
            .auditor
            .audit_until(&["--host", "web-1", "--source", "203.0.113.9"])?;
        Ok(())
    });
}

#[test]
fn host_and_people_go_on_at_the_other_address_of_a_controller_within_seconds_when_one_refuses() {
    in_lab(|lab| {
        let (controller, both) = at_two_addresses(lab)?;
        let operator = Member::join_as(&lab.node("desk", 5)?, "operator", &controller.first_token)?;
        let web = lab.node("web-1", 11)?;
        let token = operator.token("host", "web-1", &["role=web"])?;
        let host = Agent::joined(&web, &token)?;
        operator.apply(POLICY, "the first")?.ok()?;
        operator.hosts_in_sync(1)?;
        let (first, _) = wait::some("a session", wait::SOON, || connected(&host))?;
        ensure!(both.contains(&first), "{first}");

        let (address, _) = first.rsplit_once(':').context("no port")?;
        refuse_at(&controller.node, address, "reject with tcp reset")?;

        let other = both
            .iter()
            .find(|other| **other != first)
            .context("no other")?;
        wait::until("a session at the other address", GONE, || {
            Ok(connected(&host)?.as_ref() == Some(other))
        })?;
        // For people, too, whichever is theirs; and what they do reaches the host.
        operator
            .apply(&POLICY.replace("20", "30"), "the second")?
            .ok()?;
        operator.hosts_in_sync(1)?;
        let shown = operator.run(&["profile", "show"])?.ok()?;
        for address in &both {
            ensure!(shown.stdout.contains(address.as_str()), "{shown:?}");
        }
        same("still there", &connected(&host)?.as_ref(), &Some(other))
    });
}

/// From a change at one controller until it holds for a host at the other.
const ACROSS: Duration = Duration::from_secs(2);

/// Two controllers over the server's database, and an operator who knows the first only.
fn two(lab: &Lab, server: &Postgres) -> Result<(Controller, Controller, Member)> {
    let database = server.database("fleet")?;
    let first = Controller::start_over(&lab.node("control-a", 1)?, &database)?;
    let second = Controller::join_over(&lab.node("control-b", 2)?, &database, &first)?;
    let operator = Member::join_as(&lab.node("desk", 5)?, "operator", &first.first_token)?;
    Ok((first, second, operator))
}

fn authority(controller: &Controller) -> Result<String> {
    Ok(std::fs::read_to_string(
        controller.data.join("authority.json"),
    )?)
}

/// Lets every member know both, from its next session on.
fn tell_of_both(controllers: [&mut Controller; 2]) -> Result<[String; 2]> {
    let both = controllers
        .each_ref()
        .map(|it| format!("{}:{CONTROLLER_PORT}", it.node.v4));
    for controller in controllers {
        let settings = controller.data.join("controller.toml");
        let before = std::fs::read_to_string(&settings)?;
        std::fs::write(settings, format!("controllers = {both:?}\n{before}"))?;
        controller.start_again()?;
    }
    Ok(both)
}

/// From the death of the controller that sends until another goes on.
const SENDS_ON: Duration = Duration::from_secs(20);

/// Names of the records that a sink of type `file` has been sent, in their order.
fn sent(file: &Path) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let whole = text.lines().filter(|line| line.ends_with('}'));
    let names = whole.map(|line| {
        let record: Value = serde_json::from_str(line)?;
        let part = |name: &str| record.get(name).map(Value::to_string).unwrap_or_default();
        Ok([part("host"), part("epoch"), part("seq")].join(" "))
    });
    names.collect()
}

#[test]
fn of_two_controllers_with_the_same_sink_one_sends_and_the_other_goes_on_when_it_is_killed() {
    in_lab(|lab| {
        let server = Postgres::start()?;
        let database = server.database("fleet")?;
        let mut first = Controller::start_over(&lab.node("control-a", 1)?, &database)?;
        let mut second = Controller::join_over(&lab.node("control-b", 2)?, &database, &first)?;
        let file = first.node.dir.join("events.json");
        for controller in [&mut first, &mut second] {
            let settings = controller.data.join("controller.toml");
            let mut settings = OpenOptions::new().append(true).open(settings)?;
            writeln!(
                settings,
                "[[sink]]\nname = \"siem\"\ntype = \"file\"\npath = {file:?}\nfrom = \"beginning\""
            )?;
            controller.start_again()?;
        }
        let mut made = 0;
        let mut arrives = |by: &Controller, most: Duration| {
            let before = sent(&file)?.len();
            for _ in 0..3 {
                made += 1;
                by.token("host", &format!("host-{made}"), &[])?;
            }
            wait::until("the records at the sink", most, || {
                Ok(sent(&file)?.len() >= before + 3)
            })
        };
        arrives(&first, wait::SOON)?;
        arrives(&second, wait::SOON)?;
        // Whichever of them sends: each is killed once.
        for turn in 0..2 {
            // What was sent is noted within a second.
            std::thread::sleep(Duration::from_secs(2));
            let (gone, left) = match turn {
                0 => (&mut first, &mut second),
                _ => (&mut second, &mut first),
            };
            gone.kill()?;
            arrives(left, SENDS_ON)?;
            gone.start_again()?;
            arrives(gone, wait::SOON)?;
        }
        let sent = sent(&file)?;
        let once: std::collections::BTreeSet<_> = sent.iter().collect();
        same("each was sent once", &once.len(), &sent.len())
    });
}

#[test]
fn a_controller_that_joins_with_another_seal_key_is_refused_and_nothing_is_made() {
    in_lab(|lab| {
        let server = Postgres::start()?;
        let database = server.database("fleet")?;
        let _first = Controller::start_over(&lab.node("control-a", 1)?, &database)?;
        let node = lab.node("control-b", 2)?;
        let key = node.write("other.key", &"5a".repeat(32))?;
        std::fs::set_permissions(&key, Permissions::from_mode(0o600))?;
        let data = node.dir.join("data");

        let mut join = node.command(binary("postern-controller")?);
        join.args(["init", "--join", "--address", "b.example:7443"]);
        join.args(["--database", &database, "--seal-key-file"]);
        let refused = shell::run(join.arg(&key).arg("--data").arg(&data))?;

        refused.code(1)?.says("not the seal key of the database")?;
        ensure!(!data.join("controller.toml").exists(), "made");
        ensure!(!data.join("authority.json").exists(), "made");
        Ok(())
    });
}

#[test]
fn what_is_applied_locked_or_rotated_at_one_of_two_controllers_holds_at_the_other_and_a_host_goes_on_when_its_own_is_killed()
 {
    in_lab(|lab| {
        let server = Postgres::start()?;
        let (mut first, mut second, operator) = two(lab, &server)?;
        let web = lab.node("web-1", 11)?;
        let token = second.token("host", "web-1", &["role=web"])?;
        let mut host = Agent::joined(&web, &token)?;
        let at = wait::some("a session", wait::SOON, || connected(&host))?.0;
        same(
            "where",
            &at,
            &format!("{}:{CONTROLLER_PORT}", second.node.v4),
        )?;

        // The policy of one is the policy of the host at the other.
        operator.apply(POLICY, "the first")?.ok()?;
        host.wait_for("policy applied")?;
        operator.hosts_in_sync(1)?;

        let since = wait::now();
        let lock = [
            "member",
            "lock",
            "host/web-1",
            "-m",
            "stolen",
            "--wait",
            "10s",
        ];
        // What it says at the one is heard by who waits at the other.
        operator.run(&lock)?.ok()?;
        host.wait_for("stolen")?;
        ensure!(since.elapsed() < ACROSS, "{:?}", since.elapsed());
        operator
            .run(&["member", "unlock", "host/web-1", "--wait", "10s"])?
            .ok()?;
        operator.hosts_in_sync(1)?;

        // The authorities are those of the database.
        same("joined", &authority(&second)?, &authority(&first)?)?;
        first.run(&["ca", "rotate"])?;
        wait::until("the other to follow", wait::SOON, || {
            Ok(authority(&second)? == authority(&first)?)
        })?;

        // A start beside the other is none of a database that was put back.
        let both = tell_of_both([&mut first, &mut second])?;
        for log in [first.log(), second.log()] {
            ensure!(!log.contains("is not the one of the last run"), "{log}");
        }
        let at = wait::some("a session", wait::SOON, || connected(&host))?.0;
        let (gone, other) = if at == both[0] {
            (&mut first, &both[1])
        } else {
            (&mut second, &both[0])
        };
        is_listed(&operator, &[(&at, "serving", 1), (other, "serving", 0)])?;
        gone.kill()?;
        wait::until("a session at the other", GONE, || {
            Ok(connected(&host)?.as_ref() == Some(other))
        })?;
        is_listed(&operator, &[(&at, "silent", 0), (other, "serving", 1)])?;
        gone.start_again()?;
        is_listed(&operator, &[(&at, "serving", 0), (other, "serving", 1)])?;
        operator.hosts_in_sync(1)?;
        operator.run(&["audit", "verify"])?.ok()?;
        Ok(())
    });
}

/// `postern controllers` comes to say of each, in whatever order, its address, state and hosts.
fn is_listed(operator: &Member, expected: &[(&str, &str, u64)]) -> Result<()> {
    let mut expected: Vec<_> = expected
        .iter()
        .map(|(address, state, hosts)| format!("{address} {state} {hosts}"))
        .collect();
    expected.sort_unstable();
    wait::until("what is listed of controllers", wait::SOON, || {
        let listed = operator.run(&["controllers"])?.ok()?;
        let rows = listed.stdout.lines().skip(1).map(str::split_whitespace);
        let mut rows: Vec<_> = rows
            .map(|words| words.take(3).collect::<Vec<_>>().join(" "))
            .collect();
        rows.sort_unstable();
        Ok(rows == expected)
    })?;
    Ok(())
}

/// The claims, grants and refusals that the log has, and what hosts have said of themselves.
fn counted(operator: &Member, kind: &str) -> Result<usize> {
    Ok(operator.audit(&["--all", "--kind", kind])?.len())
}

#[test]
fn a_host_goes_back_to_its_first_controller_when_that_is_there_again_and_loses_and_doubles_nothing()
{
    in_lab(|lab| {
        let server = Postgres::start()?;
        let (mut first, mut second, operator) = two(lab, &server)?;
        let both = tell_of_both([&mut first, &mut second])?;
        let web = lab.node("web-1", 11)?;
        let token = operator.token("host", "web-1", &["role=web"])?;
        Agent::join(&web, &token)?.ok()?;
        // By hand, the first is the second controller's.
        let order = [&both[1], &both[0]];
        let toml = format!("controller = {order:?}\ncontroller_return_secs = 2\n");
        let toml = web.write("agent.toml", &toml)?.display().to_string();
        let host = Agent::of_member(&web, &["--config", &toml])?;
        let is_at = |at: &String| Ok(connected(&host)?.as_ref() == Some(at));
        operator
            .apply(&[POLICY, SHARED].concat(), "the first")?
            .ok()?;
        operator.hosts_in_sync(1)?;
        wait::until("a session at the first of its order", GONE, || {
            is_at(&both[1])
        })?;
        second.kill()?;
        wait::until("a session at the other", GONE, || is_at(&both[0]))?;
        let status = host.status()?;
        ensure!(status.contains("goes back to"), "{status}");
        let before = host.log().matches("policy applied").count();

        second.start_again()?;
        // Somebody knocks all the while.
        let stranger = lab.node("stranger", 66)?;
        let mut knocks = 0;
        wait::until("a session at its first again", wait::SOON, || {
            shared_knock(&stranger, &host, &["-a", "203.0.113.9"])?;
            knocks += 1;
            is_at(&both[1])
        })?;
        shared_knock(&stranger, &host, &["-a", "203.0.113.9"])?;
        knocks += 1;

        wait::until("every knock in the log", wait::SOON, || {
            Ok(counted(&operator, "grant-opened")? >= knocks)
        })?;
        same("grants", &counted(&operator, "grant-opened")?, &knocks)?;
        for kind in [
            "host-set-back",
            "host-cloned",
            "audit-gap",
            "audit-conflict",
        ] {
            same(kind, &counted(&operator, kind)?, &0)?;
        }
        same(
            "policies put in force",
            &host.log().matches("policy applied").count(),
            &before,
        )?;
        ensure!(host.log().contains("back at an earlier controller"));
        operator.hosts_in_sync(1)?;
        operator.run(&["audit", "verify"])?.ok()?;
        // It stays there.
        same("still there", &connected(&host)?.as_ref(), &Some(&both[1]))
    });
}

#[test]
fn after_a_compromise_at_one_controller_a_host_at_the_other_goes_on_by_what_it_was_told_and_who_was_away_is_named()
 {
    in_lab(|lab| {
        let server = Postgres::start()?;
        let (first, second, operator) = two(lab, &server)?;
        let web = lab.node("web-1", 11)?;
        let mut host = Agent::joined(&web, &second.token("host", "web-1", &["role=web"])?)?;
        let mut away = Agent::joined(
            &lab.node("web-2", 12)?,
            &second.token("host", "web-2", &["role=web"])?,
        )?;
        operator.apply(POLICY, "the first")?.ok()?;
        operator.hosts_in_sync(2)?;
        away.kill()?;
        let follows = |what: &str| {
            wait::until(what, wait::SOON, || {
                Ok(authority(&second)? == authority(&first)?)
            })
        };

        first.run(&["ca", "rotate"])?;
        follows("the other to follow")?;
        // It is told when it comes.
        host.kill()?;
        host.start_again()?;
        wait::until("the host to know the next authority", wait::SOON, || {
            let status = first.run(&["ca", "status"])?;
            Ok(!status.stdout.contains("web-1"))
        })?;
        let rotated = first.run(&["ca", "rotate", "--compromised"])?;
        let said = format!("{}{}", rotated.stdout, rotated.stderr);
        ensure!(said.contains("web-2") && !said.contains("web-1"), "{said}");
        follows("the other to follow the compromise")?;

        // What is open by a certificate of the one that leaked ends, and is begun again by another.
        host.wait_for("an authority that counts no more")?;
        let at = format!("{}:{CONTROLLER_PORT}", second.node.v4);
        wait::until("a session at the other again", GONE, || {
            Ok(connected(&host)?.as_ref() == Some(&at))
        })?;
        // Whoever was not told believes neither of them.
        away.start_again()?;
        away.wait_for("controller")?;
        ensure!(connected(&away)?.is_none(), "it believes one");
        same("still there", &connected(&host)?.as_ref(), &Some(&at))
    });
}
