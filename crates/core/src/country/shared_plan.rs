//! Which country of a shared calling code (+1, +7, +39, +44 …) a number belongs to. `Country::of` asks on the writer's thread for
//! each new number. The numbering plans say it in regular expressions, a dozen a country; here all of a calling code's are one
//! automaton over digits, so that an answer is one step a digit, and no expression is kept compiled twice over. The answers
//! are the numbering plans' own, word for word: what the books have summed up by country must stay what it was.

use regex_automata::dfa::{Automaton as _, StartKind, dense};
use regex_automata::nfa::thompson;
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input, MatchKind};
use rlibphonenumber::PHONE_NUMBER_UTIL;
use rlibphonenumber::interfaces::AsOriginal as _;

use super::Country;

/// Countries that share a calling code: each has its bit.
const MAX_COUNTRIES: usize = 64;
/// National numbers below it are left to the plans.
const MIN_DIGITS: usize = 4;
/// What an automaton may take; the largest (+1) takes a tenth of it.
const MAX_BYTES: usize = 4 << 20;
/// What the plans' expressions are wrapped in: `^(?:…)$`.
const WRAPPING: (&str, &str) = ("^(?:", ")$");

/// What it means that an expression matches a national number.
#[derive(Clone, Copy)]
enum Meaning {
    /// The number begins with what may be a national prefix: it has to be parsed.
    Prefix,
    /// It is this country's by its first digits.
    Leading,
    /// It is in the country's general range.
    General,
    /// It is of a known kind in the country: mobile, fixed line, …
    Kind,
}

struct Expression {
    meaning: Meaning,
    country: usize,
    /// The lengths that a number of this kind has, as bits; zero where the plan names none.
    lengths: u32,
}

/// The numbering plans of one calling code.
pub(super) struct SharedPlan {
    automaton: dense::DFA<Vec<u32>>,
    expressions: Vec<Expression>,
    countries: Vec<Option<Country>>,
}

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Belongs {
    /// To this country.
    To(Country),
    /// To none that has a name.
    ToNobody,
    /// The plans have to be asked themselves.
    Unsure,
}

/// Collects expressions.
#[derive(Default)]
struct Collected {
    patterns: Vec<String>,
    expressions: Vec<Expression>,
}

impl Collected {
    /// Takes an expression in; `None` where it isn't of the form that all have.
    fn add(&mut self, base: Option<&str>, meaning: Meaning, country: usize, lengths: &[i32]) -> Option<()> {
        // Without an expression there is nothing that could match.
        let Some(base) = base else {
            return Some(());
        };
        let inner = base.strip_prefix(WRAPPING.0)?.strip_suffix(WRAPPING.1)?;
        let rest = match meaning {
            Meaning::Prefix | Meaning::Leading => "[0-9]*",
            Meaning::General | Meaning::Kind => "",
        };
        let mut bits = 0;
        for &length in lengths {
            // -1: the country has no numbers of this kind. Such an expression is never asked.
            bits |= u32::try_from(length).map_or(1 << 31, |length| 1 << length.min(30));
        }
        self.patterns.push(format!("(?:{inner}){rest}"));
        self.expressions.push(Expression {
            meaning,
            country,
            lengths: bits,
        });
        Some(())
    }
}

