//! What `countersign doctor` says.

use super::*;

fn say(body: &Value) -> Reaction {
    Reaction::Say(200, body.to_string())
}

fn number() -> Value {
    json!({
        "id": NUMBER_ID, "display_phone_number": "+1 555-078-3881", "verified_name": "Acme", "quality_rating": "GREEN",
        "code_verification_status": "VERIFIED", "platform_type": "CLOUD_API", "status": "CONNECTED",
    })
}

fn token(expires_at: i64, scopes: &[&str]) -> Value {
    json!({ "data": { "is_valid": true, "expires_at": expires_at, "scopes": scopes } })
}

fn good_token() -> Value {
    token(0, &["whatsapp_business_management", "whatsapp_business_messaging"])
}

fn template(language: &str, status: &str) -> Value {
    json!({
        "name": "verification_code", "language": language, "status": status, "category": "AUTHENTICATION",
        "components": [
            { "type": "BODY", "text": "*{{1}}* is your verification code." },
            { "type": "BUTTONS", "buttons": [{
                "type": "URL", "text": "Copy code",
                "url": "https://www.whatsapp.com/otp/code/?otp_type=COPY_CODE&code_expiration_minutes=5&code=otp{{1}}",
            }] },
        ],
    })
}

const SET: &[(&str, &str)] = &[("business_account_id", ACCOUNT_ID), ("languages", "en,de")];

/// The verdicts and sentences, where the other side says these things one after the other.
async fn doctor(values: &[(&str, &str)], public_url: Option<&str>, reactions: Vec<Reaction>) -> Vec<(Verdict, String)> {
    let world = World::with(values, public_url).await;
    world.fake.will(reactions);
    let findings = world.channel.examine().await;
    for finding in &findings {
        assert_eq!(
            finding.remedy.is_empty(),
            finding.verdict == Verdict::Well,
            "{finding:?}"
        );
        let shown = format!("{finding:?}");
        assert!(!shown.contains(TOKEN) && !shown.contains("5550783881"), "{shown}");
    }
    findings
        .into_iter()
        .map(|finding| (finding.verdict, finding.found))
        .collect()
}

fn worst(findings: &[(Verdict, String)], verdict: Verdict, words: &str) -> bool {
    findings
        .iter()
        .any(|(of, found)| *of == verdict && found.contains(words))
}

#[tokio::test]
async fn where_all_is_well_it_says_so() {
    let templates = json!({ "data": [template("en", "APPROVED"), template("de", "APPROVED")] });
    let subscribed = json!({ "data": [{ "whatsapp_business_api_data": { "id": "1" } }] });
    let reactions = vec![say(&number()), say(&good_token()), say(&templates), say(&subscribed)];
    let findings = doctor(SET, Some("https://codes.example"), reactions).await;
    assert!(
        findings.iter().all(|(verdict, _)| *verdict == Verdict::Well),
        "{findings:?}"
    );
    assert!(worst(&findings, Verdict::Well, "works for Acme (…3881)"));
    assert!(worst(&findings, Verdict::Well, "approved in en, de"));
    assert!(worst(
        &findings,
        Verdict::Well,
        "https://codes.example/channels/wa/webhook"
    ));
}

#[tokio::test]
async fn a_token_that_does_not_work_is_told_apart_from_a_wrong_number() {
    for (reaction, words) in [
        (error(401, 190), "refuses the access token: 190"),
        (error(400, 100), "no business number of that phone_number_id"),
        (error(403, 200), "refuses the access token: 200"),
        (Reaction::Close, "doesn’t answer"),
        (Reaction::Say(404, "<html>".to_owned()), "isn’t the Graph API"),
    ] {
        let findings = doctor(&[], Some("https://codes.example"), vec![reaction]).await;
        assert_eq!(findings.len(), 2, "nothing else is asked: {findings:?}");
        assert!(worst(&findings, Verdict::Broken, words), "{words}: {findings:?}");
    }
}

#[tokio::test]
async fn a_token_that_ends_soon_or_may_not_send_is_noticed() {
    let soon = clock::now().unix_seconds() + 5 * 3_600 + 60;
    let reactions = vec![say(&number()), say(&token(soon, &["public_profile"]))];
    let findings = doctor(&[], Some("https://codes.example"), reactions).await;
    assert!(worst(&findings, Verdict::Warning, "ends in 5 hours"), "{findings:?}");
    assert!(
        worst(&findings, Verdict::Broken, "lacks the permission"),
        "{findings:?}"
    );
    assert!(
        worst(&findings, Verdict::Warning, "template was not looked at"),
        "{findings:?}"
    );
}

#[tokio::test]
async fn the_numbers_standing_is_said() {
    let mut bad = number();
    bad["quality_rating"] = json!("RED");
    bad["status"] = json!("RESTRICTED");
    bad["platform_type"] = json!("ON_PREMISE");
    bad["code_verification_status"] = json!("NOT_VERIFIED");
    let findings = doctor(&[], None, vec![say(&bad)]).await;
    for (verdict, words) in [
        (Verdict::Warning, "quality is RED"),
        (Verdict::Broken, "is RESTRICTED"),
        (Verdict::Broken, "isn’t on the Cloud API"),
        (Verdict::Warning, "isn’t verified"),
        (Verdict::Broken, "Statuses can’t come"),
    ] {
        assert!(worst(&findings, verdict, words), "{words}: {findings:?}");
    }
}

#[tokio::test]
async fn templates_are_judged_in_each_language() {
    let mut marketing = template("es", "APPROVED");
    marketing["category"] = json!("MARKETING");
    let mut plain = template("ru", "APPROVED");
    plain["components"][1] = json!({ "type": "BUTTONS", "buttons": [{ "type": "QUICK_REPLY", "text": "Yes" }] });
    let mut other = template("ar", "APPROVED");
    other["name"] = json!("verification_code_2");
    let listed = [
        template("en", "APPROVED"),
        template("de", "PAUSED"),
        marketing,
        plain,
        other,
        template("it", "APPROVED"),
    ];
    let nobody = json!({ "data": [] });
    let reactions = vec![
        say(&number()),
        say(&good_token()),
        say(&json!({ "data": listed })),
        say(&nobody),
    ];
    let set = [("business_account_id", ACCOUNT_ID), ("languages", "en,de,es,ru,ar")];
    let findings = doctor(&set, Some("http://codes.example"), reactions).await;
    for (verdict, words) in [
        (Verdict::Well, "approved in en."),
        (Verdict::Broken, "PAUSED in de"),
        (Verdict::Broken, "MARKETING in es"),
        (Verdict::Broken, "no button that copies the code in ru"),
        (Verdict::Broken, "no template verification_code in ar"),
        (Verdict::Warning, "approved in it, too"),
        (Verdict::Broken, "No app is subscribed"),
        (Verdict::Broken, "https addresses only"),
    ] {
        assert!(worst(&findings, verdict, words), "{words}: {findings:?}");
    }
}

#[tokio::test]
async fn what_the_token_may_not_look_at_is_no_fault_of_sending() {
    let reactions = vec![say(&number()), error(400, 100), error(403, 200), error(403, 200)];
    let findings = doctor(SET, Some("https://codes.example"), reactions).await;
    assert!(
        worst(&findings, Verdict::Warning, "templates can’t be read: 200"),
        "{findings:?}"
    );
    assert!(
        !findings.iter().any(|(verdict, _)| *verdict == Verdict::Broken),
        "{findings:?}"
    );
}
