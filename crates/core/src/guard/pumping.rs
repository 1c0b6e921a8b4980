//! Pumping: somebody has codes sent to numbers that they earn from, and nobody types them in. Here stands what an account's
//! codes tell of the places that they went to, and whether the next one goes there. Pure and in integers: times come with each call,
//! memory is bounded, and nothing is known of who else counts.
//!
//! A place collects *points*: a code that should have come back by now adds some, one that did come back takes more away. Points are a
//! log-likelihood ratio (the sequential test of Wald, started again at zero as in Page's CUSUM), so thresholds mean odds.
//! What "should have come back" means is learned from the account's other places at the same time.

mod account;
mod record;
mod rules;

use std::collections::BTreeMap;
use std::fmt;

use crate::country::Country;
use crate::ids::AccountKey;
use crate::phone::PhoneNumber;
use crate::price::NumberPrefix;
use crate::time::Timestamp;

use account::AccountRecord;
use record::Record;
pub use rules::{PumpingParameter, PumpingRules};

/// What one code counts in all sums here, and one point.
const ONE: u64 = 1 << 10;
/// Places that are kept at most, of all accounts together: some 30 MB.
const MAX_PLACES: usize = 200_000;
/// Accounts that are kept at most.
const MAX_ACCOUNTS: usize = 50_000;

/// A part of the world's numbers that is judged as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PumpingPlace {
    /// Ten thousand numbers: all digits but the last four.
    Block(NumberPrefix),
    /// A million numbers: all digits but the last six.
    Range(NumberPrefix),
    /// A country.
    Country(Country),
    /// All ranges of the world from which the account gets no codes back.
    Unproven,
}

/// How sends to a place go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pace {
    /// As they come.
    Free,
    /// Fewer of them.
    Slowed,
    /// None but a probe now and then, so that a place can prove itself again.
    Stopped,
}

/// Why a code doesn't go out. Its text is the reason that people are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PumpingRefusal {
    /// The place that the number is in.
    pub place: PumpingPlace,
    /// Slowed or stopped.
    pub pace: Pace,
    /// When to try again, at least 1.
    pub wait_seconds: u32,
}

/// What codes tell, of all accounts.
#[derive(Debug, Clone)]
pub struct Pumping {
    rules: PumpingRules,
    accounts: BTreeMap<AccountKey, AccountRecord>,
    places: BTreeMap<(AccountKey, PumpingPlace), Record>,
}

/// The places of a number, the narrowest first.
type Chain = [PumpingPlace; LEVELS];

const LEVELS: usize = 4;
const BLOCK: usize = 0;
const RANGE: usize = 1;
const UNPROVEN: usize = 3;

/// A number's places with what is known of them.
struct Loaded {
    chain: Chain,
    records: [Record; LEVELS],
    account: AccountRecord,
}

impl Pumping {
    /// Nothing is known yet.
    pub const fn new(rules: PumpingRules) -> Self {
        Self {
            rules,
            accounts: BTreeMap::new(),
            places: BTreeMap::new(),
        }
    }

    /// Whether the next code may go to that number. Where its place is slowed or stopped, the pass or the probe is used up, whatever
    /// becomes of the send.
    pub fn judge(&mut self, account: AccountKey, phone: PhoneNumber, now: Timestamp) -> Result<(), PumpingRefusal> {
        if phone.is_sandbox() {
            return Ok(());
        }
        let mut loaded = self.load(account, phone, now);
        let verdict = self.verdict(&mut loaded, now);
        self.store(account, &loaded);
        verdict
    }

    /// A code went to that number.
    pub fn sent(&mut self, account: AccountKey, phone: PhoneNumber, now: Timestamp) {
        if phone.is_sandbox() {
            return;
        }
        let mut loaded = self.load(account, phone, now);
        if loaded.records[BLOCK].repeats(&self.rules, phone.digits()) {
            self.store(account, &loaded);
            return;
        }
        for level in loaded.counting_levels(&self.rules) {
            loaded.records[level].sent();
        }
        if loaded.counts_as_unproven(&self.rules) {
            loaded.records[RANGE].pooled();
        }
        self.store(account, &loaded);
    }

