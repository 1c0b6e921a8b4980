//! The guard against sends that nobody should pay for, as pure judgements: where a number may not get a code at all, and (`pumping`)
//! where codes don't come back from. `decide` asks the rules of an account; what must be known besides comes with the command, as
//! [`GuardWord`]. How rules are written is in `areas`.

mod areas;
mod pumping;

use std::fmt;

use rlibphonenumber::{PhoneNumber as Parsed, PhoneNumberType};

use crate::country::Country;
use crate::phone::PhoneNumber;
use crate::price::NumberPrefix;

pub use areas::{AreaChange, NoArea};
pub use pumping::{Pace, Pumping, PumpingParameter, PumpingPlace, PumpingRefusal, PumpingRules};

/// At most so many rules for one account: each send compares its number with all of them.
pub const MAX_AREA_RULES: usize = 500;

/// Where a code may go for one account. The most specific rule that concerns a number decides: a longer prefix before a shorter one, any
/// prefix before a country; of two for the same place the one that blocks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AreaRules {
    rules: Vec<(Area, AreaVerdict)>,
}

/// A part of the world's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Area {
    /// All numbers of a country.
    Country(Country),
    /// All numbers that begin so.
    Prefix(NumberPrefix),
}

/// What a rule says of its area.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AreaVerdict {
    /// Codes go there. One such rule is enough to refuse every area that no rule names. For a prefix it also lifts the refusal of
    /// what the numbering plan knows as a [`RefusedRange`]: whoever writes the prefix knows it.
    Allow,
    /// Codes go there, however few of them come back, and whatever the numbering plan says of that prefix. It names nothing that is to be
    /// refused elsewhere.
    Trust,
    /// No code goes there.
    Block,
}

/// What was found out about a send before it reached the books, so that nothing slow is asked while they are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GuardWord {
    /// The kind of range that the number is in; `None` also where a leg of the plan carries something else than a text.
    pub range: Option<RefusedRange>,
    /// Too few codes come back from where the number is.
    pub held: Option<PumpingRefusal>,
    /// A quota of all accounts together is used up: for so many seconds.
    pub over_quota: Option<u32>,
}

/// There are [`MAX_AREA_RULES`] rules already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there are already {MAX_AREA_RULES} rules for countries and prefixes: remove some, or name shorter prefixes")]
pub struct AreaRulesFull;

/// A kind of range that costs its caller more than a text, or that no text reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusedRange {
    /// The called party earns from each call or text.
    PremiumRate,
    /// Caller and called party share a raised cost.
    SharedCost,
    /// The called party pays: a company's line.
    TollFree,
    /// Follows a person from line to line, at the caller's cost.
    PersonalNumber,
    /// One number for a whole company.
    CompanyNumber,
    /// A mailbox for voice.
    Voicemail,
    /// A pager.
    Pager,
    /// A fixed line, where the plan tells it from a mobile one.
    FixedLine,
}

impl GuardWord {
    /// As commands carry it: they are moved about, and mostly nothing was found out.
    pub fn boxed(self) -> Option<Box<Self>> {
        (self != Self::default()).then(|| Box::new(self))
    }
}

/// Why no code goes to a number. Its text is the reason that people are shown; it doesn't hold the number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AreaRefusal {
    /// A rule of the account blocks the area.
    #[error("the account blocks {0}")]
    Blocked(Area),
    /// The account allows some areas, and this is none of them.
    #[error("the account allows other countries and prefixes only")]
    NotAllowed,
    /// The numbering plan knows the number as one that should get no text.
    #[error("the numbering plan knows this as {0}; allow its prefix to send there")]
    Range(RefusedRange),
}

impl AreaRules {
    /// Adds a rule; one for the same area with the same verdict stays one.
    pub fn add(&mut self, area: Area, verdict: AreaVerdict) -> Result<(), AreaRulesFull> {
        if self.rules.contains(&(area, verdict)) {
            return Ok(());
        }
        if self.rules.len() >= MAX_AREA_RULES {
            return Err(AreaRulesFull);
        }
        self.rules.push((area, verdict));
        Ok(())
    }

    /// Whether a code may go to that number, which is in that kind of refused range.
    pub fn judge(&self, phone: PhoneNumber, range: Option<RefusedRange>) -> Result<(), AreaRefusal> {
        if !self.rules.is_empty() {
            let country = Country::of(phone);
            let decides = self
                .rules
                .iter()
                .filter(|(area, _)| area.holds(phone, country))
                .max_by_key(|(area, verdict)| (area.specificity(), *verdict));
            match decides {
                Some((area, AreaVerdict::Block)) => return Err(AreaRefusal::Blocked(*area)),
                Some((Area::Prefix(prefix), AreaVerdict::Allow | AreaVerdict::Trust))
                    if *prefix != NumberPrefix::DEFAULT =>
                {
                    return Ok(());
                }
                None if self.rules.iter().any(|(_, verdict)| *verdict == AreaVerdict::Allow) => {
                    return Err(AreaRefusal::NotAllowed);
                }
                Some(_) | None => {}
            }
        }
        range.map_or(Ok(()), |range| Err(AreaRefusal::Range(range)))
    }

