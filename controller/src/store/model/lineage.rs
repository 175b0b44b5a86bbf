//! Session passes: which of several histories of one host's state directory is speaking.
//!
//! At each session, and before whatever must be provable later, a host is given a pass that it keeps
//! beside its journal and presents at its next session. Passes are numbered. A host has the pass that
//! it presented last (`base`), or one that it was given since (`issued`): it may have crashed, or the
//! answer may have been lost, before it was stored. Whatever else it presents is news:
//!
//! - a number that was never given: the *controller* was set back, and the pass proves it;
//! - an older one: the *host* was set back (a snapshot, a backup);
//! - one that another answer to the same pass has overtaken, by a run of the agent that was thought to
//!   be over: *two* machines use the state directory. One machine never presents both: it asks again
//!   only when the answer before has not been stored and never will be.
//!
//! Pure: passes are values here; how they are sealed is not known.

use serde::{Deserialize, Serialize};

/// Passes that a host may hold without having presented them: one for each change of policy within a
/// session. More than this many are given only to a host whose disk takes none of them.
const ISSUED_MAX: usize = 16;
/// Overtaken passes that are known as such.
const ABANDONED_MAX: usize = 64;
/// Runs of the agent that are told apart.
const RUNS_MAX: usize = 8;
/// A state directory that goes to and fro so often is used by two machines, whatever their runs are
/// called: a machine that was copied with its memory has one name for both.
const RETURNS_MAX: u32 = 3;

/// What the controller told a host, as a pass says it.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub(crate) struct Pass {
    /// From 1.
    pub(crate) number: u64,
    pub(crate) generation: u64,
    pub(crate) claim_epoch: u64,
    /// Seconds since the Unix epoch; 0 for none.
    pub(crate) newest_claimed_secs: u64,
}

/// What a pass that is presented tells.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Presented {
    /// The first session of this member.
    First,
    /// As it should be.
    Continues,
    /// None, from a host that was given one: its state directory was lost.
    Lost,
    /// An older one.
    SetBack,
    /// Two machines use one state directory.
    Cloned,
    /// As before: it was found already, and nobody has dealt with it.
    StillCloned,
    /// One that this controller has not given yet.
    Ahead,
}

/// What is known of the passes of one host.
#[derive(Clone, Debug, Default, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(default)]
pub(crate) struct Lineage {
    /// The newest pass that was given.
    newest: u64,
    /// What was presented last; 0 for none.
    base: u64,
    /// Given since.
    issued: Vec<u64>,
    /// Overtaken by another answer, or by an older pass.
    abandoned: Vec<u64>,
    /// Names of runs, in the order in which they were first heard; the last one spoke last.
    runs: Vec<String>,
    /// How often something overtaken was presented.
    returns: u32,
    cloned: bool,
    /// Runs that were told to begin a new journal because of that.
    told: Vec<String>,
}

// === impl Lineage ===

impl Lineage {
    /// Judges the number of the pass that `run` presents.
    pub(crate) fn present(&mut self, number: Option<u64>, run: &str) -> Presented {
        if self.cloned {
            return Presented::StillCloned;
        }
        let came_back = self.note_run(run);
        let Some(number) = number else {
            let is_first = self.newest == 0;
            self.abandon(|_| true);
            self.base = 0;
            return if is_first {
                Presented::First
            } else {
                Presented::Lost
            };
        };
        if number > self.newest {
            *self = Self {
                newest: number,
                base: number,
                runs: std::mem::take(&mut self.runs),
                ..Self::default()
            };
            return Presented::Ahead;
        }
        if number == self.base {
            return Presented::Continues;
        }
        if self.issued.contains(&number) {
            self.base = number;
            self.abandon(|given| given != number);
            return Presented::Continues;
        }
        let was_overtaken = self.abandoned.contains(&number);
        self.returns += u32::from(was_overtaken);
        if was_overtaken && (came_back || self.returns >= RETURNS_MAX) {
            self.cloned = true;
            return Presented::Cloned;
        }
        let base = self.base;
        self.abandon(|_| true);
        self.abandoned.push(base);
        self.abandoned.retain(|given| *given != number);
        self.base = number;
        Presented::SetBack
    }

    /// Gives the next pass.
    pub(crate) fn issue(&mut self) -> u64 {
        self.newest += 1;
        self.issued.push(self.newest);
        let spare = self.issued.len().saturating_sub(ISSUED_MAX);
        self.issued.drain(..spare);
        self.newest
    }

    pub(crate) fn is_cloned(&self) -> bool {
        self.cloned
    }

    /// Whether this run, of one of two machines, is still to be told to begin a new journal. Asked
    /// once it is told.
    pub(crate) fn is_to_be_told(&mut self, run: &str) -> bool {
        let is_new = !self.told.iter().any(|told| told == run);
        if is_new {
            self.told.push(run.to_owned());
            let spare = self.told.len().saturating_sub(RUNS_MAX);
            self.told.drain(..spare);
        }
        is_new
    }

