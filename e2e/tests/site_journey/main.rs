//! A person's way through the site, in a real browser and on the real binary: from the start page to a code that was checked,
//! money that was added and a token that was rotated. The same without scripts and with the keyboard alone.

mod person;

use anyhow::{Result, ensure};
use countersign_e2e::browser::keys;
use countersign_e2e::{Api, Options, Server, site};
use person::Person;
use serde_json::{Value, json};

const PHONE: &str = "+447400123456";
const CUSTOMER: &str = "+393471234567";

async fn refusal(api: &Api) -> Result<String> {
    let answer = api.call("checkSendAbility", &json!({ "phone_number": PHONE })).await?;
    Ok(answer["error"].as_str().unwrap_or("none").to_owned())
}

#[expect(clippy::too_many_lines, reason = "one story, told in one piece")]
#[tokio::test]
async fn a_newcomer_gets_from_the_start_page_to_a_checked_code_and_a_paid_one() -> Result<()> {
    let server = Server::start(Options::default())?;
    let person = Person::arrives(&server).await?;
    let browser = &person.browser;

    // Signs up with a number that nobody knew, and confirms it in its inbox, in another tab.
    browser.click("Sign in").await?;
    browser.fill("Phone number", "+44 7400 123456").await?;
    browser.click("Continue").await?;
    browser.sees("Confirm on your phone").await?;
    let pages = person.opens_inbox(PHONE).await?;
    browser.click("Confirm").await?;
    let inbox = person.back_to(&pages).await?;
    // The waiting page goes on by itself.
    browser.wait_for_path("/account/welcome").await?;
    person.introduces_herself().await?;
    browser.wait_for_path("/account").await?;
    browser.sees("$0.00").await?;

    // Copies the token, and calls the API with it.
    browser.click("API").await?;
    let first_token = person.copies_token().await?;
    let api = Api::new(server.api_url(), &first_token)?;
    let able = api.call("checkSendAbility", &json!({ "phone_number": PHONE })).await?;
    ensure!(able["ok"] == true, "the copied token is refused: {able}");

    // Sends a code to herself and watches its timeline move, without a reload.
    browser.click("Overview").await?;
    browser.click("Send me a code").await?;
    browser
        .wait_until("document.querySelector('#test-message .badge.sent')")
        .await?;
    browser.run("window.neverReloaded = true").await?;
    let pages = person.shows(&inbox).await?;
    browser.wait_until("document.querySelector('.code')").await?;
    let code = browser.text_of(".code").await?;
    // The phone lies open until the message is read.
    browser.wait_until("document.querySelector('.chip.read')").await?;
    person.shows(&pages).await?;
    browser
        .wait_until("document.querySelector('#test-message .badge.read')")
        .await?;
    ensure!(
        browser.run("return window.neverReloaded").await? == true,
        "the page was reloaded"
    );
    browser.fill("Code", "000").await?;
    browser.click("Check the code").await?;
    browser
        .wait_until("document.querySelector('#test-message .badge.invalid')")
        .await?;
    browser.fill("Code", &code).await?;
    browser.click("Check the code").await?;
    browser
        .wait_until("document.querySelector('#test-message .badge.valid')")
        .await?;

    // Nothing else can be sent before there is money: she orders credit, and the operator sees the payment.
    let refused = api
        .call("sendVerificationMessage", &json!({ "phone_number": CUSTOMER }))
        .await?;
    ensure!(refused["error"] == "BALANCE_NOT_ENOUGH", "{refused}");
    browser.click("Balance").await?;
    browser.fill("Amount in US dollars", "50").await?;
    browser.click("Order credit").await?;
    // Words that only the next page has: whoever goes elsewhere while a form is under way is led back by its answer.
    browser.sees("How to pay").await?;
    the_operator_confirms_the_order_and_adds_more(&server, &person).await?;
    browser.open(&person.at("/account/balance")).await?;
    browser.sees("$75.00").await?;

    // A code for a customer, over the API, with everything that becomes of it in history and statistics.
    let parameters = json!({ "phone_number": CUSTOMER, "code": "482913", "payload": "order-1001" });
    let sent = api.call("sendVerificationMessage", &parameters).await?;
    let id = sent["result"]["request_id"].as_str().unwrap_or_default().to_owned();
    let parameters = json!({ "request_id": id, "code": "482913" });
    let checked = api.call("checkVerificationStatus", &parameters).await?;
    ensure!(
        checked["result"]["verification_status"]["status"] == "code_valid",
        "{checked}"
    );
    browser.click("Messages").await?;
    browser.fill("Search messages", "order-1001").await?;
    browser.press(keys::ENTER).await?;
    browser.sees("+39 347 123 4567").await?;
    browser.sees_no("+44 7400 123456").await?;
    browser.open(&person.at(&format!("/account/messages/{id}"))).await?;
    browser.sees("Code valid").await?;
    browser.sees("order-1001").await?;
    browser.click("Balance").await?;
    browser.sees("$74.99").await?;
    browser.click("Statistics").await?;
    browser.sees("Italy").await?;

    // Rotates the token: the old one is refused at once, the new one works.
    browser.click("API").await?;
    browser.click("Rotate…").await?;
    browser.tick("At once").await?;
    browser.click("Rotate the live token").await?;
    browser.sees("The token was rotated").await?;
    ensure!(
        refusal(&api).await? == "ACCESS_TOKEN_INVALID",
        "the old token still works"
    );
    let second_token = person.copies_token().await?;
    ensure!(second_token != first_token, "the token is the same");
    let api = Api::new(server.api_url(), &second_token)?;
    ensure!(refusal(&api).await? == "none", "the new token doesn’t work");

    // Lets only another machine call. The page warns first, since it would shut out this one.
    browser.fill("Addresses and ranges", "192.0.2.7").await?;
    browser.click("Save addresses").await?;
    browser.sees("Nothing was saved yet").await?;
    ensure!(refusal(&api).await? == "none", "the warning saved the list");
    browser.tick("Save it all the same").await?;
    browser.click("Save addresses").await?;
    browser
        .wait_until("!document.querySelector('[name=locks_out]')")
        .await?;
    ensure!(
        refusal(&api).await? == "IP_NOT_ALLOWED",
        "the list lets this machine call"
    );

    let complaints = browser.complaints().await?;
    let unexpected: Vec<_> = complaints.iter().filter(|line| !line.contains("422")).collect();
    ensure!(unexpected.is_empty(), "the browser complained: {unexpected:?}");
    Ok(())
}

