//! The viewer's time zone: the one of the account's profile, else the one that the browser told in a cookie, else UTC.

use countersign_core::Timestamp;
use jiff::tz::TimeZone;

/// A time zone, by its IANA name.
#[derive(Debug, Clone)]
pub(crate) struct Zone(TimeZone);

impl Default for Zone {
    fn default() -> Self {
        Self(TimeZone::UTC)
    }
}

impl Zone {
    /// A zone by its name, like `Europe/Rome`.
    pub(crate) fn named(name: &str) -> Option<Self> {
        TimeZone::get(name).ok().map(Self)
    }

    /// As it is said under a table of times.
    pub(crate) fn name(&self) -> String {
        self.0.iana_name().unwrap_or("UTC").to_owned()
    }

    /// The zone itself, for calendar arithmetic.
    pub(crate) const fn time_zone(&self) -> &TimeZone {
        &self.0
    }

    /// A moment as a date and a time of day there.
    pub(crate) fn at(&self, at: Timestamp) -> jiff::ZonedDateTime {
        let moment = jiff::Timestamp::from_millisecond(at.millis()).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        moment.to_zoned_datetime(self.0.clone())
    }
}
