//! What channels keep in the books: recipients' word, the other side's names of messages, notes, what upstreams charged.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::path::Path;
use std::sync::Arc;

use countersign_core::{
    AccountId, AccountKey, ApiToken, Bucket, DAY_MS, LegName, PhoneNumber, RequestId, Rules, Timestamp,
};
use countersign_store::{
    Actor, Books, ChannelCost, ChannelRecipient, CostSum, HANDLE_LIFE_MS, MAX_CHANNEL_ADDRESS_BYTES,
    MAX_CHANNEL_HANDLE_BYTES, MAX_CHANNEL_NOTE_BYTES, MasterKey, NamedMessage, NewAccount, RecipientChange, RequestRef,
    StoreError, testing,
};

const NOW: Timestamp = Timestamp::from_millis(1_790_000_000_000);
const PHONE: PhoneNumber = PhoneNumber::from_stored(391_234_567_890);
const OTHER_PHONE: PhoneNumber = PhoneNumber::from_stored(447_400_123_456);

fn books(directory: &Path) -> Arc<dyn Books> {
    let (store, _) = testing::open(directory, MasterKey::from_bytes([7; 32]), Rules::default()).unwrap();
    store
}

fn channel(name: &str) -> LegName {
    LegName::parse(name).unwrap()
}

fn request(random: u64) -> RequestRef {
    RequestRef {
        account: AccountKey {
            bucket: Bucket(9),
            id: AccountId::new(77).unwrap(),
        },
        // A random part whose highest bit is set is negative in its column.
        id: RequestId::new(NOW, u64::MAX - random),
    }
}

fn at_chat(phone: PhoneNumber, address: &str) -> ChannelRecipient {
    ChannelRecipient {
        phone,
        address: address.into(),
        stopped: false,
        since: NOW,
    }
}

fn named(name: &str, handle: &str, of: u64) -> NamedMessage {
    NamedMessage {
        channel: channel(name),
        handle: handle.into(),
        request: request(of),
    }
}

fn cost(upstream: Option<&str>, micros: i64, message: Option<u64>, at: Timestamp) -> ChannelCost {
    ChannelCost {
        channel: channel("official"),
        message: message.map(request),
        micros,
        upstream: upstream.map(str::to_owned),
        at,
    }
}

#[tokio::test]
async fn what_a_recipient_said_is_found_by_number_and_by_address_on_that_channel_alone() {
    let directory = tempfile::tempdir().unwrap();
    let store = books(directory.path());
    let bot = channel("bot");
    for recipient in [at_chat(PHONE, "chat 5"), at_chat(OTHER_PHONE, "chat 5")] {
        store.put_recipient(bot.clone(), recipient).await.unwrap();
    }
    store.put_recipient(channel("sms"), at_chat(PHONE, "")).await.unwrap();
    assert_eq!(
        store.recipient(&bot, PHONE).await.unwrap(),
        Some(at_chat(PHONE, "chat 5"))
    );
    assert_eq!(
        store.recipients_at(&bot, "chat 5", 10).await.unwrap(),
        [at_chat(PHONE, "chat 5"), at_chat(OTHER_PHONE, "chat 5")]
    );
    assert_eq!(store.recipients_at(&bot, "chat 5", 1).await.unwrap().len(), 1);
    // The number itself is the address there: no address leads to it.
    assert_eq!(store.recipients_at(&channel("sms"), "", 10).await.unwrap(), []);
    assert_eq!(store.recipients_at(&channel("other"), "chat 5", 10).await.unwrap(), []);
}

#[tokio::test]
async fn the_last_word_of_a_recipient_counts_and_survives_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let bot = channel("bot");
    let stopped = ChannelRecipient {
        stopped: true,
        since: NOW.plus_millis(5),
        ..at_chat(PHONE, "chat 6")
    };
    {
        let store = books(directory.path());
        store
            .put_recipient(bot.clone(), at_chat(PHONE, "chat 5"))
            .await
            .unwrap();
        store.put_recipient(bot.clone(), stopped.clone()).await.unwrap();
        assert_eq!(store.recipients_at(&bot, "chat 5", 10).await.unwrap(), []);
        countersign_store::Store::close(&*store).await.unwrap();
    }
    let store = books(directory.path());
    assert_eq!(store.recipient(&bot, PHONE).await.unwrap(), Some(stopped));
    store.remove_recipient(bot.clone(), PHONE).await.unwrap();
    assert_eq!(store.recipient(&bot, PHONE).await.unwrap(), None);
}

