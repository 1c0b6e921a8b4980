//! What only the operator can mend, said aloud in the log: by channels, whenever they meet it. Each text is said at most once a minute,
//! and one never silences another.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use countersign_core::LegName;
use tokio::time::Instant;

/// The same is said at most this often.
const EVERY: Duration = Duration::from_mins(1);
/// So many different texts are said within that time at most: the other side's words may stand in them.
const MAX_TEXTS: usize = 8;

/// The alarms of one channel.
#[derive(Debug, Default)]
pub(crate) struct Alarm {
    said: Mutex<Vec<(String, Instant)>>,
}

impl Alarm {
    /// Says it, unless it was said a moment ago.
    pub(crate) fn say(&self, channel: &LegName, what: &str) {
        if self.is_due(what, Instant::now()) {
            tracing::error!(%channel, "{what}");
        }
    }

    fn is_due(&self, what: &str, now: Instant) -> bool {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.retain(|(_, at)| now.duration_since(*at) < EVERY);
        let is_due = said.len() < MAX_TEXTS && said.iter().all(|(text, _)| text != what);
        if is_due {
            said.push((what.to_owned(), now));
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_said_once_a_minute_and_something_else_at_once() {
        let alarm = Alarm::default();
        let now = Instant::now();
        assert!(alarm.is_due("no access", now) && alarm.is_due("no money", now));
        assert!(!alarm.is_due("no access", now + Duration::from_secs(59)));
        assert!(alarm.is_due("no access", now + EVERY));
    }

    #[test]
    fn only_so_many_texts_are_said_in_a_minute() {
        let alarm = Alarm::default();
        let now = Instant::now();
        let said = (0..100).filter(|number| alarm.is_due(&format!("refused {number}"), now));
        assert_eq!(said.count(), MAX_TEXTS);
        assert!(alarm.is_due("refused again", now + EVERY));
    }
}
