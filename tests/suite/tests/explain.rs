//! `postern-agent explain` on every golden vector: packets and verdicts of the real fwknop and fwknopd.
//!
//! The vectors (`tests/vectors`) were made by Debian's fwknop 2.6.10; no byte of them is ours. `README.md` there says
//! what the categories ask of us.
#![expect(
    clippy::indexing_slicing,
    reason = "helpers of tests: a missing field should stop here"
)]

use anyhow::{Context, bail, ensure};
use harness::postern::explain;
use harness::{Lab, Node, Result, in_lab};
use serde_json::Value;
use suite::text;

/// What the answer must be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Verdict {
    Accepted,
    Refused,
    /// One answer in good order, whichever it is: NAT, and what the reference itself contradicts.
    Either,
    /// The access.conf is not ours to load.
    InvalidFile,
}

/// Vectors on which the rule of their category does not decide, and why.
const UNDECIDED: &[(&str, &str)] = &[
    (
        "edge_user_env_49",
        "the stock client emits it, the stock server refuses it",
    ),
    (
        "edge_user_env_63",
        "the stock client emits it, the stock server refuses it",
    ),
    (
        "edge_user_env_70",
        "the stock client emits it, the stock server refuses it",
    ),
    (
        "edge_timeout_65537",
        "the stock client emits it, the stock server refuses it",
    ),
    (
        "edge_timeout_131072",
        "the stock client emits it, the stock server refuses it",
    ),
    ("pt_cmd_shell_meta", "a normal client emits such commands"),
];

/// Vectors that are not one line of a payload, or need a setting that `explain` has no switch for.
const NOT_FOR_EXPLAIN: &[(&str, &str)] = &[
    (
        "append_hmac_nl",
        "a newline inside the packet; sent on the wire by replay.rs",
    ),
    (
        "append_nohmac_nl",
        "a newline inside the packet; sent on the wire by replay.rs",
    ),
    (
        "http_",
        "several lines; the gate's own tests have the HTTP forms",
    ),
    ("age_custom_10_", "the age window is the default one"),
];

#[test]
fn every_packet_that_the_real_client_made_is_explained_as_the_real_client_meant_it() {
    in_lab(|lab| {
        let node = lab.node("host", 10)?;
        for vector in vectors_of(vectors::VALID_JSON)? {
            let name = text(&vector, "name").to_owned();
            let wanted = wanted_of_valid(&vector);
            let switches = switches(&vector, "packet_source_ip")?;
            let answer = ask(&node, &vector, &switches, wanted).with_context(|| name.clone())?;
            if let Some(answer) = answer.filter(|answer| answer["accepted"] == Value::Bool(true)) {
                fields_agree(&answer, &vector["expected"]).with_context(|| name)?;
            }
        }
        Ok(())
    });
}

#[test]
fn every_mutation_is_refused_or_accepted_as_its_category_says() {
    in_lab(|lab| {
        let node = lab.node("host", 10)?;
        let mut asked = 0;
        for vector in vectors_of(vectors::INVALID_JSON)? {
            let name = text(&vector, "name");
            if listed(NOT_FOR_EXPLAIN, name) {
                continue;
            }
            let wanted = wanted_of_invalid(&vector)?;
            let switches = switches(&vector, "source_ip")?;
            ask(&node, &vector, &switches, wanted).with_context(|| name.to_owned())?;
            asked += 1;
        }
        ensure!(asked > 170, "only {asked} vectors were asked");
        Ok(())
    });
}

#[test]
fn explain_reads_many_packets_and_answers_each_in_one_line() {
    in_lab(|lab: &Lab| {
        let node = lab.node("host", 10)?;
        let vector = vectors_of(vectors::VALID_JSON)?
            .into_iter()
            .find(|vector| text(vector, "name") == "mode_ctr_hmac");
        let vector = vector.context("no such vector")?;
        let packet = text(&vector, "packet");
        let access = node.write("access.conf", text(&vector, "access_conf"))?;
        let packets = format!("{packet}\nnoise\n\n{packet}\n{}\n", "A".repeat(5000));

        let answers = explain(&access, &["--no-ageing"], &packets)?
            .ok()?
            .json_lines()?;

        let accepted: Vec<bool> = answers
            .iter()
            .map(|answer| answer["accepted"] == Value::Bool(true))
            .collect();
        ensure!(accepted.first() == Some(&true), "{answers:#?}");
        ensure!(
            accepted.iter().filter(|&&accepted| accepted).count() == 1,
            "a repeated line is a replay: {answers:#?}"
        );
        ensure!((4..=5).contains(&answers.len()), "{answers:#?}");
        for answer in &answers {
            for field in ["check", "reason"] {
                ensure!(
                    answer[field].is_string() || answer[field].is_null(),
                    "{answer}"
                );
            }
        }
        Ok(())
    });
}

