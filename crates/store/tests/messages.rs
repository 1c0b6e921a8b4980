//! How an owner's requests are searched, paged and watched: through [`Messages`], over the SQLite books.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use countersign_core::*;
use countersign_store::*;
use futures_util::{StreamExt as _, stream};
use tempfile::TempDir;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
/// As many as one summary speaks of.
const RUN: u64 = 4_096;

struct Books {
    store: Arc<dyn countersign_store::Books>,
    account: AccountKey,
    _work: CommittedWork,
    _directory: TempDir,
}

async fn books() -> Books {
    let directory = tempfile::tempdir().unwrap();
    let (store, work) = testing::open(directory.path(), MasterKey::from_bytes([1; 32]), Rules::default()).unwrap();
    let account = open_account(&store, 1, 393_330_000_001).await;
    Books {
        store,
        account,
        _work: work,
        _directory: directory,
    }
}

async fn open_account(store: &Arc<dyn countersign_store::Books>, seed: u8, owner: u64) -> AccountKey {
    let id = AccountId::from_entropy(u64::from_be_bytes([seed; 8]));
    let account = AccountKey::of_new(id);
    let new = NewAccount {
        key: account,
        token: ApiToken::new(id, [seed; 32]),
        name: "Acme".into(),
        phone: PhoneNumber::from_stored(owner),
        now: NOW,
    };
    store.create_account(new, Actor::Operator).await.unwrap();
    let amount = Credits::parse("1000").unwrap();
    submit(store, account, Action::Purchase { amount }, NOW).await;
    account
}

fn command(action: Action, now: Timestamp) -> Command {
    Command {
        now,
        token: None,
        idempotency: None,
        action,
    }
}

async fn submit(store: &Arc<dyn countersign_store::Books>, account: AccountKey, action: Action, now: Timestamp) {
    store.submit(account, command(action, now)).await.unwrap().unwrap();
}

fn send(to: u64, payload: Option<&str>, entropy: u64) -> Action {
    Action::Send(Box::new(Send {
        email: None,
        locale: None,
        phone: PhoneNumber::from_stored(to),
        request: None,
        sender: None,
        code: SendCode::Supplied(Code::parse("12345").unwrap()),
        callback_url: None,
        payload: payload.map(|text| Payload::new(text.to_owned()).unwrap()),
        ttl: Ttl::new(60).unwrap(),
        id_entropy: entropy,
        reach: Reach::Reachable,
        plan: None,
        skipped: Vec::new(),
        guard: None,
    }))
}

impl Books {
    /// Sends at a time; the random half of its id is `entropy`.
    async fn sent(&self, at: Timestamp, to: u64, payload: Option<&str>, entropy: u64) -> RequestId {
        submit(&self.store, self.account, send(to, payload, entropy), at).await;
        RequestId::new(at, entropy)
    }

    async fn page(&self, filter: &MessageFilter, order: MessageOrder, after: Option<RequestId>) -> MessagePage {
        let now = NOW.plus_millis(1_000_000);
        let page = self.store.messages(self.account, filter.clone(), order, after, 3, now);
        page.await.unwrap()
    }

    /// Every request, page by page, with how many pages it took.
    async fn all(&self, filter: &MessageFilter, order: MessageOrder) -> (Vec<RequestId>, usize) {
        let (mut found, mut after, mut pages) = (Vec::new(), None, 0);
        loop {
            let page = self.page(filter, order, after).await;
            pages += 1;
            found.extend(page.requests.iter().map(|request| request.id));
            match page.end {
                PageEnd::Last => return (found, pages),
                PageEnd::Full(id) | PageEnd::LookedThrough(id) => after = Some(id),
            }
        }
    }

    async fn newest(&self, filter: MessageFilter) -> Vec<RequestId> {
        self.all(&filter, MessageOrder::NewestFirst).await.0
    }
}

fn number(search: NumberSearch) -> MessageFilter {
    MessageFilter {
        number: Some(search),
        ..MessageFilter::default()
    }
}

fn payload(search: PayloadSearch) -> MessageFilter {
    MessageFilter {
        payload: Some(search),
        ..MessageFilter::default()
    }
}

