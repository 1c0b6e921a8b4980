//! What a message costs, by number prefix.

use std::collections::BTreeMap;

use crate::money::Credits;
use crate::phone::PhoneNumber;

/// The price per message where the list names no prefix of the number: 0.01 (docs/api.md, "Money").
pub const DEFAULT_PRICE: Credits = Credits::from_micros(10_000);

/// Prices by prefix of the E.164 digits; the longest matching prefix wins, since calling codes are shared by countries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceList {
    default: Credits,
    by_prefix: BTreeMap<u64, Credits>,
}

/// The first digits of numbers, without `+`: 1 to 15 of them, or none for the default price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NumberPrefix(u64);

impl NumberPrefix {
    /// The prefix of every number.
    pub const DEFAULT: Self = Self(0);

    /// Reads 1 to 15 digits, with or without `+`; the first isn't zero.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('+').unwrap_or(text);
        let well_formed = (1..=15).contains(&digits.len())
            && !digits.starts_with('0')
            && digits.bytes().all(|byte| byte.is_ascii_digit());
        if well_formed {
            digits.parse().ok().map(Self)
        } else {
            None
        }
    }

    /// A prefix out of our own books; zero is the default.
    pub const fn from_stored(digits: u64) -> Self {
        Self(digits)
    }

    /// The digits as a number; zero is the default.
    pub const fn digits(self) -> u64 {
        self.0
    }
}

impl Default for PriceList {
    fn default() -> Self {
        Self {
            default: DEFAULT_PRICE,
            by_prefix: BTreeMap::new(),
        }
    }
}

impl PriceList {
    /// Sets the price of a prefix, or the default price.
    pub fn set(&mut self, prefix: NumberPrefix, price: Credits) {
        if prefix == NumberPrefix::DEFAULT {
            self.default = price;
        } else {
            self.by_prefix.insert(prefix.0, price);
        }
    }

    /// The price of one message to a number.
    pub fn price_of(&self, phone: PhoneNumber) -> Credits {
        let mut prefix = if self.by_prefix.is_empty() { 0 } else { phone.digits() };
        while prefix > 0 {
            if let Some(&price) = self.by_prefix.get(&prefix) {
                return price;
            }
            prefix /= 10;
        }
        self.default
    }

    /// The default price and every prefix with its price, in order of prefix.
    pub fn iter(&self) -> impl Iterator<Item = (NumberPrefix, Credits)> + '_ {
        std::iter::once((NumberPrefix::DEFAULT, self.default)).chain(
            self.by_prefix
                .iter()
                .map(|(&prefix, &price)| (NumberPrefix(prefix), price)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_wins() {
        let mut prices = PriceList::default();
        let price = |text: &str| Credits::parse(text).unwrap();
        prices.set(NumberPrefix::parse("+1").unwrap(), price("0.02"));
        prices.set(NumberPrefix::parse("1242").unwrap(), price("0.05"));
        let of = |prices: &PriceList, digits| prices.price_of(PhoneNumber::from_stored(digits));
        assert_eq!(of(&prices, 16_502_530_000), price("0.02"));
        assert_eq!(of(&prices, 12_425_550_123), price("0.05"));
        assert_eq!(of(&prices, 391_234_567_890), DEFAULT_PRICE);
        prices.set(NumberPrefix::DEFAULT, price("0.03"));
        assert_eq!(of(&prices, 391_234_567_890), price("0.03"));
        assert_eq!(prices.iter().count(), 3);
    }
}
