//! The simulation's dice: the same seed throws the same (`SplitMix64`).

use crate::numbers::{float, whole};

/// A source of chance.
pub(super) struct Chance(u64);

impl Chance {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^ (bits >> 31)
    }

    /// From 0 to 1.
    pub(super) fn share(&mut self) -> f64 {
        float(self.next() >> 11) / float(1 << 53)
    }

    pub(super) fn happens(&mut self, share: f64) -> bool {
        self.share() < share
    }

    /// From zero on, less than that; the bias is far below what the simulation could show.
    pub(super) fn below(&mut self, count: u64) -> u64 {
        self.next() % count.max(1)
    }

    pub(super) fn index(&mut self, count: usize) -> usize {
        whole(self.share() * float(count as u64)).min(count.saturating_sub(1))
    }

    pub(super) fn between(&mut self, least: f64, most: f64) -> f64 {
        least + self.share() * (most - least)
    }

    /// An index by Zipf's law, as near as a logarithm comes: the tenth is chosen a tenth as often as the first.
    pub(super) fn often_low(&mut self, count: usize) -> usize {
        let most = float(count as u64 + 1);
        (whole(most.powf(self.share())) - 1).min(count.saturating_sub(1))
    }

    /// Seconds until something happens that takes mostly about so long, now and then much longer (log-normal).
    pub(super) fn delay_s(&mut self, median_s: f64) -> f64 {
        let angle = std::f64::consts::TAU * self.share();
        let normal = (-2.0 * (1.0 - self.share()).ln()).sqrt() * angle.cos();
        median_s * (0.9 * normal).exp()
    }
}