#[tokio::test]
async fn every_request_is_on_one_page_also_where_many_were_made_at_the_same_moment() {
    let books = books().await;
    let mut made = Vec::new();
    for entropy in 0..8 {
        // Half of them above 2⁶³, which the database orders before the others.
        let entropy = entropy << 61;
        made.push(books.sent(NOW, 391_234_567_890, None, entropy).await);
    }
    made.push(books.sent(NOW.plus_millis(1), 391_234_567_890, None, 3).await);
    let all = MessageFilter::default();
    let (newest, pages) = books.all(&all, MessageOrder::NewestFirst).await;
    assert_eq!((newest.len(), pages), (9, 3));
    assert_eq!(newest.first(), made.last());
    let (mut oldest, _) = books.all(&all, MessageOrder::OldestFirst).await;
    oldest.reverse();
    assert_eq!(newest, oldest);
    let mut sorted = newest.clone();
    sorted.sort_unstable();
    made.sort_unstable();
    assert_eq!(sorted, made);
}

#[tokio::test]
async fn a_number_is_found_whole_by_its_beginning_and_by_its_end() {
    let books = books().await;
    let rome = books.sent(NOW, 393_471_234_567, None, 1).await;
    let milan = books.sent(NOW.plus_millis(1), 390_212_345_678, None, 2).await;
    let ohio = books.sent(NOW.plus_millis(2), 16_145_550_123, None, 3).await;
    let whole = NumberSearch::Is(PhoneNumber::from_stored(393_471_234_567));
    assert_eq!(books.newest(number(whole)).await, [rome]);
    let begins = |digits: &str| number(NumberSearch::Begins(digits.to_owned()));
    assert_eq!(books.newest(begins("39")).await, [milan, rome]);
    assert_eq!(books.newest(begins("39347")).await, [rome]);
    assert_eq!(books.newest(begins("123")).await, []);
    assert_eq!(books.newest(begins("393471234567")).await, [rome]);
    assert_eq!(books.newest(begins("3934712345678")).await, []);
    let either = |digits: &str| number(NumberSearch::BeginsOrEnds(digits.to_owned()));
    assert_eq!(books.newest(either("3471234567")).await, [rome]);
    assert_eq!(books.newest(either("0212345678")).await, [milan]);
    assert_eq!(books.newest(either("161")).await, [ohio]);
    assert_eq!(books.newest(either("99999999999999999999")).await, []);
}

#[tokio::test]
async fn a_payload_is_found_whole_and_by_its_beginning_byte_for_byte() {
    let books = books().await;
    let one = books.sent(NOW, 391_234_567_890, Some("order-1"), 1).await;
    let ten = books
        .sent(NOW.plus_millis(1), 391_234_567_890, Some("order-10"), 2)
        .await;
    books.sent(NOW.plus_millis(2), 391_234_567_890, None, 3).await;
    assert_eq!(books.newest(payload(PayloadSearch::Is("order-1".into()))).await, [one]);
    assert_eq!(
        books.newest(payload(PayloadSearch::Begins("order-1".into()))).await,
        [ten, one]
    );
    assert_eq!(books.newest(payload(PayloadSearch::Begins("Order".into()))).await, []);
    assert_eq!(books.newest(payload(PayloadSearch::Is("order-%".into()))).await, []);
}

