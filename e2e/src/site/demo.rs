//! A month in the life of an account, made on the sandbox's clock: requests to several countries by two senders, most of them
//! read and entered, some wrong, some late; prices, adjustments, reports. The same each time, for pictures and for tests of
//! pages that aren't empty.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::OWNER;
use crate::api::Api;
use crate::server::Server;

const HOUR_S: i64 = 3600;
const DAY_S: i64 = 24 * HOUR_S;

/// Where the messages go to: the first digits, how many follow, and how many requests of a hundred.
const COUNTRIES: [(&str, usize, u64); 9] = [
    ("+39347", 7, 27),
    ("+4915", 9, 17),
    ("+4474001", 5, 13),
    ("+336123", 5, 11),
    ("+3461", 7, 9),
    ("+120255501", 2, 8),
    ("+9198765", 5, 6),
    ("+55119123", 5, 5),
    ("+999661000", 1, 4),
];

/// How much happens.
#[derive(Debug, Clone)]
pub struct Demo {
    /// Verification requests.
    pub requests: u32,
    /// Days over which they are spread; the account's clock ends that far ahead.
    pub days: u32,
    /// Where reports go; without it none are sent.
    pub callback_url: Option<String>,
    /// Where reports go that nobody takes; every fiftieth.
    pub lost_callback_url: Option<String>,
}

/// Numbers that look random and are the same each time (`SplitMix64`).
#[derive(Debug)]
struct Dice(u64);

impl Dice {
    const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    const fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// Lets a month happen on the sandbox's first account.
pub async fn happen(server: &Server, api: &Api, demo: &Demo) -> Result<()> {
    settings(server)?;
    let mut dice = Dice(7);
    let requests = demo.requests.max(1);
    let step_s = i64::from(demo.days) * DAY_S / i64::from(requests);
    let mut passed_s = 0;
    for number in 0..requests {
        let took_s = request(server, api, demo, number, &mut dice).await?;
        passed_s += took_s;
        // Nights are quiet: what a day has left of requests goes to its hours from 7 to 23.
        let jitter = i64::try_from(dice.below(1000))? * step_s / 1000;
        let mut next_s = (i64::from(number) * step_s + jitter).max(passed_s);
        if next_s % DAY_S < 7 * HOUR_S {
            next_s += 7 * HOUR_S;
        }
        if next_s > passed_s {
            api.advance_clock(next_s - passed_s).await?;
            passed_s = next_s;
        }
        if number == requests / 2 {
            server.cli_json(["account", "credit", OWNER, "250"])?;
            server.cli_json([
                "account",
                "adjust",
                OWNER,
                "2.5",
                "--reason",
                "Goodwill for the outage of last week",
            ])?;
        }
    }
    server.cli_json([
        "account",
        "adjust",
        OWNER,
        "-1.25",
        "--reason",
        "Fee of the bank for an order that came in twice",
    ])?;
    Ok(())
}

fn settings(server: &Server) -> Result<()> {
    for (sender, verified) in [("acme_shop", true), ("acme_bank", true), ("acme_travel", false)] {
        server.cli_json(["sender", "add", sender, "--account", OWNER])?;
        if verified {
            server.cli_json(["sender", "verify", sender])?;
        }
    }
    for (prefix, price) in [
        ("+39", "0.0125"),
        ("+49", "0.015"),
        ("+44", "0.02"),
        ("+1", "0.01"),
        ("+91", "0.008"),
        ("+55", "0.009"),
    ] {
        server.cli_json(["price", "set", prefix, price])?;
    }
    Ok(())
}

/// One request from its send to its end; answers how many seconds it took.
async fn request(server: &Server, api: &Api, demo: &Demo, number: u32, dice: &mut Dice) -> Result<i64> {
    let phone = phone(dice);
    let code = format!("{:06}", dice.below(1_000_000));
    let mut parameters =
        json!({ "phone_number": phone, "code": code, "ttl": 600, "payload": format!("signup-{}", 1000 + number) });
    match dice.below(10) {
        0..6 => parameters["sender_username"] = "acme_shop".into(),
        6..8 => parameters["sender_username"] = "acme_bank".into(),
        _ => {}
    }
    let callback = match &demo.lost_callback_url {
        Some(lost) if number % 50 == 7 => Some(lost),
        _ => demo.callback_url.as_ref(),
    };
    if let Some(url) = callback {
        parameters["callback_url"] = url.as_str().into();
    }
    let sent = api.call("sendVerificationMessage", &parameters).await?;
    // A scripted number that can't be reached is part of life.
    let Some(id) = sent["result"]["request_id"].as_str() else {
        return Ok(0);
    };
    let fate = dice.below(100);
    if fate < 9 {
        // Nobody looks: it expires in time.
        return Ok(0);
    }
    if fate < 11 {
        api.call("revokeVerificationMessage", &json!({ "request_id": id }))
            .await?;
        return Ok(0);
    }
    let read_after_s = 2 + i64::try_from(dice.below(14))?;
    api.advance_clock(read_after_s).await?;
    if !phone.starts_with("+999") {
        read(server, api, &phone, id).await?;
    }
    if fate < 18 {
        return Ok(read_after_s);
    }
    let entered_after_s = 4 + i64::try_from(dice.below(40))?;
    api.advance_clock(entered_after_s).await?;
    if fate < 27 {
        check(api, id, "000001").await?;
    }
    if fate > 20 {
        check(api, id, &code).await?;
    }
    Ok(read_after_s + entered_after_s)
}

fn phone(dice: &mut Dice) -> String {
    let mut place = dice.below(100);
    for (digits, more, share) in COUNTRIES {
        if place >= share {
            place -= share;
            continue;
        }
        if digits.starts_with("+999") {
            // Scripted numbers end in what becomes of their messages; 4 and 5 refuse.
            return format!("{digits}{}", 1 + dice.below(6));
        }
        // Some people come back: a number of three is one that was there before.
        let person = if dice.below(3) == 0 {
            dice.below(40)
        } else {
            dice.below(10_u64.pow(u32::try_from(more).unwrap_or(1)))
        };
        return format!("{digits}{person:0more$}");
    }
    OWNER.to_owned()
}

/// What a person does who opens the phone.
async fn read(server: &Server, api: &Api, phone: &str, id: &str) -> Result<()> {
    let url = format!("{}/inbox/read", server.api_url());
    let body = json!({ "phone_number": phone, "request_id": id });
    let answer = api.client().post(url).json(&body).send().await.context("/inbox/read")?;
    answer.error_for_status().map(drop).context("/inbox/read")
}

async fn check(api: &Api, id: &str, code: &str) -> Result<Value> {
    let parameters = json!({ "request_id": id, "code": code });
    api.call("checkVerificationStatus", &parameters).await
}