impl SharedPlan {
    /// Reads the plans of a calling code. `None` where they aren't as expected: then they have to be asked each time.
    pub(super) fn read(code: usize) -> Option<Self> {
        let code = i32::try_from(code).ok()?;
        let regions: Vec<_> = PHONE_NUMBER_UTIL.get_regions_for_country_calling_code(code)?.collect();
        if regions.len() > MAX_COUNTRIES {
            return None;
        }
        let mut collected = Collected::default();
        let main = PHONE_NUMBER_UTIL
            .as_original()
            .get_metadata_for_region(*regions.first()?)?;
        let prefix = main.national_prefix_for_parsing().pattern_base.as_deref();
        collected.add(prefix, Meaning::Prefix, 0, &[])?;
        for (country, region) in regions.iter().enumerate() {
            let plan = PHONE_NUMBER_UTIL.as_original().get_metadata_for_region(*region)?;
            let leading = plan.leading_digits().pattern_base.as_deref();
            collected.add(leading, Meaning::Leading, country, &[])?;
            let both_lines = plan.original.same_mobile_and_fixed_line_pattern();
            for (meaning, kind) in [
                (Meaning::General, Some(&plan.general_desc)),
                (Meaning::Kind, Some(&plan.premium_rate)),
                (Meaning::Kind, Some(&plan.toll_free)),
                (Meaning::Kind, Some(&plan.shared_cost)),
                (Meaning::Kind, Some(&plan.voip)),
                (Meaning::Kind, Some(&plan.personal_number)),
                (Meaning::Kind, Some(&plan.pager)),
                (Meaning::Kind, Some(&plan.uan)),
                (Meaning::Kind, Some(&plan.voicemail)),
                (Meaning::Kind, Some(&plan.fixed_line)),
                (Meaning::Kind, Some(&plan.mobile).filter(|_| !both_lines)),
            ] {
                if let Some(kind) = kind {
                    let base = kind.national_number_pattern().pattern_base.as_deref();
                    collected.add(base, meaning, country, &kind.original.possible_length)?;
                }
            }
        }
        let countries = regions.iter().map(|region| Country::parse(&region.to_string()));
        Some(Self {
            automaton: automaton(&collected.patterns)?,
            expressions: collected.expressions,
            countries: countries.collect(),
        })
    }

    /// Whose a number is: its digits after the calling code.
    pub(super) fn country(&self, national: &[u8]) -> Belongs {
        // Too short to be parsed, with or without a prefix that the plans would strip.
        if national.len() < MIN_DIGITS {
            return Belongs::Unsure;
        }
        let input = Input::new(national).anchored(Anchored::Yes);
        let Ok(mut state) = self.automaton.start_state_forward(&input) else {
            return Belongs::Unsure;
        };
        for &digit in national {
            state = self.automaton.next_state(state, digit);
            if self.automaton.is_dead_state(state) {
                return Belongs::ToNobody;
            }
        }
        state = self.automaton.next_eoi_state(state);
        if !self.automaton.is_match_state(state) {
            return Belongs::ToNobody;
        }
        let length = 1_u32 << national.len().min(30);
        let (mut leading, mut general, mut kinds) = (0_u64, 0_u64, 0_u64);
        for place in 0..self.automaton.match_len(state) {
            let pattern = self.automaton.match_pattern(state, place).as_usize();
            let Some(expression) = self.expressions.get(pattern) else {
                return Belongs::Unsure;
            };
            let bit = 1 << expression.country;
            let right_length = expression.lengths == 0 || expression.lengths & length != 0;
            match expression.meaning {
                Meaning::Prefix => return Belongs::Unsure,
                Meaning::Leading => leading |= bit,
                Meaning::General if right_length => general |= bit,
                Meaning::Kind if right_length => kinds |= bit,
                Meaning::General | Meaning::Kind => {}
            }
        }
        let countries = leading | general & kinds;
        // The first one that it can belong to, in the plans' order.
        match self.countries.get(countries.trailing_zeros() as usize) {
            Some(Some(country)) => Belongs::To(*country),
            Some(None) => Belongs::Unsure,
            None => Belongs::ToNobody,
        }
    }

    /// How much memory the automaton takes.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.automaton.memory_usage()
    }
}

fn automaton(patterns: &[String]) -> Option<dense::DFA<Vec<u32>>> {
    let digits_are_ascii = syntax::Config::new().unicode(false).utf8(false);
    let config = dense::Config::new()
        .start_kind(StartKind::Anchored)
        .match_kind(MatchKind::All)
        .accelerate(false)
        .dfa_size_limit(Some(MAX_BYTES))
        .determinize_size_limit(Some(4 * MAX_BYTES));
    dense::Builder::new()
        .configure(config)
        .syntax(digits_are_ascii)
        .thompson(thompson::Config::new().utf8(false))
        .build_many(patterns)
        .ok()
}
