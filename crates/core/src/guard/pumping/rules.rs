//! The parameters of the judgement, in one place: docs/guard.md shows this table, and a test compares the two.

use crate::limits::Limit;

/// By which pumping is judged. The standard ones were chosen on the simulation (`countersign-bench pumping`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PumpingRules {
    /// So many codes of an account must have come back before anything of it is judged.
    pub judged_from_returns: u32,
    /// So many in a hundred of its codes must come back, else nothing of it is judged.
    pub judged_from_percent: u32,
    /// A code that was sent is waited for so long, in seconds: the time constant of an exponential.
    pub wait_s: u32,
    /// So many more codes in a row to one number aren't counted.
    pub uncounted_repeats: u32,
    /// Thousandths of a point that a code adds which should have come back by now.
    pub missed_millipoints: u32,
    /// Thousandths of a point that a code takes away which came back.
    pub returned_millipoints: u32,
    /// From so many points on, a place is suspect by itself, and no longer counts against wider places.
    pub suspect_points: u32,
    /// Tenths of a point that a suspect place leaves with each wider place.
    pub left_decipoints: u32,
    /// From so many points on, a block, a range, a country and all unproven ranges are slowed.
    pub slow_points: [u32; 4],
    /// From so many points on, they are stopped.
    pub stop_points: [u32; 4],
    /// Points fade: so many hours until a block, a range, a country and all unproven ranges have lost the larger part (1 − 1/e) of them.
    pub memory_hours: [u32; 4],
    /// Points of one place at most.
    pub most_points: u32,
    /// What a slowed place takes.
    pub slowed: Limit,
    /// What a stopped place takes, as probes.
    pub stopped: Limit,
    /// The conversion that others have now is learned from so many codes.
    pub learned_from_codes: u32,
    /// What is usual for an account is learned from so many codes.
    pub usual_from_codes: u32,
    /// A range counts as proven for so many tenths of the codes that usually go for one return.
    pub proven_for_tenths: u32,
    /// That can be saved up for so many returns.
    pub proven_returns: u32,
    /// After so many expected codes of proven ranges without a single one, it is the account that is silent (its page is down): no place
    /// gets points until one comes back.
    pub silent_after_expected: u32,
}

/// One line of the table of parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PumpingParameter {
    /// As documentation names it.
    pub name: &'static str,
    /// With its unit.
    pub value: String,
}

impl PumpingRules {
    /// The parameters that the simulation was run with.
    pub const STANDARD: Self = Self {
        judged_from_returns: 50,
        judged_from_percent: 10,
        wait_s: 45,
        uncounted_repeats: 2,
        missed_millipoints: 300,
        returned_millipoints: 1_386,
        suspect_points: 2,
        left_decipoints: 20,
        slow_points: [3, 4, 5, 6],
        stop_points: [4, 6, 7, 9],
        memory_hours: [140, 24, 4, 3],
        most_points: 12,
        slowed: Limit {
            count: 2,
            period_ms: 60_000,
        },
        stopped: Limit {
            count: 1,
            period_ms: 7_200_000,
        },
        learned_from_codes: 256,
        usual_from_codes: 8_192,
        proven_for_tenths: 25,
        proven_returns: 4,
        silent_after_expected: 5,
    };

    /// The table of parameters.
    pub fn table(&self) -> Vec<PumpingParameter> {
        let row = |name, value: String| PumpingParameter { name, value };
        let points = |of: [u32; 4]| of.map(|points| points.to_string()).join(", ");
        let pace = |limit: Limit| format!("{} in {} s", limit.count, limit.period_ms / 1_000);
        vec![
            row(
                "judged from",
                format!("{} codes that came back", self.judged_from_returns),
            ),
            row(
                "judged where",
                format!("{} % of codes come back", self.judged_from_percent),
            ),
            row("a code is waited for", format!("{} s", self.wait_s)),
            row(
                "uncounted in a row to one number",
                format!("{} more codes", self.uncounted_repeats),
            ),
            row(
                "a missed code adds",
                format!("{} thousandths of a point", self.missed_millipoints),
            ),
            row(
                "a returned code takes",
                format!("{} thousandths of a point", self.returned_millipoints),
            ),
            row("suspect from", format!("{} points", self.suspect_points)),
            row(
                "left with wider places",
                format!("{} tenths of a point", self.left_decipoints),
            ),
            row("slowed from", format!("{} points", points(self.slow_points))),
            row("stopped from", format!("{} points", points(self.stop_points))),
            row("points at most", self.most_points.to_string()),
            row("points are remembered", format!("{} h", points(self.memory_hours))),
            row("a slowed place takes", pace(self.slowed)),
            row("a stopped place takes", pace(self.stopped)),
            row(
                "present conversion is learned from",
                format!("{} codes", self.learned_from_codes),
            ),
            row(
                "usual conversion is learned from",
                format!("{} codes", self.usual_from_codes),
            ),
            row(
                "a return proves a range for",
                format!("{} tenths of the usual codes", self.proven_for_tenths),
            ),
            row("saved up for", format!("{} returns", self.proven_returns)),
            row(
                "an account is silent after",
                format!("{} expected codes", self.silent_after_expected),
            ),
        ]
    }
}

impl Default for PumpingRules {
    fn default() -> Self {
        Self::STANDARD
    }
}
