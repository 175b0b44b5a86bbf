//! The scenes, in the order of the seed's story.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use harness::capture::Capture;
use harness::fwknop::fwknop;
use harness::service::{Reach, Session};
use harness::{Node, Result, wait};
use serde_json::Value;

use crate::stage::{Host, SHARED_HMAC_KEY, SHARED_KEY, Stage, TIMEOUT_SECS};
use crate::story::{Story, secs};

/// How late a hole may close, and how late the harness may notice on a busy machine.
const CLOSING_SLACK: Duration = Duration::from_secs(3);

/// How soon after `policy apply` a user whose stanza is gone must be refused.
const REVOCATION: Duration = Duration::from_secs(1);

/// Plays every scene.
pub(crate) fn play(stage: &mut Stage, story: &mut Story) -> Result<()> {
    closed(stage, story)?;
    let capture = Capture::start(&stage.web_1.node, "udp port 62201")?;
    let (session, opened) = knock(stage, story)?;
    let packet = capture.nth(1)?.payload;
    replay(stage, story, &packet)?;
    closing(stage, story, session, opened)?;
    shared_key(stage, story, &capture)?;
    revoked(stage, story)?;
    killed(stage, story)?;
    audit(stage, story)?;
    capture.stop()?;
    Ok(())
}

fn closed(stage: &Stage, story: &mut Story) -> Result<()> {
    story.scene("Closed: one line of policy hides port 22 on every host");
    let before = stage.alice.node.reach(stage.web_1.node.v4, 22)?;
    ensure!(
        before == Reach::Open,
        "before there is a policy port 22 should be open, is {before:?}"
    );
    story.fact("without a policy nothing is hidden: port 22 answers");
    stage.apply_policy(story)?;
    for host in stage.hosts() {
        expect(&stage.alice.node, host, Reach::Silent)?;
    }
    story.fact("web-1, web-2 and db-1: a connection to port 22 is answered by silence");
    story.terminal("web-1", "postern-agent status", &firewall(&stage.web_1)?);
    Ok(())
}

/// What the status of a host says about its packet filter.
fn firewall(host: &Host) -> Result<String> {
    let program = harness::postern::binary("postern-agent")?;
    let (program, state) = (
        program.to_string_lossy(),
        host.agent.state.to_string_lossy(),
    );
    let status = host
        .node
        .run(&[&program, "status", "--state", &state])?
        .ok()?;
    let lines = status.stdout.lines();
    let about = lines
        .skip_while(|line| !line.starts_with("firewall"))
        .enumerate()
        .take_while(|(number, line)| *number == 0 || line.starts_with(' '));
    Ok(about.map(|(_, line)| line).collect::<Vec<_>>().join("\n"))
}

fn knock(stage: &Stage, story: &mut Story) -> Result<(Session, Instant)> {
    story.scene("Knock: one packet, and the port is open for one address");
    let words = ["knock", "web-1", "-A", "tcp/22"];
    let knocked = stage.alice.run(&words)?.ok()?;
    let sent = wait::now();
    story.terminal("alice", "postern knock web-1 -A tcp/22", &knocked.text());
    stage.web_1.agent.opens(stage.alice.node.v4, "tcp:22")?;
    let opened = wait::now();
    story.fact(&format!(
        "the hole was seen {} after the client ended",
        secs(sent.elapsed())
    ));
    expect(&stage.alice.node, &stage.web_1, Reach::Open)?;
    for hole in stage.web_1.node.holes()? {
        story.terminal("web-1", "its holes", &hole);
    }
    story.fact("alice reaches port 22 of web-1");
    let mut session = stage.alice.node.session(stage.web_1.node.v4, 22)?;
    session.talk()?;
    story.fact("and keeps a session there");
    expect(&stage.mallory, &stage.web_1, Reach::Silent)?;
    expect(&stage.alice.node, &stage.web_2, Reach::Silent)?;
    expect(&stage.alice.node, &stage.db_1, Reach::Silent)?;
    story.fact("for mallory web-1 is still closed, and for alice the other hosts are");
    Ok((session, opened))
}

