//! A Prometheus of others scrapes a controller and an agent, and what comes with them for it names
//! nothing that they do not say.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use harness::postern::{Agent, binary};
use harness::{Node, Process, Result, in_lab, wait};
use serde_json::Value;
use suite::{Company, POLICY, SHARED, shared_knock};

/// Where each answers.
const AGENT_PORT: u16 = 9465;
const CONTROLLER_PORT: u16 = 9464;
const PROMETHEUS_PORT: u16 = 9090;

#[test]
fn a_real_prometheus_scrapes_agent_and_controller_and_every_metric_of_rules_and_dashboard_is_theirs()
 {
    in_lab(|lab| {
        let mut company = Company::found(lab, 0, POLICY)?;
        let node = company.controller.node.clone();
        let settings = company.controller.data.join("controller.toml");
        let before = std::fs::read_to_string(&settings)?;
        let more = format!(
            "[metrics]\nlisten = '127.0.0.1:{CONTROLLER_PORT}'\nper_host = true\n\
             [[sink]]\nname = 'away'\ntype = 'syslog'\naddress = '127.0.0.1:1'\nfrom = 'beginning'\n"
        );
        std::fs::write(&settings, before + &more)?;
        company.controller.start_again()?;
        let web = lab.node("web-1", 11)?;
        let listen = format!("{}:{AGENT_PORT}", web.v4);
        let token = company.operator.token("host", "web-1", &["role=web"])?;
        let agent = Agent::joined_with(&web, &token, &["--metrics-listen", &listen])?;
        company.hosts.push(agent);
        company.apply(&[POLICY, SHARED].concat(), "a key for all")?;
        shared_knock(&company.stranger, company.host(1), &["-s"])?;
        company.host(1).opens(company.stranger.v4, "tcp:22")?;

        let targets = [format!("127.0.0.1:{CONTROLLER_PORT}"), listen];
        let _prometheus = prometheus(&node, &targets)?;

        for question in [
            "sum(up)",
            "postern_hosts{state=\"in_sync\"} + 1",
            "(postern_grants_open >= bool 0) + 1",
            "postern_grant_latency_seconds_count + 1",
            "2 * postern_controller_connected",
            "sum(postern_packets_total{verdict=\"claimed\"} >= bool 1) + 1",
        ] {
            wait::until(question, Duration::from_secs(30), || {
                Ok(answer(&node, question)? == Some(2.0))
            })?;
        }
        let known = [
            scraped(&node, Ipv4Addr::LOCALHOST, CONTROLLER_PORT)?,
            scraped(&node, web.v4, AGENT_PORT)?,
        ];
        every_name_is_one_of(&known.concat())?;
        rules_are_healthy(&node)?;
        slow_ones_keep_nobody_waiting(&node, Ipv4Addr::LOCALHOST, CONTROLLER_PORT)?;
        slow_ones_keep_nobody_waiting(&node, web.v4, AGENT_PORT)
    });
}

/// Connections that begin a question and do not go on with it, more than any queue takes.
fn slow_ones_keep_nobody_waiting(node: &Node, address: Ipv4Addr, port: u16) -> Result<()> {
    let _slow = node.within(|| {
        let half_open = (0..200).map(|_| {
            let mut stream = TcpStream::connect((address, port))?;
            stream.write_all(b"GET /metr")?;
            Ok(stream)
        });
        half_open.collect::<Result<Vec<_>>>()
    })?;
    for _ in 0..3 {
        let begun = wait::now();
        scraped(node, address, port)?;
        let took = begun.elapsed();
        ensure!(took < Duration::from_secs(2), "{address}:{port}: {took:?}");
    }
    Ok(())
}

/// Each metric of rules and dashboard is among those that were scraped.
fn every_name_is_one_of(scraped: &str) -> Result<()> {
    let known = series(scraped);
    for file in ["prometheus/rules.yml", "grafana/postern.json"] {
        let text = std::fs::read_to_string(deploy(file))?;
        let used = names(&text);
        ensure!(used.len() >= 5, "{file}: {used:?}");
        let unknown: Vec<_> = used.iter().filter(|name| !known.contains(**name)).collect();
        ensure!(
            unknown.is_empty(),
            "{file} names {unknown:?}; there are {known:#?}"
        );
    }
    let dashboard: Value =
        serde_json::from_str(&std::fs::read_to_string(deploy("grafana/postern.json"))?)?;
    let panels = dashboard.get("panels").and_then(Value::as_array);
    ensure!(
        panels.is_some_and(|panels| panels.len() >= 12),
        "too few panels"
    );
    Ok(())
}

