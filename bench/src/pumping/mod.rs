//! `pumping`: how the rules against pumping do on a simulated week. Three kinds of accounts send to 200 countries, by day and night, with
//! good and bad conversion, a campaign in a new country and two outages of their own page; in each of eleven weeks somebody pumps in
//! another way, or nobody. Reported is how much of the attack's cost was prevented, and how many real people were hindered, by being
//! refused a code at least once. The same seeds give the same figures on every machine.

mod chance;
mod traffic;
mod world;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::Write as _;

use anyhow::Result;
use clap::Args;
use countersign_core::{AccountId, AccountKey, PhoneNumber, Pumping, PumpingRules};

use crate::numbers::{float, whole};
use chance::Chance;
use traffic::{Account, Asker, Attack};

/// Options of `pumping`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// So many worlds, each with all accounts and attacks.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=1000))]
    seeds: u64,
    /// The first world.
    #[arg(long, default_value_t = 1)]
    first_seed: u64,
    /// Print each week.
    #[arg(long)]
    weeks: bool,
}

/// What a week came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Week {
    attack_micros: u64,
    prevented_micros: u64,
    people: u64,
    hindered: u64,
}

impl Week {
    fn add(&mut self, other: Self) {
        self.attack_micros += other.attack_micros;
        self.prevented_micros += other.prevented_micros;
        self.people += other.people;
        self.hindered += other.hindered;
    }

    fn prevented_percent(self) -> f64 {
        100.0 * float(self.prevented_micros) / float(self.attack_micros.max(1))
    }

    fn hindered_percent(self) -> f64 {
        100.0 * float(self.hindered) / float(self.people.max(1))
    }
}

/// Runs all weeks and prints a table.
pub(crate) fn run(options: &Options) -> Result<()> {
    countersign_core::load_numbering_plans();
    let mut out = std::io::stdout().lock();
    let seeds = options.first_seed..options.first_seed + options.seeds;
    let mut all = Week::default();
    let header = ("account", "attack", "prevented %", "least", "hindered %", "most");
    writeln!(
        out,
        "{:<10}{:<14}{:>12}{:>8}{:>12}{:>8}",
        header.0, header.1, header.2, header.3, header.4, header.5
    )?;
    for account in Account::ALL {
        for attack in Attack::ALL {
            let mut sum = Week::default();
            let mut least_prevented = 100.0_f64;
            let mut most_hindered = 0.0_f64;
            for seed in seeds.clone() {
                let week = simulate(account, attack, seed, PumpingRules::STANDARD);
                if options.weeks {
                    writeln!(out, "{account:?} {attack:?} {seed}: {week:?}")?;
                }
                least_prevented = least_prevented.min(week.prevented_percent());
                most_hindered = most_hindered.max(week.hindered_percent());
                sum.add(week);
            }
            all.add(sum);
            let (prevented, hindered) = (sum.prevented_percent(), sum.hindered_percent());
            writeln!(
                out,
                "{:<10}{:<14}{prevented:>12.1}{least_prevented:>8.1}{hindered:>12.3}{most_hindered:>8.3}",
                format!("{account:?}"),
                format!("{attack:?}"),
            )?;
        }
    }
    let (prevented, hindered) = (all.prevented_percent(), all.hindered_percent());
    writeln!(out, "{:<24}{prevented:>12.2}{:>8}{hindered:>12.4}", "all", "")?;
    Ok(())
}

/// What happens in a week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A code that went to that asker is typed in.
    CameBack(usize),
    /// An asker asks, for the how-manieth time.
    Asks(usize, u32),
}

