//! E12: what several controllers over one database do in a second, beside one: claims, and events of hosts.

use std::time::Duration;

use crate::arena::Arena;
use crate::experiments::{claims, pushes};
use crate::fleet::{Company, Shape};
use crate::report::{Report, Row};
use crate::servers::Server;
use crate::stats::ms;

/// Runs all of E12.
pub(crate) fn run(arena: &Arena, quick: bool, report: &mut Report) -> anyhow::Result<()> {
    let time = Duration::from_secs(if quick { 1 } else { 5 });
    for shape in Shape::all() {
        let shape = Shape {
            is_without_quota: true,
            ..shape
        };
        let company = Company::start_as(arena, "E12", shape)?;
        let (sample, rate) = company.run(claims::answered(&company, time))?;
        let (p50, p95) = (ms(sample.p50_ms()), ms(sample.p95_ms()));
        let mut add = |case: &str, measure, value, text| {
            report.add(Row {
                experiment: "E12",
                case: format!("{shape}: {case}"),
                server: Server::Postern,
                measure,
                value: Some(value),
                text,
                goal: "",
            })
        };
        let text = format!("{rate:.0}/s (p50 {p50}, p95 {p95})");
        add("claims", "claims_per_s", rate, text)?;
        let (rate, text) = company.run(pushes::stored(&company, time))?;
        add("events stored", "events_per_s", rate, text)?;
    }
    Ok(())
}
