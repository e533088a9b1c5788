//! How many seats each level may use, given what all of them need. Pure.

/// What a level has and needs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Demand {
    /// Its own seats.
    pub(super) nominal: u32,
    /// Those of them that others may use.
    pub(super) lendable: u32,
    /// Seats of others that it may use.
    pub(super) borrowable: u32,
    /// The most seats that it needed at once since the last time.
    pub(super) high: f64,
    /// The same over a longer time.
    pub(super) smooth: f64,
}

/// So much of an old demand is forgotten every time.
const FORGOTTEN: f64 = 1.0 - 0.977;

/// A demand over a longer time: it rises at once and falls slowly.
pub(super) fn smoothed(before: f64, high: f64) -> f64 {
    high.max(before - (before - high) * FORGOTTEN)
}

/// The seats that each level may use: at least what it needs of its own, at most what it may
/// borrow, and in between in proportion to its demand.
pub(super) fn limits(demands: &[Demand], seats: u32) -> Vec<u32> {
    let bounds: Vec<(f64, f64, f64)> = demands
        .iter()
        .map(|demand| {
            let nominal = f64::from(demand.nominal);
            let own = nominal - f64::from(demand.lendable);
            let least = own.max(demand.high.min(nominal));
            let most = nominal + f64::from(demand.borrowable);
            (least, most, demand.smooth.max(least).max(1.0))
        })
        .collect();
    let given = |proportion: f64| -> f64 {
        bounds.iter().map(|(least, most, target)| (proportion * target).clamp(*least, *most)).sum()
    };
    // More and more for everybody until all is given, by halving.
    let all = f64::from(seats);
    let (mut low, mut high) = (0.0, all.max(1.0));
    for _ in 0..64 {
        let middle = f64::midpoint(low, high);
        if given(middle) < all { low = middle } else { high = middle }
    }
    bounds
        .iter()
        .map(|(least, most, target)| (high * target).clamp(*least, *most).round() as u32)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demand(nominal: u32, lendable: u32, borrowable: u32, high: f64) -> Demand {
        Demand { nominal, lendable, borrowable, high, smooth: high }
    }

    #[test]
    fn idle_levels_lend_and_busy_ones_borrow() {
        // Nobody needs anything: everybody can have about his own.
        let idle = [demand(50, 25, 100, 0.0), demand(50, 25, 100, 0.0)];
        assert_eq!(limits(&idle, 100), [50, 50]);
        let one = [demand(50, 25, 100, 200.0), demand(50, 25, 100, 0.0)];
        assert_eq!(limits(&one, 100), [75, 25]);
        // What is needed is not lent.
        let both = [demand(50, 25, 100, 200.0), demand(50, 25, 100, 40.0)];
        assert_eq!(limits(&both, 100), [60, 40]);
        // Who may not borrow does not.
        let strict = [demand(50, 25, 0, 200.0), demand(50, 25, 100, 0.0)];
        assert_eq!(limits(&strict, 100)[0], 50);
    }

    #[test]
    fn demands_rise_at_once_and_fall_slowly() {
        assert_eq!(smoothed(1.0, 10.0), 10.0);
        let falling = smoothed(10.0, 0.0);
        assert!((9.0..10.0).contains(&falling), "{falling}");
    }
}
