//! E15: beside twenty thousand rules of the owner.

use std::fmt::Write as _;
use std::time::Duration;

use crate::arena::Arena;
use crate::experiments::grants;
use crate::keyring::{Form, Keyring};
use crate::report::{Report, Row};
use crate::servers::Server;
use crate::stats::ms;

const RULES: u32 = 20_000;
/// For how long nothing happens.
const IDLE: Duration = Duration::from_secs(30);
/// For how long the owner changes a rule of its own each second.
const CHANGES: u32 = 10;

/// What the agent costs that only stands there, what it costs when the owner changes something each
/// second, and how soon a hole opens.
pub(crate) fn run(arena: &Arena, server: Server, report: &mut Report) -> anyhow::Result<()> {
    let keyring = Keyring::new(1, 30);
    let running = server.start(arena, keyring)?;
    lay(arena)?;
    // The agent has seen that.
    std::thread::sleep(Duration::from_secs(3));
    let before = running.cpu_secs()?;
    std::thread::sleep(IDLE);
    let idle = (running.cpu_secs()? - before) / IDLE.as_secs_f64();
    let before = running.cpu_secs()?;
    for change in 0..CHANGES {
        let how = if change % 2 == 0 { "-I" } else { "-D" };
        let rule = [
            "iptables",
            how,
            "OWNER",
            "-s",
            "203.0.113.7",
            "-j",
            "RETURN",
        ];
        arena.server.run(&rule)?.ok()?;
        std::thread::sleep(Duration::from_secs(1));
    }
    let changing = (running.cpu_secs()? - before) / f64::from(CHANGES);
    let mut add = |case: &str, measure, value: f64, goal| {
        report.add(Row {
            experiment: "E15",
            case: format!("{case}, beside {RULES} rules"),
            server,
            measure,
            value: Some(value),
            text: format!("{:.2} % of a core", value * 100.0),
            goal,
        })
    };
    add("idle", "idle_cpu", idle, "<= 0.1 %")?;
    add(
        "a change by the owner each second",
        "changes_cpu",
        changing,
        "",
    )?;

    let sample = grants::measure(arena, keyring, Form::Tagged, 60, grants::STEADY)?;
    running.stop()?;
    report.add(Row {
        experiment: "E15",
        case: format!("latency p50, tagged, beside {RULES} rules"),
        server,
        measure: "latency_p50_ms",
        value: sample.p50_ms(),
        text: format!("{} (p95 {})", ms(sample.p50_ms()), ms(sample.p95_ms())),
        goal: "as E1",
    })
}

/// In a chain of the owner's that nothing passes through: what is measured is not the kernel.
fn lay(arena: &Arena) -> anyhow::Result<()> {
    let mut text = String::from("*filter\n:OWNER - [0:0]\n");
    for number in 0..RULES {
        let [_, high, middle, low] = number.to_be_bytes();
        let _ = writeln!(text, "-A OWNER -s 10.{high}.{middle}.{low}/32 -j DROP");
    }
    text.push_str("COMMIT\n");
    let file = arena.server.write("owner.rules", &text)?;
    let file = file.to_string_lossy();
    arena
        .server
        .run(&["iptables-restore", "--noflush", &file])?
        .ok()?;
    Ok(())
}
