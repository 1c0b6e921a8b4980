//! Orders of credit that wait for their payment: an owner orders, somebody pays, and the order becomes a purchase once. The
//! states are one graph, like those of a request; what moves them is `decide`.

use std::fmt;

use crate::ids::AccountKey;
use crate::money::Credits;
use crate::time::Timestamp;

/// What references are written in: digits and capitals, without those that are taken for one another (0 and O; 1, I and L).
/// There are 31, a prime: so the check below finds every wrong character and every swap of two.
const ALPHABET: &[u8; 31] = b"23456789ABCDEFGHJKMNPQRSTUVWXYZ";
/// Characters of a reference that are drawn; the eighth checks them.
const DRAWN: usize = 7;
/// How many ids there are: 31 to the seventh power.
const IDS: u64 = 27_512_614_111;
/// What a reference begins with.
const PREFIX: &str = "CS";

/// Names an order, on a bank transfer too: it is written `CS-7F3K-92Q8`, with a character that finds slips of the pen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrderId(u64);

impl OrderId {
    /// An id from 64 random bits.
    pub const fn from_entropy(entropy: u64) -> Self {
        Self(entropy % IDS)
    }

    /// An id by its number; `None` where there is no such one.
    pub const fn of_number(number: u64) -> Option<Self> {
        if number < IDS { Some(Self(number)) } else { None }
    }

    /// The number.
    pub const fn number(self) -> u64 {
        self.0
    }

    /// Reads a reference as people write it: in either case, with or without `CS`, dashes and blanks. `None` where it isn't
    /// one, or a character is wrong.
    pub fn parse(text: &str) -> Option<Self> {
        let written: Vec<u8> = text
            .bytes()
            .filter(|byte| !matches!(byte, b'-' | b' '))
            .map(|byte| byte.to_ascii_uppercase())
            .collect();
        let written = match written.strip_prefix(PREFIX.as_bytes()) {
            Some(rest) if rest.len() > DRAWN => rest,
            _ => written.as_slice(),
        };
        let places = written
            .iter()
            .map(|byte| ALPHABET.iter().position(|known| known == byte))
            .collect::<Option<Vec<usize>>>()?;
        let (check, drawn) = places.split_last()?;
        if drawn.len() != DRAWN || *check != check_of(drawn) {
            return None;
        }
        let number = drawn.iter().fold(0, |number, &place| number * 31 + place as u64);
        Self::of_number(number)
    }

    fn places(self) -> [usize; DRAWN] {
        let mut places = [0; DRAWN];
        let mut rest = self.0;
        for place in places.iter_mut().rev() {
            *place = usize::try_from(rest % 31).unwrap_or_default();
            rest /= 31;
        }
        places
    }
}

/// The place of the checking character: each of the others, weighed by where it stands.
fn check_of(drawn: &[usize]) -> usize {
    // The weights run from 1 to 7, the checking character's is -1: no two are the same modulo 31, so no swap goes unseen.
    let sum: usize = drawn.iter().zip(1..).map(|(place, weight)| place * weight).sum();
    sum % ALPHABET.len()
}

impl fmt::Display for OrderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places = self.places();
        f.write_str(PREFIX)?;
        for (index, place) in places.into_iter().chain([check_of(&places)]).enumerate() {
            if index % 4 == 0 {
                f.write_str("-")?;
            }
            let character = ALPHABET.get(place).copied().unwrap_or(b'?');
            write!(f, "{}", char::from(character))?;
        }
        Ok(())
    }
}

/// What became of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OrderState {
    /// It waits for its payment.
    Open,
    /// It was paid, and stands in the ledger as a purchase.
    Confirmed,
    /// It came to nothing.
    Cancelled,
}

impl OrderState {
    /// All states.
    pub const ALL: [Self; 3] = [Self::Open, Self::Confirmed, Self::Cancelled];

    /// The one graph: an open order is decided once, either way, and stays so (P3).
    pub const fn may_become(self, next: Self) -> bool {
        match (self, next) {
            (Self::Open, Self::Confirmed | Self::Cancelled) => true,
            (Self::Open, Self::Open) | (Self::Confirmed | Self::Cancelled, _) => false,
        }
    }

    /// The name in exports and APIs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Confirmed => "confirmed",
            Self::Cancelled => "cancelled",
        }
    }

    /// The state with that name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// The number in the books. It never changes.
    pub const fn number(self) -> u8 {
        match self {
            Self::Open => 1,
            Self::Confirmed => 2,
            Self::Cancelled => 3,
        }
    }

    /// The state with that number.
    pub fn of_number(number: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|state| i64::from(state.number()) == number)
    }
}

/// Who decides an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OrderParty {
    /// The account's owner, who may only cancel.
    Owner,
    /// The operator, who has seen the payment, or won't wait for it.
    Operator,
    /// The payment provider, by its news of the payment.
    Provider,
}