async fn the_operator_confirms_the_order_and_adds_more(server: &Server, person: &Person) -> Result<()> {
    let browser = &person.browser;
    browser.open(&person.at("/operator")).await?;
    browser.fill("Operator key", &site::operator_key(server)?).await?;
    browser.click_on("main form button").await?;
    browser.wait_for_path("/operator").await?;
    browser.sees("Orders that wait for their payment: 1").await?;
    browser.click("Orders").await?;
    browser.click_on("details.confirm > summary").await?;
    browser.fill("Note, for the owner", "Came by bank transfer").await?;
    browser.click("Confirm").await?;
    browser.sees("No order").await?;
    browser.click("Accounts").await?;
    browser.click("Acme").await?;
    browser.fill("Amount in dollars", "25").await?;
    browser.click("Add credit").await?;
    browser.sees("$75.00").await?;
    browser.click("Audit log").await?;
    browser.wait_for_path("/operator/audit").await?;
    browser.sees("order confirmed").await
}

#[tokio::test]
async fn without_scripts_the_same_way_is_gone_by_clicking() -> Result<()> {
    let server = Server::start(Options::default())?;
    let person = Person::arrives(&server).await?;
    let browser = &person.browser;
    browser.without_scripts().await?;
    browser.open(&person.at("/login")).await?;
    browser.fill("Phone number", PHONE).await?;
    browser.click("Continue").await?;
    let pages = person.opens_inbox_without_scripts(PHONE).await?;
    browser.click("Confirm").await?;
    let inbox = person.back_to(&pages).await?;
    browser.click("I’ve confirmed").await?;
    person.introduces_herself().await?;
    browser.click("Send me a code").await?;
    browser.sees("Everything about this message").await?;
    person.shows(&inbox).await?;
    browser.reload().await?;
    let code = browser.text_of(".code").await?;
    person.shows(&pages).await?;
    browser.reload().await?;
    browser.fill("Code", &code).await?;
    browser.click("Check the code").await?;
    browser.sees("Code valid").await?;
    browser.click("Messages").await?;
    browser.sees("+44 7400 123456").await?;
    browser.click("API").await?;
    browser.click("Show the live token").await?;
    let token = browser.text_of(".copy code").await?;
    ensure!(refusal(&Api::new(server.api_url(), &token)?).await? == "none");
    browser.click("Rotate…").await?;
    browser.tick("At once").await?;
    browser.click("Rotate the live token").await?;
    browser.sees("The token was rotated").await?;
    ensure!(refusal(&Api::new(server.api_url(), &token)?).await? == "ACCESS_TOKEN_INVALID");
    browser.click("Balance").await?;
    browser.fill("Amount in US dollars", "50").await?;
    browser.click("Order credit").await?;
    browser.sees("How to pay").await?;
    browser.click("Statistics").await?;
    browser.wait_for_path("/account/statistics").await?;
    browser.click("Sign out").await?;
    browser.sees("You are signed out").await
}

