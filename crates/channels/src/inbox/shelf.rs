//! Where the inbox keeps its messages: a ring of the newest ones, and for each number the chain of its own.
//!
//! Plain data without locks, time or news; [`super::Inbox`] guards it and tells its readers. Every list here is bounded by
//! the ring: a message that leaves it leaves the look-up tables too.

use std::collections::hash_map::Entry;

use countersign_core::{AccountKey, DeliveryState, PhoneNumber, RequestId, Script, Timestamp};
use foldhash::{HashMap, HashMapExt as _};

use super::{InboxMessage, NumberSummary};

/// How many places the ring has. A slot is about 130 bytes, so all of it with its tables stays below 12 MB.
pub(super) const CAPACITY: usize = 50_000;

/// Names a message within the whole server.
pub(super) type MessageKey = (AccountKey, RequestId);

/// The order in which messages were put into the ring; the first is 1, and 0 stands for none.
type Sequence = u64;

/// A place in the ring.
struct Slot {
    sequence: Sequence,
    /// The message that came before this one for the same number; 0 where none did, or where it has left the ring.
    older: Sequence,
    /// When it last changed, counted in changes of the whole shelf.
    version: u64,
    /// `None` once it was withdrawn; the place stays so that the chain holds.
    message: Option<InboxMessage>,
}

/// What is known of one number.
#[derive(Default)]
struct Number {
    /// The start of its chain: the message that came last.
    head: Sequence,
    /// The message that was sent last; another one than `head` only after a restart put older ones back.
    last: Sequence,
    /// When that was, in real time: kept here so that a list of numbers needs no look at the messages.
    last_at: Timestamp,
    messages: u32,
    unread: u32,
    waiting: u32,
}

/// The messages and their look-up tables.
pub(super) struct Shelf {
    capacity: usize,
    slots: Vec<Slot>,
    next: Sequence,
    /// Counts changes, so that a reader can ask for what is new to it.
    version: u64,
    by_message: HashMap<MessageKey, Sequence>,
    by_number: HashMap<PhoneNumber, Number>,
}

/// Whether the sandbox's script alone says what becomes of messages to this number.
fn is_scripted(phone: PhoneNumber) -> bool {
    Script::of(phone).is_some()
}

fn is_unread(message: &InboxMessage) -> bool {
    matches!(message.delivery, DeliveryState::Sent | DeliveryState::Delivered) && !is_scripted(message.phone)
}

fn is_waiting(message: &InboxMessage) -> bool {
    message.delivery == DeliveryState::Sent && !is_scripted(message.phone)
}