impl OrderParty {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Owner, Self::Operator, Self::Provider];

    /// The name in exports, APIs and the audit log.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Operator => "operator",
            Self::Provider => "provider",
        }
    }

    /// The number in the books. It never changes.
    pub const fn number(self) -> u8 {
        match self {
            Self::Owner => 1,
            Self::Operator => 2,
            Self::Provider => 3,
        }
    }

    /// The party with that number.
    pub fn of_number(number: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|party| i64::from(party.number()) == number)
    }
}

/// What is asked of an open order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It was paid.
    Confirm,
    /// It comes to nothing.
    Cancel,
}

impl Verdict {
    /// What an order becomes by it.
    pub const fn state(self) -> OrderState {
        match self {
            Self::Confirm => OrderState::Confirmed,
            Self::Cancel => OrderState::Cancelled,
        }
    }
}

/// The payment provider of an order, by its name: 1 to 32 lower-case letters, digits and dashes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ProviderName(String);

impl ProviderName {
    /// Takes a name.
    pub fn parse(text: &str) -> Option<Self> {
        let fits = (1..=32).contains(&text.len())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        fits.then(|| Self(text.to_owned()))
    }

    /// A name out of our own books, or one that is known to fit.
    pub fn from_stored(name: String) -> Self {
        Self(name)
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What is noted of a decision: why an order was cancelled, or where its payment is found. One line of 1 to 200 bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderNote(String);

impl OrderNote {
    /// The longest one, in bytes.
    pub const MAX_BYTES: usize = 200;

    /// Takes 1 to 200 bytes on one line; blanks around them don't count.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        let one_line = !text.is_empty() && text.len() <= Self::MAX_BYTES && !text.chars().any(char::is_control);
        one_line.then(|| Self(text.to_owned()))
    }

    /// A note out of our own books.
    pub fn from_stored(text: String) -> Self {
        Self(text)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An order of credit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Whose.
    pub account: AccountKey,
    /// Which; the reference on the payment.
    pub id: OrderId,
    /// How much is bought.
    pub amount: Credits,
    /// How it is paid.
    pub provider: ProviderName,
    /// What became of it.
    pub state: OrderState,
    /// When it was made, real time.
    pub created_at: Timestamp,
    /// When it was confirmed or cancelled, real time.
    pub decided_at: Option<Timestamp>,
    /// By whom.
    pub decided_by: Option<OrderParty>,
    /// What was noted of that.
    pub note: Option<OrderNote>,
    /// The number of the ledger entry that it became; confirmed orders alone have one.
    pub entry: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_reads_back_however_it_is_written() {
        for entropy in [0, 1, 30, 31, IDS - 1, IDS, u64::MAX, 0x0123_4567_89ab_cdef] {
            let id = OrderId::from_entropy(entropy);
            let written = id.to_string();
            assert_eq!((written.len(), &written[..3]), (12, "CS-"), "{written}");
            let bare = written.replace('-', "");
            for text in [
                &written,
                &written.to_lowercase(),
                &bare,
                &bare[2..],
                &format!(" {written} "),
            ] {
                assert_eq!(OrderId::parse(text), Some(id), "{text:?}");
            }
        }
    }

    #[test]
    fn every_wrong_character_and_every_swap_of_two_is_found() {
        for number in (0..IDS).step_by(1_234_567_891) {
            let id = OrderId(number);
            let written = id.to_string().replace('-', "");
            let right = written.as_bytes();
            for place in 2..right.len() {
                for other in ALPHABET {
                    let mut wrong = right.to_vec();
                    wrong[place] = *other;
                    if wrong != right {
                        assert_eq!(OrderId::parse(std::str::from_utf8(&wrong).unwrap()), None, "{written}");
                    }
                }
                for other in place + 1..right.len() {
                    let mut wrong = right.to_vec();
                    wrong.swap(place, other);
                    if wrong != right {
                        assert_eq!(OrderId::parse(std::str::from_utf8(&wrong).unwrap()), None, "{written}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_no_reference_is_refused() {
        for text in [
            "",
            "CS",
            "CS-0000-0000",
            "CS-2222-222",
            "CS-2222-22222",
            "CS-ÄÄÄÄ-2222",
            "hello",
        ] {
            assert_eq!(OrderId::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn an_order_is_decided_once() {
        let moves: Vec<_> = OrderState::ALL
            .into_iter()
            .flat_map(|from| OrderState::ALL.map(|to| (from, to)))
            .filter(|(from, to)| from.may_become(*to))
            .collect();
        assert_eq!(
            moves,
            [
                (OrderState::Open, OrderState::Confirmed),
                (OrderState::Open, OrderState::Cancelled)
            ]
        );
    }
}
