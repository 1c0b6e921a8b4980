//! Who asks for codes in the simulation: the people of an account's customers over a week, and those who pump.

use countersign_core::Timestamp;

use super::chance::Chance;
use super::world::Place;
use crate::numbers::{float, whole};

pub(super) const HOUR_S: f64 = 3_600.0;
pub(super) const DAY_S: f64 = 86_400.0;
pub(super) const DAYS: f64 = 7.0;
/// A Monday.
const BEGIN_MS: i64 = 1_799_971_200_000;
/// From so many codes to one person nobody asks for another.
pub(super) const MOST_TRIES: u32 = 3;

/// Where an account's people live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Account {
    /// All over the world, by Zipf's law.
    Global,
    /// Mostly in four countries.
    Regional,
    /// In one country, but for one in twelve.
    Home,
}

impl Account {
    pub(super) const ALL: [Self; 3] = [Self::Global, Self::Regional, Self::Home];

    /// People a week.
    const fn people(self) -> u64 {
        match self {
            Self::Global => 60_000,
            Self::Regional => 20_000,
            Self::Home => 5_000,
        }
    }

    fn country(self, chance: &mut Chance, countries: usize) -> usize {
        match self {
            Self::Regional if chance.happens(0.85) => chance.index(4),
            Self::Home if chance.happens(11.0 / 12.0) => 0,
            _ => chance.often_low(countries),
        }
    }
}

/// How somebody pumps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attack {
    /// Nobody does.
    None,
    /// One block of ten thousand numbers, two codes a second.
    Hammer,
    /// The same, a hundred a second.
    Flood,
    /// One block, at the pace of a busy day: one code in four minutes, for six days.
    Drip,
    /// All numbers of one country, in ranges that people have and others.
    Country,
    /// The same in one of the account's main countries.
    MainCountry,
    /// Three blocks in each of ten countries.
    Several,
    /// A new block after each forty codes, in five countries.
    Rotate,
    /// Another of sixty countries for each code.
    World,
    /// Like the hammer; one in twenty codes is typed in.
    Verify5,
    /// Like the hammer; one in ten codes is typed in.
    Verify10,
}

impl Attack {
    pub(super) const ALL: [Self; 11] = [
        Self::None,
        Self::Hammer,
        Self::Flood,
        Self::Drip,
        Self::Country,
        Self::MainCountry,
        Self::Several,
        Self::Rotate,
        Self::World,
        Self::Verify5,
        Self::Verify10,
    ];

    const fn codes(self) -> u64 {
        match self {
            Self::None => 0,
            Self::Drip => 2_160,
            _ => 10_000,
        }
    }

    fn seconds(self) -> f64 {
        match self {
            Self::Drip => 6.0 * DAY_S,
            Self::Flood => 100.0,
            Self::Rotate | Self::World | Self::Several | Self::Country | Self::MainCountry => 6.0 * HOUR_S,
            _ => 5_000.0,
        }
    }

    pub(super) fn verified(self) -> f64 {
        match self {
            Self::Verify5 => 0.05,
            Self::Verify10 => 0.10,
            _ => 0.0,
        }
    }
}

/// Somebody who asks for a code.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asker {
    pub(super) number: u64,
    pub(super) price_micros: u64,
    /// How often their codes come back.
    pub(super) conversion: f64,
    pub(super) pumps: bool,
    pub(super) first_at_s: f64,
}

/// A time of the week as the rules see it.
pub(super) fn at(seconds: f64) -> Timestamp {
    let millis = i64::try_from(whole(seconds * 1_000.0)).unwrap_or(i64::MAX);
    Timestamp::from_millis(BEGIN_MS).plus_millis(millis)
}

/// The account's people over a week: by day more than by night, each in their time zone; on the fourth day a campaign in a country where
/// the account had nobody, half of it within an hour.
pub(super) fn people(account: Account, places: &[Place], chance: &mut Chance) -> Vec<Asker> {
    let mut all = Vec::new();
    let launch = places.len() - 1;
    for _ in 0..account.people() {
        let place = &places[account.country(chance, launch)];
        let first_at_s = loop {
            let seconds = chance.share() * DAYS * DAY_S;
            let phase = (seconds / HOUR_S + place.hours - 15.0) / 24.0 * std::f64::consts::TAU;
            if chance.happens(0.5 + 0.45 * phase.cos()) {
                break seconds;
            }
        };
        all.push(person(place, first_at_s, chance));
    }
    let a_day = float(account.people()) / DAYS;
    for _ in 0..whole(a_day * 0.2) {
        let hours = if chance.happens(0.5) { 1.0 } else { 24.0 };
        let first_at_s = 3.0 * DAY_S + 9.0 * HOUR_S + chance.share() * hours * HOUR_S;
        all.push(person(&places[launch], first_at_s, chance));
    }
    all
}

fn person(place: &Place, first_at_s: f64, chance: &mut Chance) -> Asker {
    Asker {
        number: place.number(chance),
        price_micros: place.price_micros,
        conversion: if chance.happens(place.conversion) { 0.93 } else { 0.0 },
        pumps: false,
        first_at_s,
    }
}

/// Those who pump: from some time of the first five days on.
pub(super) fn attackers(attack: Attack, places: &[Place], chance: &mut Chance) -> Vec<Asker> {
    let begin_s = DAY_S
        * if attack == Attack::Drip {
            0.9
        } else {
            chance.between(1.0, 5.5)
        };
    let dear: Vec<&Place> = places.iter().skip(8).filter(|place| place.is_dear()).collect();
    let main = &places[chance.index(3)];
    let first = chance.index(dear.len());
    let place = |turn: u64| dear[(first + usize::try_from(turn).unwrap_or(0)) % dear.len()];
    let among_people = chance.happens(0.5);
    let blocks: Vec<(u64, u64)> = (0..400)
        .map(|turn| {
            let countries = match attack {
                Attack::Several => 10,
                Attack::Rotate => 5,
                _ => 1,
            };
            let place = place(turn % countries);
            (place.block(chance, among_people), place.price_micros)
        })
        .collect();
    let block = |turn: u64| blocks[usize::try_from(turn).unwrap_or(0) % blocks.len()];
    (0..attack.codes())
        .map(|turn| {
            let (start, price_micros) = match attack {
                Attack::Country => (place(0).block(chance, chance_of_people(turn)), place(0).price_micros),
                Attack::MainCountry => (main.block(chance, chance_of_people(turn)), main.price_micros),
                Attack::World => {
                    let place = place(turn % 60);
                    (place.block(chance, among_people), place.price_micros)
                }
                Attack::Several => block(turn % 30),
                Attack::Rotate => block(turn / 40),
                _ => block(0),
            };
            Asker {
                number: start + chance.below(10_000),
                price_micros,
                conversion: attack.verified(),
                pumps: true,
                first_at_s: begin_s + attack.seconds() * float(turn) / float(attack.codes()),
            }
        })
        .collect()
}

/// Half of a country's attack goes to ranges that people have.
const fn chance_of_people(turn: u64) -> bool {
    turn.is_multiple_of(2)
}

/// How many of a hundred people can type in their code at that time: on the fifth day the account's own page is down for two hours, on
/// the sixth it works for one in ten for an hour.
pub(super) fn page_works(seconds: f64) -> f64 {
    let within =
        |day: f64, hours: f64| (day * DAY_S..day * DAY_S + hours * HOUR_S).contains(&(seconds - 10.0 * HOUR_S));
    if within(4.0, 2.0) {
        0.0
    } else if within(5.0, 1.0) {
        0.1
    } else {
        1.0
    }
}
