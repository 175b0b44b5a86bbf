//! Who is next where places are few: whoever had least of one so far, and now and then whoever has waited
//! longest.

use std::collections::BTreeMap;
use std::time::Duration;

/// Each turn of so many goes to whoever has waited longest, so that nobody waits for ever.
const OF_WHOM_ONE_WAITED: u64 = 4;

/// Who waits, with what each is called by.
#[derive(Debug)]
pub(super) struct Line<W> {
    /// By what each had so far, and then by the order in which they came.
    least: BTreeMap<(Duration, u64), W>,
    /// What each had, in the order in which they came.
    longest: BTreeMap<u64, Duration>,
    /// Who comes next has this number.
    arrivals: u64,
    turns: u64,
}

// === impl Line ===

impl<W> Line<W> {
    pub(super) const fn new() -> Self {
        Self {
            least: BTreeMap::new(),
            longest: BTreeMap::new(),
            arrivals: 0,
            turns: 0,
        }
    }

    /// Puts somebody into the line who had a place for so long already.
    pub(super) fn push(&mut self, served: Duration, who: W) {
        self.least.insert((served, self.arrivals), who);
        self.longest.insert(self.arrivals, served);
        self.arrivals += 1;
    }

    /// Takes out who has the next turn.
    pub(super) fn next(&mut self) -> Option<W> {
        self.turns += 1;
        let longest = || self.longest.first_key_value().map(|(at, had)| (*had, *at));
        let least = || self.least.first_key_value().map(|(key, _)| *key);
        let (served, arrived) = match self.turns.is_multiple_of(OF_WHOM_ONE_WAITED) {
            true => longest(),
            false => least(),
        }?;
        self.longest.remove(&arrived);
        self.least.remove(&(served, arrived))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TURN: Duration = Duration::from_millis(20);

    /// Places and who works in them; whoever is not done stands in line again after each turn.
    struct Played {
        line: Line<Question>,
        working: Vec<Question>,
        /// Who has had all of its turns, with the number of turns that had ended then.
        done: Vec<(&'static str, usize)>,
        ended: usize,
    }

    #[derive(Clone, Copy, Debug)]
    struct Question {
        name: &'static str,
        left: usize,
        served: Duration,
    }

    impl Played {
        fn new() -> Self {
            Self {
                line: Line::new(),
                working: Vec::new(),
                done: Vec::new(),
                ended: 0,
            }
        }

        fn ask(&mut self, name: &'static str, turns: usize) {
            let question = Question {
                name,
                left: turns,
                served: Duration::ZERO,
            };
            self.line.push(question.served, question);
        }

        /// As many turns end, in so many places.
        fn play(&mut self, places: usize, turns: usize) {
            for _ in 0..turns {
                while self.working.len() < places
                    && let Some(question) = self.line.next()
                {
                    self.working.push(question);
                }
                if self.working.is_empty() {
                    return;
                }
                let mut question = self.working.remove(0);
                self.ended += 1;
                question.left -= 1;
                question.served += TURN;
                match question.left {
                    0 => self.done.push((question.name, self.ended)),
                    _ => self.line.push(question.served, question),
                }
            }
        }

        fn done(&self, name: &str) -> Option<usize> {
            let mut of_name = self.done.iter().filter(|(other, _)| *other == name);
            of_name.next().map(|(_, ended)| *ended)
        }
    }

    #[test]
    fn a_question_of_one_turn_waits_for_those_in_the_places_and_one_more_however_many_are_wide() {
        for (places, wide) in [(1, 8), (2, 8), (4, 8), (1, 1_000), (4, 1_000)] {
            // Whatever turn of the order it comes at.
            for before in 2 * wide..2 * wide + 8 {
                let mut played = Played::new();
                for _ in 0..wide {
                    played.ask("wide", 1_000_000);
                }
                played.play(places, before);

                played.ask("short", 1);
                played.play(places, 100);

                let waited = played.done("short").unwrap() - before - 1;
                assert!(waited <= places + 1, "{places} {wide} {before}: {waited}");
            }
        }
    }

    #[test]
    fn of_those_that_have_not_begun_each_waits_for_those_before_it_and_a_third_more_of_others() {
        for before in 50..58 {
            let mut played = Played::new();
            for _ in 0..8 {
                played.ask("wide", 1_000_000);
            }
            played.play(1, before);

            for _ in 0..30 {
                played.ask("short", 1);
            }
            played.ask("the last", 1);
            played.play(1, 100);

            let waited = played.done("the last").unwrap() - before - 1;
            assert!(waited <= 1 + 30 + 30 / 3 + 1, "{before}: {waited}");
        }
    }

    #[test]
    fn a_question_of_some_turns_waits_for_three_rounds_of_one_place_and_not_of_all_who_wait() {
        let mut played = Played::new();
        for _ in 0..100 {
            played.ask("wide", 1_000_000);
        }
        played.play(1, 1_000);

        played.ask("some", 6);
        played.play(1, 100);

        // Each fourth turn is of who has waited longest.
        assert!(played.done("some").unwrap() <= 1_000 + 1 + 6 + 2);
    }

    #[test]
    fn whoever_wants_much_goes_on_although_a_short_one_comes_for_each_turn_that_ends() {
        let mut played = Played::new();
        played.ask("wide", 10);

        for _ in 0..200 {
            played.ask("short", 1);
            played.play(1, 1);
        }

        // After those who waited when it came back, and then at the next fourth turn.
        let most = (1..=10).map(|turn| turn + 4).sum();
        let ended = played.done("wide");
        assert!(ended.is_some_and(|ended| ended <= most), "{ended:?}");
    }

    #[test]
    fn those_who_had_the_same_come_in_the_order_in_which_they_came() {
        let mut line = Line::new();
        for who in 0..10 {
            line.push(TURN, who);
        }

        let order: Vec<i32> = std::iter::from_fn(|| line.next()).collect();

        assert_eq!(order, (0..10).collect::<Vec<_>>());
    }
}
