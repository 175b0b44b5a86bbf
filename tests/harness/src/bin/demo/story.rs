//! How the demo talks: numbered scenes, facts with their timing, what programs printed.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the story is this program's output"
)]

use std::io::IsTerminal as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::bail;
use harness::wait;

/// Of every log, what a person reads first when something went wrong.
const LOG_LINES_SHOWN: usize = 25;

/// The narrator.
#[derive(Debug)]
pub(crate) struct Story {
    start: Instant,
    scenes: u32,
    colour: bool,
}

// === impl Story ===

impl Story {
    pub(crate) fn begin() -> Self {
        Self {
            start: wait::now(),
            scenes: 0,
            colour: std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
        }
    }

    /// A new scene.
    pub(crate) fn scene(&mut self, title: &str) {
        self.scenes += 1;
        println!();
        println!(
            "{}",
            self.paint("1;36", &format!("{}. {title}", self.scenes))
        );
    }

    /// Something that was checked and is so.
    pub(crate) fn fact(&self, what: &str) {
        let at = self.start.elapsed().as_secs_f64();
        println!(
            "   {} {what} {}",
            self.paint("32", "ok"),
            self.paint("2", &format!("[{at:.1} s]"))
        );
    }

    /// A sentence of its own.
    pub(crate) fn say(&self, what: &str) {
        println!("   {what}");
    }

    /// What a person typed, and what came back.
    pub(crate) fn terminal(&self, who: &str, typed: &str, printed: &str) {
        println!("   {}", self.paint("1", &format!("{who}$ {typed}")));
        for line in printed.lines() {
            println!("     {line}");
        }
    }

    pub(crate) fn fail(&self, error: &anyhow::Error) {
        eprintln!();
        eprintln!("   NOT SO: {error:#}");
    }

    /// The end of every log.
    pub(crate) fn logs(&self, logs: &str) {
        for log in logs.split("===== ").filter(|log| !log.trim().is_empty()) {
            let mut lines = log.lines();
            eprintln!("----- {}", lines.next().unwrap_or_default());
            let lines: Vec<&str> = lines.collect();
            let hidden = lines.len().saturating_sub(LOG_LINES_SHOWN);
            for line in lines.into_iter().skip(hidden) {
                eprintln!("      {line}");
            }
        }
    }

    /// Checks that nothing of the lab is left and closes the story.
    pub(crate) fn cleared(&mut self, lab: &str) -> harness::Result<()> {
        let left: Vec<String> = ["/run/netns", "/tmp/postern-labs"]
            .into_iter()
            .filter_map(|dir| std::fs::read_dir(dir).ok())
            .flat_map(|read| read.flatten())
            .map(|entry| entry.path())
            .filter(|path| belongs(path, lab))
            .map(|path| path.display().to_string())
            .collect();
        if !left.is_empty() {
            bail!("left behind: {}", left.join(", "));
        }
        println!();
        println!(
            "   Nothing is left: no namespace, no process, no rule, no file. {:.0} s in all.",
            self.start.elapsed().as_secs_f64()
        );
        Ok(())
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}

/// A duration as the story tells it.
pub(crate) fn secs(took: Duration) -> String {
    if took < Duration::from_secs(1) {
        format!("{} ms", took.as_millis())
    } else {
        format!("{:.1} s", took.as_secs_f64())
    }
}

fn belongs(path: &Path, lab: &str) -> bool {
    path.file_name()
        .and_then(|name| name.to_str())
        .is_some_and(|name| name == lab || name.starts_with(&format!("{lab}-")))
}