#[tokio::test]
async fn states_and_times_narrow_the_list() {
    let books = books().await;
    let read = books.sent(NOW, 391_234_567_890, None, 1).await;
    let wrong = books.sent(NOW.plus_millis(10), 391_234_567_890, None, 2).await;
    let untouched = books.sent(NOW.plus_millis(20), 391_234_567_890, None, 3).await;
    let news = Action::news(read, News::Read);
    submit(&books.store, books.account, news, NOW.plus_millis(30)).await;
    let check = |request, code: &str| Action::Check {
        request,
        code: EnteredCode::new(code.to_owned()),
    };
    submit(&books.store, books.account, check(read, "12345"), NOW.plus_millis(40)).await;
    submit(&books.store, books.account, check(wrong, "1"), NOW.plus_millis(40)).await;
    let delivery = |state| MessageFilter {
        delivery: Some(state),
        ..MessageFilter::default()
    };
    assert_eq!(books.newest(delivery(DeliveryState::Read)).await, [read]);
    assert_eq!(books.newest(delivery(DeliveryState::Sent)).await, [untouched, wrong]);
    let verification = |state| MessageFilter {
        verification: Some(state),
        ..MessageFilter::default()
    };
    assert_eq!(books.newest(verification(VerificationState::Valid)).await, [read]);
    // Their minute is over: nobody has written it down, and yet it is so.
    assert_eq!(books.newest(verification(VerificationState::Invalid)).await, []);
    assert_eq!(
        books.newest(verification(VerificationState::Expired)).await,
        [untouched, wrong]
    );
    let between = MessageFilter {
        from: Some(NOW.plus_millis(10)),
        to: Some(NOW.plus_millis(20)),
        ..MessageFilter::default()
    };
    assert_eq!(books.newest(between.clone()).await, [wrong]);
    assert_eq!(books.all(&between, MessageOrder::OldestFirst).await.0, [wrong]);
    let never = MessageFilter {
        from: Some(NOW.plus_millis(20)),
        to: Some(NOW),
        ..MessageFilter::default()
    };
    assert_eq!(books.newest(never).await, []);
}

#[tokio::test]
async fn another_accounts_requests_are_never_found() {
    let books = books().await;
    let other = open_account(&books.store, 2, 393_330_000_002).await;
    submit(&books.store, other, send(391_234_567_890, Some("order-1"), 7), NOW).await;
    let id = RequestId::new(NOW, 7);
    for filter in [
        MessageFilter::default(),
        number(NumberSearch::Is(PhoneNumber::from_stored(391_234_567_890))),
        payload(PayloadSearch::Begins("order".into())),
    ] {
        assert_eq!(books.newest(filter).await, []);
    }
    let account = books.account;
    assert_eq!(books.store.request(account, id).await.unwrap(), None);
    assert_eq!(books.store.timeline(RequestRef { account, id }).await.unwrap(), []);
}

#[tokio::test]
async fn the_timeline_tells_what_happened_after_the_sending() {
    let books = books().await;
    let id = books.sent(NOW, 391_234_567_890, None, 1).await;
    let request = RequestRef {
        account: books.account,
        id,
    };
    submit(
        &books.store,
        books.account,
        Action::Revoke { request: id },
        NOW.plus_millis(5),
    )
    .await;
    let late = Action::news(id, News::Delivered);
    submit(&books.store, books.account, late, NOW.plus_millis(9)).await;
    let event = |number, kind, after| TimelineEvent {
        number,
        kind,
        at: NOW.plus_millis(after),
        leg: None,
        detail: None,
    };
    assert_eq!(
        books.store.timeline(request).await.unwrap(),
        [
            event(1, TimelineKind::Became(DeliveryState::Revoked), 5),
            event(2, TimelineKind::TooLate(News::Delivered), 9)
        ]
    );
}

/// Two full runs, of which the second holds what the tests look for, and one request behind them.
async fn many() -> (Books, RequestId, RequestId) {
    let books = books().await;
    let sends = (0..RUN + RUN / 2).map(|index| {
        let at = NOW.plus_millis(i64::try_from(index).unwrap());
        books.sent(at, 391_000_000_000 + index, Some("batch"), index)
    });
    // Fewer at once than a queue holds.
    stream::iter(sends).buffered(1_000).collect::<Vec<RequestId>>().await;
    let needle = books
        .sent(NOW.plus_millis(10_000), 447_911_123_456, Some("needle"), 1)
        .await;
    let sends = (0..RUN / 2).map(|index| {
        let at = NOW.plus_millis(20_000 + i64::try_from(index).unwrap());
        books.sent(at, 391_000_000_000 + index, None, index)
    });
    // Fewer at once than a queue holds.
    stream::iter(sends).buffered(1_000).collect::<Vec<RequestId>>().await;
    let last = books
        .sent(NOW.plus_millis(40_000), 447_911_123_456, Some("needle"), 2)
        .await;
    (books, needle, last)
}

