//! What `countersign doctor` learns of Twilio: whether it takes the credentials, how the account stands, whether the number can send
//! and where its answers go. No message is sent to anyone.

use serde::Deserialize;
use url::form_urlencoded;

use super::Twilio;
use super::wire::Failure;
use crate::{Finding, Verdict, http};

#[derive(Deserialize)]
struct Account {
    status: String,
    #[serde(rename = "type", default)]
    kind: Option<String>,
}

#[derive(Deserialize)]
struct Numbers {
    incoming_phone_numbers: Vec<Number>,
}

#[derive(Deserialize)]
struct Number {
    #[serde(default)]
    capabilities: Option<Capabilities>,
    #[serde(default)]
    sms_url: Option<String>,
}

#[derive(Deserialize)]
struct Capabilities {
    #[serde(default)]
    sms: bool,
}

impl Twilio {
    pub(in super::super) async fn examine(&self) -> Vec<Finding> {
        let access = self.examine_access().await;
        let works = access.verdict != Verdict::Broken;
        let mut findings = vec![access];
        if http::is_unprotected(&self.account_url) {
            findings.push(Finding::warning(
                "Calls go to base_url without TLS: credentials, numbers and codes travel in the clear.",
                "Use https:// in base_url, or leave it out.",
            ));
        }
        if let Some(number) = self.from.as_deref().filter(|from| works && from.starts_with('+')) {
            findings.extend(self.examine_number(number).await);
        }
        if works && let Some(service) = &self.service {
            findings.push(Finding::well(format!(
                "Messages go through the messaging service {service}; whether it exists and has senders wasn’t tried."
            )));
        }
        let is_https = self.own_url.as_ref().is_some_and(|url| url.starts_with("https://"));
        if self.callbacks && !is_https {
            findings.push(Finding::warning(
                "Callbacks are on, and public_url isn’t https: what Twilio reports travels in the clear.",
                "Set public_url to the https address under which this server is reached, or callbacks = false.",
            ));
        }
        findings
    }

    /// Reads the account; with an API key, which can't, the newest entry of its messages.
    async fn examine_access(&self) -> Finding {
        let by_token = self.user.starts_with("AC");
        let path = if by_token { ".json" } else { "/Messages.json?PageSize=1" };
        let body = match self.get(path).await {
            Ok(body) => body,
            Err(failure) => return no_access(&failure),
        };
        if !by_token {
            let is_json = serde_json::from_slice::<serde_json::Map<_, _>>(&body).is_ok();
            return if is_json {
                Finding::well("Twilio takes the API key; it can’t tell how the account stands.")
            } else {
                no_access(&Failure::Senseless)
            };
        }
        let Ok(account) = serde_json::from_slice::<Account>(&body) else {
            return no_access(&Failure::Senseless);
        };
        match (account.status.as_str(), account.kind.as_deref()) {
            ("active", Some("Trial")) => Finding::warning(
                "Twilio takes the credentials. It is a trial account: it sends to verified numbers only, and adds a line to every text.",
                "Upgrade the account in Twilio’s console.",
            ),
            ("active", _) => Finding::well("Twilio takes the credentials, and the account is active."),
            (status @ ("suspended" | "closed"), _) => Finding::broken(
                format!("Twilio takes the credentials, but the account is {status}."),
                "Look at the account in Twilio’s console: mostly its balance is used up.",
            ),
            _ => no_access(&Failure::Senseless),
        }
    }

    /// Whether the number is the account's and can send, and where what people answer goes.
    async fn examine_number(&self, number: &str) -> Vec<Finding> {
        let number: String = form_urlencoded::byte_serialize(number.as_bytes()).collect();
        let path = format!("/IncomingPhoneNumbers.json?PhoneNumber={number}&PageSize=1");
        let numbers = match self.get(&path).await {
            Ok(body) => serde_json::from_slice::<Numbers>(&body).map_err(|_| Failure::Senseless),
            Err(failure) => Err(failure),
        };
        let number = match numbers.map(|numbers| numbers.incoming_phone_numbers.into_iter().next()) {
            Ok(Some(number)) => number,
            Ok(None) => {
                return vec![Finding::warning(
                    "The number of `from` isn’t among the account’s own numbers.",
                    "Unless it is hosted there, set `from` to a number of the account’s.",
                )];
            }
            Err(failure) => {
                return vec![Finding::warning(
                    format!("The number of `from` couldn’t be looked up: {failure}."),
                    "An API key needs the right to read phone numbers for this.",
                )];
            }
        };
        if number.capabilities.is_some_and(|capabilities| !capabilities.sms) {
            return vec![Finding::broken(
                "The number of `from` can’t send SMS.",
                "Set `from` to a number with the capability SMS.",
            )];
        }
        let mut findings = vec![Finding::well("The number of `from` is the account’s and can send SMS.")];
        let wanted = self.inbound_url().filter(|_| self.auth_token.is_some());
        if let Some(wanted) = wanted.filter(|wanted| number.sms_url.as_ref() != Some(wanted) && self.service.is_none())
        {
            findings.push(Finding::warning(
                "What people answer (STOP, START, NO) doesn’t come here.",
                format!("In the number’s settings, let “A message comes in” call {wanted} by POST."),
            ));
        }
        findings
    }
}

fn no_access(failure: &Failure) -> Finding {
    let (found, remedy) = match failure {
        Failure::Refused { status: 401 | 403, .. } => (
            format!("Twilio refuses the credentials: {failure}."),
            "Copy account_sid and auth_token again from the console’s first page; test credentials don’t send.",
        ),
        Failure::Refused { status: 404, .. } => (
            "Twilio knows no such account.".to_owned(),
            "Copy account_sid again, and check base_url.",
        ),
        Failure::Refused { .. } => (
            format!("Twilio answers a harmless question with {failure}."),
            "Try again in a minute; if it stays like this, look at status.twilio.com.",
        ),
        Failure::NoAnswer(_) => (
            format!("Twilio can’t be asked: {failure}."),
            "Check base_url, this machine’s way to it (DNS, firewall, proxy), and its certificate.",
        ),
        Failure::Senseless => (
            "What answers isn’t Twilio.".to_owned(),
            "Check base_url: it is the address before /2010-04-01.",
        ),
    };
    Finding::broken(found, remedy)
}
