//! A fleet with two controllers, each with an operator and a host of its own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::ensure;
use harness::capture::Capture;
use harness::fwknop::fwknop;
use harness::postern::{Agent, Controller, Member, binary};
use harness::{Lab, Node, Postgres, Ran, Result, SPA_PORT, shell, wait};
use suite::{POLICY, SHARED, SHARED_ARGS, same, text};

use crate::said;

/// Under which role the older one is known to the server.
pub(crate) const OLDER: &str = "older";
/// And the newer.
pub(crate) const NEWER: &str = "newer";
/// From a change at one controller until it holds at the other.
const ACROSS: Duration = Duration::from_secs(3);

/// What else is asked at each, so that every statement behind it runs.
const ASKED: &[&[&str]] = &[
    &["policy", "history"],
    &["policy", "show"],
    &["policy", "render", "--host", "web-1"],
    &["host", "show", "web-1"],
    &["member", "list"],
    &["member", "show", "host/web-1"],
    &["token", "list"],
    &["audit", "list", "--host", "web-1", "--kind", "grant-opened"],
    &["audit", "list", "--kind", "enrolled"],
    &["report", "access-review"],
    &["who-can"],
    &["sink", "list"],
];
/// And beside each controller.
const ASKED_BESIDE: &[&[&str]] = &[&["status"], &["ca", "status"], &["sink", "list"]];

/// See the module.
pub(crate) struct Fleet {
    pub(crate) server: Postgres,
    older: PathBuf,
    newer: PathBuf,
    pub(crate) first: Controller,
    pub(crate) second: Controller,
    /// Of the first, of the second.
    operators: [Member; 2],
    hosts: [Agent; 2],
    /// A machine that nobody listens on.
    nowhere: Node,
    capture: Capture,
    stranger: Node,
    /// The newer has brought the schema up to date.
    is_migrated: bool,
    /// How often everything was done.
    round: usize,
}

// === impl Fleet ===

impl Fleet {
    /// Both controllers are older ones.
    pub(crate) fn found(lab: &Lab, older: &Path) -> Result<Self> {
        let server = Postgres::start()?;
        for role in [OLDER, NEWER] {
            server.sql("postgres", &format!("CREATE ROLE {role} SUPERUSER LOGIN"))?;
        }
        server.write_down()?;
        let database = server.database("fleet")?;
        let database = database.replace("user=postgres", &format!("user={OLDER}"));
        let first = Controller::start_over_by(older, &lab.node("control-a", 1)?, &database)?;
        let node = lab.node("control-b", 2)?;
        let second = Controller::join_over_by(older, &node, (&database, &first))?;
        let desk = lab.node("desk", 5)?;
        let operator = Member::join_as(&desk, "operator", &first.first_token)?;
        let other = Member::join(&desk, "olga", &second.token("owner", "olga", &[])?)?;
        let hosts = [
            Agent::joined(
                &lab.node("web-1", 11)?,
                &first.token("host", "web-1", &["role=web"])?,
            )?,
            Agent::joined(
                &lab.node("web-2", 12)?,
                &second.token("host", "web-2", &["role=web"])?,
            )?,
        ];
        let nowhere = lab.node("nowhere", 99)?;
        let capture = Capture::start(&nowhere, "udp port 62201")?;
        Ok(Self {
            server,
            older: older.to_owned(),
            newer: binary("postern-controller")?,
            first,
            second,
            operators: [operator, other],
            hosts,
            capture,
            nowhere,
            stranger: lab.node("stranger", 66)?,
            is_migrated: false,
            round: 0,
        })
    }

    /// The newer takes the second's place, while the first serves.
    pub(crate) fn upgrade_second(&mut self) -> Result<()> {
        let newer = self.newer.clone();
        same("ended", &self.second.stop()?, &0)?;
        serve_as(&mut self.second, &newer, (OLDER, NEWER))?;
        self.is_migrated = true;
        self.second.start_again()
    }