fn replay(stage: &Stage, story: &mut Story, packet: &[u8]) -> Result<()> {
    story.scene("Replay: mallory heard the packet and sends it to all three hosts");
    story.say(&format!(
        "the packet as tcpdump caught it: {} bytes",
        packet.len()
    ));
    stage.replay_everywhere(&stage.mallory, packet)?;
    let event = stage
        .ann
        .audit_until(&["--kind", "replay", "--host", "web-1"])?;
    story.fact(&format!("web-1 knows it: {}", line(&event)));
    for host in stage.hosts() {
        expect(&stage.mallory, host, Reach::Silent)?;
        ensure!(
            !host.agent.has_hole(stage.mallory.v4, "tcp:22")?,
            "{} opened for mallory",
            host.node.name
        );
    }
    for host in [&stage.web_2, &stage.db_1] {
        expect(&stage.alice.node, host, Reach::Silent)?;
    }
    story
        .fact("nothing opened, for anyone, anywhere; for web-2 and db-1 it is noise (another key)");
    Ok(())
}

fn closing(stage: &Stage, story: &mut Story, mut session: Session, opened: Instant) -> Result<()> {
    story.scene("The hole closes, the session stays");
    let took = closes(&stage.alice.node, &stage.web_1, opened)?;
    story.fact(&format!(
        "{} after it opened, port 22 is silent again",
        secs(took)
    ));
    session.talk()?;
    story.fact("the session that began in time still answers");
    session.close();
    Ok(())
}

fn shared_key(stage: &Stage, story: &mut Story, capture: &Capture) -> Result<()> {
    story.scene("A key that several hosts share, and bob's stock fwknop client");
    let keys = ["--key-rijndael", SHARED_KEY, "--key-hmac", SHARED_HMAC_KEY];
    let mut words = vec!["-A", "tcp/22", "-s", "-U", "bob"];
    words.extend(keys);
    let seen = capture.datagrams()?.len();
    fwknop(&stage.bob, stage.web_1.node.v4, &words)?;
    story.terminal("bob", "fwknop -A tcp/22 -s -D web-1 ...", "");
    stage.web_1.agent.opens(stage.bob.v4, "tcp:22")?;
    expect(&stage.bob, &stage.web_1, Reach::Open)?;
    story.fact("web-1 won the claim at the controller and opened");

    let packet = capture.nth(seen + 1)?.payload;
    stage.replay_everywhere(&stage.mallory, &packet)?;
    for host in [&stage.web_2, &stage.db_1] {
        let name = &host.node.name;
        let event = stage
            .ann
            .audit_until(&["--kind", "replay-elsewhere", "--host", name])?;
        story.fact(&format!(
            "{name}, where the key verifies too: {}",
            line(&event)
        ));
        ensure!(host.node.holes()?.is_empty(), "{name} opened something");
    }
    for host in stage.hosts() {
        ensure!(
            !host.agent.has_hole(stage.mallory.v4, "tcp:22")?,
            "{} opened for mallory",
            host.node.name
        );
        expect(&stage.mallory, host, Reach::Silent)?;
    }
    story.fact("the message granted once in the whole fleet");
    Ok(())
}

fn revoked(stage: &Stage, story: &mut Story) -> Result<()> {
    story.scene("Revoked: alice's stanza is removed while she is in");
    stage.alice.knock("web-1", "tcp/22", &[])?;
    stage.web_1.agent.opens(stage.alice.node.v4, "tcp:22")?;
    let mut session = stage.alice.node.session(stage.web_1.node.v4, 22)?;
    session.talk()?;
    story.fact("alice has knocked, the hole is open and she has a session");

    let ran = stage.apply_policy_without_alice()?;
    let applied = wait::now();
    story.terminal(
        "olga",
        "postern policy apply policy-without-alice.conf -m 'alice has left'",
        &ran.text(),
    );
    wait::until("her hole to close", REVOCATION, || {
        Ok(!stage.web_1.agent.has_hole(stage.alice.node.v4, "tcp:22")?)
    })?;
    let took = applied.elapsed();
    story.fact(&format!(
        "her hole was closed {} after the apply",
        secs(took)
    ));
    ensure!(
        session.is_dead(Duration::from_secs(2))?,
        "her session still answers"
    );
    story.fact("her session is dead too");
    for host in stage.hosts() {
        stage.alice.knock(&host.node.name, "tcp/22", &[])?;
    }
    for host in stage.hosts() {
        expect(&stage.alice.node, host, Reach::Silent)?;
        ensure!(
            !host.agent.has_hole(stage.alice.node.v4, "tcp:22")?,
            "{} opened for alice",
            host.node.name
        );
    }
    story.fact("she knocks again on all three hosts: refused");
    Ok(())
}

