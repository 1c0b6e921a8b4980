//! What a batch needs, loaded in one round trip: first the accounts' rows, locked in the order of their keys, then what its commands
//! name. Each statement sees what was committed when it began, and all begin after the locks were given.

use countersign_core::{
    Account, AccountKey, Action, LimitState, RequestId, SenderUsername, TokenKind, VerificationRequest,
};
use foldhash::{HashMap, HashSet};
use futures_util::future::try_join_all;
use tokio_postgres::types::ToSql;

use super::arrays::{Arrays, Ready};
use super::lane::Job;
use super::questions::{
    ACCOUNTS_SQL, ANSWERS, ANSWERS_OF_BUCKET, FLOOD, FLOOD_OF_BUCKET, LIVE_CODES, LIVE_CODES_OF_BUCKET, REQUESTS_SQL,
    SENDERS,
};
use super::session::Session;
use super::usage::UsageBook;
use super::usage_rows::{USAGE, UsageRead};
use super::write::Marker;
use super::{RulesNow, Shared};
use crate::batch::{LiveKey, named_request};
use crate::flood::{FloodCounter, flood_phone};
use crate::sql::Row;
use crate::sql::codec::{RequestColumns, account_from_row, account_key, phone_of, request_id};
use crate::types::{Lease, RequestRef, StoreError};
use crate::vault::{Purpose, Vault};

/// Advisory locks of epochs: the first key of two.
pub(super) const EPOCH_LOCKS: i32 = 0x636f_756e;

/// A kept answer: fingerprint, result, time.
pub(super) type KeptAnswer = ([u8; 32], Vec<u8>, i64);

/// What was loaded.
pub(super) struct Loaded {
    /// Whether this node's epoch is still there.
    pub(super) epoch_lives: bool,
    /// Whether the batch's marker is there, and is locked now.
    pub(super) marker_is_there: bool,
    pub(super) newest_price: i64,
    pub(super) accounts: HashMap<AccountKey, Account>,
    /// Whose batch last wrote an account's usage.
    pub(super) usage_writers: HashMap<AccountKey, Option<i64>>,
    pub(super) requests: HashMap<RequestRef, Option<VerificationRequest>>,
    /// Numbers of accounts that their sketches don't have yet.
    tails: HashMap<AccountKey, Vec<u8>>,
    /// Whether commands may join: all was read just now.
    is_open: bool,
    /// Usage that another lane has probably written, read again.
    pub(super) usage: UsageRead,
    /// Flood counters that were asked for; those that were found, as they stood.
    flood_keys: HashSet<(AccountKey, FloodCounter)>,
    pub(super) flood: Vec<(AccountKey, FloodCounter, LimitState)>,
    /// Whose a sender's name is, and whether it is verified.
    pub(super) senders: HashMap<String, Option<(i64, bool)>>,
    /// Kept answers by their keys: fingerprint, result, time.
    pub(super) answers: HashMap<(AccountKey, String), Option<KeptAnswer>>,
    pub(super) live_codes: HashMap<LiveKey, Option<RequestId>>,
}

impl Loaded {
    /// The numbers of an account that its sketches don't have yet.
    pub(super) fn tail(&self, account: AccountKey) -> &[u8] {
        self.tails.get(&account).map_or(&[], Vec::as_slice)
    }

    /// Whether a command needs nothing that isn't here: its account is locked, and all it names was asked for.
    pub(super) fn covers(&self, rules: &RulesNow, job: &Job) -> bool {
        let needed = Named::by(rules, std::slice::from_ref(job));
        self.is_open
            && matches!(job, Job::Command { .. })
            && needed.accounts.iter().all(|key| self.accounts.contains_key(key))
            && needed.requests.iter().all(|key| self.requests.contains_key(key))
            && needed.senders.iter().all(|key| self.senders.contains_key(key))
            && needed.answers.iter().all(|key| self.answers.contains_key(key))
            && needed.live_codes.iter().all(|key| self.live_codes.contains_key(key))
            && needed.flood.iter().all(|key| self.flood_keys.contains(key))
    }

