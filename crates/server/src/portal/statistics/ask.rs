//! What a statistics page is asked for, as it stands in the address: a time, a unit, filters, the tables' order and place. Every
//! link of the page is the same question with one thing changed.

use countersign_core::{Country, RouteName, SenderUsername, Timestamp};
use countersign_store::{UsageBy, UsageFilter};
use jiff::ToSpan as _;
use jiff::civil::Date;

use super::period::{Period, Unit};
use crate::site::zone::Zone;

/// How the address says "messages without a sender".
const NO_SENDER: &str = "-";

/// A time that is asked for often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Preset {
    Today,
    Week,
    Month,
    Quarter,
    Year,
    /// From one date to another.
    Custom,
}

impl Preset {
    pub(super) const ALL: [Self; 5] = [Self::Today, Self::Week, Self::Month, Self::Quarter, Self::Year];

    const fn name(self) -> &'static str {
        match self {
            Self::Today => "today",
            Self::Week => "7d",
            Self::Month => "30d",
            Self::Quarter => "90d",
            Self::Year => "12m",
            Self::Custom => "custom",
        }
    }

    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Today => "Today",
            Self::Week => "7 days",
            Self::Month => "30 days",
            Self::Quarter => "90 days",
            Self::Year => "12 months",
            Self::Custom => "Custom",
        }
    }

    const fn days(self) -> i64 {
        match self {
            Self::Today => 1,
            Self::Week => 7,
            Self::Month | Self::Custom => 30,
            Self::Quarter => 90,
            Self::Year => 365,
        }
    }
}

/// By what a table is sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Column {
    Name,
    Sent,
    Delivered,
    Verified,
    Cost,
    CostPerVerified,
}

impl Column {
    pub(super) const ALL: [Self; 6] = [
        Self::Name,
        Self::Sent,
        Self::Delivered,
        Self::Verified,
        Self::Cost,
        Self::CostPerVerified,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Verified => "verified",
            Self::Cost => "cost",
            Self::CostPerVerified => "each",
        }
    }
}

/// The three tables, in their order on the page.
pub(super) const TABLES: [UsageBy; 3] = [UsageBy::Country, UsageBy::Route, UsageBy::Sender];

pub(super) const fn table_name(by: UsageBy) -> &'static str {
    match by {
        UsageBy::Country => "country",
        UsageBy::Route => "route",
        UsageBy::Sender => "sender",
    }
}

/// A question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ask {
    pub(super) preset: Preset,
    /// As they were typed.
    pub(super) from: String,
    pub(super) to: String,
    pub(super) unit: Option<Unit>,
    pub(super) filter: UsageFilter,
    pub(super) sort: Column,
    pub(super) ascending: bool,
    /// The name after which each table goes on.
    pub(super) after: [Option<String>; 3],
}

impl Ask {
    /// Reads an address. What it doesn't know it passes over, but for dates: those are told to whoever typed them.
    pub(super) fn read(query: &str) -> Self {
        let fields: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let field = |name: &str| {
            let found = fields.iter().find(|(field, _)| field == name);
            found.map(|(_, value)| value.trim()).filter(|value| !value.is_empty())
        };
        let typed = |name| field(name).unwrap_or_default().to_owned();
        let (from, to) = (typed("from"), typed("to"));
        let named = field("range").and_then(|name| Preset::ALL.into_iter().find(|preset| preset.name() == name));
        let dates_typed = !from.is_empty() || !to.is_empty();
        let preset = named.unwrap_or(if dates_typed { Preset::Custom } else { Preset::Month });
        Self {
            preset,
            from,
            to,
            unit: field("by").and_then(Unit::named),
            filter: UsageFilter {
                country: field("country").and_then(Country::parse),
                route: field("route").and_then(RouteName::parse),
                sender: field("sender").and_then(|name| match name {
                    NO_SENDER => Some(None),
                    name => SenderUsername::parse(name).map(Some),
                }),
            },
            sort: field("sort")
                .and_then(|name| Column::ALL.into_iter().find(|column| column.name() == name))
                .unwrap_or(Column::Sent),
            ascending: field("order") == Some("up"),
            after: TABLES.map(|by| field(&format!("after_{}", table_name(by))).map(str::to_owned)),
        }
    }

    /// As it stands in an address.
    fn query(&self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        if self.preset == Preset::Custom {
            query.append_pair("from", &self.from).append_pair("to", &self.to);
        } else if self.preset != Preset::Month {
            query.append_pair("range", self.preset.name());
        }
        if let Some(unit) = self.unit {
            query.append_pair("by", unit.name());
        }
        for (name, value) in ["country", "route", "sender"].into_iter().zip(self.filter_names()) {
            if let Some(value) = value {
                query.append_pair(name, &value);
            }
        }
        if self.sort != Column::Sent {
            query.append_pair("sort", self.sort.name());
        }
        if self.ascending {
            query.append_pair("order", "up");
        }
        for (by, after) in TABLES.into_iter().zip(&self.after) {
            if let Some(after) = after {
                query.append_pair(&format!("after_{}", table_name(by)), after);
            }
        }
        query.finish()
    }