/// Puts one vector, with what was sent before it, to `explain` and checks the verdict.
fn ask(node: &Node, vector: &Value, switches: &[String], wanted: Verdict) -> Result<Option<Value>> {
    let access = node.write("access.conf", text(vector, "access_conf"))?;
    let mut packets = String::new();
    let mut lines = 1;
    let before = &vector["sent_before"];
    let before = before
        .as_array()
        .cloned()
        .unwrap_or_else(|| vec![before.clone()]);
    for packet in before.iter().filter_map(Value::as_str) {
        packets.push_str(packet);
        packets.push('\n');
        lines += 1;
    }
    packets.push_str(&payload(vector)?);
    packets.push('\n');
    let words: Vec<&str> = switches.iter().map(String::as_str).collect();

    let ran = explain(&access, &words, &packets)?;
    if wanted == Verdict::InvalidFile {
        ran.code(64)?;
        return Ok(None);
    }
    let answers = ran.ok()?.json_lines()?;
    ensure!(
        answers.len() == lines,
        "{} answers to {lines} lines: {answers:?}",
        answers.len()
    );
    let answer = answers.into_iter().next_back().context("no answer")?;
    match (wanted, answer["accepted"].as_bool()) {
        (Verdict::Accepted, Some(true))
        | (Verdict::Refused, Some(false))
        | (Verdict::Either, Some(_)) => Ok(Some(answer)),
        (Verdict::Accepted | Verdict::Refused | Verdict::Either | Verdict::InvalidFile, _) => {
            bail!(
                "{wanted:?} was wanted, not {answer} ({})",
                text(vector, "notes")
            )
        }
    }
}

fn wanted_of_valid(vector: &Value) -> Verdict {
    let name = text(vector, "name");
    if text(vector, "encryption_type") == "gpg" || name == "edge_empty_passphrase" {
        // The keyrings of these are not here (the tests of openpgp have them), and access.conf cannot
        // express an empty KEY.
        Verdict::InvalidFile
    } else if name == "edge_ip_leading_zero" {
        // The real server reads it as octal and opens another address than the user meant.
        Verdict::Refused
    } else if listed(UNDECIDED, name) || !vector["expected"]["nat_access"].is_null() {
        Verdict::Either
    } else {
        // Also what the reference refuses for its 400 characters and for the year 2038.
        Verdict::Accepted
    }
}

fn wanted_of_invalid(vector: &Value) -> Result<Verdict> {
    let name = text(vector, "name");
    if listed(UNDECIDED, name) || name == "pt_nat_ok_hostname" {
        return Ok(Verdict::Either);
    }
    // The real server knows no ranges of ports.
    if name == "pt_msg_range" {
        return Ok(Verdict::Accepted);
    }
    match text(vector, "category") {
        "control" => Ok(Verdict::Accepted),
        "rejected" if text(vector, "stage") == "encryption_type" => Ok(Verdict::Refused),
        "rejected" | "lenient" | "bypass" => Ok(Verdict::Refused),
        other => bail!("category {other}"),
    }
}

fn listed(list: &[(&str, &str)], name: &str) -> bool {
    list.iter().any(|(listed, _)| {
        if listed.ends_with('_') {
            name.starts_with(listed)
        } else {
            name == *listed
        }
    })
}

/// What this vector's server was told on its command line.
fn switches(vector: &Value, source_field: &str) -> Result<Vec<String>> {
    let mut switches = Vec::new();
    let conf = format!(
        "{}{}",
        text(vector, "fwknopd_conf"),
        text(vector, "fwknopd_conf_extra")
    );
    if conf.contains("ENABLE_SPA_PACKET_AGING N") {
        switches.push("--no-ageing".to_owned());
    } else {
        let clock = vector["server_clock"]
            .as_u64()
            .context("ageing without a clock")?;
        switches.extend(["--clock".to_owned(), clock.to_string()]);
    }
    let source = Some(text(vector, source_field)).filter(|source| !source.is_empty());
    switches.extend([
        "--source".to_owned(),
        source.unwrap_or("198.51.100.10").to_owned(),
    ]);
    switches.extend(["--destination".to_owned(), "198.51.100.1".to_owned()]);
    Ok(switches)
}

fn payload(vector: &Value) -> Result<String> {
    if let Some(packet) = vector["packet"].as_str() {
        return Ok(packet.to_owned());
    }
    let bytes = hex::decode(text(vector, "packet_hex"))?;
    // Bytes that are no text must be refused just as well; each becomes one that no alphabet has.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn fields_agree(answer: &Value, expected: &Value) -> Result<()> {
    for field in [
        "username",
        "timestamp",
        "version",
        "message_type",
        "message",
        "nat_access",
        "client_timeout",
        "digest",
    ] {
        ensure!(
            answer[field] == expected[field],
            "{field} is {} instead of {}",
            answer[field],
            expected[field]
        );
    }
    Ok(())
}

fn vectors_of(json: &str) -> Result<Vec<Value>> {
    Ok(serde_json::from_str(json)?)
}
