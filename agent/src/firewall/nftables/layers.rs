//! Wide rules in layers: intervals of one of the kernel's sets may not overlap, rules may. Pure.

use std::time::Duration;

use engine::Rule;

use super::steps::LAYERS;

/// Which layer of the kernel's sets each wide rule stands in, until when. All times are steady.
#[derive(Clone, Debug, Default)]
pub(super) struct Layers([Vec<(Rule, Duration)>; LAYERS]);

/// For how long after its end an element may still stand in the way of another: the kernel counts
/// in ticks of its own.
const SLACK: Duration = Duration::from_secs(1);

// === impl Layers ===

impl Layers {
    /// Forgets what has ended.
    pub(super) fn forget(&mut self, now: Duration) {
        for layer in &mut self.0 {
            layer.retain(|(_, until)| *until + SLACK > now);
        }
    }

    /// The layer in which a rule stands.
    pub(super) fn of(&self, rule: &Rule) -> Option<usize> {
        let has = |layer: &Vec<(Rule, Duration)>| layer.iter().any(|(known, _)| known == rule);
        self.0.iter().position(has)
    }

    /// Places a rule, where it stands or in the first layer where nothing overlaps it; `None` when
    /// there is none.
    pub(super) fn place(&mut self, rule: Rule, until: Duration) -> Option<usize> {
        let is_free =
            |layer: &Vec<(Rule, Duration)>| !layer.iter().any(|(it, _)| overlap(it, &rule));
        let at = self.of(&rule).or_else(|| self.0.iter().position(is_free))?;
        self.enter(rule, at, until);
        Some(at)
    }

    /// Enters a rule that was found in this layer.
    pub(super) fn enter(&mut self, rule: Rule, at: usize, until: Duration) {
        let Some(layer) = self.0.get_mut(at) else {
            return;
        };
        match layer.iter_mut().find(|(known, _)| *known == rule) {
            Some((_, end)) => *end = until,
            None => layer.push((rule, until)),
        }
    }

    /// Takes a rule out; `None` if it is in no layer.
    pub(super) fn take(&mut self, rule: &Rule) -> Option<usize> {
        let at = self.of(rule)?;
        if let Some(layer) = self.0.get_mut(at) {
            layer.retain(|(known, _)| known != rule);
        }
        Some(at)
    }

    /// Every rule, and its layer.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Rule, usize)> {
        let of_layer = |(at, layer): (usize, &Vec<(Rule, Duration)>)| {
            layer
                .iter()
                .map(|(rule, _)| (*rule, at))
                .collect::<Vec<_>>()
        };
        self.0.iter().enumerate().flat_map(of_layer)
    }

    pub(super) fn clear(&mut self) {
        self.0.iter_mut().for_each(Vec::clear);
    }
}

/// Whether some packet is for both rules.
pub(super) fn overlap(one: &Rule, other: &Rule) -> bool {
    let (a, b) = (one.from(), other.from());
    let same_service = match (one.asked(), other.asked()) {
        (Some(one), Some(other)) => one.overlaps(other),
        (None, _) | (_, None) => true,
    };
    same_service && (a.contains(&b) || b.contains(&a))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> Rule {
        text.parse().unwrap()
    }

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn rules_that_overlap_stand_in_different_layers_and_others_in_the_first() {
        let mut layers = Layers::default();

        assert_eq!(
            layers.place(rule("192.0.2.0/24 tcp/20-30"), MINUTE),
            Some(0)
        );
        assert_eq!(
            layers.place(rule("192.0.2.0/24 udp/20-30"), MINUTE),
            Some(0)
        );
        assert_eq!(
            layers.place(rule("192.0.2.128/25 tcp/30-40"), MINUTE),
            Some(1)
        );
        assert_eq!(
            layers.place(rule("192.0.2.0/24 tcp/20-30"), MINUTE),
            Some(0)
        );
        assert_eq!(
            layers.place(rule("192.0.0.0/16 tcp/1-65535"), MINUTE),
            Some(2)
        );
        assert_eq!(layers.place(rule("192.0.2.7 tcp/1-65535"), MINUTE), Some(1));
        assert_eq!(
            layers.place(rule("192.0.2.0/25 tcp/22-23"), MINUTE),
            Some(3)
        );
        assert_eq!(layers.place(rule("192.0.2.7 tcp/22-24"), MINUTE), None);
        assert_eq!(layers.take(&rule("192.0.2.0/24 tcp/20-30")), Some(0));
        assert_eq!(layers.place(rule("192.0.2.7 tcp/22-24"), MINUTE), Some(0));
    }

    #[test]
    fn what_has_ended_is_in_nobodys_way_once_the_kernel_must_have_seen_it_end() {
        let mut layers = Layers::default();
        layers.place(rule("192.0.2.0/24 tcp/20-30"), MINUTE);

        layers.forget(MINUTE);
        assert_eq!(
            layers.place(rule("192.0.2.0/25 tcp/20-30"), MINUTE),
            Some(1)
        );
        layers.forget(MINUTE + SLACK);
        assert_eq!(
            layers.place(rule("192.0.2.0/26 tcp/20-30"), MINUTE),
            Some(0)
        );
    }
}
