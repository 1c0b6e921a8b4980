//! docs/guard.md: where an account's codes may go, and in which turn that is judged.

use std::sync::Arc;

use countersign_core::{
    Action, Answer, ApiError, Area, AreaRefusal, AreaRules, AreaVerdict, Code, GuardWord, Idempotency, IdempotencyKey,
    NumberPrefix, Pace, PhoneNumber, PumpingPlace, PumpingRefusal, Reach, RefusedRange, SendCode,
};

use crate::world::{OWNER, World, credits, id};

/// A mobile: a number that is only possible is in no country.
const PHONE: PhoneNumber = PhoneNumber::from_stored(393_331_234_567);

fn area(text: &str) -> Area {
    Area::parse(text).unwrap()
}

impl World {
    fn rule(&mut self, text: &str, verdict: AreaVerdict) {
        let mut rules = self.account.areas.as_deref().cloned().unwrap_or_default();
        rules.add(area(text), verdict).unwrap();
        self.account.areas = Some(Arc::new(rules));
    }

    fn send_with_word(&mut self, guard: GuardWord) -> Result<countersign_core::RequestStatus, ApiError> {
        self.send_with(|send| {
            send.phone = PHONE;
            send.guard = guard.boxed();
        })
    }
}

const FIXED_LINE: GuardWord = GuardWord {
    range: Some(RefusedRange::FixedLine),
    held: None,
    over_quota: None,
};

const HELD: PumpingRefusal = PumpingRefusal {
    place: PumpingPlace::Block(NumberPrefix::from_stored(39_333_123)),
    pace: Pace::Stopped,
    wait_seconds: 99,
};

fn held() -> GuardWord {
    GuardWord {
        range: None,
        held: Some(HELD),
        over_quota: None,
    }
}

#[test]
fn a_blocked_country_is_refused_and_nothing_is_charged() {
    let mut world = World::new();
    world.rule("IT", AreaVerdict::Block);
    let refused = ApiError::Refused(AreaRefusal::Blocked(area("IT")));
    assert_eq!(world.send_to(PHONE), Err(refused));
    assert_eq!(world.ability(PHONE), Err(refused));
    assert_eq!(refused.wire_name(), "PHONE_NUMBER_NOT_FOUND");
    assert_eq!(refused.reason().unwrap(), "the account blocks the country IT");
    assert_eq!(world.account.balance, credits("1"));
    assert!(world.last().request.is_none() && world.last().entries.is_empty());
    world.send_to(OWNER).unwrap();
}

#[test]
fn where_a_number_is_ruled_out_is_told_only_to_who_can_pay() {
    let mut world = World::new();
    world.rule("IT", AreaVerdict::Block);
    world.account.held = world.account.balance;
    assert_eq!(world.send_to(PHONE), Err(ApiError::BalanceNotEnough));
}

#[test]
fn a_repeated_call_gets_its_first_answer_whatever_was_ruled_since() {
    let mut world = World::new();
    world.key = Some(Idempotency {
        key: IdempotencyKey::new("a key").unwrap(),
        fingerprint: [1; 32],
    });
    let mut again = || {
        let send = world.parameters();
        world.submit(None, Action::Send(Box::new(send)))
    };
    assert!(matches!(again(), Ok(Answer::Status(_))));
    world.rule("IT", AreaVerdict::Block);
    let mut send = world.parameters();
    send.guard = held().boxed();
    let outcome = world.submit(None, Action::Send(Box::new(send)));
    assert!(matches!(outcome, Ok(Answer::Again(_))), "{outcome:?}");
}

#[test]
fn a_range_that_gets_no_text_is_refused_unless_its_prefix_is_allowed() {
    let mut world = World::new();
    let refused = Err(ApiError::Refused(AreaRefusal::Range(RefusedRange::FixedLine)));
    assert_eq!(world.send_with_word(FIXED_LINE), refused);
    world.rule("IT", AreaVerdict::Allow);
    assert_eq!(world.send_with_word(FIXED_LINE), refused);
    world.rule("+3933", AreaVerdict::Allow);
    world.send_with_word(FIXED_LINE).unwrap();
}

#[test]
fn an_admission_of_which_only_texts_are_left_is_refused_and_its_hold_released() {
    let mut world = World::new();
    let request = world.admit();
    assert_eq!(world.account.held, credits("0.01"));
    let settle = Action::Settle {
        request,
        reachable: true,
        plan: None,
        skipped: Vec::new(),
        guard: FIXED_LINE.boxed(),
    };
    let refused = ApiError::Refused(AreaRefusal::Range(RefusedRange::FixedLine));
    assert_eq!(world.submit(Some(request), settle), Err(refused));
    assert_eq!(world.account.held, credits("0"));
    assert_eq!(world.account.balance, credits("1"));
}

#[test]
fn a_send_on_an_ability_check_is_held_to_the_rules_and_not_to_ranges_of_another_plan() {
    let mut world = World::new();
    let checked = id(&world.ability(PHONE).unwrap());
    world.rule("IT", AreaVerdict::Block);
    let on_check = |send: &mut countersign_core::Send| {
        send.phone = PHONE;
        send.request = Some(checked);
        send.guard = FIXED_LINE.boxed();
    };
    assert!(matches!(world.send_with(on_check), Err(ApiError::Refused(_))));
    world.account.areas = Some(Arc::new(AreaRules::default()));
    world.send_with(on_check).unwrap();
}

#[test]
fn where_codes_do_not_come_back_a_send_waits_unless_the_account_trusts_the_place() {
    let mut world = World::new();
    assert_eq!(world.send_with_word(held()), Err(ApiError::Held(HELD)));
    assert_eq!(ApiError::Held(HELD).wire_name(), "FLOOD_WAIT_99");
    assert_eq!(world.account.balance, credits("1"));
    world.rule("IT", AreaVerdict::Allow);
    assert!(world.send_with_word(held()).is_err(), "allowing isn't trusting");
    world.rule("+39333123", AreaVerdict::Trust);
    world.send_with_word(held()).unwrap();
}

#[test]
fn the_sandboxs_numbers_are_in_no_country() {
    let mut world = World::new();
    world.rule("DE", AreaVerdict::Allow);
    world.send_to(PhoneNumber::from_stored(9_996_610_001)).unwrap();
    assert!(world.send_to(PHONE).is_err());
}

#[test]
fn a_code_comes_back_once_however_often_it_is_checked() {
    let mut world = World::new();
    let own = SendCode::Supplied(Code::parse("4711").unwrap());
    let request = id(&world
        .send_with(|send| {
            send.code = own;
            send.reach = Reach::Reachable;
        })
        .unwrap());
    let mut check = |code: &str| {
        let code = countersign_core::EnteredCode::new(code.to_owned());
        world.submit(Some(request), Action::Check { request, code })
    };
    assert!(matches!(check("0000"), Ok(Answer::Status(_))));
    assert!(matches!(check("4711"), Ok(Answer::Verified(_))));
    assert!(matches!(check("4711"), Ok(Answer::Status(_))));
    assert!(matches!(check("0000"), Ok(Answer::Status(_))));
}