impl Shelf {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            // Reserved, not touched: memory becomes resident as messages come.
            slots: Vec::with_capacity(capacity),
            next: 1,
            version: 0,
            by_message: HashMap::with_capacity(capacity),
            by_number: HashMap::with_capacity(capacity),
        }
    }

    /// Whether another message would push the oldest one out.
    pub(super) fn is_full(&self) -> bool {
        self.slots.len() >= self.capacity
    }

    /// Puts a message in front. `false` where it is there already.
    pub(super) fn insert(&mut self, message: InboxMessage) -> bool {
        let sequence = self.next;
        match self.by_message.entry((message.account, message.request)) {
            Entry::Occupied(_) => return false,
            Entry::Vacant(place) => place.insert(sequence),
        };
        self.next += 1;
        self.version += 1;
        self.evict(sequence);
        let sent_at = message.sent_at_real_time();
        let number = self.by_number.entry(message.phone).or_default();
        if number.messages == 0 || number.last_at <= sent_at {
            number.last = sequence;
            number.last_at = sent_at;
        }
        number.messages += 1;
        number.unread += u32::from(is_unread(&message));
        number.waiting += u32::from(is_waiting(&message));
        let slot = Slot {
            sequence,
            older: std::mem::replace(&mut number.head, sequence),
            version: self.version,
            message: Some(message),
        };
        let index = self.index(sequence);
        if index < self.slots.len() {
            self.slots[index] = slot;
        } else {
            self.slots.push(slot);
        }
        true
    }

    /// Removes what stands where this sequence will be put.
    fn evict(&mut self, sequence: Sequence) {
        let index = self.index(sequence);
        let Some(slot) = self.slots.get_mut(index) else { return };
        let oldest = slot.sequence;
        if let Some(message) = slot.message.take() {
            self.forget(oldest, &message);
        }
    }

    /// Removes a message that was taken out of its slot from the tables.
    fn forget(&mut self, sequence: Sequence, message: &InboxMessage) {
        self.by_message.remove(&(message.account, message.request));
        let Some(number) = self.by_number.get_mut(&message.phone) else {
            return;
        };
        number.messages -= 1;
        number.unread -= u32::from(is_unread(message));
        number.waiting -= u32::from(is_waiting(message));
        if number.messages == 0 {
            self.by_number.remove(&message.phone);
        } else if number.last == sequence {
            let last = self.chain(message.phone).filter_map(Self::place_in_time).max();
            if let (Some(number), Some((last_at, last))) = (self.by_number.get_mut(&message.phone), last) {
                number.last = last;
                number.last_at = last_at;
            }
        }
    }

    /// Takes a message back, or shows it as changed where a reader took it already. Answers its number.
    pub(super) fn withdraw(&mut self, key: MessageKey) -> Option<PhoneNumber> {
        let sequence = *self.by_message.get(&key)?;
        let state = self.message(sequence)?.delivery;
        if state != DeliveryState::Sent {
            return self.change(sequence, state);
        }
        let index = self.index(sequence);
        let message = self.slots[index].message.take()?;
        self.forget(sequence, &message);
        Some(message.phone)
    }

    /// Moves a message to a state; answers its number where that was a change. A message never moves back.
    pub(super) fn mark(&mut self, key: MessageKey, state: DeliveryState) -> Option<PhoneNumber> {
        let sequence = *self.by_message.get(&key)?;
        let message = self.message(sequence)?;
        if is_scripted(message.phone) || !message.delivery.may_become(state) {
            return None;
        }
        self.change(sequence, state)
    }

    /// Shows a message as changed to its readers; answers its number.
    pub(super) fn touch(&mut self, key: MessageKey) -> Option<PhoneNumber> {
        let sequence = *self.by_message.get(&key)?;
        let state = self.message(sequence)?.delivery;
        self.change(sequence, state)
    }

    fn change(&mut self, sequence: Sequence, state: DeliveryState) -> Option<PhoneNumber> {
        self.version += 1;
        let version = self.version;
        let index = self.index(sequence);
        let slot = self.slots.get_mut(index)?;
        let message = slot.message.as_mut()?;
        let (was_unread, was_waiting) = (is_unread(message), is_waiting(message));
        message.delivery = state;
        slot.version = version;
        let (phone, unread, waiting) = (message.phone, is_unread(message), is_waiting(message));
        if let Some(number) = self.by_number.get_mut(&phone) {
            number.unread = number.unread + u32::from(unread) - u32::from(was_unread);
            number.waiting = number.waiting + u32::from(waiting) - u32::from(was_waiting);
        }
        Some(phone)
    }

    /// The present state of a message.
    pub(super) fn get(&self, key: MessageKey) -> Option<&InboxMessage> {
        self.message(*self.by_message.get(&key)?)
    }

    /// Messages of a number that nobody took yet, newest first.
    pub(super) fn waiting(&self, phone: PhoneNumber, limit: usize) -> Vec<MessageKey> {
        let waiting = self.by_number.get(&phone).map_or(0, |number| number.waiting as usize);
        self.messages_of(phone)
            .filter(|message| is_waiting(message))
            .map(|message| (message.account, message.request))
            .take(waiting.min(limit))
            .collect()
    }

    /// Messages of a number that nobody has read, newest first.
    pub(super) fn unread(&self, phone: PhoneNumber) -> Vec<InboxMessage> {
        let unread = self.by_number.get(&phone).map_or(0, |number| number.unread as usize);
        self.messages_of(phone)
            .filter(|message| is_unread(message))
            .take(unread)
            .cloned()
            .collect()
    }

    /// What changed of a number since a version, in the order of the changes, and the version up to which that is all.
    pub(super) fn changed_since(&self, phone: PhoneNumber, version: u64, limit: usize) -> (Vec<InboxMessage>, u64) {
        let mut changed: Vec<(u64, Sequence)> = self
            .chain(phone)
            .filter(|slot| slot.version > version && slot.message.is_some())
            .map(|slot| (slot.version, slot.sequence))
            .collect();
        changed.sort_unstable();
        changed.truncate(limit);
        let through = changed.last().map_or(version, |(version, _)| *version);
        let messages = changed
            .into_iter()
            .filter_map(|(_, sequence)| self.message(sequence).cloned())
            .collect();
        (messages, through)
    }

    /// The messages that were sent last, of one number or of all, newest first.
    pub(super) fn newest(&self, phone: Option<PhoneNumber>, limit: usize) -> Vec<InboxMessage> {
        let mut found: Vec<(Timestamp, Sequence)> = match phone {
            Some(phone) => self.chain(phone).filter_map(Self::place_in_time).collect(),
            None => self.slots.iter().filter_map(Self::place_in_time).collect(),
        };
        keep_newest(&mut found, limit);
        found
            .into_iter()
            .filter_map(|(_, sequence)| self.message(sequence).cloned())
            .collect()
    }

    /// The numbers that were sent something last, newest first.
    pub(super) fn numbers(&self, limit: usize) -> Vec<NumberSummary> {
        let mut found: Vec<(Timestamp, PhoneNumber)> = self
            .by_number
            .iter()
            .map(|(&phone, number)| (number.last_at, phone))
            .collect();
        keep_newest(&mut found, limit);
        found
            .into_iter()
            .filter_map(|(_, phone)| {
                let number = self.by_number.get(&phone)?;
                Some(NumberSummary {
                    phone,
                    messages: number.messages,
                    unread: number.unread,
                    last: self.message(number.last)?.clone(),
                })
            })
            .collect()
    }

    /// How many numbers have messages.
    pub(super) fn number_count(&self) -> usize {
        self.by_number.len()
    }

    fn place_in_time(slot: &Slot) -> Option<(Timestamp, Sequence)> {
        let message = slot.message.as_ref()?;
        Some((message.sent_at_real_time(), slot.sequence))
    }

    fn messages_of(&self, phone: PhoneNumber) -> impl Iterator<Item = &InboxMessage> {
        self.chain(phone).filter_map(|slot| slot.message.as_ref())
    }

    /// The slots of a number, from the one that came last. Ends where the chain leads out of the ring.
    fn chain(&self, phone: PhoneNumber) -> impl Iterator<Item = &Slot> {
        let head = self.by_number.get(&phone).map_or(0, |number| number.head);
        std::iter::successors(self.slot(head), |slot| self.slot(slot.older))
    }

    fn message(&self, sequence: Sequence) -> Option<&InboxMessage> {
        self.slot(sequence)?.message.as_ref()
    }

    fn slot(&self, sequence: Sequence) -> Option<&Slot> {
        if sequence == 0 {
            return None;
        }
        self.slots
            .get(self.index(sequence))
            .filter(|slot| slot.sequence == sequence)
    }

    fn index(&self, sequence: Sequence) -> usize {
        // The remainder is below the capacity, which is a `usize`.
        usize::try_from((sequence - 1) % self.capacity as u64).unwrap_or(0)
    }
}

/// Keeps the greatest `limit` entries, greatest first, without sorting all.
fn keep_newest<T: Ord>(found: &mut Vec<T>, limit: usize) {
    if limit < found.len() {
        found.select_nth_unstable_by(limit, |left, right| right.cmp(left));
        found.truncate(limit);
    }
    found.sort_unstable_by(|left, right| right.cmp(left));
}
