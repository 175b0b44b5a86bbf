//! Whether something holds, by source: for these it does, for those it may, for the rest not. Pure.

use super::sources::Sources;

/// For which sources a condition holds. No source is in both.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Truth {
    pub(super) yes: Sources,
    pub(super) maybe: Sources,
}

// === impl Truth ===

impl Truth {
    pub(super) const YES: Self = Self {
        yes: Sources::All,
        maybe: Sources::none(),
    };
    pub(super) const NO: Self = Self {
        yes: Sources::none(),
        maybe: Sources::none(),
    };
    pub(super) const MAYBE: Self = Self {
        yes: Sources::none(),
        maybe: Sources::All,
    };

    pub(super) const fn of(holds: bool) -> Self {
        if holds { Self::YES } else { Self::NO }
    }

    pub(super) const fn sources(yes: Sources) -> Self {
        Self {
            yes,
            maybe: Sources::none(),
        }
    }

    pub(super) fn is_no(&self) -> bool {
        self.yes.is_none() && self.maybe.is_none()
    }

    pub(super) fn is_yes(&self) -> bool {
        matches!(self.yes, Sources::All)
    }

    pub(super) fn and(&self, other: &Self) -> Self {
        if self.is_yes() {
            return other.clone();
        }
        if other.is_yes() {
            return self.clone();
        }
        let yes = self.yes.and(&other.yes);
        let mut maybe = self.possible().and(&other.possible());
        maybe.remove(&yes);
        Self { yes, maybe }
    }

    /// Takes in that something else holds.
    pub(super) fn or(&mut self, other: &Self) {
        self.yes.add(&other.yes);
        self.maybe.add(&other.maybe);
        self.maybe.remove(&self.yes);
    }

    pub(super) fn not(&self) -> Self {
        Self {
            yes: self.possible().complement(),
            maybe: self.maybe.clone(),
        }
    }

    pub(super) fn inverted_if(self, is_inverted: bool) -> Self {
        if is_inverted { self.not() } else { self }
    }

    /// For which it may hold, or does.
    pub(super) fn possible(&self) -> Sources {
        let mut possible = self.yes.clone();
        possible.add(&self.maybe);
        possible
    }
}