    /// A code that went to that number was typed in rightly.
    pub fn came_back(&mut self, account: AccountKey, phone: PhoneNumber, now: Timestamp) {
        if phone.is_sandbox() {
            return;
        }
        let mut loaded = self.load(account, phone, now);
        let was_pooled = loaded.records[RANGE].take_pooled();
        let levels = loaded.counting_levels(&self.rules);
        loaded.account.came_back(&self.rules);
        let allowance = loaded.account.allowance_of_a_return(&self.rules);
        for level in levels.filter(|level| *level != UNPROVEN) {
            loaded.records[level].came_back(&self.rules, allowance);
        }
        if was_pooled {
            // The send counted there while the range had proved nothing, though by now it may have.
            loaded.records[UNPROVEN].came_back(&self.rules, 0);
        }
        self.store(account, &loaded);
    }

    /// Forgets what speaks against a place: its operator or owner says that it is all right.
    pub fn forgive(&mut self, account: AccountKey, place: PumpingPlace) {
        self.places.remove(&(account, place));
    }

    /// The places of an account that are slowed or stopped at that time.
    pub fn held_places(&self, account: AccountKey, now: Timestamp) -> Vec<(PumpingPlace, Pace)> {
        let first = (account, PumpingPlace::Block(NumberPrefix::DEFAULT));
        let last = (account, PumpingPlace::Unproven);
        let is_judged = self
            .accounts
            .get(&account)
            .is_some_and(|known| known.is_judged(&self.rules));
        self.places
            .range(first..=last)
            .filter(|_| is_judged)
            .map(|((_, place), record)| {
                let level = level_of(*place);
                (*place, record.faded(&self.rules, level, now).pace(&self.rules, level))
            })
            .filter(|(_, pace)| *pace > Pace::Free)
            .collect()
    }

    fn verdict(&self, loaded: &mut Loaded, now: Timestamp) -> Result<(), PumpingRefusal> {
        if !loaded.account.is_judged(&self.rules) {
            return Ok(());
        }
        let range = &loaded.records[RANGE];
        let proven = range.is_proven() && range.is_clean();
        // The worst judgement counts; among equals the narrowest place, which says most. A range that proves itself by codes that
        // come back isn't held for what happens elsewhere in its country.
        let levels = if proven { 0..=RANGE } else { 0..=UNPROVEN };
        let mut worst: Option<(usize, Pace)> = None;
        for level in levels {
            let pace = loaded.records[level].pace(&self.rules, level);
            if pace > worst.map_or(Pace::Free, |(_, pace)| pace) {
                worst = Some((level, pace));
            }
        }
        let Some((level, pace)) = worst else { return Ok(()) };
        loaded.records[level]
            .pass(&self.rules, pace, now)
            .map_err(|wait_seconds| PumpingRefusal {
                place: loaded.chain[level],
                pace,
                wait_seconds,
            })
    }

    fn load(&mut self, account: AccountKey, phone: PhoneNumber, now: Timestamp) -> Loaded {
        let chain = chain_of(phone);
        let known = self.accounts.get(&account).copied();
        let mut loaded = Loaded {
            chain,
            records: chain.map(|place| {
                self.places
                    .get(&(account, place))
                    .copied()
                    .unwrap_or_else(|| Record::new(now))
            }),
            account: known.unwrap_or_default(),
        };
        for level in 0..LEVELS {
            let matured = loaded.records[level].mature(&self.rules, level, now);
            let counted = loaded.records[level].spend_allowance(matured);
            if level == RANGE {
                loaded.account.due(&self.rules, matured, counted);
            }
            if !loaded.account.is_silent(&self.rules) {
                let expected = loaded.account.expected(matured);
                loaded.records[level].missed(&self.rules, expected);
            }
        }
        loaded.explain(&self.rules);
        loaded
    }