/// One account's week.
fn simulate(account: Account, attack: Attack, seed: u64, rules: PumpingRules) -> Week {
    let mut chance = Chance::new(seed);
    let places = world::places(&mut chance);
    let mut askers = traffic::people(account, &places, &mut chance);
    let people = askers.len();
    askers.extend(traffic::attackers(attack, &places, &mut chance));
    let mut week = Week {
        people: people as u64,
        attack_micros: askers[people..].iter().map(|asker| asker.price_micros).sum(),
        ..Week::default()
    };
    let mut hindered = vec![false; people];
    let mut events: BinaryHeap<Reverse<(u64, Event)>> = BinaryHeap::new();
    for (index, asker) in askers.iter().enumerate() {
        events.push(Reverse((millis(asker.first_at_s), Event::Asks(index, 1))));
    }
    let mut guard = Pumping::new(rules);
    let key = AccountKey::of_new(AccountId::from_entropy(seed << 1));
    while let Some(Reverse((at_ms, event))) = events.pop() {
        let at_s = float(at_ms) / 1_000.0;
        let now = traffic::at(at_s);
        match event {
            Event::CameBack(index) => guard.came_back(key, PhoneNumber::from_stored(askers[index].number), now),
            Event::Asks(index, tries) => {
                let asker = askers[index];
                let phone = PhoneNumber::from_stored(asker.number);
                if guard.judge(key, phone, now).is_err() {
                    if asker.pumps {
                        week.prevented_micros += asker.price_micros;
                    } else {
                        hindered[index] = true;
                    }
                    continue;
                }
                guard.sent(key, phone, now);
                if let Some(next) = what_follows(asker, index, tries, at_s, &mut chance) {
                    events.push(Reverse(next));
                }
            }
        }
    }
    week.hindered = hindered.iter().filter(|hindered| **hindered).count() as u64;
    week
}

/// The code comes back, or who asked asks again, or nothing.
fn what_follows(asker: Asker, index: usize, tries: u32, at_s: f64, chance: &mut Chance) -> Option<(u64, Event)> {
    if chance.happens(asker.conversion) {
        let typed_at_s = at_s + chance.delay_s(if asker.pumps { 40.0 } else { 22.0 }).min(3_000.0);
        if asker.pumps || chance.happens(traffic::page_works(typed_at_s)) {
            return Some((millis(typed_at_s), Event::CameBack(index)));
        }
    }
    let asks_again = !asker.pumps && tries < traffic::MOST_TRIES && chance.happens(0.5);
    asks_again.then(|| {
        (
            millis(at_s + chance.between(60.0, 180.0)),
            Event::Asks(index, tries + 1),
        )
    })
}

/// From the week's beginning.
fn millis(seconds: f64) -> u64 {
    whole(seconds * 1_000.0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is known to fall short of the reach is left out of it, and told in docs/benchmarks.md: attacks spread so thinly that each place
    /// gets hardly more than its people send, and the account's main country, whose people can't be told from the attack.
    fn is_told_apart(attack: Attack) -> bool {
        !matches!(
            attack,
            Attack::Several | Attack::Rotate | Attack::World | Attack::MainCountry
        )
    }

    #[test]
    fn a_simulated_world_is_mostly_spared_its_attacks_and_its_people_hardly_notice() {
        let mut plain = Week::default();
        let mut all = Week::default();
        for account in Account::ALL {
            for attack in Attack::ALL {
                let week = simulate(account, attack, 1, PumpingRules::STANDARD);
                all.add(week);
                if is_told_apart(attack) {
                    plain.add(week);
                }
                if attack == Attack::None {
                    assert!(week.hindered_percent() <= 0.1, "{account:?}: {week:?}");
                }
            }
        }
        assert!(plain.prevented_percent() >= 95.0, "{plain:?}");
        assert!(plain.hindered_percent() <= 0.1, "{plain:?}");
        assert!(all.prevented_percent() >= 90.0, "{all:?}");
        assert!(all.hindered_percent() <= 0.2, "{all:?}");
    }

    #[test]
    fn the_same_seed_gives_the_same_week() {
        let week = || simulate(Account::Home, Attack::Rotate, 7, PumpingRules::STANDARD);
        assert_eq!(week(), week());
    }

    #[test]
    fn the_documentation_shows_the_parameters_that_are_in_force() {
        let documented = include_str!("../../../docs/guard.md");
        for parameter in PumpingRules::STANDARD.table() {
            let line = format!("| {} | {} |", parameter.name, parameter.value);
            assert!(documented.contains(&line), "docs/guard.md lacks: {line}");
        }
    }
}
