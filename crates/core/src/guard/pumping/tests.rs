//! What the rules against pumping do with small, plain traffic. How they do on that of a whole world is simulated by
//! `countersign-bench pumping`.

use super::*;
use crate::ids::AccountId;

const HOME: u64 = 4_915_100_000_000;
const FAR: u64 = 992_920_000_000;

struct World {
    guard: Pumping,
    account: AccountKey,
    now: Timestamp,
    turn: u64,
}

impl World {
    fn new() -> Self {
        Self {
            guard: Pumping::new(PumpingRules::STANDARD),
            account: AccountKey::of_new(AccountId::from_entropy(4)),
            now: Timestamp::from_millis(1_800_000_000_000),
            turn: 0,
        }
    }

    /// An account whose people type in three codes of four, all over one country.
    fn established() -> Self {
        let mut world = Self::new();
        world.people(2_000, 3);
        world
    }

    fn wait_s(&mut self, seconds: i64) {
        self.now = self.now.plus_millis(1_000 * seconds);
    }

    fn ask(&mut self, number: u64) -> Result<(), PumpingRefusal> {
        let phone = PhoneNumber::from_stored(number);
        self.guard.judge(self.account, phone, self.now)?;
        self.guard.sent(self.account, phone, self.now);
        Ok(())
    }

    fn answer(&mut self, number: u64) {
        let phone = PhoneNumber::from_stored(number);
        self.guard.came_back(self.account, phone, self.now);
    }

    /// People at home ask, one in ten seconds, and so many of four codes come back; answers how many were refused.
    fn people(&mut self, count: u64, of_four: u64) -> usize {
        let mut refused = 0;
        for _ in 0..count {
            self.turn += 1;
            self.wait_s(10);
            let number = HOME + self.turn % 8 * 1_000_000_000 + self.turn * 7_919 % 1_000_000;
            if self.ask(number).is_err() {
                refused += 1;
            } else if self.turn / 8 % 4 < of_four {
                self.answer(number);
            }
        }
        refused
    }

    /// Codes to a block, one a second; answers how many went out.
    fn pump(&mut self, block: u64, count: u64) -> usize {
        let mut sent = 0;
        for turn in 0..count {
            self.wait_s(1);
            if turn % 10 == 0 {
                self.people(1, 3);
            }
            sent += usize::from(self.ask(block + turn).is_ok());
        }
        sent
    }
}

#[test]
fn a_block_whose_codes_do_not_come_back_is_slowed_then_stopped_and_the_reason_names_it() {
    let mut world = World::established();
    let sent = world.pump(FAR, 2_000);
    assert!(sent < 100, "{sent} went out");
    let refusal = world.ask(FAR + 9_999).unwrap_err();
    assert_eq!(refusal.pace, Pace::Stopped);
    assert!(refusal.wait_seconds > 60);
    assert_eq!(
        refusal.to_string(),
        "codes to numbers that begin with +99292000 are stopped: too few of them come back"
    );
    let held = world.guard.held_places(world.account, world.now);
    assert_eq!(held, [(refusal.place, Pace::Stopped)]);
}

#[test]
fn other_blocks_of_its_country_and_people_elsewhere_go_on() {
    let mut world = World::established();
    world.pump(FAR, 2_000);
    assert_eq!(world.ask(FAR + 500_000), Ok(()));
    assert_eq!(world.people(500, 3), 0);
}

#[test]
fn many_blocks_of_one_country_stop_the_country_except_ranges_that_prove_themselves() {
    let mut world = World::established();
    let proven = FAR + 5_000_000;
    for turn in 0..10 {
        world.ask(proven + turn * 10_000).unwrap();
        world.answer(proven + turn * 10_000);
    }
    for block in 0..60 {
        world.pump(FAR + 10_000_000 + block * 1_010_000, 15);
    }
    let elsewhere = world.ask(FAR + 77_000_000).unwrap_err();
    assert!(elsewhere.pace > Pace::Free);
    assert_eq!(world.ask(proven + 123_456), Ok(()));
}

#[test]
fn an_account_that_checks_no_codes_is_not_judged() {
    let mut world = World::new();
    assert_eq!(world.people(3_000, 0), 0);
    assert_eq!(world.pump(FAR, 3_000), 3_000);
}

#[test]
fn an_account_that_checks_few_of_its_codes_is_not_judged() {
    let mut world = World::new();
    for _ in 0..100 {
        world.people(1, 4);
        assert_eq!(world.people(24, 0), 0);
    }
    assert_eq!(world.pump(FAR, 500), 500);
}

#[test]
fn an_outage_of_the_accounts_own_page_stops_nobody() {
    let mut world = World::established();
    assert_eq!(world.people(3_000, 0), 0);
    assert_eq!(world.people(3_000, 3), 0);
}

#[test]
fn a_place_that_proves_itself_is_free_again() {
    let mut world = World::established();
    world.pump(FAR, 2_000);
    let mut passes = 0;
    while world
        .guard
        .held_places(world.account, world.now)
        .iter()
        .any(|(_, pace)| *pace > Pace::Free)
    {
        world.wait_s(1_800);
        if world.ask(FAR + passes).is_ok() {
            world.wait_s(20);
            world.answer(FAR + passes);
        }
        passes += 1;
        assert!(passes < 60, "still held");
    }
}

#[test]
fn what_is_forgiven_goes_on_until_codes_are_missed_anew() {
    let mut world = World::established();
    world.pump(FAR, 2_000);
    let place = world.ask(FAR).unwrap_err().place;
    world.guard.forgive(world.account, place);
    assert_eq!(world.ask(FAR), Ok(()));
    assert!(world.pump(FAR, 2_000) < 100);
}

#[test]
fn sandbox_numbers_are_never_judged() {
    let mut world = World::established();
    assert_eq!(world.pump(9_996_610_000, 3_000), 3_000);
}

#[test]
fn memory_is_bounded_and_places_that_are_held_stay() {
    let mut world = World::established();
    world.pump(FAR, 2_000);
    for number in 0..80_000 {
        let phone = PhoneNumber::from_stored(33_600_000_000 + number * 10_000);
        world.guard.sent(world.account, phone, world.now);
    }
    assert!(world.guard.places.len() <= MAX_PLACES);
    assert!(world.ask(FAR).is_err());
}

#[test]
fn it_does_not_matter_how_often_one_looks() {
    let rules = PumpingRules::STANDARD;
    let begin = Timestamp::from_millis(1_800_000_000_000);
    let mut seldom = Record::new(begin);
    for _ in 0..1_000 {
        seldom.sent();
    }
    let mut often = seldom;
    let mut matured = 0;
    for tenth in 1..=3_000 {
        matured += often.mature(&rules, BLOCK, begin.plus_millis(100 * tenth));
    }
    let at_once = seldom.mature(&rules, BLOCK, begin.plus_millis(300_000));
    assert!(at_once.abs_diff(matured) < ONE, "{at_once} and {matured}");
}
