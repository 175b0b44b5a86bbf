//! What Prometheus sees of the controller, and the rules that come with it. That their metrics, and those of
//! the dashboard, are real ones of both programs is shown in tests/suite/tests/metrics.rs.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use fleet::Role;
use serde_json::Value;

use crate::sinks::programs::{free_port, monitoring, start};
use crate::sinks::{fleet_with, until};

fn deploy(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../deploy")
        .join(name)
}

fn get(port: u16, path: &str) -> String {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else {
        return String::new();
    };
    let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
        .split_once("\r\n\r\n")
        .map_or("", |(_, body)| body)
        .to_owned()
}

/// The first number that a question has for an answer.
fn ask(port: u16, question: &str) -> Option<f64> {
    let question: String = question
        .bytes()
        .map(|byte| format!("%{byte:02x}"))
        .collect();
    let answer = get(port, &format!("/api/v1/query?query={question}"));
    let answer: Value = serde_json::from_str(&answer).ok()?;
    answer["data"]["result"][0]["value"][1]
        .as_str()?
        .parse()
        .ok()
}

#[test]
fn promtool_takes_the_rules_and_each_says_what_to_do() {
    let rules = deploy("prometheus/rules.yml");

    let checked = Command::new(monitoring().join("usr/bin/promtool"))
        .args(["check", "rules"])
        .arg(&rules)
        .output()
        .unwrap();

    let said = String::from_utf8_lossy(&checked.stdout);
    let text = std::fs::read_to_string(rules).unwrap();
    let alerts = text.matches("- alert:").count();
    let found = format!("{alerts} rules found");
    assert!(checked.status.success() && said.contains(&found), "{said}");
    assert_eq!(text.matches("action:").count(), alerts);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_prometheus_scrapes_the_controller_and_loads_the_rules() {
    let [metrics, prometheus] = [free_port(), free_port()];
    let fleet = fleet_with(&format!(
        "[metrics]\nlisten = '127.0.0.1:{metrics}'\nper_host = true\n\
         [[sink]]\nname = 'away'\ntype = 'syslog'\naddress = '127.0.0.1:1'\n\
         from = 'beginning'\n"
    ))
    .await;
    let _ada = fleet.join(Role::Auditor, "ada").await;
    let _host = fleet.join(Role::Host, "web-1").await;
    let dir = fleet.dir.path();
    let config = format!(
        "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\n\
         rule_files: ['{}']\n\
         scrape_configs:\n- job_name: postern\n  static_configs:\n  - targets: \
         ['127.0.0.1:{metrics}']\n",
        deploy("prometheus/rules.yml").display()
    );
    std::fs::write(dir.join("prometheus.yml"), config).unwrap();
    let _prometheus = start(
        "usr/bin/prometheus",
        &[
            &format!("--config.file={}", dir.join("prometheus.yml").display()),
            &format!("--storage.tsdb.path={}", dir.join("tsdb").display()),
            &format!("--web.listen-address=127.0.0.1:{prometheus}"),
        ],
    );

    let is = async |question: &str, number: f64| {
        until(async || {
            tokio::time::sleep(Duration::from_millis(200)).await;
            ask(prometheus, question) == Some(number)
        })
        .await;
    };
    is("up", 1.0).await;
    is("postern_hosts{state=\"offline\"}", 1.0).await;
    is("postern_host_up{host=\"web-1\"}", 0.0).await;
    is("postern_members{role=\"auditor\"}", 1.0).await;
    is("postern_sink_lag_seconds{sink=\"away\"} > bool 0", 1.0).await;
    is("postern_store_commit_seconds_count > bool 0", 1.0).await;
    is(
        "postern_certificate_expiry_seconds{of=\"server\"} > bool 86400",
        1.0,
    )
    .await;
    is(
        "increase(postern_events_total{kind=\"replay-elsewhere\"}[15m]) or vector(0)",
        0.0,
    )
    .await;
    let rules: Value = serde_json::from_str(&get(prometheus, "/api/v1/rules")).unwrap();
    let rules = rules["data"]["groups"][0]["rules"]
        .as_array()
        .unwrap()
        .clone();
    let written = std::fs::read_to_string(deploy("prometheus/rules.yml")).unwrap();
    assert_eq!(rules.len(), written.matches("- alert:").count());
    until(async || {
        get(prometheus, "/api/v1/rules")
            .matches("\"health\":\"ok\"")
            .count()
            == rules.len()
    })
    .await;

    let text = get(metrics, "/metrics");
    assert!(!text.contains("ada"), "no user is in any metric");
}