    /// The accounts that are there, and whose batch last wrote the usage of each.
    pub(super) fn usage_writers(&self) -> impl Iterator<Item = (AccountKey, Option<i64>)> + '_ {
        self.usage_writers.iter().map(|(account, of)| (*account, *of))
    }

    /// Accounts whose usage another lane wrote last.
    pub(super) fn not_ours(&self, writer: i64) -> impl Iterator<Item = AccountKey> + '_ {
        let not_ours = self.usage_writers().filter(move |(_, of)| *of != Some(writer));
        not_ours.map(|(account, _)| account)
    }
}

/// The flood counters that a batch's commands count on; none where there are no limits.
fn flood_keys(rules: &RulesNow, jobs: &[Job]) -> Vec<(AccountKey, FloodCounter)> {
    let (of_accounts, of_numbers) = (rules.rules.account_limit.is_some(), rules.rules.number_limit.is_some());
    let mut keys = Vec::new();
    for job in jobs {
        let Job::Command { account, command, .. } = job else {
            continue;
        };
        let Some(phone) = flood_phone(&command.action) else {
            continue;
        };
        if of_accounts {
            let kind = command.token.map_or(TokenKind::Live, |token| token.kind);
            keys.push((*account, FloodCounter::OfAccount(kind)));
        }
        if of_numbers {
            keys.push((*account, FloodCounter::OfNumber(phone)));
        }
    }
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// Keys as arrays, or one bucket with the rest as arrays.
pub(super) enum Buckets {
    One(i16),
    Each(Vec<i16>),
}

impl Buckets {
    pub(super) fn new(sharded: bool, buckets: impl Iterator<Item = u8>) -> Self {
        let mut buckets = buckets.map(i16::from);
        if sharded {
            Self::One(buckets.next().unwrap_or_default())
        } else {
            Self::Each(buckets.collect())
        }
    }

    pub(super) fn parameter(&self) -> &(dyn ToSql + Sync) {
        match self {
            Self::One(bucket) => bucket,
            Self::Each(buckets) => buckets,
        }
    }
}

/// What a question of the first round trip is about.
#[derive(Clone, Copy)]
enum About {
    /// The lock of the epoch, whose answer says nothing.
    Lock,
    Present,
    /// The lane's marker.
    Marker,
    Accounts,
    Requests,
    Flood,
    Senders,
    Answers,
    LiveCodes,
    Usage,
}

/// What a batch names, sorted, each once.
#[derive(Default)]
struct Named {
    accounts: Vec<AccountKey>,
    requests: Vec<RequestRef>,
    senders: Vec<String>,
    answers: Vec<(AccountKey, String)>,
    live_codes: Vec<LiveKey>,
    flood: Vec<(AccountKey, FloodCounter)>,
}

impl Named {
    fn by(rules: &RulesNow, jobs: &[Job]) -> Self {
        let mut named = Self {
            accounts: jobs.iter().map(Job::account).collect(),
            flood: flood_keys(rules, jobs),
            ..Self::default()
        };
        let mut live_codes: HashSet<LiveKey> = HashSet::default();
        for job in jobs {
            let Job::Command { account, command, .. } = job else {
                continue;
            };
            if let Some(id) = named_request(&command.action) {
                named.requests.push(RequestRef { account: *account, id });
            }
            if let Action::Send(send) = &command.action {
                named
                    .senders
                    .extend(send.sender.as_ref().map(|sender| sender.as_str().to_owned()));
            }
            let key = command.idempotency.as_ref().map(|kept| kept.key.as_str().to_owned());
            named.answers.extend(key.map(|key| (*account, key)));
            if rules.rules.one_live_code.is_some() {
                live_codes.extend(LiveKey::named(*account, command, None));
            }
        }
        named.live_codes = live_codes.into_iter().collect();
        sort(&mut named.accounts);
        sort(&mut named.requests);
        sort(&mut named.senders);
        sort(&mut named.answers);
        named
    }
}

fn sort<T: Ord>(keys: &mut Vec<T>) {
    keys.sort_unstable();
    keys.dedup();
}

/// The questions of one round trip.
struct Questions<'s> {
    session: &'s Session,
    sharded: bool,
    asked: Vec<(About, Ready)>,
}

