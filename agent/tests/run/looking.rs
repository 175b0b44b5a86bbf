//! What an operator asks of an agent on its host.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use agent::report::Report;
use nix::sys::signal::Signal;

use super::host::{AGENT, on_host};

#[test]
fn a_running_agent_says_how_it_is_over_a_socket_of_its_own_and_counts_into_its_log() {
    on_host("FW_ACCESS_TIMEOUT 600", |host| {
        let state = host.state();
        let status = ["status", "--state", state.to_str().unwrap()];
        let mut agent = host.start(&["--interface", "lo"]);
        host.knock();
        agent.wait_for("grant opened");

        let text = host.output(AGENT, &status);
        let json = host.output(AGENT, &[&status[..], &["--json"]].concat());
        agent.0.signal(Signal::SIGUSR1).unwrap();
        agent.wait_for("counters: ");

        assert!(text.contains("\ngeneration   1, in force for "), "{text}");
        assert!(text.contains("\ngrants open  1\n"), "{text}");
        let captures = text.lines().filter(|line| line.starts_with("capture "));
        let captures: Vec<&str> = captures.collect();
        let [capture] = captures.as_slice() else {
            panic!("{text}");
        };
        assert!(capture.starts_with("capture      lo, Ethernet, "), "{text}");
        assert!(capture.ends_with(" frames, 0 packets lost, up"), "{text}");
        let report: Report = serde_json::from_str(&json).unwrap();
        assert_eq!((report.generation, report.grants_open), (1, 1));
        assert_eq!(report.drift, None);
        assert!(report.counters.contains(&("granted".to_owned(), 1)));
        agent.stop();
        let words = [&[AGENT][..], &status].concat();
        let ran = host.node.run(&words).unwrap();
        assert!(ran.stderr.contains("no agent answers at"), "{}", ran.stderr);
    });
}

#[test]
fn what_is_open_is_said_for_whom_and_until_when_and_the_audit_says_it_after_the_end_too() {
    on_host("FW_ACCESS_TIMEOUT 600", |host| {
        let state = host.state();
        let ask = |words: &[&str]| {
            let state = ["--state", state.to_str().unwrap()];
            host.output(AGENT, &[words, &state].concat())
        };
        let mut agent = host.start(&["--interface", "lo"]);
        host.knock();
        agent.wait_for("grant opened");

        let table = ask(&["grants"]);
        let grants = objects(&ask(&["grants", "--json"]));
        let nobodys = ask(&["grants", "--json", "--user", "nobody-else"]);
        agent.stop();
        let opened = objects(&ask(&[
            "audit",
            "--json",
            "--kind",
            "grant-opened",
            "--since",
            "1h",
        ]));
        let all = ask(&["audit"]);
        let closed = ask(&["grants", "--json"]);

        assert!(table.starts_with("USER "), "{table}");
        let [grant] = grants.as_slice() else {
            panic!("{grants:?}");
        };
        assert_eq!(grant["ports"], serde_json::json!(["tcp/22"]));
        assert_eq!(grant["opened"], "127.0.0.1");
        assert_eq!(grant["state"], "open");
        let left = grant["remaining_secs"].as_u64().unwrap();
        assert!((200..=300).contains(&left), "{left}");
        assert_eq!((nobodys.as_str(), closed.as_str()), ("", ""));
        let [event] = opened.as_slice() else {
            panic!("{opened:?}");
        };
        assert_eq!(event["grant_id"], grant["grant_id"]);
        assert!(all.contains(" agent-stopped"), "{all}");
        assert_eq!(all.lines().count(), host.kinds().len(), "{all}");
    });
}

#[test]
fn a_reload_is_answered_with_what_came_of_it() {
    on_host("FW_ACCESS_TIMEOUT 600", |host| {
        let state = host.state();
        let file = host.node.write("agent.toml", "").unwrap();
        let reload = || {
            let words = [AGENT, "reload", "--state", state.to_str().unwrap()];
            host.node.run(&words).unwrap()
        };
        assert_eq!(reload().code, 1);
        let config = ["--interface", "lo", "--config", file.to_str().unwrap()];
        let mut agent = host.start(&config);

        let same = reload();
        host.write_access("FW_ACCESS_TIMEOUT 600", "tcp/80");
        host.node
            .write("agent.toml", "max_age_secs = 60\n")
            .unwrap();
        let other = reload();
        host.write_access("FW_ACCESS_TIMEOUT never", "tcp/80");
        host.node.write("agent.toml", "max_age = 60\n").unwrap();
        let broken = reload();
        agent.stop();

        assert!(same.stdout.contains("generation 1 stays"), "{same:?}");
        assert!(
            other.stdout.contains("in force as generation 2"),
            "{other:?}"
        );
        assert!(
            other.stdout.contains("Needs a restart: max_age_secs"),
            "{other:?}"
        );
        assert_eq!((same.code, other.code, broken.code), (0, 0, 64));
        let told = broken.stderr;
        assert!(told.contains("access.conf:5: "), "{told}");
        assert!(
            told.contains("agent.toml:1: max_age: unknown key"),
            "{told}"
        );
        assert_eq!(host.kinds().last().unwrap(), "agent-stopped");
    });
}

