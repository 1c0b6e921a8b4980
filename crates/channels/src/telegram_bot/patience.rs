//! When not to call Telegram: it asked for a pause, it can't be reached, or one chat asks for too many answers. All of it
//! counts in the machine's own steady time, and is forgotten at a restart.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::time::Instant;

/// While Telegram can't be reached, messages wait in the books so long; then they are given to the next leg.
const SHORT_OUTAGE: Duration = Duration::from_secs(10);
/// Two failures further apart than that belong to two outages.
const OUTAGE_GAP: Duration = Duration::from_mins(1);
/// Texts that one chat gets in answer within [`CHAT_WINDOW`]: whoever floods the bot would otherwise have Telegram throttle it
/// for everybody.
const CHAT_ANSWERS: u32 = 10;
const CHAT_WINDOW: Duration = Duration::from_mins(1);
/// How many chats are counted at a time.
const MAX_CHATS: usize = 4_096;

/// No calls until then.
#[derive(Default)]
pub(super) struct Pause(Mutex<Option<Instant>>);

impl Pause {
    /// No calls for so long.
    pub(super) fn lasts(&self, pause: Duration) {
        let ends = Instant::now() + pause;
        let mut until = lock(&self.0);
        *until = Some(until.map_or(ends, |until| until.max(ends)));
    }

    /// How much of it is left.
    pub(super) fn left(&self) -> Option<Duration> {
        let left = lock(&self.0).map(|until| until.saturating_duration_since(Instant::now()));
        left.filter(|left| !left.is_zero())
    }
}

/// Telegram can't be reached.
#[derive(Default)]
pub(super) struct Outage(Mutex<Option<(Instant, Instant)>>);

impl Outage {
    /// A connection failed. Answers whether that is so for a short time only.
    pub(super) fn goes_on(&self) -> bool {
        let now = Instant::now();
        let mut outage = lock(&self.0);
        let began = match *outage {
            Some((began, last)) if now.duration_since(last) <= OUTAGE_GAP => began,
            _ => now,
        };
        *outage = Some((began, now));
        now.duration_since(began) < SHORT_OUTAGE
    }

    /// It was reached.
    pub(super) fn ends(&self) {
        *lock(&self.0) = None;
    }
}

/// How many texts each chat got in answer.
#[derive(Default)]
pub(super) struct ChatAnswers(Mutex<HashMap<i64, (Instant, u32), foldhash::fast::RandomState>>);

impl ChatAnswers {
    /// Whether a chat may have one more.
    pub(super) fn allow(&self, chat: i64) -> bool {
        let now = Instant::now();
        let mut chats = lock(&self.0);
        if chats.len() >= MAX_CHATS && !chats.contains_key(&chat) {
            chats.retain(|_, (began, _)| now.duration_since(*began) < CHAT_WINDOW);
            if chats.len() >= MAX_CHATS {
                return false;
            }
        }
        let (began, count) = chats.entry(chat).or_insert((now, 0));
        if now.duration_since(*began) >= CHAT_WINDOW {
            (*began, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        *count <= CHAT_ANSWERS
    }
}

/// How long to wait after a failure: twice as long after each, with jitter.
pub(super) struct Backoff(Duration);

impl Backoff {
    const FIRST: Duration = Duration::from_millis(500);
    const LAST: Duration = Duration::from_mins(1);

    pub(super) const fn new() -> Self {
        Self(Self::FIRST)
    }

    /// It works again.
    pub(super) const fn reset(&mut self) {
        self.0 = Self::FIRST;
    }

    /// The next pause: from half of it to the whole.
    pub(super) fn next(&mut self) -> Duration {
        let whole = self.0;
        self.0 = (whole * 2).min(Self::LAST);
        let mut byte = [u8::MAX];
        // Without randomness it is the whole.
        let _unknown = SystemRandom::new().fill(&mut byte);
        let [byte] = byte;
        whole / 2 + whole / 2 * u32::from(byte) / u32::from(u8::MAX)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_pause_ends_by_itself_and_the_longer_one_counts() {
        let pause = Pause::default();
        assert_eq!(pause.left(), None);
        pause.lasts(Duration::from_secs(30));
        pause.lasts(Duration::from_secs(5));
        assert_eq!(pause.left(), Some(Duration::from_secs(30)));
        tokio::time::advance(Duration::from_secs(30)).await;
        assert_eq!(pause.left(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_is_short_for_ten_seconds_and_over_once_a_call_succeeds() {
        let outage = Outage::default();
        assert!(outage.goes_on());
        tokio::time::advance(Duration::from_secs(9)).await;
        assert!(outage.goes_on());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!outage.goes_on());
        outage.ends();
        assert!(outage.goes_on());
        tokio::time::advance(Duration::from_secs(61)).await;
        assert!(outage.goes_on(), "nobody tried for a minute: that is a new one");
    }

    #[tokio::test(start_paused = true)]
    async fn a_chat_that_floods_the_bot_gets_ten_answers_a_minute() {
        let answers = ChatAnswers::default();
        assert_eq!((0..100).filter(|_| answers.allow(1)).count(), 10);
        assert!(answers.allow(2));
        tokio::time::advance(CHAT_WINDOW).await;
        assert!(answers.allow(1));
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_chats_are_counted_than_there_is_room_for() {
        let answers = ChatAnswers::default();
        let chats = i64::try_from(MAX_CHATS).unwrap();
        assert!((0..chats).all(|chat| answers.allow(chat)));
        assert!(!answers.allow(chats));
        tokio::time::advance(CHAT_WINDOW).await;
        assert!(answers.allow(chats));
    }

    #[test]
    fn pauses_grow_to_a_minute_and_start_anew_after_a_success() {
        let mut backoff = Backoff::new();
        for whole in [500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000] {
            let pause = backoff.next();
            let whole = Duration::from_millis(whole);
            assert!((whole / 2..=whole).contains(&pause), "{pause:?} of {whole:?}");
        }
        backoff.reset();
        assert!(backoff.next() <= Backoff::FIRST);
    }
}
