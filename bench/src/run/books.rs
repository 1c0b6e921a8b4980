//! Books that are filled before a server opens them: an account with a billion credits, requests to be checked, a million
//! requests of the past. Filled through the store's one door in this process, with the same rules as over HTTP, only faster.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use countersign_core::{
    AccountId, AccountKey, Action, Answer, ApiToken, Bucket, Code, CodeLength, CodeOrigin, Command, DEFAULT_PRICE,
    EnteredCode, MAX_PURCHASE, News, PhoneNumber, Reach, RequestId, Rules, Send, SendCode, SenderUsername, Timestamp,
    Ttl,
};
use countersign_server::{clock, random};
use countersign_store::{Actor, CommittedWork, MasterKey, NewAccount, SqliteOptions, SqliteStore, Store, StoreError};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::wrk::first_number;

/// Commands in flight while books are filled; enough to make full batches, far below the store's queue.
const IN_FLIGHT: usize = 512;
/// The numbers of filled requests come from a round that no load uses.
const FILL_ROUND: u64 = 200;
/// How old the oldest request of the past is.
const PAST_MS: i64 = 30 * 24 * 3_600_000;
/// How long a request of the past took until it ended otherwise than by its time.
const ANSWERED_AFTER_MS: i64 = 20_000;
/// A message's life without a `ttl`, and a little.
const OVERDUE_AFTER_MS: i64 = 3_601_000;

/// The owner of the account that all load goes to.
const OWNER: PhoneNumber = PhoneNumber::from_stored(390_612_345_678);

/// Open books, with the account that the load will use.
pub(crate) struct Books {
    store: Arc<SqliteStore>,
    account: AccountKey,
    token: ApiToken,
}

/// A pre-made request and the code that it waits for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Waiting {
    id: RequestId,
    code: Code,
}

impl Waiting {
    /// The request's id.
    pub(crate) const fn id(&self) -> RequestId {
        self.id
    }
}

impl Books {
    /// Makes a data directory and its books, with a master key and an account that bought credit long ago.
    pub(crate) async fn create(directory: &Path) -> Result<Self> {
        let key: [u8; 32] = random::bytes();
        fs::create_dir_all(directory).with_context(|| format!("making {}", directory.display()))?;
        let mut file = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(directory.join("master.key"))
            .context("making a master key")?;
        writeln!(file, "{}", hex(&key)).context("writing the master key")?;
        let store = open(directory, MasterKey::from_bytes(key))?;
        let id = AccountId::from_entropy(u64::from_be_bytes(random::bytes()));
        let account = AccountKey { bucket: Bucket(7), id };
        let token = ApiToken::new(id, random::bytes());
        let now = clock::now().plus_millis(-PAST_MS - OVERDUE_AFTER_MS);
        let new = NewAccount {
            key: account,
            token: token.clone(),
            name: "Benchmark".into(),
            phone: OWNER,
            now,
        };
        store
            .create_account(new, Actor::Operator)
            .await
            .context("making the account")?;
        let books = Self { store, account, token };
        books.command(now, Action::Purchase { amount: MAX_PURCHASE }).await?;
        Ok(books)
    }

    /// Opens books that [`Books::create`] made.
    pub(crate) async fn reopen(directory: &Path, account: AccountKey) -> Result<Self> {
        let store = open(directory, master_key(directory)?)?;
        let token = store.token(account).await.context("reading the token")?;
        Ok(Self { store, account, token })
    }

    /// The store itself.
    pub(crate) fn store(&self) -> &SqliteStore {
        &self.store
    }

    /// The account.
    pub(crate) const fn account(&self) -> AccountKey {
        self.account
    }

    /// A send at a time, with a sender that the account owns or none.
    pub(crate) async fn send_as(&self, now: Timestamp, phone: PhoneNumber, sender: Option<&str>) -> Result<()> {
        let send = Send {
            sender: sender.and_then(SenderUsername::parse),
            ..send_to(phone, CodeLength::default(), now.millis().unsigned_abs().into())
        };
        self.command(now, Action::Send(Box::new(send))).await.map(drop)
    }

    /// Ends the books and gives the account's token.
    pub(crate) async fn close(self) -> Result<ApiToken> {
        self.store.close().await.context("closing the books")?;
        Ok(self.token)
    }

    /// Makes `count` requests of now, each accepted by a channel, so that a start doesn't dispatch them again.
    pub(crate) async fn add_waiting(&self, count: usize, origin: CodeOrigin) -> Result<Vec<Waiting>> {
        stream::iter(0..count)
            .map(|number| async move {
                let now = clock::now();
                let waiting = self.send(now, number, origin).await?;
                let news = Action::news(waiting.id, News::Accepted);
                self.command(now, news).await?;
                Ok(waiting)
            })
            .buffered(IN_FLIGHT)
            .try_collect()
            .await
    }