#[tokio::test]
async fn a_message_is_found_by_the_other_sides_name_and_the_name_by_the_message() {
    let directory = tempfile::tempdir().unwrap();
    let store = books(directory.path());
    let (sms, official) = (channel("sms"), channel("official"));
    store
        .note_handles(vec![named("sms", "A1", 1), named("sms", "A2", 2)], NOW)
        .await
        .unwrap();
    store.note_handle(named("official", "A1", 1), NOW).await.unwrap();
    assert_eq!(store.message_of_handle(&sms, "A2").await.unwrap(), Some(request(2)));
    assert_eq!(store.message_of_handle(&sms, "A3").await.unwrap(), None);
    assert_eq!(store.message_of_handle(&official, "A2").await.unwrap(), None);
    assert_eq!(
        store.handle_of_message(&official, request(1)).await.unwrap(),
        Some("A1".into())
    );
    assert_eq!(store.handle_of_message(&official, request(2)).await.unwrap(), None);
}

#[tokio::test]
async fn a_name_that_is_used_again_means_the_newest_message() {
    let directory = tempfile::tempdir().unwrap();
    let store = books(directory.path());
    store.note_handle(named("sms", "7", 1), NOW).await.unwrap();
    store
        .note_handle(named("sms", "7", 2), NOW.plus_millis(1))
        .await
        .unwrap();
    let found = store.message_of_handle(&channel("sms"), "7").await.unwrap();
    assert_eq!(found, Some(request(2)));
}

#[tokio::test]
async fn names_are_forgotten_after_five_days() {
    let directory = tempfile::tempdir().unwrap();
    let store = books(directory.path());
    // Names are swept where there are accounts.
    let new = NewAccount {
        key: request(1).account,
        token: ApiToken::new(request(1).account.id, [3; 32]),
        name: "Acme".into(),
        phone: PHONE,
        now: NOW,
    };
    store.create_account(new, Actor::Operator).await.unwrap();
    store.note_handle(named("sms", "old", 1), NOW).await.unwrap();
    store
        .note_handle(named("sms", "new", 2), NOW.plus_millis(1))
        .await
        .unwrap();
    let end = NOW.plus_millis(HANDLE_LIFE_MS);
    assert_eq!(store.forget_old_handles(end).await.unwrap(), 0);
    assert_eq!(store.forget_old_handles(end.plus_millis(1)).await.unwrap(), 1);
    assert_eq!(store.message_of_handle(&channel("sms"), "old").await.unwrap(), None);
    assert_eq!(
        store.message_of_handle(&channel("sms"), "new").await.unwrap(),
        Some(request(2))
    );
}

#[tokio::test]
async fn a_channel_remembers_small_things_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let store = books(directory.path());
    let bot = channel("bot");
    for value in ["41", "42"] {
        let put = store.put_channel_note(bot.clone(), "offset".into(), value.into());
        put.await.unwrap();
    }
    assert_eq!(store.channel_note(&bot, "offset").await.unwrap(), Some("42".into()));
    assert_eq!(store.channel_note(&channel("sms"), "offset").await.unwrap(), None);
}

#[tokio::test]
async fn what_is_too_long_is_refused_and_nothing_of_its_batch_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let store = books(directory.path());
    let bot = channel("bot");
    let long = "x".repeat(MAX_CHANNEL_HANDLE_BYTES + 1);
    let batch = vec![named("sms", "A1", 1), named("sms", &long, 2)];
    let refused = [
        store.note_handles(batch, NOW).await,
        store.note_costs(vec![cost(Some(&long), 1, None, NOW)]).await,
        store
            .put_recipient(bot.clone(), at_chat(PHONE, &"x".repeat(MAX_CHANNEL_ADDRESS_BYTES + 1)))
            .await,
        store
            .put_channel_note(bot, "offset".into(), "x".repeat(MAX_CHANNEL_NOTE_BYTES + 1))
            .await,
    ];
    for answer in refused {
        assert!(matches!(answer, Err(StoreError::TooLong(_))), "{answer:?}");
    }
    assert_eq!(store.message_of_handle(&channel("sms"), "A1").await.unwrap(), None);
}

