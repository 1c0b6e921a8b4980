//! The inbox as a channel: who takes what, which news comes of it, and that it stays within its bounds.

use std::sync::Arc;

use countersign_core::{AccountId, AccountKey, Bucket, Code, DeliveryState, News, PhoneNumber, RequestId, Timestamp};
use tokio::sync::mpsc;
use tokio::task::yield_now;

use super::{Inbox, InboxEvent, InboxReader, MAX_READERS, Opening};
use crate::{Channel, ChannelNews, Handover, OutgoingMessage};

const PHONE: PhoneNumber = PhoneNumber::from_stored(391_234_567_890);
const OTHER: PhoneNumber = PhoneNumber::from_stored(447_400_123_456);

fn account() -> AccountKey {
    AccountKey {
        bucket: Bucket(7),
        id: AccountId::from_entropy(1 << 20),
    }
}

/// The nth message, sent n seconds after a fixed day.
fn message(phone: PhoneNumber, number: u64) -> OutgoingMessage {
    let sent_at = Timestamp::from_millis(1_790_000_000_000 + i64::try_from(number).unwrap() * 1000);
    OutgoingMessage {
        account: account(),
        request: RequestId::new(sent_at, number),
        phone,
        code: Code::parse("123456").unwrap(),
        sender: None,
        locale: None,
        email: None,
        sent_at,
        expires_at: sent_at.plus_millis(60_000),
        clock_offset_ms: 0,
    }
}

fn inbox(capacity: usize) -> (Arc<Inbox>, mpsc::Receiver<ChannelNews>) {
    let (sender, receiver) = mpsc::channel(1_000);
    (Inbox::with_capacity(sender, capacity), receiver)
}

/// The numbers (see [`message`]) of the messages that are shown, newest first.
fn shown(inbox: &Inbox, phone: Option<PhoneNumber>) -> Vec<u64> {
    inbox
        .messages(phone, usize::MAX)
        .iter()
        .map(|message| message.request.random())
        .collect()
}

async fn next_messages(reader: &mut InboxReader) -> Vec<(u64, DeliveryState)> {
    match reader.next().await {
        Some(InboxEvent::Messages(messages)) => messages
            .iter()
            .map(|message| (message.request.random(), message.delivery))
            .collect(),
        other => panic!("expected messages, got {other:?}"),
    }
}

#[tokio::test]
async fn a_message_waits_while_nobody_is_there() {
    let (inbox, mut news) = inbox(10);
    assert_eq!(inbox.deliver(message(PHONE, 1)).await, Handover::Waiting);
    assert_eq!(shown(&inbox, Some(PHONE)), [1]);
    assert_eq!(inbox.messages(None, 10)[0].delivery, DeliveryState::Sent);
    assert!(news.try_recv().is_err());
}

#[tokio::test]
async fn opening_the_inbox_of_a_number_takes_what_waits_for_it_and_no_other() {
    let (inbox, mut news) = inbox(10);
    inbox.deliver(message(PHONE, 1)).await;
    inbox.deliver(message(OTHER, 2)).await;
    let mut reader = inbox.open(Opening::Number(PHONE)).unwrap();
    assert_eq!(next_messages(&mut reader).await, [(1, DeliveryState::Delivered)]);
    let told = news.try_recv().unwrap();
    assert_eq!((told.request, told.news), (message(PHONE, 1).request, News::Delivered));
    assert!(news.try_recv().is_err(), "one message, one piece of news");
    assert_eq!(inbox.messages(Some(OTHER), 1)[0].delivery, DeliveryState::Sent);
}

#[tokio::test]
async fn an_open_inbox_hears_of_a_message_as_it_comes() {
    let (inbox, mut news) = inbox(10);
    let mut reader = inbox.open(Opening::Number(PHONE)).unwrap();
    let waiting = tokio::spawn(async move { next_messages(&mut reader).await });
    yield_now().await;
    inbox.deliver(message(PHONE, 1)).await;
    assert_eq!(waiting.await.unwrap(), [(1, DeliveryState::Delivered)]);
    assert_eq!(news.recv().await.unwrap().news, News::Delivered);
}

#[tokio::test]
async fn a_list_of_numbers_takes_nothing() {
    let (inbox, mut news) = inbox(10);
    let mut reader = inbox.open(Opening::Numbers).unwrap();
    assert_eq!(reader.next().await, Some(InboxEvent::Numbers));
    inbox.deliver(message(PHONE, 1)).await;
    assert_eq!(reader.next().await, Some(InboxEvent::Numbers));
    assert!(news.try_recv().is_err());
    let numbers = inbox.numbers(10);
    assert_eq!((numbers.len(), numbers[0].messages, numbers[0].unread), (1, 1, 1));
}

