//! The world of the simulation: countries with their ranges, prices, time zones and how many codes come back from there.

use super::chance::Chance;

/// Calling codes that the countries of the simulation have.
const CALLING_CODES: [u64; 200] = [
    1, 7, 20, 211, 212, 213, 216, 218, 220, 221, 222, 223, 224, 225, 226, 227, 228, 229, 230, 231, 232, 233, 234, 235,
    236, 237, 238, 239, 240, 241, 242, 243, 244, 245, 248, 249, 250, 251, 252, 253, 254, 255, 256, 257, 258, 260, 261,
    262, 263, 264, 265, 266, 267, 268, 269, 27, 290, 291, 297, 298, 299, 30, 31, 32, 33, 34, 350, 351, 352, 353, 354,
    355, 356, 357, 358, 359, 36, 370, 371, 372, 373, 374, 375, 376, 377, 378, 380, 381, 382, 385, 386, 387, 389, 39,
    40, 41, 420, 421, 423, 43, 44, 45, 46, 47, 48, 49, 500, 501, 502, 503, 504, 505, 506, 507, 508, 509, 51, 52, 53,
    54, 55, 56, 57, 58, 590, 591, 592, 593, 594, 595, 596, 597, 598, 599, 60, 61, 62, 63, 64, 65, 66, 670, 672, 673,
    674, 675, 676, 677, 678, 679, 680, 681, 682, 683, 685, 686, 687, 688, 689, 690, 691, 692, 81, 82, 84, 850, 852,
    853, 855, 856, 86, 880, 886, 90, 91, 92, 93, 94, 95, 960, 961, 962, 963, 964, 965, 966, 967, 968, 970, 971, 972,
    973, 974, 975, 976, 977, 98, 992, 993, 994,
];

/// Prices in micro-credits at which pumping pays: attackers go where a message is dear.
const DEAR: u64 = 120_000;

/// A country.
pub(super) struct Place {
    calling_code: u64,
    /// Ten to the number of digits after the calling code.
    numbers: u64,
    /// Ranges of a million numbers that people have, the first with the most people.
    ranges: Vec<u64>,
    pub(super) price_micros: u64,
    /// Of a hundred people so many get their code and type it in.
    pub(super) conversion: f64,
    /// From Greenwich, eastwards.
    pub(super) hours: f64,
}

impl Place {
    fn new(calling_code: u64, chance: &mut Chance) -> Self {
        let (numbers, ranges) = match calling_code {
            0..=9 => (10_u64.pow(10), 60),
            10..=99 => (10_u64.pow(9), 24),
            _ => (10_u64.pow(8), 8),
        };
        let ranges = (0..=chance.below(ranges))
            .map(|_| chance.below(numbers / 1_000_000))
            .collect();
        // One country in sixteen has routes on which most codes get lost; some more are so-so.
        let conversion = match chance.below(16) {
            0 => 0.30,
            1 | 2 => chance.between(0.45, 0.65),
            _ => chance.between(0.70, 0.93),
        };
        Self {
            calling_code,
            numbers,
            ranges,
            price_micros: 10_000 + chance.below(300_000),
            conversion,
            hours: chance.between(-11.0, 12.0),
        }
    }

    /// A number that a person could have: most people are in few ranges.
    pub(super) fn number(&self, chance: &mut Chance) -> u64 {
        let range = self.ranges[chance.often_low(self.ranges.len())];
        self.calling_code * self.numbers + range * 1_000_000 + chance.below(1_000_000)
    }

    /// The first number of a block of ten thousand, in a range that people have or in any.
    pub(super) fn block(&self, chance: &mut Chance, among_people: bool) -> u64 {
        let number = if among_people {
            self.number(chance)
        } else {
            self.calling_code * self.numbers + chance.below(self.numbers)
        };
        number / 10_000 * 10_000
    }

    pub(super) fn is_dear(&self) -> bool {
        self.price_micros >= DEAR
    }
}

/// All countries, each time in another order: the first are where most of an account's people live.
pub(super) fn places(chance: &mut Chance) -> Vec<Place> {
    let mut places: Vec<Place> = CALLING_CODES.iter().map(|code| Place::new(*code, chance)).collect();
    for last in (1..places.len()).rev() {
        places.swap(last, chance.index(last + 1));
    }
    places
}