#[test]
fn doctor_finds_a_host_well_that_is_and_says_what_fails_on_one_that_is_not() {
    on_host("FW_ACCESS_TIMEOUT 600", |host| {
        let (state, access) = (host.state(), host.access());
        let file = host.node.write("agent.toml", "").unwrap();
        let doctor = || {
            let mut words = vec![
                AGENT,
                "doctor",
                "--json",
                "--config",
                file.to_str().unwrap(),
            ];
            words.extend(["--state", state.to_str().unwrap()]);
            words.extend(["--access-file", access.to_str().unwrap()]);
            host.node.run(&words).unwrap()
        };

        let before = doctor();
        let mut agent = host.start(&["--interface", "lo"]);
        host.knock();
        agent.wait_for("grant opened");
        let running = doctor();
        host.write_access("FW_ACCESS_TIMEOUT never", "tcp/22");
        let broken = doctor();
        agent.stop();
        let stopped = doctor();

        for (ran, code) in [(&before, 0), (&running, 0), (&broken, 1), (&stopped, 1)] {
            assert_eq!(ran.code, code, "{ran:?}");
        }
        let verdicts = |ran: &harness::Ran, check: &str| {
            let checks = objects(&ran.stdout);
            let of_check = checks.iter().filter(|found| found["check"] == check);
            let verdicts = of_check.map(|found| found["verdict"].as_str().unwrap().to_owned());
            verdicts.collect::<Vec<_>>()
        };
        assert_eq!(verdicts(&before, "agent"), ["warn"]);
        assert_eq!(verdicts(&before, "journal"), ["warn"]);
        for check in [
            "configuration",
            "agent",
            "capture",
            "firewall",
            "drift",
            "policy",
        ] {
            assert_eq!(verdicts(&running, check), ["ok"], "{check} {running:?}");
        }
        assert_eq!(verdicts(&running, "journal"), ["ok"]);
        assert_eq!(verdicts(&broken, "access file"), ["fail"]);
        assert!(broken.stdout.contains("access.conf:5: "), "{broken:?}");
        assert_eq!(verdicts(&stopped, "agent"), ["fail"]);
        assert_eq!(verdicts(&stopped, "journal"), ["ok"]);
        assert!(
            stopped.stderr.contains("2 of the checks failed"),
            "{stopped:?}"
        );
    });
}

#[test]
fn prometheus_gets_the_numbers_where_an_address_is_configured_and_nothing_listens_otherwise() {
    on_host("FW_ACCESS_TIMEOUT 600", |host| {
        let mut agent = host.start(&["--interface", "lo"]);
        let refused = host
            .node
            .within(|| Ok(TcpStream::connect(METRICS).is_err()));
        assert!(refused.unwrap());
        agent.stop();
        let mut agent = host.start(&["--interface", "lo", "--metrics-listen", METRICS]);
        host.knock();
        agent.wait_for("grant opened");

        let answer = host.node.within(|| Ok(get("/metrics")?)).unwrap();
        let health = host.node.within(|| Ok(get("/healthz")?)).unwrap();
        agent.stop();

        for line in [
            "postern_packets_total{verdict=\"granted\"} 1",
            "postern_grants_open 1",
            "postern_grant_latency_seconds_count 1",
            "postern_policy_generation{which=\"applied\"} 1",
            "postern_capture_dropped_total{where=\"lo\"} 0",
            "# EOF",
        ] {
            assert!(
                answer.lines().any(|said| said == line),
                "{line} in {answer}"
            );
        }
        assert!(health.ends_with("ok\n"), "{health}");
    });
}

const METRICS: &str = "127.0.0.1:9465";

fn get(path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(METRICS)?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn objects(lines: &str) -> Vec<serde_json::Value> {
    let lines = lines.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}