#[tokio::test]
async fn the_same_message_handed_over_twice_is_one_message() {
    let (inbox, _news) = inbox(10);
    inbox.deliver(message(PHONE, 1)).await;
    inbox.deliver(message(PHONE, 1)).await;
    assert_eq!(shown(&inbox, None), [1]);
    assert_eq!(inbox.numbers(10)[0].messages, 1);
}

#[tokio::test]
async fn read_is_the_end_of_unread_and_is_never_undone() {
    let (inbox, _news) = inbox(10);
    inbox.deliver(message(PHONE, 1)).await;
    inbox.deliver(message(PHONE, 2)).await;
    assert_eq!(inbox.unread(PHONE).len(), 2);
    inbox.mark_read(account(), message(PHONE, 2).request);
    assert_eq!(inbox.unread(PHONE).len(), 1);
    let mut reader = inbox.open(Opening::Number(PHONE)).unwrap();
    let states = next_messages(&mut reader).await;
    assert_eq!(states, [(2, DeliveryState::Read), (1, DeliveryState::Delivered)]);
}

#[tokio::test]
async fn a_withdrawn_message_vanishes_unless_it_was_taken() {
    let (inbox, _news) = inbox(10);
    inbox.deliver(message(PHONE, 1)).await;
    inbox.withdraw(account(), message(PHONE, 1).request).await;
    assert!(shown(&inbox, None).is_empty());
    assert!(inbox.numbers(10).is_empty());

    inbox.deliver(message(PHONE, 2)).await;
    let mut reader = inbox.open(Opening::Number(PHONE)).unwrap();
    next_messages(&mut reader).await;
    inbox.withdraw(account(), message(PHONE, 2).request).await;
    assert_eq!(shown(&inbox, None), [2]);
}

#[tokio::test]
async fn an_open_inbox_reloads_when_a_message_is_withdrawn() {
    let (inbox, _news) = inbox(10);
    // A scripted number's message waits although its inbox is open.
    let scripted = PhoneNumber::from_stored(9_996_610_003);
    inbox.deliver(message(scripted, 1)).await;
    let mut reader = inbox.open(Opening::Number(scripted)).unwrap();
    assert_eq!(next_messages(&mut reader).await, [(1, DeliveryState::Sent)]);
    inbox.withdraw(account(), message(scripted, 1).request).await;
    assert_eq!(reader.next().await, Some(InboxEvent::Reload));
}

#[tokio::test]
async fn scripted_numbers_are_shown_and_listen_to_their_script_alone() {
    let (inbox, mut news) = inbox(10);
    let scripted = PhoneNumber::from_stored(9_996_610_002);
    inbox.deliver(message(scripted, 1)).await;
    let mut reader = inbox.open(Opening::Number(scripted)).unwrap();
    assert_eq!(next_messages(&mut reader).await, [(1, DeliveryState::Sent)]);
    inbox.mark_read(account(), message(scripted, 1).request);
    assert_eq!(inbox.messages(None, 1)[0].delivery, DeliveryState::Sent);
    assert!(news.try_recv().is_err());
    assert!(inbox.unread(scripted).is_empty());
}

#[tokio::test]
async fn the_oldest_message_makes_room_for_the_newest() {
    let (inbox, _news) = inbox(4);
    for number in 1..=6 {
        let phone = if number % 2 == 0 { OTHER } else { PHONE };
        inbox.deliver(message(phone, number)).await;
    }
    assert_eq!(shown(&inbox, None), [6, 5, 4, 3]);
    assert_eq!(shown(&inbox, Some(PHONE)), [5, 3]);
    for number in 7..=10 {
        inbox.deliver(message(PHONE, number)).await;
    }
    assert_eq!(
        shown(&inbox, Some(OTHER)),
        [0; 0],
        "nothing is left of the other number"
    );
    assert_eq!(inbox.number_count(), 1);
    assert_eq!(inbox.numbers(10)[0].messages, 4);
}