    pub(crate) fn upgrade_first(&mut self) -> Result<()> {
        let newer = self.newer.clone();
        same("ended", &self.first.stop()?, &0)?;
        serve_as(&mut self.first, &newer, (OLDER, NEWER))?;
        self.first.start_again()
    }

    /// Whoever goes back to the older is refused, or right.
    pub(crate) fn set_back_first(&mut self) -> Result<()> {
        let older = self.older.clone();
        self.first.stop()?;
        serve_as(&mut self.first, &older, (NEWER, OLDER))?;
        match self.first.start_again() {
            Ok(()) => {
                self.each_does_all("older again, newer")?;
                self.first.stop()?;
                self.rows_are_all_ours()?;
                said("the older may take its place again");
            }
            Err(error) => {
                let error = format!("{error:#}");
                ensure!(error.contains("which knows schemas up to"), "{error}");
                said("the older is refused from now on, and says why");
            }
        }
        Ok(())
    }

    /// No row counts as somebody else's.
    pub(crate) fn rows_are_all_ours(&self) -> Result<()> {
        let checked = self.second.run(&["check"])?;
        ensure!(!checked.text().contains("FAIL"), "{checked:?}");
        let unproven = self.server.sql(
            "fleet",
            "SELECT count(*) FROM meta WHERE key = 'rows_proven'",
        )?;
        same("noted that rows have their proofs", &unproven.trim(), &"1")
    }

    /// What is done at each holds at the other.
    pub(crate) fn each_does_all(&mut self, who: &str) -> Result<()> {
        self.round += 1;
        self.policy_of_each()?;
        self.locks_of_each()?;
        self.joined_at_each()?;
        self.claimed_once()?;
        for at in 0..2 {
            let place = format!("place=here-{}-{at}", self.round);
            let set = [
                "host", "set", "web-2", "--label", "role=web", "--label", &place,
            ];
            done(self.operator(at).run(&set)?)?;
        }
        self.looks_at_each()?;
        said(&format!(
            "{who}: each does what it should, and the other hears of it"
        ));
        Ok(())
    }

    /// Everything that is only asked.
    fn looks_at_each(&self) -> Result<()> {
        for (controller, operator) in [&self.first, &self.second].into_iter().zip(&self.operators) {
            operator.run(&["audit", "verify"])?.ok()?;
            for asked in ASKED {
                operator.run(asked)?.ok()?;
            }
            for asked in ASKED_BESIDE {
                controller.run(asked)?;
            }
            if controller.program() != self.newer && self.is_migrated {
                // It may serve, and does not know all of it.
                continue;
            }
            let checked = controller.run(&["check"])?;
            ensure!(!checked.text().contains("FAIL"), "{checked:?}");
            let archive = controller.node.dir.join(format!("{}.tar", self.round));
            let archive = archive.display().to_string();
            controller.run(&["backup", &archive])?;
        }
        Ok(())
    }

    /// The host at the other applies what is applied at one.
    fn policy_of_each(&mut self) -> Result<()> {
        for at in 0..2 {
            let seconds = 3 + self.round * 2 + at;
            let policy = [POLICY, SHARED].concat();
            let policy = policy.replace("TIMEOUT 5\n", &format!("TIMEOUT {seconds}\n"));
            // What is in force by what was applied at the other: it is what the next is made of.
            self.operator(at).run(&["policy", "show"])?;
            let before = self.hosts.each_ref().map(adopted);
            let since = wait::now();
            done(self.operator(at).apply(&policy, "another")?)?;
            wait::until("both hosts to apply it", ACROSS * 2, || {
                Ok(self
                    .hosts
                    .each_ref()
                    .map(adopted)
                    .iter()
                    .zip(&before)
                    .all(|(now, before)| now > before))
            })?;
            ensure!(since.elapsed() < ACROSS, "{:?}", since.elapsed());
        }
        Ok(())
    }

