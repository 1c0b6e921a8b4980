//! What a batch needs, loaded in one round trip: first the accounts' rows, locked in the order of their keys, then what its commands
//! name. Each statement sees what was committed when it began, and all begin after the locks were given. The rare rest (an order, a
//! purchase that lapses) is asked for one by one where a command needs it.

use countersign_core::{
    Account, AccountKey, FirstAnswer, IdempotencyKey, LimitState, Order, OrderId, PhoneNumber, Purchase, RequestId,
    SenderFact, SenderUsername, TokenKind, VerificationRequest,
};
use foldhash::{HashMap, HashSet};
use futures_util::future::try_join_all;
use tokio_postgres::types::ToSql;

use super::lane::Job;
use super::session::{Session, SessionError};
use super::{RulesNow, Shared};
use crate::batch::{FactSource, FloodCounter, LiveKey, flood_phone, named_request};
use crate::sql::codec::{
    ACCOUNT_COLUMNS, REQUEST_COLUMNS, RequestColumns, account_from_row, account_key, request_place,
};
use crate::sql::load::Facts;
use crate::sql::{Connection, Row};
use crate::types::{Lease, RequestRef, StoreError};
use crate::vault::Vault;

/// Advisory locks of epochs: the first key of two.
pub(super) const EPOCH_LOCKS: i32 = 0x636f_756e;

/// What was loaded.
pub(super) struct Loaded {
    /// Whether this node's epoch is still there.
    pub(super) epoch_lives: bool,
    pub(super) newest_price: i64,
    accounts: HashMap<AccountKey, Account>,
    /// Whose batch last wrote an account's usage.
    usage_writers: HashMap<AccountKey, Option<i64>>,
    requests: HashMap<RequestRef, Option<VerificationRequest>>,
    /// Numbers of accounts that their sketches don't have yet.
    tails: HashMap<AccountKey, Vec<u8>>,
    /// Flood counters as they stood.
    pub(super) flood: Vec<(AccountKey, FloodCounter, LimitState)>,
}

impl Loaded {
    /// The numbers of an account that its sketches don't have yet.
    pub(super) fn tail(&self, account: AccountKey) -> &[u8] {
        self.tails.get(&account).map_or(&[], Vec::as_slice)
    }

    /// Accounts whose usage another lane wrote last: what this one remembers of them is old.
    pub(super) fn not_ours(&self, writer: i64) -> impl Iterator<Item = AccountKey> + '_ {
        self.usage_writers
            .iter()
            .filter(move |(_, of)| **of != Some(writer))
            .map(|(account, _)| *account)
    }
}

/// Where the rows of a batch lie. LATERAL with OFFSET 0 keeps PostgreSQL from joining the other way round: a statement that is planned while
/// a month is empty would otherwise scan all of it, and go on so when it is full. Keys come sorted, so rows are locked in their order.
const ACCOUNTS: &str = "FROM unnest($1::smallint[], $2::bigint[]) AS k (b, a) CROSS JOIN LATERAL (SELECT * FROM account \
     WHERE bucket = k.b AND account_id = k.a OFFSET 0 FOR UPDATE) AS r";
const ACCOUNTS_OF_BUCKET: &str = "FROM unnest($2::bigint[]) AS k (a) CROSS JOIN LATERAL (SELECT * FROM account \
     WHERE bucket = $1 AND account_id = k.a OFFSET 0 FOR UPDATE) AS r";
const REQUESTS: &str = "FROM unnest($1::smallint[], $2::bigint[], $3::bigint[], $4::bigint[]) AS k (b, a, c, n) \
     CROSS JOIN LATERAL (SELECT * FROM request WHERE bucket = k.b AND account_id = k.a AND created_at = k.c \
     AND random = k.n AND created_at BETWEEN $5 AND $6 OFFSET 0) AS r";
const REQUESTS_OF_BUCKET: &str = "FROM unnest($2::bigint[], $3::bigint[], $4::bigint[]) AS k (a, c, n) \
     CROSS JOIN LATERAL (SELECT * FROM request WHERE bucket = $1 AND account_id = k.a AND created_at = k.c \
     AND random = k.n AND created_at BETWEEN $5 AND $6 OFFSET 0) AS r";

const FLOOD: &str = "SELECT f.bucket, f.account_id, f.test, f.phone, f.spread_until_us \
     FROM unnest($1::smallint[], $2::bigint[], $3::smallint[], $4::bigint[]) AS k (b, a, t, p) CROSS JOIN LATERAL \
     (SELECT * FROM flood_counter WHERE bucket = k.b AND account_id = k.a AND test = k.t AND phone = k.p OFFSET 0) AS f";
const FLOOD_OF_BUCKET: &str = "SELECT f.bucket, f.account_id, f.test, f.phone, f.spread_until_us \
     FROM unnest($2::bigint[], $3::smallint[], $4::bigint[]) AS k (a, t, p) CROSS JOIN LATERAL \
     (SELECT * FROM flood_counter WHERE bucket = $1 AND account_id = k.a AND test = k.t AND phone = k.p OFFSET 0) AS f";

