//! What `countersign doctor` learns of a `whatsapp` channel, without a message to anyone: whether the token works and for how long,
//! the business number's standing, the template in each language, and whether statuses can come.

use serde_json::Value;
use url::Url;

use super::WhatsApp;
use super::codes::Meaning;
use super::settings::META;
use super::wire::Failure;
use crate::{Finding, Verdict, clock, http};

/// What is asked of the business number.
const NUMBER_FIELDS: &str =
    "display_phone_number,verified_name,quality_rating,code_verification_status,platform_type,status";
const TEMPLATE_FIELDS: &str = "name,language,status,category,components";
/// Templates of a name are as many as it has languages.
const MAX_TEMPLATES: &str = "200";
/// A token that ends so soon is worth a warning.
const SOON_SECONDS: i64 = 7 * 24 * 3_600;
/// The permission without which nothing is sent.
const SENDING: &str = "whatsapp_business_messaging";
/// The longest text of Meta's that is shown.
const MAX_SHOWN: usize = 64;

impl WhatsApp {
    pub(super) async fn examine_all(&self) -> Vec<Finding> {
        let number = self.examine_number().await;
        let works = number.iter().all(|finding| finding.verdict != Verdict::Broken);
        let mut findings = number;
        findings.extend(self.examine_way());
        if works {
            findings.extend(self.examine_token().await);
            match &self.settings.business_account_id {
                Some(account) => {
                    findings.extend(self.examine_template(account).await);
                    findings.extend(self.examine_subscription(account).await);
                }
                None => findings.push(Finding::warning(
                    "The template was not looked at.".to_owned(),
                    "Set business_account_id, and the doctor looks at it in each language.",
                )),
            }
        }
        findings.extend(self.examine_address());
        findings
    }

    /// Reads the business number: only a token that works may.
    async fn examine_number(&self) -> Vec<Finding> {
        let id = &self.settings.phone_number_id;
        let number = match self.api.get(id, &[("fields", NUMBER_FIELDS)]).await {
            Ok(number) => number,
            Err(failure) => return vec![self.no_answer(&failure)],
        };
        let (shown, name) = (text(&number, "display_phone_number"), text(&number, "verified_name"));
        let mut findings = vec![Finding::well(format!(
            "The access token works for {name} ({}).",
            masked(&shown)
        ))];
        let status = text(&number, "status");
        if !matches!(status.as_str(), "" | "CONNECTED" | "FLAGGED") {
            findings.push(Finding::broken(
                format!("The business number is {status}."),
                "Look at it in WhatsApp Manager; a number that isn’t registered yet needs POST /PHONE_NUMBER_ID/register.",
            ));
        }
        if !matches!(text(&number, "platform_type").as_str(), "" | "CLOUD_API") {
            findings.push(Finding::broken(
                "The business number isn’t on the Cloud API.".to_owned(),
                "Register it there: POST /PHONE_NUMBER_ID/register.",
            ));
        }
        if text(&number, "code_verification_status") == "NOT_VERIFIED" {
            findings.push(Finding::warning(
                "The business number isn’t verified.".to_owned(),
                "Verify it in WhatsApp Manager, with the code that Meta sends it.",
            ));
        }
        let quality = text(&number, "quality_rating");
        if matches!(quality.as_str(), "RED" | "YELLOW") {
            findings.push(Finding::warning(
                format!("People block or report its messages: its quality is {quality}."),
                "Send codes to those only who asked for them; Meta lowers the limits of numbers of low quality.",
            ));
        }
        findings
    }

    fn no_answer(&self, failure: &Failure) -> Finding {
        let base_url = &self.settings.base_url;
        match failure {
            Failure::Refused(refusal) => match (refusal.meaning(), refusal.code) {
                (Meaning::Operator, Some(100 | 33)) => Finding::broken(
                    format!("There is no business number of that phone_number_id that the token may see ({failure})."),
                    "Copy the Phone number ID (not the number) from the app’s page WhatsApp > API Setup, and give the token’s \
                     system user access to that business account.",
                ),
                (Meaning::Operator, _) => Finding::broken(
                    format!("Meta refuses the access token: {failure}."),
                    "Make a token of a system user that doesn’t expire, with whatsapp_business_messaging and \
                     whatsapp_business_management.",
                ),
                (Meaning::Busy(_), _) => {
                    Finding::warning(format!("Meta asks for a pause: {failure}."), "Try again in a minute.")
                }
                _ => Finding::warning(
                    format!("Meta answers a harmless question with {failure}."),
                    "Try again in a minute; look at Meta’s status page if it stays like this.",
                ),
            },
            Failure::NoAnswer(reason) => Finding::broken(
                format!("{base_url} doesn’t answer: {reason}."),
                "Check this machine’s way to it (DNS, firewall, proxy), and base_url.",
            ),
            Failure::Senseless(reason) => Finding::broken(
                format!("What answers at {base_url} isn’t the Graph API: {reason}."),
                "Check base_url and api_version; without base_url it is Meta’s own address.",
            ),
        }
    }