    /// The host at the other hears that it is locked at one, and that it is not any more.
    fn locks_of_each(&mut self) -> Result<()> {
        for at in 0..2 {
            let host = format!("host/web-{}", 2 - at);
            let reason = format!("reason-{}-{at}", self.round);
            done(
                self.operator(at)
                    .run(&["member", "lock", &host, "-m", &reason, "--wait", "1s"])?,
            )?;
            let log = || self.hosts.iter().map(Agent::log).collect::<String>();
            wait::until(
                "the host at the other to hear that it is locked",
                ACROSS,
                || Ok(log().contains(&reason)),
            )?;
            done(
                self.operator(at)
                    .run(&["member", "unlock", &host, "--wait", "1s"])?,
            )?;
        }
        for at in 0..2 {
            let name = format!("web-{}", at + 1);
            wait::until("each host to be in sync at its own", wait::SOON, || {
                let hosts = self.operator(at).hosts()?;
                let own = hosts.iter().find(|host| text(host, "name") == name);
                let says = |what| own.and_then(|host| host.get(what)?.as_bool()) == Some(true);
                Ok(says("connected") && says("in_sync"))
            })?;
        }
        Ok(())
    }

    /// Whoever joins at one is known at the other, and removed there.
    fn joined_at_each(&self) -> Result<()> {
        for (at, controller) in [&self.first, &self.second].into_iter().enumerate() {
            let name = format!("user-{}-{at}", self.round);
            let node = &self.operator(at).node;
            let token = self.operator(1 - at).token("user", &name, &[])?;
            // The token is of the one, and is taken to the other.
            let joined = Member::join(
                node,
                &name,
                &controller.token("user", &format!("{name}-b"), &[])?,
            )?;
            Member::join(node, &format!("{name}-a"), &token)?;
            joined.run(&["sync"])?.ok()?;
            let other = self.operator(1 - at);
            wait::until("the other to know who joined", ACROSS, || {
                Ok(other
                    .run(&["member", "list"])?
                    .ok()?
                    .stdout
                    .contains(&format!("{name}-b")))
            })?;
            done(other.run(&["member", "remove", &format!("user/{name}-b"), "-m", "left"])?)?;
        }
        Ok(())
    }

    /// Of one message at both hosts one wins, and the record of both is in the log of each.
    fn claimed_once(&mut self) -> Result<()> {
        wait::until_next_second();
        let count = |at: usize, kind: &str| {
            Ok::<_, anyhow::Error>(self.operator(at).audit(&["--kind", kind])?.len())
        };
        let before = (count(0, "grant-opened")?, count(0, "replay-elsewhere")?);
        let arguments = [&["-A", "tcp/22", "-s"], SHARED_ARGS].concat();
        fwknop(&self.stranger, self.nowhere.v4, &arguments)?;
        let packet = self.capture.nth(self.round)?.payload;
        for host in &self.hosts {
            self.stranger.send(host.node.v4, SPA_PORT, &packet)?;
        }
        for at in 0..2 {
            wait::until("one grant and one refusal in the log", wait::SOON, || {
                let now = (count(at, "grant-opened")?, count(at, "replay-elsewhere")?);
                Ok(now == (before.0 + 1, before.1 + 1))
            })?;
        }
        Ok(())
    }

    #[expect(clippy::indexing_slicing, reason = "there are two")]
    fn operator(&self, at: usize) -> &Member {
        &self.operators[at]
    }
}

/// How often it has put a policy in force.
fn adopted(host: &Agent) -> usize {
    host.log().matches("policy applied").count()
}

/// Done; whether hosts at the other have heard is not known to each version.
fn done(ran: Ran) -> Result<()> {
    const NOT_YET_HEARD: i32 = 4;
    match ran.code {
        0 | NOT_YET_HEARD => Ok(()),
        _ => ran.ok().map(drop),
    }
}

/// From its next start on it is this program, which the server knows by another role.
fn serve_as(controller: &mut Controller, program: &Path, (from, to): (&str, &str)) -> Result<()> {
    controller.will_be(program);
    let settings = controller.data.join("controller.toml");
    let mut edit = std::process::Command::new("sed");
    edit.arg("-i")
        .arg(format!("s/user={from}/user={to}/"))
        .arg(settings);
    shell::run(&mut edit)?.ok()?;
    Ok(())
}