#[tokio::test]
async fn a_cost_that_is_told_again_counts_once_and_learns_its_message() {
    let directory = tempfile::tempdir().unwrap();
    let store = books(directory.path());
    let asked = cost(Some("up-1"), 10_000, None, NOW);
    let sent = cost(Some("up-1"), 10_000, Some(1), NOW.plus_millis(9));
    let refund = cost(Some("up-1"), -10_000, Some(1), NOW.plus_millis(20));
    let told = vec![asked, sent.clone(), sent, refund.clone(), refund.clone()];
    store.note_costs(told).await.unwrap();
    let records = store.costs(NOW, NOW.plus_millis(DAY_MS), None, 10).await.unwrap();
    let costs: Vec<_> = records.into_iter().map(|record| record.cost).collect();
    assert_eq!(costs, [cost(Some("up-1"), 10_000, Some(1), NOW), refund]);
    let sums = store.cost_sums(NOW, NOW.plus_millis(DAY_MS)).await.unwrap();
    assert_eq!(
        sums,
        [CostSum {
            channel: channel("official"),
            charges: 1,
            charged_micros: 10_000,
            refunds: 1,
            refunded_micros: 10_000,
        }]
    );
}

#[tokio::test]
async fn the_greatest_amount_of_one_name_counts_on_the_day_of_the_first() {
    let directory = tempfile::tempdir().unwrap();
    let store = books(directory.path());
    let next_day = NOW.plus_millis(DAY_MS);
    let told = vec![
        cost(Some("up-1"), 10_000, None, NOW),
        cost(Some("up-1"), 30_000, None, next_day),
        cost(Some("up-1"), 20_000, None, next_day),
        // Without a name each is a line of its own.
        cost(None, 5_000, None, next_day),
        cost(None, 5_000, None, next_day),
    ];
    store.note_costs(told).await.unwrap();
    let charged = async |from, to| {
        let sums = store.cost_sums(from, to).await.unwrap();
        sums.iter().map(|sum| sum.charged_micros).sum::<i64>()
    };
    let midnight = Timestamp::from_millis(NOW.millis() - NOW.millis() % DAY_MS + DAY_MS);
    assert_eq!(charged(NOW, midnight).await, 30_000);
    assert_eq!(charged(midnight, midnight.plus_millis(DAY_MS)).await, 10_000);
    assert_eq!(charged(NOW, midnight.plus_millis(DAY_MS)).await, 40_000);
}

#[tokio::test]
async fn costs_are_read_page_by_page_in_the_order_of_time() {
    let directory = tempfile::tempdir().unwrap();
    let store = books(directory.path());
    let costs: Vec<_> = [3, 1, 1, 2, 9]
        .into_iter()
        .enumerate()
        .map(|(number, after)| cost(Some(&format!("up-{number}")), 1, None, NOW.plus_millis(after)))
        .collect();
    store.note_costs(costs).await.unwrap();
    let (from, to) = (NOW.plus_millis(1), NOW.plus_millis(9));
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page = store.costs(from, to, after, 2).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.place);
        seen.extend(page.into_iter().filter_map(|record| record.cost.upstream));
    }
    assert_eq!(seen, ["up-1", "up-2", "up-3", "up-0"]);
}

#[tokio::test]
async fn what_an_operator_changes_of_a_recipient_leaves_the_rest() {
    let directory = tempfile::tempdir().unwrap();
    let store = books(directory.path());
    let mail = channel("mail");
    let change = |address: Option<&str>, stopped| RecipientChange {
        phone: PHONE,
        address: address.map(str::to_owned),
        stopped,
    };
    let now = Timestamp::from_millis(1_000);
    let changes = vec![change(Some("ida@example.com"), None), change(None, Some(true))];
    store
        .change_recipients(mail.clone(), changes, now, Actor::Operator)
        .await
        .unwrap();
    let known = store.recipient(&mail, PHONE).await.unwrap().unwrap();
    assert_eq!(
        (known.address.as_str(), known.stopped, known.since),
        ("ida@example.com", true, now)
    );
    // One wrong row, and none is written.
    let long = "x".repeat(MAX_CHANNEL_ADDRESS_BYTES + 1);
    let changes = vec![change(None, Some(false)), change(Some(&long), None)];
    let refused = store
        .change_recipients(mail.clone(), changes, now, Actor::Operator)
        .await;
    assert!(matches!(refused, Err(StoreError::TooLong(_))), "{refused:?}");
    assert_eq!(store.recipient(&mail, PHONE).await.unwrap(), Some(known));
    // Whoever has neither an address nor said stop is nobody in particular.
    let changes = vec![change(Some(""), Some(false))];
    store
        .change_recipients(mail.clone(), changes, now, Actor::Operator)
        .await
        .unwrap();
    assert_eq!(store.recipient(&mail, PHONE).await.unwrap(), None);
}