    /// Whether the way there is in the clear, and leads off this machine.
    fn examine_way(&self) -> Option<Finding> {
        http::is_unprotected(&self.settings.base_url).then(|| {
            Finding::warning(
                "Codes, numbers and the access token travel in the clear: base_url begins with http.",
                "Use an https address in base_url, or leave it out.",
            )
        })
    }

    /// Asks Meta what the token is good for. Whoever may not ask that learns nothing here, and nothing is wrong.
    async fn examine_token(&self) -> Vec<Finding> {
        if !may_have_token_in_address(&self.settings.base_url) {
            return Vec::new();
        }
        let token = self.settings.access_token.reveal();
        let Ok(answer) = self.api.get("debug_token", &[("input_token", token)]).await else {
            return Vec::new();
        };
        let token = &answer["data"];
        let mut findings = Vec::new();
        let ends_at = token["expires_at"].as_i64().filter(|ends_at| *ends_at > 0);
        let left = ends_at.map(|ends_at| ends_at.saturating_sub(clock::now().unix_seconds()));
        if let Some(left) = left.filter(|left| *left < SOON_SECONDS) {
            findings.push(Finding::warning(
                format!("The access token ends in {} hours.", left.max(0) / 3_600),
                "Tokens of the page API Setup end after a day: make one of a system user that doesn’t expire.",
            ));
        }
        let scopes = token["scopes"].as_array();
        if scopes.is_some_and(|scopes| !scopes.iter().any(|scope| scope == SENDING)) {
            findings.push(Finding::broken(
                format!("The access token lacks the permission {SENDING}."),
                "Make a new token of the system user with it.",
            ));
        }
        findings
    }

    /// Looks at the template in each language that is set.
    async fn examine_template(&self, account: &str) -> Vec<Finding> {
        let name = self.settings.template.as_str();
        let query = [("name", name), ("fields", TEMPLATE_FIELDS), ("limit", MAX_TEMPLATES)];
        let answer = match self.api.get(&format!("{account}/message_templates"), &query).await {
            Ok(answer) => answer,
            Err(failure) => {
                return vec![Finding::warning(
                    format!("The templates can’t be read: {failure}."),
                    "Check business_account_id, and that the token has whatsapp_business_management.",
                )];
            }
        };
        let found: Vec<&Value> = answer["data"].as_array().into_iter().flatten().collect();
        // The question finds names that begin so, too.
        let found: Vec<&Value> = found.into_iter().filter(|template| template["name"] == name).collect();
        let of_language = |code: &str| found.iter().find(|template| template["language"] == code);
        let mut findings = Vec::new();
        let mut good = Vec::new();
        let mut missing = Vec::new();
        for code in self.settings.languages.codes() {
            match of_language(code).map(|template| judge(code, template)) {
                None => missing.push(code),
                Some(Ok(())) => good.push(code),
                Some(Err(finding)) => findings.push(finding),
            }
        }
        if !missing.is_empty() {
            findings.push(Finding::broken(
                format!("There is no template {name} in {}.", missing.join(", ")),
                "Create it in these languages (docs/channel-whatsapp.md has the call), or take them out of languages.",
            ));
        }
        if !good.is_empty() {
            findings.push(Finding::well(format!(
                "The template {name} is approved in {}.",
                good.join(", ")
            )));
        }
        let mut unused: Vec<String> = found
            .iter()
            .filter(|template| template["status"] == "APPROVED")
            .map(|template| text(template, "language"))
            .collect();
        unused.retain(|code| !self.settings.languages.codes().any(|set| set == code));
        if !unused.is_empty() {
            findings.push(Finding::warning(
                format!("The template {name} is approved in {}, too.", unused.join(", ")),
                "Add them to languages.",
            ));
        }
        findings
    }