    fn store(&mut self, account: AccountKey, loaded: &Loaded) {
        if self.places.len() + LEVELS > MAX_PLACES {
            self.forget_places();
        }
        if self.accounts.len() >= MAX_ACCOUNTS && !self.accounts.contains_key(&account) {
            self.accounts.pop_first();
        }
        self.accounts.insert(account, loaded.account);
        for (place, record) in loaded.chain.iter().zip(&loaded.records) {
            self.places.insert((account, *place), *record);
        }
    }

    /// Makes room: a quarter of the places goes, first those that say nothing, then those that were looked at longest ago.
    fn forget_places(&mut self) {
        let rules = self.rules;
        let mut worth: Vec<(bool, Timestamp)> = self.places.values().map(|record| record.worth(&rules)).collect();
        let quarter = worth.len() / 4;
        let (_, limit, _) = worth.select_nth_unstable(quarter);
        let limit = *limit;
        self.places.retain(|_, record| record.worth(&rules) > limit);
    }
}

impl Loaded {
    /// Once a place is under suspicion by itself, what speaks against it no longer speaks against the wider places around it, but for
    /// a part: several bad places in one country do make the country suspect.
    fn explain(&mut self, rules: &PumpingRules) {
        // What a proven range sends doesn't count among the unproven ones'.
        let widest = if self.records[RANGE].is_proven() {
            UNPROVEN - 1
        } else {
            UNPROVEN
        };
        for level in 0..UNPROVEN {
            if let Some(explained) = self.records[level].become_suspect(rules) {
                for wider in level + 1..=widest {
                    self.records[wider].is_explained(explained);
                }
            }
        }
    }

    /// The levels at which what happens now counts: up to the first that is suspect by itself.
    fn counting_levels(&self, rules: &PumpingRules) -> impl Iterator<Item = usize> + use<> {
        let first_suspect = (BLOCK..UNPROVEN).find(|level| !self.records[*level].is_plain(rules));
        let last = first_suspect.unwrap_or(if self.records[RANGE].is_proven() {
            UNPROVEN - 1
        } else {
            UNPROVEN
        });
        BLOCK..=last
    }

    fn counts_as_unproven(&self, rules: &PumpingRules) -> bool {
        self.counting_levels(rules).last() == Some(UNPROVEN)
    }
}

fn chain_of(phone: PhoneNumber) -> Chain {
    let digits = phone.digits();
    [
        PumpingPlace::Block(NumberPrefix::from_stored(digits / 10_000)),
        PumpingPlace::Range(NumberPrefix::from_stored(digits / 1_000_000)),
        PumpingPlace::Country(Country::of(phone)),
        PumpingPlace::Unproven,
    ]
}

const fn level_of(place: PumpingPlace) -> usize {
    match place {
        PumpingPlace::Block(_) => BLOCK,
        PumpingPlace::Range(_) => RANGE,
        PumpingPlace::Country(_) => 2,
        PumpingPlace::Unproven => UNPROVEN,
    }
}

impl fmt::Display for PumpingPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Block(prefix) | Self::Range(prefix) => write!(f, "numbers that begin with {prefix}"),
            Self::Country(country) => write!(f, "the country {country}"),
            Self::Unproven => f.write_str("ranges from which no codes come back"),
        }
    }
}

impl fmt::Display for PumpingRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = if self.pace == Pace::Stopped {
            "stopped"
        } else {
            "slowed"
        };
        write!(f, "codes to {} are {held}: too few of them come back", self.place)
    }
}

/// What is left of a sum after some steps, each of which takes one part in `parts`.
fn faded(sum: u64, steps: i64, parts: u64) -> u64 {
    let mut steps = u64::try_from(steps).unwrap_or(0);
    // After so long not a thousandth of a thousandth is left.
    if steps > parts.saturating_mul(24) {
        return 0;
    }
    let mut left = 1_u128 << 32;
    let mut step = (u128::from(parts.saturating_sub(1)) << 32) / u128::from(parts.max(1));
    while steps > 0 {
        if steps & 1 == 1 {
            left = (left * step) >> 32;
        }
        step = (step * step) >> 32;
        steps >>= 1;
    }
    u64::try_from((u128::from(sum) * left) >> 32).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
