//! How often something is done that another program undoes: some times in a row, then hardly ever,
//! so that nobody is fought for ever. Pure.

use std::time::Duration;

/// How often in a row, and how soon once more.
const TIMES_MAX: u32 = 20;
const ONCE_MORE_EVERY: Duration = Duration::from_secs(600);

/// How often it is still done.
#[derive(Clone, Copy, Debug)]
pub(in crate::firewall) struct Stamina {
    left: u32,
    refilled_at: Duration,
    is_spent: bool,
}

/// Whether to do it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::firewall) enum Strength {
    /// Yes.
    Left,
    /// It was done so often that another program must be undoing it.
    Spent {
        /// Whether that is news.
        is_news: bool,
    },
}

// === impl Stamina ===

impl Stamina {
    /// Nothing was done yet.
    pub(in crate::firewall) const fn new(now: Duration) -> Self {
        Self {
            left: TIMES_MAX,
            refilled_at: now,
            is_spent: false,
        }
    }

    /// Whether it was done so often that it is not done now.
    pub(in crate::firewall) const fn is_spent(&self) -> bool {
        self.is_spent
    }

    /// Does it once more, if it is to be done.
    pub(in crate::firewall) fn spend(&mut self, now: Duration) -> Strength {
        while self.refilled_at + ONCE_MORE_EVERY <= now && self.left < TIMES_MAX {
            self.refilled_at += ONCE_MORE_EVERY;
            self.left += 1;
        }
        if self.left == TIMES_MAX {
            self.refilled_at = now;
            self.is_spent = false;
        }
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                Strength::Left
            }
            None => Strength::Spent {
                is_news: !std::mem::replace(&mut self.is_spent, true),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEC: Duration = Duration::from_secs(1);

    #[test]
    fn what_is_undone_again_and_again_is_done_some_times_said_once_and_hardly_ever_done_after() {
        let mut stamina = Stamina::new(SEC);
        let (mut corrected, mut said) = (0, 0);
        for second in 1..=3_600 {
            match stamina.spend(SEC * second) {
                Strength::Left => corrected += 1,
                Strength::Spent { is_news } => said += u32::from(is_news),
            }
        }

        assert_eq!((corrected, said), (TIMES_MAX + 5, 1));
        assert_eq!(stamina.spend(SEC * 100_000), Strength::Left);
    }
}