    /// An operator says that only one machine is left: whatever it presents next is the one. It is
    /// not set back by that: what it and the other might have granted twice, both were told to refuse
    /// when they were found.
    pub(crate) fn settle(&mut self) {
        self.cloned = false;
        self.returns = 0;
        self.runs.clear();
        self.told.clear();
        let given = std::mem::take(&mut self.issued);
        self.issued = std::mem::take(&mut self.abandoned);
        self.issued.push(self.base);
        self.issued.extend(given);
    }

    /// Passes that were given and that pass `test` are not what the host goes on from.
    fn abandon(&mut self, test: impl Fn(u64) -> bool) {
        let issued = std::mem::take(&mut self.issued);
        self.abandoned
            .extend(issued.into_iter().filter(|given| test(*given)));
        let spare = self.abandoned.len().saturating_sub(ABANDONED_MAX);
        self.abandoned.drain(..spare);
    }

    /// Whether this run had been followed by another one. A run without a name is always the last.
    fn note_run(&mut self, run: &str) -> bool {
        if run.is_empty() || self.runs.last().is_some_and(|last| last == run) {
            return false;
        }
        let before = self.runs.len();
        self.runs.retain(|known| known != run);
        let came_back = self.runs.len() < before;
        self.runs.push(run.to_owned());
        let spare = self.runs.len().saturating_sub(RUNS_MAX);
        self.runs.drain(..spare);
        came_back
    }
}

// === impl Pass ===

impl Pass {
    /// As it is sealed.
    pub(crate) fn to_text(self) -> String {
        let Self {
            number,
            generation,
            claim_epoch,
            newest_claimed_secs,
        } = self;
        format!("1 {number} {generation} {claim_epoch} {newest_claimed_secs}")
    }

