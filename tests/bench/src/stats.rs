//! Percentiles and the words they are printed in.

use std::time::Duration;

/// A set of measured times.
#[derive(Debug, Default)]
pub(crate) struct Sample {
    sorted_us: Vec<f64>,
}

// === impl Sample ===

impl Sample {
    pub(crate) fn new(times: impl IntoIterator<Item = Duration>) -> Self {
        let mut sorted_us: Vec<f64> = times
            .into_iter()
            .map(|time| time.as_secs_f64() * 1e6)
            .collect();
        sorted_us.sort_by(f64::total_cmp);
        Self { sorted_us }
    }

    pub(crate) fn len(&self) -> usize {
        self.sorted_us.len()
    }

    /// The `q`-quantile in milliseconds, 0 ≤ q ≤ 1; `None` of nothing.
    pub(crate) fn quantile_ms(&self, q: f64) -> Option<f64> {
        let last = self.sorted_us.len().checked_sub(1)?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "an index below the length"
        )]
        let at = (last as f64 * q).round() as usize;
        self.sorted_us.get(at).map(|us| us / 1e3)
    }

    pub(crate) fn p50_ms(&self) -> Option<f64> {
        self.quantile_ms(0.5)
    }

    pub(crate) fn p95_ms(&self) -> Option<f64> {
        self.quantile_ms(0.95)
    }
}

/// `0.213 ms`, or a dash where nothing was granted.
pub(crate) fn ms(value: Option<f64>) -> String {
    match value {
        Some(value) if value < 10.0 => format!("{value:.3} ms"),
        Some(value) => format!("{value:.1} ms"),
        None => "-".to_owned(),
    }
}
