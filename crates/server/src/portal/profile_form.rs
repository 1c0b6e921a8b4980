//! The fields that an owner fills in about the account, at the first sign-in and in the settings: what is taken, and what is
//! said to what isn't.

use countersign_store::DetailsChange;
use jiff::tz;
use url::Url;

use crate::site::form::Form;
use crate::site::nations::{NATIONS, is_nation};
use crate::site::viewer::Viewer;
use crate::site::zone::Zone;

/// Longest name and company, in bytes; the operator's API takes no longer names either.
const MAX_NAME_BYTES: usize = 100;
const MAX_WEBSITE_BYTES: usize = 200;
const MAX_PURPOSE_BYTES: usize = 1_000;

/// The fields as they were typed, with what is wrong with each.
#[derive(Debug, Default)]
pub(super) struct ProfileForm {
    pub(super) name: String,
    pub(super) company: String,
    pub(super) website: String,
    pub(super) country: String,
    pub(super) purpose: String,
    pub(super) time_zone: String,
    pub(super) name_problem: Option<&'static str>,
    pub(super) company_problem: Option<&'static str>,
    pub(super) website_problem: Option<&'static str>,
    pub(super) country_problem: Option<&'static str>,
    pub(super) purpose_problem: Option<&'static str>,
    pub(super) zone_problem: Option<&'static str>,
}

impl ProfileForm {
    /// As it stands in the books.
    pub(super) fn of(viewer: &Viewer) -> Self {
        let details = viewer.details.clone();
        Self {
            name: viewer.account.name.clone(),
            company: details.company,
            website: details.website,
            country: details.country,
            purpose: details.purpose,
            time_zone: details.time_zone,
            ..Self::default()
        }
    }

    /// As it was sent, judged.
    pub(super) fn sent(form: &Form) -> Self {
        let text = |name: &str| form.text(name).to_owned();
        let mut sent = Self {
            name: text("name"),
            company: text("company"),
            website: text("website"),
            country: text("country"),
            purpose: text("purpose"),
            time_zone: text("time_zone"),
            ..Self::default()
        };
        sent.judge();
        sent
    }

    fn judge(&mut self) {
        let one_line = |text: &str, most: usize| text.len() <= most && !text.chars().any(char::is_control);
        if self.name.is_empty() || !one_line(&self.name, MAX_NAME_BYTES) {
            self.name_problem = Some("Give the account a name of one line, at most 100 bytes.");
        }
        if !one_line(&self.company, MAX_NAME_BYTES) {
            self.company_problem = Some("Write the company on one line, in at most 100 bytes.");
        }
        if !self.website.is_empty() && !self.website.contains("://") {
            self.website.insert_str(0, "https://");
        }
        if !self.website.is_empty() && !is_website(&self.website) {
            self.website_problem = Some("This is no address of a website. Write it like https://example.com.");
        }
        if !is_nation(&self.country) {
            self.country_problem = Some("Choose a country.");
        }
        if self.purpose.is_empty() || self.purpose.len() > MAX_PURPOSE_BYTES {
            self.purpose_problem = Some("Say in a sentence or two what you send codes for.");
        }
        if !self.time_zone.is_empty() && Zone::named(&self.time_zone).is_none() {
            self.zone_problem = Some("This time zone is unknown. Choose one from the list.");
        }
    }

    pub(super) fn is_good(&self) -> bool {
        let problems = [
            self.name_problem,
            self.company_problem,
            self.website_problem,
            self.country_problem,
            self.purpose_problem,
            self.zone_problem,
        ];
        problems.iter().all(Option::is_none)
    }

    pub(super) fn into_change(self, accepted_terms: Option<String>) -> DetailsChange {
        DetailsChange {
            name: self.name,
            company: self.company,
            website: self.website,
            country: self.country,
            purpose: self.purpose,
            time_zone: self.time_zone,
            accepted_terms,
        }
    }

    /// For the list of countries.
    #[expect(clippy::unused_self, reason = "templates ask the form")]
    pub(super) fn nations(&self) -> &'static [(&'static str, &'static str)] {
        &NATIONS
    }

    /// For the list of time zones: places, by region.
    pub(super) fn zones(&self) -> Vec<String> {
        let places = tz::db().available().map(|name| name.to_string());
        let mut places: Vec<String> = places.filter(|name| is_place(name)).collect();
        if !self.time_zone.is_empty() && !places.contains(&self.time_zone) {
            places.push(self.time_zone.clone());
        }
        places.sort_unstable();
        places
    }
}

fn is_website(text: &str) -> bool {
    let Ok(url) = Url::parse(text) else { return false };
    matches!(url.scheme(), "http" | "https")
        && url.host_str().is_some_and(|host| host.contains('.'))
        && url.username().is_empty()
        && url.password().is_none()
        && text.len() <= MAX_WEBSITE_BYTES
}

/// Leaves out what are other names for the same, and offsets without a place.
fn is_place(name: &str) -> bool {
    let regions = [
        "Africa/",
        "America/",
        "Antarctica/",
        "Asia/",
        "Atlantic/",
        "Australia/",
        "Europe/",
        "Indian/",
        "Pacific/",
    ];
    name == "UTC" || regions.iter().any(|region| name.starts_with(region))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(website: &str, time_zone: &str) -> ProfileForm {
        let mut form = ProfileForm {
            name: "Acme".into(),
            country: "IT".into(),
            purpose: "Sign-ins of our shop".into(),
            website: website.into(),
            time_zone: time_zone.into(),
            ..ProfileForm::default()
        };
        form.judge();
        form
    }

    #[test]
    fn a_website_is_written_out_and_must_be_one() {
        assert_eq!(judged("acme.example", "").website, "https://acme.example");
        assert!(judged("", "Europe/Rome").is_good());
        for wrong in [
            "javascript://alert.example",
            "ftp://acme.example",
            "https://",
            "acme",
            "https://a:b@acme.example",
        ] {
            assert!(judged(wrong, "").website_problem.is_some(), "{wrong}");
        }
    }

    #[test]
    fn what_must_be_said_is_asked_for() {
        let mut empty = ProfileForm::default();
        empty.judge();
        assert!(empty.name_problem.is_some() && empty.country_problem.is_some() && empty.purpose_problem.is_some());
        assert!(judged("", "Mars/Olympus").zone_problem.is_some());
    }

    #[test]
    fn zones_are_listed_by_place() {
        let zones = ProfileForm::default().zones();
        assert!(zones.iter().any(|name| name == "Europe/Rome"));
        assert!(zones.iter().any(|name| name == "UTC"));
        assert!(!zones.iter().any(|name| name.starts_with("Etc/")));
    }
}
