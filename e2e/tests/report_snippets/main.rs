//! The code in docs/delivery-reports.md that tells genuine delivery reports from others, run as it stands on the page: against
//! reports that a real server sent, and against forged, changed and old ones. A language whose runtime isn't on the machine
//! is left out, and the test says so.

#[cfg(test)]
mod languages;
#[cfg(test)]
#[rustfmt::skip]
mod rust {
    //! The page's Rust code, compiled. That it is the page's, letter by letter, is tested below.
    include!("page.rs");

    pub(crate) fn judge(case: &crate::Case) -> bool {
        is_genuine(&case.token, &case.timestamp, &case.body, &case.signature)
    }
}

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use countersign_core::{ApiToken, SIGNATURE_HEADER, TIMESTAMP_HEADER, sign_report};
use countersign_e2e::{Options, Report, Server, Sink};
use serde_json::json;

use crate::languages::{LANGUAGES, Language};

/// How long reports may take to arrive.
const REPORTS_DEADLINE: Duration = Duration::from_secs(30);

/// A report as it reaches a receiver, true or not.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) what: &'static str,
    pub(crate) token: String,
    pub(crate) timestamp: String,
    pub(crate) body: Vec<u8>,
    pub(crate) signature: String,
    pub(crate) genuine: bool,
}

#[tokio::test(flavor = "multi_thread")]
async fn every_snippet_of_the_page_tells_true_reports_from_others() -> Result<()> {
    let server = Server::start(Options::default())?;
    let sink = Sink::start().await?;
    let api = server.api()?;
    let sent = api
        .call(
            "sendVerificationMessage",
            &json!({"phone_number": "+9996610001", "callback_url": format!("{}/reports", sink.url()), "payload": "né 17"}),
        )
        .await?;
    ensure!(sent["ok"] == true, "the send was refused: {sent}");
    let reports = sink.wait_until(REPORTS_DEADLINE, |reports| reports.len() >= 2).await?;
    let mut cases = Vec::new();
    for report in &reports {
        cases.extend(true_and_changed(report, api.token())?);
    }
    cases.extend(signed_by_us(api.token(), &reports[0].body)?);
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/delivery-reports.md"))?;
    for language in LANGUAGES {
        if let Some(judged) = language.judge(snippet(&page, language)?, &cases)? {
            compare(language.name, &cases, &judged)?;
        } else {
            println!(
                "{}: left out, {} is not on this machine",
                language.name, language.runtime
            );
        }
    }
    let judged: Vec<bool> = cases.iter().map(rust::judge).collect();
    compare("Rust", &cases, &judged)
}

#[test]
fn the_rust_code_that_is_compiled_is_the_pages() -> Result<()> {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/delivery-reports.md"))?;
    let on_the_page = fenced(&page, "rust").context("no Rust code on the page")?;
    ensure!(
        on_the_page == include_str!("page.rs"),
        "e2e/tests/report_snippets/page.rs isn't what docs/delivery-reports.md shows"
    );
    Ok(())
}

#[cfg(test)]
fn compare(language: &str, cases: &[Case], judged: &[bool]) -> Result<()> {
    ensure!(
        judged.len() == cases.len(),
        "{language} judged {} of {}",
        judged.len(),
        cases.len()
    );
    for (case, judged) in cases.iter().zip(judged) {
        ensure!(
            *judged == case.genuine,
            "{language} takes {} for genuine = {judged}",
            case.what
        );
    }
    Ok(())
}

/// A report that came, and what a forger might make of it.
#[cfg(test)]
fn true_and_changed(report: &Report, token: &str) -> Result<Vec<Case>> {
    let header = |name: &str| -> Result<String> {
        let value = report
            .headers
            .get(name)
            .with_context(|| format!("a report without {name}"))?;
        Ok(value.to_str()?.to_owned())
    };
    let (timestamp, signature) = (header(TIMESTAMP_HEADER)?, header(SIGNATURE_HEADER)?);
    let genuine = Case {
        what: "a report that came",
        token: token.to_owned(),
        timestamp: timestamp.clone(),
        body: report.body.to_vec(),
        signature: signature.clone(),
        genuine: true,
    };
    let forged = |what, change: &dyn Fn(&mut Case)| {
        let mut case = Case {
            what,
            genuine: false,
            ..genuine.clone()
        };
        change(&mut case);
        case
    };
    let later = (timestamp.parse::<u64>()? + 1).to_string();
    let cut = signature.get(..63).context("a signature has 64 digits")?;
    Ok(vec![
        forged("a changed body", &|case| case.body.push(b' ')),
        forged("another token", &|case| case.token.push('x')),
        forged("another timestamp", &|case| case.timestamp.clone_from(&later)),
        forged("no signature", &|case| case.signature.clear()),
        forged("a signature that is cut off", &|case| {
            cut.clone_into(&mut case.signature);
        }),
        forged("a signature with something behind it", &|case| {
            case.signature.push_str("zz");
        }),
        forged("a signature in capitals", &|case| case.signature.make_ascii_uppercase()),
        forged("a signature that isn't ASCII", &|case| case.signature = "é".repeat(32)),
        forged("another's signature", &|case| case.signature = "0".repeat(64)),
        genuine,
    ])
}

/// Reports whose signature is right: only their age is in question.
#[cfg(test)]
fn signed_by_us(token: &str, body: &[u8]) -> Result<Vec<Case>> {
    let key = ApiToken::parse(token).context("the server's token")?.report_key();
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?;
    let at = |what, timestamp: String, genuine| Case {
        what,
        token: token.to_owned(),
        signature: sign_report(&key, &timestamp, body),
        timestamp,
        body: body.to_vec(),
        genuine,
    };
    Ok(vec![
        at("a report of four minutes ago", (now - 240).to_string(), true),
        at("a report of six minutes ago", (now - 360).to_string(), false),
        at("a report of 1970", "0".to_owned(), false),
        at("a report from six minutes ahead", (now + 360).to_string(), false),
        at("a timestamp that is no number", "soon".to_owned(), false),
        at("an empty timestamp", String::new(), false),
    ])
}

#[cfg(test)]
fn snippet<'a>(page: &'a str, language: &Language) -> Result<&'a str> {
    fenced(page, language.fence).with_context(|| format!("no {} code on the page", language.name))
}

/// The first block of code in a language, which is a tab of the page.
#[cfg(test)]
fn fenced<'a>(page: &'a str, fence: &str) -> Option<&'a str> {
    let (_, rest) = page.split_once(&format!("\n```{fence} tab="))?;
    let (_, rest) = rest.split_once('\n')?;
    let end = rest.find("\n```")?;
    rest.get(..=end)
}