impl Questions<'_> {
    fn ask(&mut self, about: About, sql: &str, values: Arrays) -> Result<(), StoreError> {
        let statement = self.session.prepare(sql)?;
        self.asked.push((about, Ready { statement, values }));
        Ok(())
    }

    /// The same where there is anything to ask; `texts` are those of both modes.
    fn ask_of<T>(
        &mut self,
        about: About,
        texts: [&str; 2],
        keys: &[T],
        bucket: impl Fn(&T) -> i64,
        put: impl FnOnce(&mut Arrays, &[T]),
    ) -> Result<(), StoreError> {
        if keys.is_empty() {
            return Ok(());
        }
        let mut values = Arrays::default();
        values.put_buckets(self.sharded, keys, bucket);
        put(&mut values, keys);
        self.ask(about, texts[usize::from(self.sharded)], values)
    }

    /// Locks the node's epoch and the lane's marker.
    fn ask_for_leave(&mut self, lease: Lease, marker: &Marker) -> Result<(), StoreError> {
        let mut values = Arrays::default();
        values.put_one(EPOCH_LOCKS);
        values.put_one(i32::try_from(lease.0).unwrap_or(i32::MAX));
        self.ask(About::Lock, "SELECT pg_advisory_xact_lock_shared($1, $2)", values)?;
        // Held from here on: whoever asks later whether this batch was committed waits until it is over, also while its rows and its COMMIT
        // are still on their way to the server.
        let mut values = Arrays::default();
        values.put_one(i16::from(marker.bucket));
        values.put_one(marker.writer);
        let mark = "SELECT 1 FROM batch_marker WHERE bucket = $1 AND writer = $2 FOR UPDATE";
        self.ask(About::Marker, mark, values)?;
        Ok(())
    }

    /// Whether the epoch lives, and how new the price list is: last of all, since commands that join must find the prices of their moment.
    fn ask_present(&mut self, lease: Lease) -> Result<(), StoreError> {
        let mut values = Arrays::default();
        values.put_one(lease.0);
        let present = "SELECT EXISTS (SELECT 1 FROM node WHERE epoch = $1 AND ended_at IS NULL), \
             (SELECT coalesce(max(number), 0) FROM price_row)";
        self.ask(About::Present, present, values)
    }

    fn ask_usage(&mut self, usage: &UsageRead) -> Result<(), StoreError> {
        match usage.values(self.sharded) {
            Some(values) => self.ask(About::Usage, USAGE[usize::from(self.sharded)], values),
            None => Ok(()),
        }
    }

    fn ask_requests(&mut self, requests: &[RequestRef]) -> Result<(), StoreError> {
        let texts = REQUESTS_SQL.each_ref().map(String::as_str);
        self.ask_of(
            About::Requests,
            texts,
            requests,
            |request| bucket_of(request.account),
            |values, requests| {
                values.put(requests, |request| request.account.id.number());
                values.put(requests, |request| request.id.created_at().millis());
                values.put(requests, |request| request.id.random().cast_signed());
                let times = || requests.iter().map(|request| request.id.created_at().millis());
                values.put_one(times().min().unwrap_or_default());
                values.put_one(times().max().unwrap_or_default());
            },
        )
    }

    /// Sends all before the first is answered, after BEGIN where the transaction begins with them.
    fn answers(self, begins: bool) -> Result<Vec<(About, Vec<tokio_postgres::Row>)>, StoreError> {
        let client = self.session.client();
        let (abouts, asked): (Vec<About>, Vec<Ready>) = self.asked.into_iter().unzip();
        let answers = self.session.wait(async {
            let begin = async {
                if begins {
                    client.batch_execute("BEGIN").await?;
                }
                Ok(())
            };
            let all = try_join_all(asked.iter().map(|ready| ready.query(client)));
            Ok(futures_util::future::try_join(begin, all).await?.1)
        })?;
        Ok(abouts.into_iter().zip(answers).collect())
    }
}

