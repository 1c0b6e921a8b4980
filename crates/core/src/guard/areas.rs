//! How an account's rules for countries and prefixes are written, kept and changed. What they mean is judged in the parent.

use std::fmt::{self, Write as _};

use super::{Area, AreaRules, AreaRulesFull, AreaVerdict};
use crate::country::Country;
use crate::price::NumberPrefix;

/// How the area of all numbers is written.
const ALL_NUMBERS: &str = "all";
/// Rules that one line of the audit log names at most, of those that came and of those that went.
const NAMED_IN_A_LINE: usize = 40;

/// A text is no area. A sentence for whoever wrote it; it doesn't repeat the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an area is a country's two letters like DE, a prefix like +44909, or all")]
pub struct NoArea;

/// A change of an account's rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AreaChange {
    /// These rules take the place of all that there are.
    Set(AreaRules),
    /// One more; what other rules say of the same area goes.
    Put(Area, AreaVerdict),
    /// What is said of an area goes.
    Remove(Area),
}

impl Area {
    /// All numbers.
    pub const EVERYWHERE: Self = Self::Prefix(NumberPrefix::DEFAULT);

    /// Reads `DE` in any case, `+44909` with or without its `+`, or `all`.
    pub fn parse(text: &str) -> Result<Self, NoArea> {
        let text = text.trim();
        if text.eq_ignore_ascii_case(ALL_NUMBERS) {
            return Ok(Self::EVERYWHERE);
        }
        if let Some(prefix) = NumberPrefix::parse(text) {
            return Ok(Self::Prefix(prefix));
        }
        let country = Country::parse(&text.to_ascii_uppercase()).filter(|country| *country != Country::SANDBOX);
        country.map(Self::Country).ok_or(NoArea)
    }

    /// What [`Area::parse`] reads: `DE`, `+44909`, `all`.
    pub fn written(self) -> String {
        match self {
            Self::Country(country) => country.to_string(),
            Self::Prefix(NumberPrefix::DEFAULT) => ALL_NUMBERS.to_owned(),
            Self::Prefix(prefix) => prefix.to_string(),
        }
    }
}

impl AreaVerdict {
    /// All of them, as a form offers them.
    pub const ALL: [Self; 3] = [Self::Allow, Self::Block, Self::Trust];

    /// Its word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Trust => "trust",
            Self::Block => "block",
        }
    }

    /// The one with that word.
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verdict| verdict.word() == word)
    }
}

impl AreaRules {
    /// The rules, in the order in which they were written.
    pub fn rules(&self) -> &[(Area, AreaVerdict)] {
        &self.rules
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// As the books keep them: `allow DE,block +44909`.
    pub fn encode(&self) -> String {
        self.to_string()
    }

    /// Reads what [`AreaRules::encode`] wrote; `None` where anything else wrote it.
    pub fn decode(text: &str) -> Option<Self> {
        let mut rules = Self::default();
        for rule in text.split(',').filter(|rule| !rule.is_empty()) {
            let (verdict, area) = rule.split_once(' ')?;
            rules
                .add(Area::parse(area).ok()?, AreaVerdict::of_word(verdict)?)
                .ok()?;
        }
        Some(rules)
    }

    /// The rules after a change.
    pub fn changed(&self, change: AreaChange) -> Result<Self, AreaRulesFull> {
        let mut rules = self.clone();
        match change {
            AreaChange::Set(set) => rules = set,
            AreaChange::Put(area, verdict) => {
                rules.rules.retain(|(known, _)| *known != area);
                rules.add(area, verdict)?;
            }
            AreaChange::Remove(area) => rules.rules.retain(|(known, _)| *known != area),
        }
        Ok(rules)
    }

    /// What came and what went since those rules, as a line for the audit log.
    pub fn difference(&self, before: &Self) -> String {
        let mut line = String::new();
        for (word, of, without) in [("added", self, before), ("removed", before, self)] {
            let rules: Vec<_> = of.rules.iter().filter(|rule| !without.rules.contains(rule)).collect();
            if rules.is_empty() {
                continue;
            }
            let separator = if line.is_empty() { "" } else { "; " };
            // Writing into a string can't fail.
            let _ = write!(line, "{separator}{word}: ");
            for (place, (area, verdict)) in rules.iter().take(NAMED_IN_A_LINE).enumerate() {
                let separator = if place == 0 { "" } else { ", " };
                let _ = write!(line, "{separator}{} {}", verdict.word(), area.written());
            }
            if rules.len() > NAMED_IN_A_LINE {
                let _ = write!(line, " and {} more", rules.len() - NAMED_IN_A_LINE);
            }
        }
        line
    }
}

impl fmt::Display for AreaRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (area, verdict)) in self.rules.iter().enumerate() {
            let separator = if place == 0 { "" } else { "," };
            write!(f, "{separator}{} {}", verdict.word(), area.written())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::MAX_AREA_RULES;

    fn rules(text: &str) -> AreaRules {
        AreaRules::decode(text).unwrap()
    }

    #[test]
    fn an_area_is_read_as_people_write_it_and_written_in_one_way() {
        for (text, written) in [
            ("DE", "DE"),
            (" de ", "DE"),
            ("+44909", "+44909"),
            ("44909", "+44909"),
            ("ALL", "all"),
            ("+881", "+881"),
        ] {
            let area = Area::parse(text).unwrap();
            assert_eq!(area.written(), written, "{text}");
            assert_eq!(Area::parse(written), Ok(area));
        }
        for bad in [
            "",
            "Germany",
            "D",
            "D3",
            "+",
            "0049",
            "+49 151",
            "all,DE",
            "XT",
            "+4912345678901234",
        ] {
            assert!(Area::parse(bad).is_err(), "{bad:?} passed");
        }
    }

    #[test]
    fn rules_read_as_they_were_kept() {
        let kept = "allow DE,block +44909,trust all";
        assert_eq!(rules(kept).encode(), kept);
        assert!(rules("").is_empty());
        for damaged in ["DE", "allow", "allow DE block", "forbid DE", "allow DE;block FR"] {
            assert_eq!(AreaRules::decode(damaged), None, "{damaged}");
        }
    }

    #[test]
    fn a_rule_takes_the_place_of_what_was_said_of_its_area() {
        let germany = Area::parse("DE").unwrap();
        let before = rules("allow DE,block FR");
        let after = before.changed(AreaChange::Put(germany, AreaVerdict::Block)).unwrap();
        assert_eq!(after, rules("block FR,block DE"));
        assert_eq!(after.difference(&before), "added: block DE; removed: allow DE");
        assert_eq!(
            after.changed(AreaChange::Remove(germany)).unwrap(),
            rules("block FR"),
            "what is said of an area goes"
        );
        assert_eq!(after.difference(&after), "");
    }

    #[test]
    fn a_line_of_the_audit_log_stays_short() {
        let mut many = AreaRules::default();
        for number in (1..).take(MAX_AREA_RULES) {
            many.add(Area::Prefix(NumberPrefix::from_stored(number)), AreaVerdict::Block)
                .unwrap();
        }
        let line = many.difference(&AreaRules::default());
        assert!(line.len() < 600 && line.ends_with(" and 460 more"), "{line}");
        let one_more = AreaChange::Put(Area::parse("DE").unwrap(), AreaVerdict::Allow);
        assert_eq!(many.changed(one_more), Err(AreaRulesFull));
    }
}