    /// What [`to_text`](Self::to_text) wrote; `None` for what it did not.
    pub(crate) fn of_text(text: &str) -> Option<Self> {
        let mut numbers = text.strip_prefix("1 ")?.split(' ').map(str::parse);
        let mut next = || numbers.next()?.ok();
        Some(Self {
            number: next()?,
            generation: next()?,
            claim_epoch: next()?,
            newest_claimed_secs: next()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One machine with a state directory.
    #[derive(Clone)]
    struct Machine {
        run: &'static str,
        pass: Option<u64>,
    }

    impl Machine {
        fn new(run: &'static str) -> Self {
            Self { run, pass: None }
        }

        /// A session whose answer arrives and is stored.
        fn session(&mut self, lineage: &mut Lineage) -> Presented {
            let (presented, given) = self.session_without_answer(lineage);
            self.pass = Some(given);
            presented
        }

        /// One whose answer is lost, or not stored before a crash.
        fn session_without_answer(&self, lineage: &mut Lineage) -> (Presented, u64) {
            let presented = lineage.present(self.pass, self.run);
            (presented, lineage.issue())
        }
    }

    fn some_sessions(machine: &mut Machine, lineage: &mut Lineage) {
        for _ in 0..4 {
            machine.session(lineage);
        }
    }

    #[test]
    fn a_crash_between_receiving_and_storing_a_pass_does_not_look_like_a_clone() {
        let (mut lineage, mut host) = (Lineage::default(), Machine::new("a"));
        assert_eq!(host.session(&mut lineage), Presented::First);

        for run in ["b", "c", "d", "e", "f", "g", "h", "i", "j", "k"] {
            let (presented, _) = host.session_without_answer(&mut lineage);
            assert_eq!(presented, Presented::Continues);
            host.run = run;
        }

        assert_eq!(host.session(&mut lineage), Presented::Continues);
        assert_eq!(host.session(&mut lineage), Presented::Continues);
    }

    #[test]
    fn a_reconnect_after_a_network_failure_does_not_look_like_a_clone() {
        let (mut lineage, mut host) = (Lineage::default(), Machine::new("a"));
        some_sessions(&mut host, &mut lineage);

        // Requests that the controller answered and the host never heard of, in every mix.
        for lost in [1, 0, 3, 2, 0, 20] {
            for _ in 0..lost {
                let (presented, _) = host.session_without_answer(&mut lineage);
                assert_eq!(presented, Presented::Continues);
            }
            assert_eq!(host.session(&mut lineage), Presented::Continues);
        }
    }

    #[test]
    fn any_pass_of_a_session_may_be_the_last_that_was_stored() {
        for stored in 0..8 {
            let (mut lineage, mut host) = (Lineage::default(), Machine::new("a"));
            host.session(&mut lineage);
            let given: Vec<_> = (0..8).map(|_| lineage.issue()).collect();

            host.pass = given.get(stored).copied();

            host.run = "b";
            assert_eq!(host.session(&mut lineage), Presented::Continues);
            assert_eq!(host.session(&mut lineage), Presented::Continues);
        }
    }

    #[test]
    fn two_machines_with_one_state_directory_are_told_from_one() {
        // Copied while it runs or while it is stopped, before and after the last pass was stored.
        for between in 0..3 {
            let (mut lineage, mut host) = (Lineage::default(), Machine::new("a"));
            some_sessions(&mut host, &mut lineage);
            let mut copy = Machine {
                run: "b",
                ..host.clone()
            };
            for _ in 0..between {
                host.session(&mut lineage);
            }

            let mut found = Vec::new();
            for _ in 0..3 {
                found.push(copy.session(&mut lineage));
                found.push(host.session(&mut lineage));
            }

            assert!(found.contains(&Presented::Cloned), "{between}: {found:?}");
            assert!(lineage.is_cloned());
            let again = host.session(&mut lineage);
            assert_eq!(again, Presented::StillCloned);
        }
    }

    #[test]
    fn a_machine_that_was_copied_with_its_memory_is_told_too() {
        let (mut lineage, mut host) = (Lineage::default(), Machine::new("a"));
        some_sessions(&mut host, &mut lineage);
        let mut copy = host.clone();

        let mut found = Vec::new();
        for _ in 0..5 {
            found.push(copy.session(&mut lineage));
            found.push(host.session(&mut lineage));
        }

        assert!(found.contains(&Presented::Cloned), "{found:?}");
    }

    #[test]
    fn a_snapshot_that_is_restored_is_a_host_set_back_and_no_clone_also_when_it_goes_forward_again()
    {
        let (mut lineage, mut host) = (Lineage::default(), Machine::new("a"));
        some_sessions(&mut host, &mut lineage);
        let old = host.pass;
        some_sessions(&mut host, &mut lineage);
        let new = host.pass;

        (host.run, host.pass) = ("b", old);
        assert_eq!(host.session(&mut lineage), Presented::SetBack);
        assert_eq!(host.session(&mut lineage), Presented::Continues);
        (host.run, host.pass) = ("c", new);
        assert_eq!(host.session(&mut lineage), Presented::SetBack);
        assert_eq!(host.session(&mut lineage), Presented::Continues);
        host.pass = None;
        assert_eq!(host.session(&mut lineage), Presented::Lost);
        assert_eq!(host.session(&mut lineage), Presented::Continues);
    }

    #[test]
    fn a_controller_that_was_set_back_learns_it_from_the_first_pass_and_goes_on_from_there() {
        let (mut lineage, mut host) = (Lineage::default(), Machine::new("a"));
        some_sessions(&mut host, &mut lineage);
        let backup = lineage.clone();
        some_sessions(&mut host, &mut lineage);

        let mut lineage = backup;

        assert_eq!(host.session(&mut lineage), Presented::Ahead);
        assert_eq!(host.session(&mut lineage), Presented::Continues);
        assert_eq!(host.session(&mut lineage), Presented::Continues);
    }

    #[test]
    fn once_an_operator_has_dealt_with_a_clone_the_machine_that_is_left_goes_on() {
        for left in ["a", "b"] {
            let (mut lineage, mut host) = (Lineage::default(), Machine::new("a"));
            some_sessions(&mut host, &mut lineage);
            let mut copy = Machine {
                run: "b",
                ..host.clone()
            };
            while !lineage.is_cloned() {
                copy.session(&mut lineage);
                host.session(&mut lineage);
            }
            for machine in [&host, &copy, &host, &copy].map(|machine| machine.run) {
                lineage.is_to_be_told(machine);
            }
            assert!(!lineage.is_to_be_told("a") && !lineage.is_to_be_told("b"));
            for _ in 0..3 {
                copy.session(&mut lineage);
                host.session(&mut lineage);
            }

            lineage.settle();
            let mut rest = if left == "a" { host } else { copy };

            let judged: Vec<_> = (0..3).map(|_| rest.session(&mut lineage)).collect();
            assert!(!lineage.is_cloned(), "{judged:?}");
            assert_eq!(judged, [Presented::Continues; 3]);
        }
    }

    #[test]
    fn what_a_pass_says_reads_back_and_nothing_else_does() {
        let pass = Pass {
            number: 7,
            generation: 3,
            claim_epoch: 2,
            newest_claimed_secs: 1_800_000_000,
        };

        assert_eq!(Pass::of_text(&pass.to_text()), Some(pass));
        for text in ["", "1", "1 7", "2 7 3 2 1", "1 x 3 2 1", "1 -7 3 2 1"] {
            assert_eq!(Pass::of_text(text), None, "{text}");
        }
    }
}