    /// Makes `count` requests of the last thirty days, all of them ended: of ten, seven by the right code, two delivered
    /// and never checked, one expired and refunded.
    pub(crate) async fn add_past(&self, count: usize) -> Result<()> {
        let start = clock::now().plus_millis(-PAST_MS - OVERDUE_AFTER_MS);
        let step_micros = PAST_MS * 1000 / i64::try_from(count.max(1))?;
        stream::iter(0..count)
            .map(Ok)
            .try_for_each_concurrent(IN_FLIGHT, |number| async move {
                let position = i64::try_from(number)?;
                let now = start.plus_millis(position * step_micros / 1000);
                let Waiting { id, code } = self.send(now, number, CodeOrigin::Generated).await?;
                let answered_at = now.plus_millis(ANSWERED_AFTER_MS);
                let (at, action) = match number % 10 {
                    0..7 => {
                        let code = EnteredCode::new(code.as_str().to_owned());
                        (answered_at, Action::Check { request: id, code })
                    }
                    7..9 => {
                        let news = News::Delivered;
                        (answered_at, Action::news(id, news))
                    }
                    _ => (now.plus_millis(OVERDUE_AFTER_MS), Action::Wake { request: id }),
                };
                self.command(at, action).await.map(drop)
            })
            .await
    }

    async fn send(&self, now: Timestamp, number: usize, origin: CodeOrigin) -> Result<Waiting> {
        let entropy = u128::from_be_bytes(random::bytes());
        let phone = PhoneNumber::from_stored(first_number(FILL_ROUND) + u64::try_from(number)?);
        let length = CodeLength::default();
        let code = Code::from_entropy(length, entropy);
        let mut send = send_to(phone, length, entropy);
        if origin == CodeOrigin::Supplied {
            send.code = SendCode::Supplied(code);
        }
        match self.command(now, Action::Send(Box::new(send))).await? {
            Answer::Status(status) => Ok(Waiting {
                id: RequestId::parse(&status.request_id).ok_or_else(|| anyhow!("an unreadable request id"))?,
                code,
            }),
            other => bail!("a send was answered with {other:?}"),
        }
    }

    async fn command(&self, now: Timestamp, action: Action) -> Result<Answer> {
        let command = Command {
            now,
            token: None,
            idempotency: None,
            action,
        };
        loop {
            match self.store.submit(self.account, command.clone()).await {
                Ok(outcome) => return outcome.map_err(|error| anyhow!("the books refused a command: {error:?}")),
                // The queue is bounded; whoever fills books waits like everybody else.
                Err(StoreError::Busy) => tokio::task::yield_now().await,
                Err(error) => return Err(error).context("filling the books"),
            }
        }
    }
}

/// A send as the API makes it of a phone number alone.
pub(crate) fn send_to(phone: PhoneNumber, length: CodeLength, entropy: u128) -> Send {
    Send {
        email: None,
        locale: None,
        phone,
        request: None,
        sender: None,
        code: SendCode::Generate { length, entropy },
        callback_url: None,
        payload: None,
        ttl: Ttl::default(),
        id_entropy: u64::from_be_bytes(random::bytes()),
        reach: Reach::Reachable,
        plan: None,
        skipped: Vec::new(),
        guard: None,
    }
}

/// Bytes in hexadecimal, as a key file holds them.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing into a string can't fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// How many messages the account has paid for, by its balance. The server must have ended.
pub(crate) async fn charges(directory: &Path, token: &ApiToken) -> Result<u64> {
    let store = open(directory, master_key(directory)?)?;
    let profile = store.account(token.account()).await.context("reading the account")?;
    store.close().await.context("closing the books")?;
    let profile = profile.ok_or_else(|| anyhow!("the account is gone"))?;
    Ok(u64::try_from(
        (MAX_PURCHASE - profile.balance).micros() / DEFAULT_PRICE.micros(),
    )?)
}

fn master_key(directory: &Path) -> Result<MasterKey> {
    let hex = fs::read_to_string(directory.join("master.key")).context("reading the master key")?;
    let mut key = [0; 32];
    for (byte, digits) in key.iter_mut().zip(hex.trim().as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits)?, 16)?;
    }
    Ok(MasterKey::from_bytes(key))
}

fn open(directory: &Path, master_key: MasterKey) -> Result<Arc<SqliteStore>> {
    let options = SqliteOptions {
        path: directory.to_owned(),
        master_key,
        rules: Rules::default(),
    };
    let (store, committed) = SqliteStore::open(options).context("opening the books")?;
    tokio::spawn(ignore_work(committed));
    Ok(store)
}

/// Nobody dispatches what is filled in here.
pub(crate) async fn ignore_work(mut committed: CommittedWork) {
    while committed.next().await.is_some() {}
}

/// Writes records for wrk's scripts: 19 characters of request id, 6 of code, a newline.
pub(crate) fn write_records(path: &Path, waiting: &[Waiting]) -> Result<()> {
    let mut file = BufWriter::new(File::create(path).context("making the file of records")?);
    for Waiting { id, code } in waiting {
        writeln!(file, "{id}{}", code.as_str()).context("writing records")?;
    }
    file.flush().context("writing records")
}

/// Mixes requests up, so that neighbours in the books are checked far apart. A fixed order: every run mixes alike.
pub(crate) fn shuffle(waiting: &mut [Waiting]) {
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    for end in (1..waiting.len()).rev() {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let bound = u64::try_from(end).unwrap_or(u64::MAX).saturating_add(1);
        let other = usize::try_from((state >> 33) % bound).unwrap_or(0);
        waiting.swap(end, other);
    }
}
