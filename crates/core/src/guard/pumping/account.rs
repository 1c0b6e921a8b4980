//! What is usual for an account: how many of its codes come back, now and in the long run, and whether any do.

use super::ONE;
use super::rules::PumpingRules;

/// Codes that were due and codes that came back, of the last so many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Conversion {
    due: u64,
    back: u64,
}

impl Conversion {
    /// Codes became due; of what was before only so much is kept that it is never about more than `codes` of them.
    fn due(&mut self, amount: u64, codes: u32) {
        let all = u64::from(codes.max(1)) * ONE;
        let amount = amount.min(all);
        let left = all - amount;
        self.due = self.due * left / all + amount;
        self.back = self.back * left / all;
    }

    /// One in [`ONE`] parts; nothing is known: half.
    fn share(self) -> u64 {
        // As if ten codes had been seen, of which half came back.
        let prior = 10 * ONE;
        ((self.back + prior / 2) * ONE / (self.due + prior)).min(ONE)
    }
}

/// What is known of an account as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct AccountRecord {
    /// At present: only codes to ranges count that prove themselves, so that an attack doesn't lower what is expected.
    present: Conversion,
    /// In the long run, of all codes that count for ranges.
    usual: Conversion,
    /// Codes that came back, up to the number from which the account is judged.
    returns: u32,
    /// Expected codes of proven ranges since the last one came back from anywhere.
    silence: u64,
}

impl AccountRecord {
    /// Codes became due, so many of them in ranges that prove themselves.
    pub(super) fn due(&mut self, rules: &PumpingRules, matured: u64, proven: u64) {
        self.usual.due(matured, rules.usual_from_codes);
        if proven > 0 {
            self.silence = self.silence.saturating_add(self.expected(proven));
            self.present.due(proven, rules.learned_from_codes);
        }
    }

    pub(super) fn came_back(&mut self, rules: &PumpingRules) {
        self.returns = self.returns.saturating_add(1).min(rules.judged_from_returns);
        self.silence = 0;
        self.present.back = self.present.back.saturating_add(ONE);
        self.usual.back = self.usual.back.saturating_add(ONE);
    }

    /// How many of so many codes should have come back.
    pub(super) fn expected(&self, matured: u64) -> u64 {
        matured.saturating_mul(self.present.share()) / ONE
    }

    /// An account that doesn't have its codes checked gives no signal.
    pub(super) fn is_judged(&self, rules: &PumpingRules) -> bool {
        self.returns >= rules.judged_from_returns
            && self.usual.share() * 100 >= u64::from(rules.judged_from_percent) * ONE
    }

    /// Nothing comes back from anywhere: that isn't the doing of one place.
    pub(super) fn is_silent(&self, rules: &PumpingRules) -> bool {
        self.silence >= u64::from(rules.silent_after_expected) * ONE
    }

    /// For how many codes one return speaks.
    pub(super) fn allowance_of_a_return(&self, rules: &PumpingRules) -> u64 {
        u64::from(rules.proven_for_tenths) * ONE / 10 * ONE / self.usual.share().max(1)
    }
}