fn killed(stage: &mut Stage, story: &mut Story) -> Result<()> {
    story.scene("kill -9: the agent dies with a hole open");
    stage.apply_policy(story)?;
    stage.alice.knock("db-1", "tcp/22", &[])?;
    stage.db_1.agent.opens(stage.alice.node.v4, "tcp:22")?;
    let opened = wait::now();
    expect(&stage.alice.node, &stage.db_1, Reach::Open)?;
    stage.db_1.agent.kill()?;
    story.fact("db-1 is open for alice, and its agent has been killed");
    let took = closes(&stage.alice.node, &stage.db_1, opened)?;
    ensure!(
        stage.db_1.node.holes()?.is_empty(),
        "a hole is left on db-1"
    );
    story.fact(&format!(
        "the kernel closed the hole by itself {} after it opened",
        secs(took)
    ));
    expect(&stage.mallory, &stage.db_1, Reach::Silent)?;
    story.fact("and port 22 stays hidden without the agent");
    stage.db_1.agent.start_again()?;
    story.fact("the agent is back and remembers");
    Ok(())
}

fn audit(stage: &Stage, story: &mut Story) -> Result<()> {
    story.scene("The auditor's answer: who opened what");
    let events = stage
        .ann
        .audit(&["--kind", "grant-opened", "--user", "alice"])?;
    for (host, number) in [(&stage.web_1, 2), (&stage.db_1, 1)] {
        let name = &host.node.name;
        let grants = events
            .iter()
            .filter(|event| text(event, "host") == name && text(event, "stanza") == "alice-ssh")
            .filter(|event| text(event, "opened") == stage.alice.node.v4.to_string())
            .count();
        ensure!(
            grants == number,
            "{grants} grants of alice on {name} in the audit instead of {number}"
        );
    }
    let shown = stage.ann.run(&["audit", "list", "--limit", "40"])?.ok()?;
    story.terminal("ann", "postern audit list --limit 40", &shown.stdout);
    story.fact("alice opened web-1 twice and db-1 once; each grant is there exactly once");
    let served: usize = stage.hosts().iter().map(|host| host.ssh.served()).sum();
    story.say(&format!(
        "(connections that reached a listener in this story: {served})"
    ));
    let refused = stage
        .ann
        .run(&["policy", "apply", "/dev/null", "-m", "x"])?;
    ensure!(refused.code != 0, "an auditor could apply a policy");
    story.fact("ann may ask, but not change: her own policy apply is refused");
    Ok(())
}

/// Insists on how port 22 of `host` looks from `from`.
fn expect(from: &Node, host: &Host, wanted: Reach) -> Result<()> {
    let seen = from.reach(host.node.v4, 22)?;
    ensure!(
        seen == wanted,
        "port 22 of {} looks {seen:?} from {}, not {wanted:?}",
        host.node.name,
        from.name
    );
    Ok(())
}

/// Waits until port 22 is silent, which must be when the timeout says, neither much sooner nor
/// later.
fn closes(from: &Node, host: &Host, opened: Instant) -> Result<Duration> {
    let timeout = Duration::from_secs(TIMEOUT_SECS);
    let limit = (timeout + CLOSING_SLACK).saturating_sub(opened.elapsed());
    wait::until("the hole to close", limit, || {
        Ok(!host.agent.has_hole(from.v4, "tcp:22")?)
    })?;
    let took = opened.elapsed();
    ensure!(
        took + Duration::from_secs(2) > timeout,
        "the hole closed after {took:?}, long before its {timeout:?}"
    );
    expect(from, host, Reach::Silent).context("after its time")?;
    Ok(took)
}

fn text<'a>(event: &'a Value, field: &str) -> &'a str {
    event.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// An event in one line of the story.
fn line(event: &Value) -> String {
    let (kind, user, reason) = (
        text(event, "kind"),
        text(event, "user"),
        text(event, "reason"),
    );
    let source = text(event, "source");
    format!("{kind}, user {user}, packet from {source}: {reason}")
}