    /// The filters as the address says them.
    pub(super) fn filter_names(&self) -> [Option<String>; 3] {
        [
            self.filter.country.map(|country| country.to_string()),
            self.filter.route.as_ref().map(|route| route.as_str().to_owned()),
            self.filter
                .sender
                .as_ref()
                .map(|sender| sender.as_ref().map_or(NO_SENDER, SenderUsername::as_str).to_owned()),
        ]
    }

    fn path(&self, path: &str) -> String {
        let query = self.query();
        let mark = if query.is_empty() { "" } else { "?" };
        format!("{path}{mark}{query}")
    }

    fn link(&self) -> String {
        self.path("/account/statistics")
    }

    /// The same for another time. The unit is left to the page: an hour is too fine for a year.
    pub(super) fn link_to_preset(&self, preset: Preset) -> String {
        let ask = Self {
            preset,
            unit: None,
            after: Default::default(),
            ..self.clone()
        };
        ask.link()
    }

    pub(super) fn link_to_unit(&self, unit: Unit) -> String {
        let unit = Some(unit);
        Self { unit, ..self.clone() }.link()
    }

    /// Sorted by a column: the largest first, the other way round where it is sorted so already.
    pub(super) fn link_to_sort(&self, sort: Column) -> String {
        let first = sort == Column::Name;
        let ask = Self {
            sort,
            ascending: if self.sort == sort { !self.ascending } else { first },
            after: Default::default(),
            ..self.clone()
        };
        ask.link()
    }

    pub(super) fn link_after(&self, by: UsageBy, name: Option<&str>) -> String {
        let mut ask = self.clone();
        for (table, after) in TABLES.into_iter().zip(&mut ask.after) {
            if table == by {
                *after = name.map(str::to_owned);
            }
        }
        ask.link()
    }

    /// Only what has this name.
    pub(super) fn link_to_only(&self, by: UsageBy, name: &str) -> String {
        let mut ask = self.clone();
        ask.after = Default::default();
        match by {
            UsageBy::Country => ask.filter.country = Country::parse(name),
            UsageBy::Route => ask.filter.route = RouteName::parse(name),
            UsageBy::Sender => ask.filter.sender = Some(SenderUsername::parse(name)),
        }
        ask.link()
    }

    pub(super) fn link_without_filters(&self) -> String {
        let filter = UsageFilter::default();
        Self { filter, ..self.clone() }.link()
    }

    /// What is shown as a table to take along: by time, or by country, route or sender.
    pub(super) fn link_to_csv(&self, by: Option<UsageBy>) -> String {
        let path = match by {
            None => "/account/statistics/time.csv",
            Some(UsageBy::Country) => "/account/statistics/country.csv",
            Some(UsageBy::Route) => "/account/statistics/route.csv",
            Some(UsageBy::Sender) => "/account/statistics/sender.csv",
        };
        self.path(path)
    }

    pub(super) fn has_filters(&self) -> bool {
        self.filter != UsageFilter::default()
    }

    /// The time that is asked for; what is wrong with the dates where they can't be.
    pub(super) fn period(&self, zone: &Zone, now: Timestamp) -> Result<Period, &'static str> {
        let today = zone.at(now).date();
        let last_days = |days: i64| {
            let from = today.checked_sub((days - 1).days()).unwrap_or(today);
            Period::new(from, today, self.unit, zone, now)
        };
        if self.preset != Preset::Custom {
            return last_days(self.preset.days()).ok_or("This time is outside of the calendar.");
        }
        let date = |text: &str| text.parse::<Date>().ok();
        let from = date(&self.from).ok_or("Give the first day as a date, like 2026-11-01.")?;
        let to = if self.to.is_empty() {
            today
        } else {
            date(&self.to).ok_or("Give the last day as a date, like 2026-11-30.")?
        };
        if to < from {
            return Err("The last day is before the first.");
        }
        Period::new(from, to, self.unit, zone, now).ok_or("Choose at most ten years.")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_reads_back() {
        for query in [
            "",
            "range=today&by=hour",
            "from=2026-01-01&to=2026-03-31&by=week&country=%2B1&sender=-&sort=cost&order=up&after_country=IT",
            "range=12m&route=inbox&sender=acme_shop",
        ] {
            assert_eq!(Ask::read(query).query(), query);
        }
        assert_eq!(Ask::read("range=never&by=century&country=xx"), Ask::read(""));
    }

    #[test]
    fn dates_that_cannot_be_are_told() {
        let zone = Zone::default();
        let now = Timestamp::from_millis(1_795_419_000_000);
        let told = |query: &str| Ask::read(query).period(&zone, now).err();
        assert!(told("from=2026-02-30").is_some_and(|text| text.starts_with("Give the first day")));
        assert!(told("from=2026-02-01&to=x").is_some_and(|text| text.starts_with("Give the last day")));
        assert!(told("from=2026-02-02&to=2026-02-01").is_some_and(|text| text.contains("before")));
        assert!(told("from=1990-02-02&to=2026-02-01").is_some_and(|text| text.contains("ten years")));
        assert_eq!(told("from=2026-02-02"), None);
    }
}