/// How a flood counter is named in its row: test mode, and the number.
pub(super) fn flood_columns(counter: FloodCounter) -> (i16, i64) {
    match counter {
        FloodCounter::OfAccount(kind) => (i16::from(kind == TokenKind::Test), 0),
        FloodCounter::OfNumber(phone) => (0, phone.digits().cast_signed()),
    }
}

fn flood_counter_of(test: i64, phone: i64) -> FloodCounter {
    match (phone, test) {
        (0, 0) => FloodCounter::OfAccount(TokenKind::Live),
        (0, _) => FloodCounter::OfAccount(TokenKind::Test),
        (phone, _) => FloodCounter::OfNumber(PhoneNumber::from_stored(phone.cast_unsigned())),
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

/// Begins the transaction and loads.
pub(super) fn load(
    shared: &Shared,
    session: &Session,
    rules: &RulesNow,
    jobs: &[Job],
    lease: Lease,
) -> Result<Loaded, StoreError> {
    let mut accounts: Vec<AccountKey> = jobs.iter().map(Job::account).collect();
    accounts.sort_unstable();
    accounts.dedup();
    let named: HashSet<RequestRef> = jobs
        .iter()
        .filter_map(|job| match job {
            Job::Command { account, command, .. } => {
                named_request(&command.action).map(|id| RequestRef { account: *account, id })
            }
            Job::Report { .. } | Job::Redeliver { .. } => None,
        })
        .collect();
    let mut named_requests: Vec<RequestRef> = named.into_iter().collect();
    named_requests.sort_unstable();
    let columns: Vec<String> = ACCOUNT_COLUMNS
        .split(',')
        .map(|column| format!("r.{}", column.trim()))
        .collect();
    let accounts_sql = format!(
        "SELECT r.bucket, r.account_id, r.usage_writer, r.number_tail, {} {}",
        columns.join(", "),
        if shared.sharded { ACCOUNTS_OF_BUCKET } else { ACCOUNTS }
    );
    let request_columns: Vec<String> = REQUEST_COLUMNS
        .split(',')
        .map(|column| format!("r.{}", column.trim()))
        .collect();
    let requests_sql = format!(
        "SELECT {} {}",
        request_columns.join(", "),
        if shared.sharded { REQUESTS_OF_BUCKET } else { REQUESTS }
    );
    let lock = session.prepare("SELECT pg_advisory_xact_lock_shared($1, $2)")?;
    let present = session.prepare(
        "SELECT EXISTS (SELECT 1 FROM node WHERE epoch = $1 AND ended_at IS NULL), (SELECT coalesce(max(number), 0) FROM price_row)",
    )?;
    let accounts_statement = session.prepare(&accounts_sql)?;
    let requests_statement = session.prepare(&requests_sql)?;
    let client = session.client();
    let account_buckets = Buckets::new(shared.sharded, accounts.iter().map(|key| key.bucket.0));
    let account_ids: Vec<i64> = accounts.iter().map(|key| key.id.number()).collect();
    let places: Vec<[i64; 4]> = named_requests.iter().map(|request| request_place(*request)).collect();
    let request_buckets = Buckets::new(
        shared.sharded,
        named_requests.iter().map(|request| request.account.bucket.0),
    );
    let request_keys: [Vec<i64>; 3] = [1, 2, 3].map(|part| places.iter().map(|place| place[part]).collect());
    let first = request_keys[1].iter().copied().min().unwrap_or_default();
    let last = request_keys[1].iter().copied().max().unwrap_or_default();
    let epoch = i32::try_from(lease.0).unwrap_or(i32::MAX);
    let (lock_values, present_values): ([&(dyn ToSql + Sync); 2], [&(dyn ToSql + Sync); 1]) =
        ([&EPOCH_LOCKS, &epoch], [&lease.0]);
    let account_values: [&(dyn ToSql + Sync); 2] = [account_buckets.parameter(), &account_ids];
    let request_values: [&(dyn ToSql + Sync); 6] = [
        request_buckets.parameter(),
        &request_keys[0],
        &request_keys[1],
        &request_keys[2],
        &first,
        &last,
    ];
    let counters = flood_keys(rules, jobs);
    let flood_statement = session.prepare(if shared.sharded { FLOOD_OF_BUCKET } else { FLOOD })?;
    let counter_buckets = Buckets::new(shared.sharded, counters.iter().map(|(account, _)| account.bucket.0));
    let counter_ids: Vec<i64> = counters.iter().map(|(account, _)| account.id.number()).collect();
    let (counter_tests, counter_phones): (Vec<i16>, Vec<i64>) =
        counters.iter().map(|(_, counter)| flood_columns(*counter)).unzip();
    let flood_values: [&(dyn ToSql + Sync); 4] = [
        counter_buckets.parameter(),
        &counter_ids,
        &counter_tests,
        &counter_phones,
    ];
    // All are sent before the first is answered.
    let answers = session.wait(async {
        let begin = client.batch_execute("BEGIN");
        let mut asked = vec![
            client.query(&lock, &lock_values),
            client.query(&present, &present_values),
            client.query(&accounts_statement, &account_values),
        ];
        if !named_requests.is_empty() {
            asked.push(client.query(&requests_statement, &request_values));
        }
        if !counters.is_empty() {
            asked.push(client.query(&flood_statement, &flood_values));
        }
        let (_, answers) = futures_util::future::try_join(begin, try_join_all(asked)).await?;
        Ok(answers)
    })?;
    let [_, present, account_rows, rest @ ..] = answers.as_slice() else {
        return Err(StoreError::Lost);
    };
    let present = present.first().ok_or(StoreError::Lost)?;
    let failed = |error: tokio_postgres::Error| StoreError::from(SessionError::from(error));
    let mut loaded = Loaded {
        epoch_lives: present.try_get(0).map_err(failed)?,
        newest_price: present.try_get(1).map_err(failed)?,
        accounts: HashMap::default(),
        usage_writers: HashMap::default(),
        requests: HashMap::default(),
        tails: HashMap::default(),
        flood: Vec::new(),
    };
    for row in account_rows {
        let row = Row::Postgres(row);
        let key = account_key(row.get(0)?, row.get(1)?)?;
        loaded.usage_writers.insert(key, row.get(2)?);
        loaded.tails.insert(key, row.get(3)?);
        // One that can't be read is its callers' trouble: asked for again, it says so.
        if let Ok(account) = account_from_row(key, row, 4) {
            loaded.accounts.insert(key, account);
        }
    }
    loaded
        .requests
        .extend(named_requests.iter().map(|request| (*request, None)));
    let (request_rows, flood_rows) = match rest {
        [requests, flood] => (requests.as_slice(), flood.as_slice()),
        [requests] if !named_requests.is_empty() => (requests.as_slice(), &[][..]),
        [flood] => (&[][..], flood.as_slice()),
        _ => (&[][..], &[][..]),
    };
    for row in flood_rows {
        let row = Row::Postgres(row);
        let state = LimitState::from_spread_until_us(row.get(4)?);
        let counter = flood_counter_of(row.get(2)?, row.get(3)?);
        loaded
            .flood
            .push((account_key(row.get(0)?, row.get(1)?)?, counter, state));
    }
    for row in request_rows {
        let columns = RequestColumns::read(Row::Postgres(row))?;
        let place = columns.place;
        let request = RequestRef {
            account: account_key(place[0], place[1])?,
            id: crate::sql::codec::request_id(place[2], place[3]),
        };
        match columns.open(&shared.vault) {
            Ok(row) => drop(loaded.requests.insert(request, Some(row))),
            // The same: whoever names it is told.
            Err(_) => drop(loaded.requests.remove(&request)),
        }
    }
    Ok(loaded)
}

/// What a batch's commands are judged by: what was loaded, and beyond it one question each.
pub(super) struct Source<'a> {
    loaded: &'a Loaded,
    rest: Facts<'a>,
}

impl<'a> Source<'a> {
    pub(super) const fn new(connection: Connection<'a>, vault: &'a Vault, loaded: &'a Loaded) -> Self {
        Self {
            loaded,
            rest: Facts { connection, vault },
        }
    }
}

impl FactSource for Source<'_> {
    fn account(&mut self, key: AccountKey) -> Result<Option<Account>, StoreError> {
        match self.loaded.accounts.get(&key) {
            Some(account) => Ok(Some(account.clone())),
            None if !self.loaded.usage_writers.contains_key(&key) => Ok(None),
            None => self.rest.account(key),
        }
    }

    fn request(&mut self, request: RequestRef) -> Result<Option<VerificationRequest>, StoreError> {
        match self.loaded.requests.get(&request) {
            Some(row) => Ok(row.clone()),
            None => self.rest.request(request),
        }
    }

    fn order(&mut self, account: AccountKey, id: OrderId) -> Result<Option<Order>, StoreError> {
        self.rest.order(account, id)
    }

    fn first_answer(&mut self, account: AccountKey, key: &IdempotencyKey) -> Result<Option<FirstAnswer>, StoreError> {
        self.rest.first_answer(account, key)
    }

    fn sender(&mut self, account: AccountKey, username: &SenderUsername) -> Result<SenderFact, StoreError> {
        self.rest.sender(account, username)
    }

    fn live_code(&mut self, key: &LiveKey) -> Result<Option<RequestId>, StoreError> {
        self.rest.live_code(key)
    }

    fn open_purchases(&mut self, account: AccountKey) -> Result<Vec<Purchase>, StoreError> {
        self.rest.open_purchases(account)
    }
}