    /// Whether codes go to that number however few come back from there.
    pub fn trusts(&self, phone: PhoneNumber) -> bool {
        let mut trusted = self
            .rules
            .iter()
            .filter(|(_, verdict)| *verdict == AreaVerdict::Trust)
            .peekable();
        if trusted.peek().is_none() {
            return false;
        }
        let country = Country::of(phone);
        trusted.any(|(area, _)| area.holds(phone, country))
    }
}

impl Area {
    fn holds(self, phone: PhoneNumber, country: Country) -> bool {
        match self {
            Self::Country(named) => named == country,
            Self::Prefix(prefix) => prefix.matches(phone),
        }
    }

    /// The prefix of every number is less than a country, any other prefix more, and the longer the more.
    fn specificity(self) -> u64 {
        match self {
            Self::Prefix(NumberPrefix::DEFAULT) => 0,
            Self::Country(_) => 1,
            // Both prefixes of one number: the longer one is the larger number.
            Self::Prefix(prefix) => prefix.digits().saturating_add(1),
        }
    }
}

impl RefusedRange {
    /// The kind of refused range that a number is in, by the numbering plans. A number in no known range is in none, and so are those
    /// whose plan doesn't tell fixed lines from mobile ones, voice over IP, and the sandbox's.
    pub fn of(phone: PhoneNumber) -> Option<Self> {
        if phone.is_sandbox() {
            return None;
        }
        match Parsed::parse(phone.to_string(), None).ok()?.get_type() {
            PhoneNumberType::PremiumRate => Some(Self::PremiumRate),
            PhoneNumberType::SharedCost => Some(Self::SharedCost),
            PhoneNumberType::TollFree => Some(Self::TollFree),
            PhoneNumberType::PersonalNumber => Some(Self::PersonalNumber),
            PhoneNumberType::UAN => Some(Self::CompanyNumber),
            PhoneNumberType::VoiceMail => Some(Self::Voicemail),
            PhoneNumberType::Pager => Some(Self::Pager),
            PhoneNumberType::FixedLine => Some(Self::FixedLine),
            _ => None,
        }
    }
}

impl fmt::Display for Area {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Country(country) => write!(f, "the country {country}"),
            Self::Prefix(NumberPrefix::DEFAULT) => f.write_str("all numbers"),
            Self::Prefix(prefix) => write!(f, "numbers that begin with +{}", prefix.digits()),
        }
    }
}

