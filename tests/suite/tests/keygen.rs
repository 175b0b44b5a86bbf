//! A pair of `postern keygen`, with both servers and both clients.

use anyhow::{Context as _, ensure};
use harness::fwknop::{Fwknopd, fwknop_with_rc};
use harness::postern::{Agent, Member};
use harness::service::Reach;
use harness::{Lab, Node, Result, in_lab, wait};

/// A host, a user, and what is to be put on either.
struct Pair {
    host: Node,
    person: Member,
    access: String,
    rc: String,
}

impl Pair {
    fn new(lab: &Lab) -> Result<Self> {
        let (host, user) = (lab.node("host", 10)?, lab.node("user", 20)?);
        let person = Member::stranger(&user, "nobody");
        let words = [
            "keygen",
            "lab",
            "--server",
            &host.v4.to_string(),
            "-A",
            "tcp/22",
            "-f",
            "20",
        ];
        let dir = user.dir.display().to_string();
        person
            .run(&[&words[..], &["--directory", &dir]].concat())?
            .ok()?;
        let read = |name: &str| std::fs::read_to_string(user.dir.join(name)).context("not written");
        Ok(Self {
            access: read("lab.access.conf")?,
            rc: read("lab.fwknoprc")?,
            host,
            person,
        })
    }
}

#[test]
fn a_made_pair_opens_on_our_agent_for_our_client_and_for_fwknops() {
    in_lab(|lab| {
        let pair = Pair::new(lab)?;
        let _ssh = pair.host.serve_tcp(22)?;
        let access = format!("PROTECT tcp/22\n\n{}", pair.access);
        let agent = Agent::alone(&pair.host, &access)?;
        let user = &pair.person.node;
        ensure!(user.reach(pair.host.v4, 22)? == Reach::Silent);
        user.write(".fwknoprc", &pair.rc)?;

        let own = user.v4.to_string();
        let words = ["knock", "-n", "lab", "-a", &own, "--wait", "5"];
        pair.person.run(&words)?.ok()?.says("open after ")?;
        fwknop_with_rc(user, &pair.rc, "lab", &["-a", "203.0.113.9"])?;

        agent.opens([203, 0, 113, 9], "tcp:22")?;
        Ok(())
    });
}

#[test]
fn a_made_pair_opens_on_fwknopd_for_our_client_and_for_fwknops() {
    in_lab(|lab| {
        let pair = Pair::new(lab)?;
        let server = Fwknopd::start(&pair.host, &pair.access, "")?;
        let user = &pair.person.node;
        user.write(".fwknoprc", &pair.rc)?;

        pair.person
            .run(&["knock", "-n", "lab", "-a", "203.0.113.1"])?
            .ok()?;
        fwknop_with_rc(user, &pair.rc, "lab", &["-a", "203.0.113.2"])?;

        for address in ["203.0.113.1", "203.0.113.2"] {
            wait::until("fwknopd to open", wait::SOON, || {
                Ok(pair.host.rules()?.iter().any(|rule| rule.contains(address)))
            })?;
        }
        server.stop()
    });
}
