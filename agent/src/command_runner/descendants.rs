//! All that a command has started, whatever sessions and groups it has made: so that nothing of it goes
//! on when the command has to end.
//!
//! A command is the subreaper of what it starts (prctl(2)): as long as it lives, what loses its parent is
//! its child. So a walk from it finds all; what was found is remembered by number and start, since it
//! loses that place when the command ends first.

use std::collections::BTreeMap;
use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A process by its number, with its parent and when it was started: a number comes again, and not with
/// the same start.
type Table = BTreeMap<i32, (i32, u64)>;

/// What a command has started, and is known to live.
#[derive(Debug)]
pub(super) struct Descendants {
    command: i32,
    seen: BTreeMap<i32, u64>,
}

// === impl Descendants ===

impl Descendants {
    /// Of this command, of which nothing is known yet.
    pub(super) fn of(command: Pid) -> Self {
        Self {
            command: command.as_raw(),
            seen: BTreeMap::new(),
        }
    }

    /// Looks what there is now. Whether anything is left.
    pub(super) fn look(&mut self) -> bool {
        self.take(&table())
    }

    /// Sends each of them a signal.
    pub(super) fn signal(&self, signal: Signal) {
        for pid in self.seen.keys() {
            let _ = kill(Pid::from_raw(*pid), signal);
        }
    }

    /// The same with what lives; pure.
    fn take(&mut self, table: &Table) -> bool {
        let lives = |pid: &i32, start: &mut u64| table.get(pid).is_some_and(|(_, at)| at == start);
        self.seen.retain(lives);
        // Children of one that is known, until no more are found. Numbers do not rise with age.
        loop {
            let is_new = |(pid, (parent, _)): &(&i32, &(i32, u64))| {
                let is_known = *parent == self.command || self.seen.contains_key(parent);
                is_known && **pid != self.command && !self.seen.contains_key(*pid)
            };
            let new: Vec<(i32, u64)> = table
                .iter()
                .filter(is_new)
                .map(|(pid, (_, start))| (*pid, *start))
                .collect();
            if new.is_empty() {
                return !self.seen.is_empty();
            }
            self.seen.extend(new);
        }
    }
}

/// All processes that this one may see, without those that have ended and wait for their parent.
fn table() -> Table {
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = all.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let stats = numbers.filter_map(|pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        Some((pid, parsed(&stat)?))
    });
    stats.collect()
}

/// The parent and the start in a line of /proc/PID/stat; `None` for one that has ended.
fn parsed(stat: &str) -> Option<(i32, u64)> {
    // The name, in brackets, may hold anything.
    let (_, behind) = stat.rsplit_once(')')?;
    let mut fields = behind.split_ascii_whitespace();
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    let parent = fields.next()?.parse().ok()?;
    // The 22nd field, of which five are behind us.
    Some((parent, fields.nth(17)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_a_command_has_started_is_found_and_kept_by_its_start_and_nobody_else() {
        let mut all = Descendants::of(Pid::from_raw(10));
        let mut table: Table = [(10, (1, 5)), (7, (12, 8)), (12, (10, 6)), (20, (1, 9))].into();
        assert!(all.take(&table));
        assert_eq!(all.seen, [(7, 8), (12, 6)].into());

        // The command ends, and what it has started is somebody else's child.
        table.remove(&10);
        table.insert(12, (1, 6));
        table.insert(13, (7, 11));
        assert!(all.take(&table));
        assert_eq!(all.seen, [(7, 8), (12, 6), (13, 11)].into());
        // The number of one that has ended is another's now.
        table.insert(12, (1, 30));
        table.remove(&7);
        table.remove(&13);
        assert!(!all.take(&table));
    }

    #[test]
    fn a_line_of_the_kernel_is_read_whatever_a_process_calls_itself() {
        let rest = "1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 1 2";
        let line = |state: &str| format!("42 (a) Z 1) {state} 17 {rest}");

        assert_eq!(parsed(&line("S")), Some((17, 4_711)));
        assert_eq!(parsed(&line("Z")), None);
        assert_eq!(parsed("42 (a"), None);
        assert!(table().contains_key(&Pid::this().as_raw()));
    }
}