fn rules_are_healthy(node: &Node) -> Result<()> {
    let written = std::fs::read_to_string(deploy("prometheus/rules.yml"))?;
    let alerts = written.matches("- alert:").count();
    wait::until("all rules are evaluated", Duration::from_secs(30), || {
        let rules = get(node, Ipv4Addr::LOCALHOST, PROMETHEUS_PORT, "/api/v1/rules")?;
        Ok(rules.matches("\"health\":\"ok\"").count() == alerts)
    })?;
    Ok(())
}

/// Every series of a scrape, and what those would be called that a program says it has and has no
/// number for yet.
fn series(scraped: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for line in scraped.lines() {
        let Some(declared) = line.strip_prefix("# TYPE ") else {
            let name = line.split(['{', ' ']).next();
            found.extend(
                name.filter(|name| !name.starts_with('#'))
                    .map(str::to_owned),
            );
            continue;
        };
        let Some((name, kind)) = declared.split_once(' ') else {
            continue;
        };
        let ends: &[&str] = match kind {
            "counter" => &["_total"],
            "histogram" => &["_bucket", "_count", "_sum"],
            _ => &[""],
        };
        found.extend(ends.iter().map(|end| format!("{name}{end}")));
    }
    found
}

/// All names of metrics in a text.
fn names(text: &str) -> BTreeSet<&str> {
    let is_part = |character: char| character.is_ascii_lowercase() || character == '_';
    text.split(|character| !is_part(character))
        .filter(|word| word.starts_with("postern_") && *word != "postern_")
        .collect()
}

/// Debian's, unpacked beside the build by `tests/monitoring.sh`, in the node's network.
fn prometheus(node: &Node, targets: &[String]) -> Result<Process> {
    let build = binary("postern-controller")?;
    let build = build
        .parent()
        .and_then(Path::parent)
        .context("no build directory")?;
    let tree = build.join("monitoring");
    ensure!(
        tree.join("complete").exists(),
        "{} is not there: `tests/monitoring.sh` unpacks what this test needs",
        tree.display()
    );
    let config = format!(
        "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: ['{}']\n\
         scrape_configs:\n- job_name: postern\n  static_configs:\n  - targets: {targets:?}\n",
        deploy("prometheus/rules.yml").display()
    );
    let config = node.write("prometheus.yml", &config)?;
    let mut command = node.command(tree.join("usr/bin/prometheus"));
    command
        .arg(format!("--config.file={}", config.display()))
        .arg(format!(
            "--storage.tsdb.path={}",
            node.dir.join("tsdb").display()
        ))
        .arg(format!("--web.listen-address=127.0.0.1:{PROMETHEUS_PORT}"))
        .env("LD_LIBRARY_PATH", tree.join("usr/lib/x86_64-linux-gnu"));
    node.start("prometheus", &mut command)
}

/// The first number that a question has for an answer.
fn answer(node: &Node, question: &str) -> Result<Option<f64>> {
    let question: String = question
        .bytes()
        .map(|byte| format!("%{byte:02x}"))
        .collect();
    let path = format!("/api/v1/query?query={question}");
    let answer = get(node, Ipv4Addr::LOCALHOST, PROMETHEUS_PORT, &path)?;
    let answer: Value = serde_json::from_str(&answer).unwrap_or_default();
    let number = answer.pointer("/data/result/0/value/1");
    Ok(number
        .and_then(Value::as_str)
        .and_then(|number| number.parse().ok()))
}

fn scraped(node: &Node, address: Ipv4Addr, port: u16) -> Result<String> {
    let text = get(node, address, port, "/metrics")?;
    ensure!(
        text.contains("postern_build_info"),
        "{address}:{port}: {text}"
    );
    Ok(text)
}

/// The body of an answer; empty when nobody answers.
fn get(node: &Node, address: Ipv4Addr, port: u16, path: &str) -> Result<String> {
    node.within(|| {
        let Ok(mut stream) = TcpStream::connect((address, port)) else {
            return Ok(String::new());
        };
        write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        Ok(body.to_owned())
    })
}

fn deploy(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../deploy")
        .join(name)
}