#[tokio::test]
async fn summaries_change_what_a_search_costs_and_not_what_it_finds() {
    let (books, needle, last) = many().await;
    let phone = number(NumberSearch::Is(PhoneNumber::from_stored(447_911_123_456)));
    let common = number(NumberSearch::Is(PhoneNumber::from_stored(391_000_000_005)));
    let text = payload(PayloadSearch::Is("needle".into()));
    let until = MessageFilter {
        to: Some(NOW.plus_millis(20_000)),
        ..phone.clone()
    };
    let since = MessageFilter {
        from: Some(NOW.plus_millis(10_001)),
        ..phone.clone()
    };
    let mut before = Vec::new();
    for filter in [&phone, &common, &text, &until, &since] {
        before.push(books.all(filter, MessageOrder::NewestFirst).await.0);
        before.push(books.all(filter, MessageOrder::OldestFirst).await.0);
    }
    assert_eq!(before[0], [last, needle]);
    assert_eq!(before[2].len(), 2);
    // Nothing is summarised before it is settled.
    let summarise = async |now| books.store.summarise_requests(books.account, now).await.unwrap();
    assert!(!summarise(NOW.plus_millis(60_000)).await);
    let later = NOW.plus_millis(2 * ABILITY_LIFE_MS);
    assert!(summarise(later).await);
    assert!(summarise(later).await);
    assert!(!summarise(later).await);
    let mut after = Vec::new();
    for filter in [&phone, &common, &text, &until, &since] {
        after.push(books.all(filter, MessageOrder::NewestFirst).await.0);
        after.push(books.all(filter, MessageOrder::OldestFirst).await.0);
    }
    assert_eq!(before, after);
    // A clock that was set back lets requests join a run that is summarised already: its summary goes.
    assert!(summarise(NOW.plus_millis(2_000)).await);
    let joined = books.sent(NOW.plus_millis(2_000), 447_911_123_456, None, 9).await;
    assert_eq!(books.newest(phone).await, [last, needle, joined]);
}

#[tokio::test]
async fn a_look_for_what_is_rare_ends_after_a_bounded_stretch_and_goes_on() {
    let books = books().await;
    let needle = books.sent(NOW, 447_911_123_456, None, 1).await;
    let sends = (0..50_001_u64).map(|index| {
        let at = NOW.plus_millis(1 + i64::try_from(index).unwrap());
        books.sent(at, 391_000_000_000, None, index)
    });
    futures_util::stream::StreamExt::for_each_concurrent(futures_util::stream::iter(sends), 2_000, async |sent| {
        sent.await;
    })
    .await;
    let rare = number(NumberSearch::Begins("44".into()));
    let page = books.page(&rare, MessageOrder::NewestFirst, None).await;
    assert_eq!(page.requests, []);
    let PageEnd::LookedThrough(place) = page.end else {
        panic!("it ended with {:?}", page.end);
    };
    let page = books.page(&rare, MessageOrder::NewestFirst, Some(place)).await;
    assert_eq!(page.requests.first().map(|request| request.id), Some(needle));
    assert_eq!(page.end, PageEnd::Last);
}

#[tokio::test]
async fn a_watch_hears_of_its_own_request_alone() {
    let books = books().await;
    let id = books.sent(NOW, 391_234_567_890, None, 1).await;
    let other = books.sent(NOW, 391_234_567_890, None, 2).await;
    let request = |id| RequestRef {
        account: books.account,
        id,
    };
    let mut watch = books.store.watch(request(id)).unwrap();
    let mut watch_of_other = books.store.watch(request(other)).unwrap();
    let news = Action::news(id, News::Delivered);
    submit(&books.store, books.account, news, NOW).await;
    watch.changed().await;
    let silent = futures_util::FutureExt::now_or_never(watch_of_other.changed());
    assert_eq!(silent, None);
    // A question changes nothing.
    let question = Action::Check {
        request: id,
        code: None,
    };
    submit(&books.store, books.account, question, NOW).await;
    assert_eq!(futures_util::FutureExt::now_or_never(watch.changed()), None);
}

#[tokio::test]
async fn watches_are_bounded_and_a_closed_one_makes_room() {
    let books = books().await;
    let request = RequestRef {
        account: books.account,
        id: RequestId::new(NOW, 1),
    };
    let mut open: Vec<_> = (0..1_000).map(|_| books.store.watch(request).unwrap()).collect();
    assert_eq!(books.store.watch(request).unwrap_err(), TooManyWatches);
    open.pop();
    assert!(books.store.watch(request).is_ok());
}
