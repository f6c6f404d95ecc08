//! The little statistics that paired rounds need.

/// The value in the middle, and the range that the middle half lies in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub low: f64,
    pub median: f64,
    pub high: f64,
}

impl Spread {
    #[must_use]
    pub fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        Self { low: quantile(&sorted, 1), median: quantile(&sorted, 2), high: quantile(&sorted, 3) }
    }
}

/// By quarters, between the two neighbours where it falls between.
fn quantile(sorted: &[f64], quarter: usize) -> f64 {
    let steps = sorted.len().saturating_sub(1) * quarter;
    let at = |position: usize| sorted.get(position).copied().unwrap_or(f64::NAN);
    let below = at(steps / 4);
    match steps % 4 {
        0 => below,
        1 => below * 0.75 + at(steps / 4 + 1) * 0.25,
        2 => below * 0.5 + at(steps / 4 + 1) * 0.5,
        _ => below * 0.25 + at(steps / 4 + 1) * 0.75,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_half_is_found_between_neighbours() {
        let spread = Spread::of(&[4.0, 1.0, 3.0, 2.0, 5.0]);
        assert_eq!(spread, Spread { low: 2.0, median: 3.0, high: 4.0 });
        assert!((Spread::of(&[1.0, 2.0]).median - 1.5).abs() < 1e-9);
        assert!(Spread::of(&[]).median.is_nan());
    }
}