impl fmt::Display for RefusedRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PremiumRate => "a premium-rate number",
            Self::SharedCost => "a shared-cost number",
            Self::TollFree => "a toll-free number",
            Self::PersonalNumber => "a personal number, at the caller's cost",
            Self::CompanyNumber => "a company's access number",
            Self::Voicemail => "a voice mailbox",
            Self::Pager => "a pager",
            Self::FixedLine => "a fixed line",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::phone::SandboxNumbers;

    fn phone(text: &str) -> PhoneNumber {
        PhoneNumber::parse(text, SandboxNumbers::Accepted).unwrap()
    }

    fn prefix(text: &str) -> Area {
        Area::Prefix(NumberPrefix::parse_or_default(text).unwrap())
    }

    fn country(text: &str) -> Area {
        Area::Country(Country::parse(text).unwrap())
    }

    fn rules(of: &[(Area, AreaVerdict)]) -> AreaRules {
        let mut rules = AreaRules::default();
        for (area, verdict) in of {
            rules.add(*area, *verdict).unwrap();
        }
        rules
    }

    fn judged(rules: &AreaRules, text: &str) -> Result<(), AreaRefusal> {
        let phone = phone(text);
        rules.judge(phone, RefusedRange::of(phone))
    }

    const MOBILE_GB: &str = "+447400123456";
    const MOBILE_DE: &str = "+4915123456789";
    const PREMIUM_GB: &str = "+449098765432";

    #[test]
    fn ranges_that_no_text_should_go_to_are_refused_unless_set_otherwise() {
        for (text, range) in [
            (PREMIUM_GB, RefusedRange::PremiumRate),
            ("+448001234567", RefusedRange::TollFree),
            ("+447012345678", RefusedRange::PersonalNumber),
            ("+442079460000", RefusedRange::FixedLine),
            ("+19002345678", RefusedRange::PremiumRate),
        ] {
            assert_eq!(
                judged(&AreaRules::default(), text),
                Err(AreaRefusal::Range(range)),
                "{text}"
            );
        }
    }

    #[test]
    fn mobile_unknown_shared_and_sandbox_numbers_pass() {
        for text in [MOBILE_GB, MOBILE_DE, "+16502530000", "+19999999999", "+9996610001"] {
            assert_eq!(judged(&AreaRules::default(), text), Ok(()), "{text}");
        }
    }

    #[test]
    fn an_allowed_area_refuses_all_others() {
        let rules = rules(&[(country("DE"), AreaVerdict::Allow)]);
        assert_eq!(judged(&rules, MOBILE_DE), Ok(()));
        assert_eq!(judged(&rules, MOBILE_GB), Err(AreaRefusal::NotAllowed));
    }

    #[test]
    fn the_most_specific_rule_decides_in_whichever_order_they_were_written() {
        let mut of = vec![
            (prefix("default"), AreaVerdict::Allow),
            (country("GB"), AreaVerdict::Block),
            (prefix("4474"), AreaVerdict::Allow),
            (prefix("447400999"), AreaVerdict::Block),
        ];
        for _ in 0..2 {
            let rules = rules(&of);
            assert_eq!(judged(&rules, MOBILE_DE), Ok(()));
            assert_eq!(
                judged(&rules, "+447912345678"),
                Err(AreaRefusal::Blocked(country("GB")))
            );
            assert_eq!(judged(&rules, MOBILE_GB), Ok(()));
            let narrow = prefix("447400999");
            assert_eq!(judged(&rules, "+447400999456"), Err(AreaRefusal::Blocked(narrow)));
            of.reverse();
        }
    }

    #[test]
    fn of_two_rules_for_one_area_the_one_that_blocks_decides() {
        let rules = rules(&[(country("DE"), AreaVerdict::Block), (country("DE"), AreaVerdict::Allow)]);
        assert_eq!(judged(&rules, MOBILE_DE), Err(AreaRefusal::Blocked(country("DE"))));
    }

    #[test]
    fn only_an_allowed_prefix_lifts_the_refusal_of_a_range() {
        let refused = Err(AreaRefusal::Range(RefusedRange::PremiumRate));
        for (area, verdict) in [
            (country("GB"), AreaVerdict::Allow),
            (prefix("default"), AreaVerdict::Allow),
            (country("GB"), AreaVerdict::Trust),
        ] {
            assert_eq!(judged(&rules(&[(area, verdict)]), PREMIUM_GB), refused);
        }
        for verdict in [AreaVerdict::Allow, AreaVerdict::Trust] {
            assert_eq!(judged(&rules(&[(prefix("44909"), verdict)]), PREMIUM_GB), Ok(()));
        }
    }

    #[test]
    fn trust_refuses_nothing_elsewhere_and_a_narrower_block_stays() {
        let rules = rules(&[
            (country("GB"), AreaVerdict::Trust),
            (prefix("447400"), AreaVerdict::Block),
        ]);
        assert_eq!(judged(&rules, MOBILE_DE), Ok(()));
        assert_eq!(judged(&rules, "+447912345678"), Ok(()));
        assert!(judged(&rules, MOBILE_GB).is_err());
        assert!(rules.trusts(phone(MOBILE_GB)) && !rules.trusts(phone(MOBILE_DE)));
    }

    #[test]
    fn a_reason_names_the_rule_and_never_the_number() {
        let refusal = judged(&rules(&[(prefix("44"), AreaVerdict::Block)]), MOBILE_GB);
        assert_eq!(
            refusal.unwrap_err().to_string(),
            "the account blocks numbers that begin with +44"
        );
        assert_eq!(
            judged(&AreaRules::default(), PREMIUM_GB).unwrap_err().to_string(),
            "the numbering plan knows this as a premium-rate number; allow its prefix to send there"
        );
    }

    #[test]
    fn there_is_a_bound_on_rules_and_a_repeated_one_takes_no_room() {
        let mut rules = AreaRules::default();
        let numbered = |number| Area::Prefix(NumberPrefix::from_stored(number));
        for number in (1..).take(MAX_AREA_RULES) {
            rules.add(numbered(number), AreaVerdict::Block).unwrap();
        }
        assert_eq!(rules.add(numbered(1), AreaVerdict::Block), Ok(()));
        assert_eq!(rules.add(numbered(9_999), AreaVerdict::Block), Err(AreaRulesFull));
    }
}
