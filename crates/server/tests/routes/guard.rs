//! Ranges that get no text: refused where a text is all that is left, and nowhere else.

use std::sync::Arc;

use countersign_channels::Asked;
use countersign_core::{Credits, Detail, Reach};
use serde_json::json;

use crate::support::{Fake, House};

/// A fixed line in London, and a mobile.
const FIXED_LINE: &str = "+442079460000";
const MOBILE: &str = "+447400654321";

fn text(name: &str) -> Fake {
    let mut fake = Fake::new(name);
    fake.text = true;
    fake
}

async fn error_of_send(house: &House, to: &str) -> String {
    let answer = house
        .call("sendVerificationMessage", json!({ "phone_number": to }))
        .await;
    answer["error"].as_str().unwrap_or("none").to_owned()
}

fn ten() -> (Credits, Credits) {
    (Credits::parse("10").unwrap(), Credits::ZERO)
}

#[tokio::test]
async fn no_text_goes_to_a_fixed_line_and_nothing_is_charged_until_its_prefix_is_allowed() {
    let sms = Arc::new(text("sms"));
    let house = House::new(&[Arc::clone(&sms)], |_| {}).await;
    assert_eq!(error_of_send(&house, FIXED_LINE).await, "PHONE_NUMBER_NOT_FOUND");
    assert_eq!(house.balance().await, ten());
    house.send(MOBILE).await;
    sms.wait_for(1).await;

    let path = format!("accounts/{}/guard", house.account.id);
    let guard = house.operator(&path).await;
    assert_eq!(
        guard["refused"][0]["reason"],
        "the numbering plan knows this as a fixed line; allow its prefix to send there"
    );
    let area = format!("{path}/areas/+4420");
    house
        .operator_does("PUT", &area, Some(json!({"verdict": "trust"})))
        .await;
    house.send(FIXED_LINE).await;
    sms.wait_for(2).await;
}

#[tokio::test]
async fn a_messenger_may_carry_a_code_to_a_fixed_line_and_the_operator_may_have_texts_go_there() {
    let house = House::new(&[Arc::new(Fake::new("bot")), Arc::new(text("sms"))], |_| {}).await;
    house.send(FIXED_LINE).await;
    let sms = Arc::new(text("sms"));
    let house = House::new(&[sms], |settings| settings.guard.refuse_ranges = false).await;
    house.send(FIXED_LINE).await;
}

#[tokio::test]
async fn where_the_messenger_says_no_and_only_texts_are_left_the_hold_is_released() {
    let mut gateway = Fake::new("gateway").answers([Asked::CannotReach(Detail::new("not there"))]);
    gateway.reach = Reach::MustAsk;
    let mut sms = text("sms");
    sms.reach = Reach::MustAsk;
    let (gateway, sms) = (Arc::new(gateway), Arc::new(sms));
    let house = House::new(&[Arc::clone(&gateway), Arc::clone(&sms)], |_| {}).await;
    assert_eq!(error_of_send(&house, FIXED_LINE).await, "PHONE_NUMBER_NOT_FOUND");
    assert_eq!((gateway.asked(), sms.taken().len()), (1, 0));
    assert_eq!(house.balance().await, ten());
}