fn bucket_of(account: AccountKey) -> i64 {
    i64::from(account.bucket.0)
}

/// Begins the transaction and loads.
pub(super) fn load(
    shared: &Shared,
    session: &Session,
    rules: &RulesNow,
    jobs: &[Job],
    usage: &UsageBook,
    lease: Lease,
    marker: &Marker,
) -> Result<Loaded, StoreError> {
    let named = Named::by(rules, jobs);
    let mut questions = Questions {
        session,
        sharded: shared.sharded,
        asked: Vec::with_capacity(8),
    };
    questions.ask_for_leave(lease, marker)?;
    let texts = ACCOUNTS_SQL.each_ref().map(String::as_str);
    questions.ask_of(
        About::Accounts,
        texts,
        &named.accounts,
        |key| bucket_of(*key),
        |values, keys| {
            values.put(keys, |key| key.id.number());
        },
    )?;
    questions.ask_requests(&named.requests)?;
    questions.ask_of(
        About::Flood,
        [FLOOD, FLOOD_OF_BUCKET],
        &named.flood,
        |key| bucket_of(key.0),
        |values, keys| {
            values.put(keys, |(account, _)| account.id.number());
            values.put(keys, |(_, counter)| counter.columns().0);
            values.put(keys, |(_, counter)| counter.columns().1);
        },
    )?;
    if !named.senders.is_empty() {
        let mut values = Arrays::default();
        values.put(&named.senders, String::clone);
        questions.ask(About::Senders, SENDERS, values)?;
    }
    questions.ask_of(
        About::Answers,
        [ANSWERS, ANSWERS_OF_BUCKET],
        &named.answers,
        |key| bucket_of(key.0),
        |values, keys| {
            values.put(keys, |(account, _)| account.id.number());
            values.put(keys, |(_, key)| key.clone());
        },
    )?;
    let codes = &named.live_codes;
    questions.ask_of(
        About::LiveCodes,
        [LIVE_CODES, LIVE_CODES_OF_BUCKET],
        codes,
        |key| bucket_of(key.account),
        |values, keys| {
            values.put(keys, |key| key.account.id.number());
            values.put(keys, |key| key.phone.digits().cast_signed());
            values.put(keys, |key| {
                key.sender.as_ref().map_or("", SenderUsername::as_str).to_owned()
            });
            values.put(keys, |key| i16::from(key.test));
        },
    )?;
    let mut loaded = Loaded::nothing(&named);
    loaded.usage = usage.to_read_again(&named.accounts);
    questions.ask_usage(&loaded.usage)?;
    questions.ask_present(lease)?;
    for (about, rows) in questions.answers(true)? {
        loaded.take_in(&shared.vault, about, &rows)?;
    }
    // The messages that a new code would end.
    let earlier: HashSet<RequestRef> = loaded
        .earlier()
        .filter(|request| !loaded.requests.contains_key(request))
        .collect();
    if !earlier.is_empty() {
        loaded.is_open = false;
        let mut earlier: Vec<RequestRef> = earlier.into_iter().collect();
        sort(&mut earlier);
        loaded.requests.extend(earlier.iter().map(|request| (*request, None)));
        let mut questions = Questions {
            session,
            sharded: shared.sharded,
            asked: Vec::new(),
        };
        questions.ask_requests(&earlier)?;
        for (about, rows) in questions.answers(false)? {
            loaded.take_in(&shared.vault, about, &rows)?;
        }
    }
    Ok(loaded)
}