    /// Whether the app hears of the account at all.
    async fn examine_subscription(&self, account: &str) -> Vec<Finding> {
        let answer = self.api.get(&format!("{account}/subscribed_apps"), &[]).await;
        match answer {
            Ok(answer) if answer["data"].as_array().is_some_and(Vec::is_empty) => vec![Finding::broken(
                "No app is subscribed to the business account: no statuses come.".to_owned(),
                "Subscribe yours: POST /BUSINESS_ACCOUNT_ID/subscribed_apps with this access token.",
            )],
            _ => Vec::new(),
        }
    }

    /// Whether Meta can reach us.
    fn examine_address(&self) -> Vec<Finding> {
        let address = |url: &str| format!("{url}/channels/{}/{}", self.name, super::webhook::PATH);
        match &self.ports.public_url {
            None => vec![Finding::broken(
                "Statuses can’t come: Meta doesn’t know this server’s address, and codes never count as delivered."
                    .to_owned(),
                "Set server.public_url, and that address followed by /channels/NAME/webhook as the app’s callback URL.",
            )],
            Some(url) if !url.starts_with("https://") => vec![Finding::broken(
                format!("Meta calls https addresses only, and {} isn’t one.", address(url)),
                "Set server.public_url to the https address under which this server is reached.",
            )],
            Some(url) => vec![Finding::well(format!(
                "The app’s callback URL has to be {}, subscribed to messages.",
                address(url)
            ))],
        }
    }
}

/// Meta wants the token in the question's address, which others may write down: Meta itself is asked, a stand-in on this machine, and
/// nobody in between.
fn may_have_token_in_address(base_url: &str) -> bool {
    let url = Url::parse(base_url).ok();
    let host = url.as_ref().and_then(Url::host_str);
    base_url == META || host.is_some_and(http::is_this_machine)
}

/// Whether a template can carry our codes.
fn judge(code: &str, template: &Value) -> Result<(), Finding> {
    let status = text(template, "status");
    if status != "APPROVED" {
        return Err(Finding::broken(
            format!("The template is {status} in {code}."),
            "Look at it in WhatsApp Manager > Message templates; what is pending is mostly approved within minutes.",
        ));
    }
    let category = text(template, "category");
    if category != "AUTHENTICATION" {
        return Err(Finding::broken(
            format!("The template is of the category {category} in {code}."),
            "Create one of the category AUTHENTICATION: others may not carry codes.",
        ));
    }
    let components = template["components"].as_array().into_iter().flatten();
    let buttons = components.filter_map(|component| component["buttons"].as_array());
    let copies_code = |button: &Value| {
        let is_code = button["otp_type"].is_string();
        // A button for a code is one with an address of WhatsApp's, once it is approved.
        is_code || button["url"].as_str().is_some_and(|url| url.contains("otp_type="))
    };
    match buttons.flatten().next() {
        Some(button) if copies_code(button) => Ok(()),
        _ => Err(Finding::broken(
            format!("The template has no button that copies the code in {code}."),
            "Create it with a button of type OTP and otp_type COPY_CODE (docs/channel-whatsapp.md has the call).",
        )),
    }
}

/// A short text of Meta's.
fn text(object: &Value, key: &str) -> String {
    let text = object[key].as_str().unwrap_or_default();
    text.chars().filter(|char| !char.is_control()).take(MAX_SHOWN).collect()
}

/// The business number's last four digits.
fn masked(shown: &str) -> String {
    let digits: Vec<char> = shown.chars().filter(char::is_ascii_digit).collect();
    let last = digits.get(digits.len().saturating_sub(4)..).unwrap_or_default();
    format!("…{}", last.iter().collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_stands_in_an_address_for_meta_alone() {
        for base_url in [META, "http://127.0.0.1:8090", "http://localhost:1"] {
            assert!(may_have_token_in_address(base_url), "{base_url}");
        }
        for base_url in [
            "http://graph.facebook.com",
            "https://graph.facebook.com.proxy.example",
            "https://waba.provider.example",
            "http://10.0.0.1:8090",
        ] {
            assert!(!may_have_token_in_address(base_url), "{base_url}");
        }
    }
}