#[tokio::test]
async fn the_tables_agree_with_the_messages_after_a_long_random_life() {
    let (inbox, mut news) = inbox(16);
    let mut state = 7_u64;
    for number in 1..5_000 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let draw = state >> 33;
        let phone = PhoneNumber::from_stored(391_234_567_890 + draw % 5);
        let earlier = number - draw % 20 % number;
        match draw % 4 {
            0 | 1 => drop(inbox.deliver(message(phone, number)).await),
            2 => inbox.mark_read(account(), message(phone, earlier).request),
            _ => inbox.withdraw(account(), message(phone, earlier).request).await,
        }
        let all = inbox.messages(None, usize::MAX);
        let numbers = inbox.numbers(usize::MAX);
        assert!(all.len() <= 16);
        assert_eq!(
            numbers.iter().map(|number| number.messages as usize).sum::<usize>(),
            all.len()
        );
        for number in numbers {
            let own: Vec<_> = all
                .iter()
                .filter(|message| message.phone == number.phone)
                .cloned()
                .collect();
            assert_eq!(inbox.messages(Some(number.phone), usize::MAX), own);
            assert_eq!(number.last, own[0]);
            let unread = inbox.unread(number.phone).len();
            assert_eq!(unread, number.unread as usize);
            assert_eq!(
                unread,
                own.iter()
                    .filter(|message| message.delivery != DeliveryState::Read)
                    .count()
            );
        }
    }
    assert!(news.try_recv().is_err());
}

#[tokio::test]
async fn restored_messages_are_shown_without_news_and_never_push_out_newer_ones() {
    let (inbox, mut news) = inbox(2);
    assert!(inbox.restore(message(PHONE, 5), DeliveryState::Read));
    assert!(inbox.restore(message(PHONE, 3), DeliveryState::Delivered));
    assert!(!inbox.restore(message(PHONE, 1), DeliveryState::Delivered));
    assert_eq!(shown(&inbox, None), [5, 3]);
    assert_eq!(inbox.numbers(1)[0].last.request.random(), 5);
    assert_eq!(inbox.unread(PHONE).len(), 1);
    assert!(news.try_recv().is_err());
}

#[tokio::test]
async fn no_news_is_lost_while_the_worker_is_slow() {
    let (sender, mut news) = mpsc::channel(1);
    let inbox = Inbox::with_capacity(sender, 100);
    let mut reader = inbox.open(Opening::Number(PHONE)).unwrap();
    let reading = tokio::spawn(async move {
        let mut taken = 0;
        while taken < 50 {
            taken += next_messages(&mut reader).await.len();
        }
    });
    for number in 1..=50 {
        inbox.deliver(message(PHONE, number)).await;
    }
    let mut told: Vec<u64> = Vec::new();
    while told.len() < 50 {
        told.push(news.recv().await.unwrap().request.random());
    }
    reading.await.unwrap();
    told.sort_unstable();
    assert_eq!(told, (1..=50).collect::<Vec<_>>());
}

#[tokio::test]
async fn two_open_inboxes_of_a_number_tell_one_delivery() {
    let (inbox, mut news) = inbox(10);
    let mut one = inbox.open(Opening::Number(PHONE)).unwrap();
    let mut two = inbox.open(Opening::Number(PHONE)).unwrap();
    inbox.deliver(message(PHONE, 1)).await;
    assert_eq!(next_messages(&mut one).await, [(1, DeliveryState::Delivered)]);
    assert_eq!(next_messages(&mut two).await, [(1, DeliveryState::Delivered)]);
    assert_eq!(news.recv().await.unwrap().news, News::Delivered);
    assert!(news.try_recv().is_err());
}

#[tokio::test]
async fn a_slow_reader_gets_many_messages_in_bounded_events() {
    let (inbox, _news) = inbox(2_000);
    let mut reader = inbox.open(Opening::Number(PHONE)).unwrap();
    for number in 1..=600 {
        inbox.deliver(message(PHONE, number)).await;
    }
    let mut sizes = Vec::new();
    while sizes.iter().sum::<usize>() < 600 {
        sizes.push(next_messages(&mut reader).await.len());
    }
    assert_eq!(sizes, [256, 256, 88]);
}

#[tokio::test]
async fn readers_are_counted_and_a_dropped_one_makes_room() {
    let (inbox, _news) = inbox(10);
    let mut readers: Vec<_> = (0..MAX_READERS)
        .map(|_| inbox.open(Opening::NumberAndNumbers(PHONE)).unwrap())
        .collect();
    assert!(inbox.open(Opening::Numbers).is_err());
    readers.pop();
    assert!(inbox.open(Opening::Numbers).is_ok());
    drop(readers);
    assert!(inbox.lock().open.is_empty() && inbox.lock().lists.is_empty());
}

#[tokio::test]
async fn a_reader_ends_when_nobody_takes_news_any_more() {
    let (inbox, news) = inbox(10);
    drop(news);
    inbox.deliver(message(PHONE, 1)).await;
    let mut reader = inbox.open(Opening::Number(PHONE)).unwrap();
    assert_eq!(reader.next().await, None);
    assert_eq!(
        inbox.messages(None, 1)[0].delivery,
        DeliveryState::Sent,
        "it waits still"
    );
}