impl Loaded {
    /// Before anything is answered: what was named and isn't found isn't there.
    fn nothing(named: &Named) -> Self {
        Self {
            epoch_lives: false,
            marker_is_there: false,
            newest_price: 0,
            accounts: HashMap::default(),
            usage_writers: HashMap::default(),
            requests: named.requests.iter().map(|request| (*request, None)).collect(),
            tails: HashMap::default(),
            is_open: true,
            usage: UsageRead::default(),
            flood_keys: named.flood.iter().copied().collect(),
            flood: Vec::new(),
            senders: named.senders.iter().map(|name| (name.clone(), None)).collect(),
            answers: named.answers.iter().map(|key| (key.clone(), None)).collect(),
            live_codes: named.live_codes.iter().map(|key| (key.clone(), None)).collect(),
        }
    }

    fn earlier(&self) -> impl Iterator<Item = RequestRef> + '_ {
        self.live_codes.iter().filter_map(|(key, id)| {
            Some(RequestRef {
                account: key.account,
                id: (*id)?,
            })
        })
    }

    fn take_in(&mut self, vault: &Vault, about: About, rows: &[tokio_postgres::Row]) -> Result<(), StoreError> {
        for row in rows {
            let row = Row::Postgres(row);
            match about {
                About::Lock => {}
                About::Present => {
                    self.epoch_lives = row.get(0)?;
                    self.newest_price = row.get(1)?;
                }
                About::Marker => self.marker_is_there = true,
                About::Accounts => self.take_account(row)?,
                About::Requests => self.take_request(vault, row)?,
                About::Flood => {
                    let state = LimitState::from_spread_until_us(row.get(4)?);
                    let counter = FloodCounter::of_columns(row.get(2)?, row.get(3)?);
                    self.flood
                        .push((account_key(row.get(0)?, row.get(1)?)?, counter, state));
                }
                About::Senders => drop(self.senders.insert(row.get(0)?, Some((row.get(1)?, row.get(2)?)))),
                About::Answers => self.take_answer(vault, row)?,
                About::Usage => self.usage.take(row)?,
                About::LiveCodes => {
                    let sender: String = row.get(3)?;
                    let key = LiveKey {
                        account: account_key(row.get(0)?, row.get(1)?)?,
                        phone: phone_of(row.get(2)?)?,
                        sender: SenderUsername::parse(&sender),
                        test: row.get(4)?,
                    };
                    self.live_codes.insert(key, Some(request_id(row.get(5)?, row.get(6)?)));
                }
            }
        }
        Ok(())
    }

    fn take_account(&mut self, row: Row<'_>) -> Result<(), StoreError> {
        let key = account_key(row.get(0)?, row.get(1)?)?;
        self.usage_writers.insert(key, row.get(2)?);
        self.tails.insert(key, row.get(3)?);
        // One that can't be read is its callers' trouble: asked for again, it says so.
        if let Ok(account) = account_from_row(key, row, 4) {
            self.accounts.insert(key, account);
        }
        Ok(())
    }

    fn take_request(&mut self, vault: &Vault, row: Row<'_>) -> Result<(), StoreError> {
        let columns = RequestColumns::read(row)?;
        let place = columns.place;
        let request = RequestRef {
            account: account_key(place[0], place[1])?,
            id: request_id(place[2], place[3]),
        };
        match columns.open(vault) {
            Ok(row) => drop(self.requests.insert(request, Some(row))),
            // The same: whoever names it is told.
            Err(_) => drop(self.requests.remove(&request)),
        }
        Ok(())
    }

    fn take_answer(&mut self, vault: &Vault, row: Row<'_>) -> Result<(), StoreError> {
        let account = account_key(row.get(0)?, row.get(1)?)?;
        let place = [bucket_of(account), account.id.number()];
        let key = (account, row.get::<String>(2)?);
        let found = (
            vault.open_fingerprint(&place, row.blob(3)?),
            vault.open(Purpose::Answer, &place, row.blob(4)?),
            row.get(5)?,
        );
        match found {
            (Ok(fingerprint), Ok(result), at) => drop(self.answers.insert(key, Some((fingerprint, result, at)))),
            // The same again.
            _ => drop(self.answers.remove(&key)),
        }
        Ok(())
    }
}
