//! Least and most: of costs and of sizes.

/// From the least to the most. Nothing overflows: too much is the largest number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Range {
    /// The least.
    pub min: u64,
    /// The most.
    pub max: u64,
}

impl Range {
    /// Anything.
    pub(super) const UNKNOWN: Self = Self { min: 0, max: u64::MAX };

    pub(super) const fn new(min: u64, max: u64) -> Self {
        Self { min, max }
    }

    pub(super) const fn fixed(value: u64) -> Self {
        Self { min: value, max: value }
    }

    pub(super) fn plus(self, other: Self) -> Self {
        self.both(other, u64::saturating_add)
    }

    pub(super) fn times(self, other: Self) -> Self {
        self.both(other, u64::saturating_mul)
    }

    pub(super) fn union(self, other: Self) -> Self {
        Self { min: self.min.min(other.min), max: self.max.max(other.max) }
    }

    /// Each end times `factor`, rounded up.
    pub(super) fn scaled(self, factor: f64) -> Self {
        Self { min: scaled(self.min, factor), max: scaled(self.max, factor) }
    }

    fn both(self, other: Self, of: fn(u64, u64) -> u64) -> Self {
        Self { min: of(self.min, other.min), max: of(self.max, other.max) }
    }
}

/// `value` times `factor`, rounded up.
pub(super) fn scaled(value: u64, factor: f64) -> u64 {
    // The conversion stops at the largest number.
    (value as f64 * factor).ceil() as u64
}