#[tokio::test]
async fn the_keyboard_is_enough_and_always_shows_where_it_is() -> Result<()> {
    let server = Server::start(Options::default())?;
    let person = Person::arrives(&server).await?;
    let browser = &person.browser;
    browser.press(keys::TAB).await?;
    let skip = browser.run("return document.activeElement.className").await?;
    ensure!(skip == "skip", "the first thing isn’t the way past the navigation");
    browser.press(keys::ENTER).await?;
    browser.wait_until("document.activeElement.id === 'content'").await?;

    // The field gets the focus by itself, a moment after the page is loaded: what is typed before then goes nowhere.
    browser.open(&person.at("/login")).await?;
    browser.wait_until("document.activeElement.name === 'phone'").await?;
    browser.press(PHONE).await?;
    browser.press(keys::ENTER).await?;
    browser.sees("Confirm on your phone").await?;
    let pages = person.opens_inbox(PHONE).await?;
    browser.tab_to("Confirm").await?;
    browser.press(keys::ENTER).await?;
    person.back_to(&pages).await?;
    browser.wait_for_path("/account/welcome").await?;
    browser.tab_to("Name of the account").await?;
    browser.press("Acme").await?;
    browser.tab_to("What do you send codes for?").await?;
    browser.press("Sign-in to our shop").await?;
    browser.tab_to("I accept the terms").await?;
    browser.press(keys::SPACE).await?;
    browser.press(keys::ENTER).await?;
    browser.wait_for_path("/account").await?;

    browser.tab_to("Send me a code").await?;
    browser.press(keys::ENTER).await?;
    browser.wait_until("document.querySelector('#test-message')").await?;
    browser.tab_to("API").await?;
    browser.press(keys::ENTER).await?;
    browser.wait_for_path("/account/api").await?;
    browser.tab_to("Rotate…").await?;
    browser.press(keys::ENTER).await?;
    browser.tab_to("Rotate the live token").await?;
    browser.press(keys::ENTER).await?;
    browser
        .wait_until("location.search.startsWith('?done=rotated')")
        .await?;
    browser.tab_to("Sign out").await?;
    browser.press(keys::ENTER).await?;
    browser.sees("You are signed out").await
}

#[tokio::test]
async fn what_is_opened_on_a_live_page_stays_open_and_keeps_the_focus() -> Result<()> {
    let server = Server::start(Options::default())?;
    let person = Person::arrives(&server).await?;
    let browser = &person.browser;
    browser
        .open(&person.at(&site::login_link(&server, site::OWNER)?))
        .await?;
    browser.click_on("main button").await?;
    browser.wait_for_path("/account").await?;
    let api = server.api()?;
    let sent = api
        .call(
            "sendVerificationMessage",
            &json!({ "phone_number": PHONE, "code": "482913" }),
        )
        .await?;
    let id = sent["result"]["request_id"].as_str().unwrap_or_default().to_owned();
    browser.open(&person.at(&format!("/account/messages/{id}"))).await?;
    browser.click("Revoke the message").await?;
    browser
        .wait_until("document.querySelector('details.confirm[open]')")
        .await?;
    let wrong = json!({ "request_id": id, "code": "000000" });
    api.call("checkVerificationStatus", &wrong).await?;
    browser
        .wait_until("document.querySelector('#message .badge.invalid')")
        .await?;
    let kept = "return document.querySelector('details.confirm').open
        && document.activeElement === document.querySelector('details.confirm > summary')";
    ensure!(
        browser.run(kept).await? == true,
        "the panel was closed, or lost the focus, when the page changed"
    );
    Ok(())
}

#[tokio::test]
async fn one_browser_signs_out_all_others() -> Result<()> {
    let server = Server::start(Options::default())?;
    let mut elsewhere = site::owner(&server).await?;
    ensure!(
        elsewhere.get("/account").await?.status == 200,
        "the other browser isn’t signed in"
    );
    let person = Person::arrives(&server).await?;
    let browser = &person.browser;
    browser
        .open(&person.at(&site::login_link(&server, site::OWNER)?))
        .await?;
    browser.click_on("main button").await?;
    browser.click("Settings").await?;
    browser.sees("This browser").await?;
    browser.click("Sign out all other browsers").await?;
    browser.sees("All other browsers are signed out").await?;
    let answer = elsewhere.get("/account").await?;
    ensure!(
        answer.location().starts_with("/login"),
        "the other browser still is signed in"
    );
    browser.click("Sign out").await?;
    browser.sees("You are signed out").await?;
    browser.open(&person.at("/account")).await?;
    browser.wait_for_path("/login").await
}

#[tokio::test]
async fn who_says_it_was_not_me_stops_the_sign_in() -> Result<()> {
    let server = Server::start(Options::default())?;
    let person = Person::arrives(&server).await?;
    let browser = &person.browser;
    browser.open(&person.at("/login")).await?;
    browser.fill("Phone number", PHONE).await?;
    browser.click("Continue").await?;
    let pages = person.opens_inbox(PHONE).await?;
    browser.click("It wasn’t me").await?;
    person.back_to(&pages).await?;
    browser.sees("it wasn’t me").await?;
    browser.open(&person.at("/account")).await?;
    browser.wait_for_path("/login").await?;
    let cookies = browser.cookies().await?;
    let sessions: Vec<_> = cookies.iter().filter(|cookie| is_session(cookie)).collect();
    ensure!(sessions.is_empty(), "there is a session: {sessions:?}");
    Ok(())
}

fn is_session(cookie: &Value) -> bool {
    cookie["name"].as_str().is_some_and(|name| name.ends_with("-session"))
}
