//! What was measured, as JSON lines for programs and one table for people.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use crate::servers::Server;

/// One number of one server in one experiment.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) experiment: &'static str,
    pub(crate) case: String,
    pub(crate) server: Server,
    /// What the number means, with its unit last.
    pub(crate) measure: &'static str,
    pub(crate) value: Option<f64>,
    /// As people read it.
    pub(crate) text: String,
    /// The goal for Postern, in words.
    pub(crate) goal: &'static str,
}

/// Collects rows, and prints each as it comes.
#[derive(Debug)]
pub(crate) struct Report {
    rows: Vec<Row>,
    json: Option<File>,
}

// === impl Report ===

impl Report {
    pub(crate) fn new(json: Option<&Path>) -> anyhow::Result<Self> {
        Ok(Self {
            rows: Vec::new(),
            json: json.map(File::create).transpose()?,
        })
    }

    #[expect(
        clippy::print_stderr,
        reason = "progress of a long run is for a person"
    )]
    pub(crate) fn add(&mut self, row: Row) -> anyhow::Result<()> {
        eprintln!(
            "  {:4} {:34} {:10} {}",
            row.experiment,
            row.case,
            row.server.title(),
            row.text
        );
        if let Some(json) = &mut self.json {
            serde_json::to_writer(&mut *json, &row)?;
            json.write_all(b"\n")?;
        }
        self.rows.push(row);
        Ok(())
    }

    /// The table of the README: a line a case, a column a server that was measured, and how many times
    /// better Postern is than the best of the others.
    pub(crate) fn table(&self) -> Table {
        let mut table = Table::new();
        table
            .load_preset(presets::ASCII_MARKDOWN)
            .set_content_arrangement(ContentArrangement::Disabled);
        let mut header = vec!["#".to_owned(), "experiment".to_owned()];
        let mut servers = Server::ALL.to_vec();
        servers.retain(|server| self.rows.iter().any(|row| row.server == *server));
        header.extend(servers.iter().map(|server| server.title().to_owned()));
        header.extend(["best/postern".to_owned(), "goal".to_owned()]);
        table.set_header(header);

        let mut cases: Vec<(&'static str, &str)> = Vec::new();
        for row in &self.rows {
            if !cases.contains(&(row.experiment, &row.case)) {
                cases.push((row.experiment, &row.case));
            }
        }
        for (experiment, case) in cases {
            let rows: Vec<&Row> = self
                .rows
                .iter()
                .filter(|row| row.experiment == experiment && row.case == case)
                .collect();
            let cell = |server: Server| {
                rows.iter()
                    .find(|row| row.server == server)
                    .map_or_else(String::new, |row| row.text.clone())
            };
            let mut line = vec![experiment.to_owned(), case.to_owned()];
            line.extend(servers.iter().copied().map(cell));
            line.push(ratio(&rows));
            line.push(
                rows.iter()
                    .map(|row| row.goal)
                    .next()
                    .unwrap_or_default()
                    .to_owned(),
            );
            table.add_row(line);
        }
        table
    }
}

/// How many times Postern's time is contained in the best other time.
fn ratio(rows: &[&Row]) -> String {
    let ours = rows
        .iter()
        .find(|row| row.server == Server::Postern)
        .and_then(|row| row.value);
    let others = rows
        .iter()
        .filter(|row| !row.server.is_ours())
        .filter_map(|row| row.value);
    let bigger_is_better = rows.iter().any(|row| row.measure.ends_with("_per_s"));
    let best = if bigger_is_better {
        others.fold(None, |best: Option<f64>, other| {
            Some(best.map_or(other, |best| best.max(other)))
        })
    } else {
        others.fold(None, |best: Option<f64>, other| {
            Some(best.map_or(other, |best| best.min(other)))
        })
    };
    match (ours, best) {
        (Some(ours), Some(best)) if ours > 0.0 && best > 0.0 => {
            let times = if bigger_is_better {
                ours / best
            } else {
                best / ours
            };
            format!("{times:.0}x")
        }
        (Some(_) | None, Some(_) | None) => String::new(),
    }
}
