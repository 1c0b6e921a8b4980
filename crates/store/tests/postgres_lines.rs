//! Lines to a PostgreSQL server that fail at the worst moments: before the server was told to commit, while it is told, before it can
//! answer. What a caller is told must be true then and stay true, whatever still arrives at the server later.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says what it leaves out"
)]

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use countersign_core::*;
use countersign_store::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, tcp};
use tokio::sync::watch;
use tokio::task::JoinSet;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const PAID: &str = "10";
/// What a message costs where no price was set.
const FEE_MICROS: i64 = 10_000;
/// How long the books wait for an answer. The server gives an idle transaction up after twice that.
const TIMEOUT: Duration = Duration::from_millis(600);

/// What happens to a line at the first message whose SQL contains a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// It is cut before the message.
    CutBefore,
    /// The message gets through, and it is cut before the answer.
    CutAfter,
    /// The same, and there is no other line until it is mended.
    CutForLong,
    /// The message and all that follows is on its way for a long time, but arrives.
    Late,
    /// The message gets through, and its answer is on its way for a long time.
    LateAnswer,
}

/// What befalls the line.
#[derive(Debug, Clone, Copy)]
struct Plan {
    fault: Fault,
    at: &'static str,
    /// How long after that what was on its way arrives; if nothing is named, once the books have answered.
    for_so_long: Option<Duration>,
}

impl Plan {
    const fn new(fault: Fault, at: &'static str) -> Self {
        Self {
            fault,
            at,
            for_so_long: None,
        }
    }
}

/// The way from the books to the server, through this test.
struct Line {
    url: String,
    shared: Arc<Shared>,
    _accepting: JoinSet<()>,
}

struct Shared {
    server: String,
    plan: watch::Sender<Option<Plan>>,
    /// It befalls one connection, once.
    befallen: AtomicBool,
}

impl Line {
    async fn to(url: &str) -> Self {
        let (before, rest) = url.split_once('@').unwrap();
        let (server, database) = rest.split_once('/').unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let here = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            server: server.to_owned(),
            plan: watch::Sender::new(None),
            befallen: AtomicBool::new(false),
        });
        let mut accepting = JoinSet::new();
        let of_task = Arc::clone(&shared);
        accepting.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(carry(client, Arc::clone(&of_task)));
            }
        });
        Self {
            url: format!("{before}@{here}/{database}"),
            shared,
            _accepting: accepting,
        }
    }

    fn befall(&self, plan: Plan) {
        self.shared.befallen.store(false, Ordering::Relaxed);
        self.shared.plan.send_replace(Some(plan));
    }

    /// What was on its way arrives.
    fn mend(&self) {
        self.shared.plan.send_replace(None);
    }
}

/// What becomes of a connection's answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answers {
    Pass,
    /// They come when the line is mended.
    Late,
    /// They never come, and the books see the connection end.
    Never,
}

async fn carry(client: TcpStream, shared: Arc<Shared>) {
    let is_cut = |plan: &Option<Plan>| {
        let for_long = plan.is_some_and(|plan| plan.fault == Fault::CutForLong);
        for_long && shared.befallen.load(Ordering::Relaxed)
    };
    let _ = shared.plan.subscribe().wait_for(|plan| !is_cut(plan)).await;
    let Ok(server) = TcpStream::connect(&shared.server).await else {
        return;
    };
    // A statement is a few bytes: nobody waits for more of it.
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let answers = watch::Sender::new(Answers::Pass);
    let answering = carry_answers(from_server, to_client, answers.subscribe(), shared.plan.subscribe());
    // Each side ends by itself: what the books gave up is still on its way to the server.
    tokio::join!(carry_questions(from_client, to_server, answers, &shared), answering);
}

async fn carry_answers(
    mut from: tcp::OwnedReadHalf,
    to: tcp::OwnedWriteHalf,
    mut answers: watch::Receiver<Answers>,
    mut plan: watch::Receiver<Option<Plan>>,
) {
    let mut to = Some(to);
    let present = answers.clone();
    // For ever, where nothing is asked any more: then what is left of the answers passes as it would have.
    let never = async move {
        if answers.wait_for(|answers| *answers == Answers::Never).await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    tokio::pin!(never);
    let mut buffer = vec![0; 64 * 1_024];
    loop {
        let length = tokio::select! {
            biased;
            () = &mut never, if to.is_some() => {
                to = None;
                continue;
            }
            read = from.read(&mut buffer) => match read {
                Ok(length @ 1..) => length,
                _ => return,
            },
        };
        let late = *present.borrow() == Answers::Late;
        if late {
            let _ = plan.wait_for(Option::is_none).await;
        }
        if let Some(books) = &mut to
            && books.write_all(&buffer[..length]).await.is_err()
        {
            to = None;
        }
    }
}

async fn carry_questions(
    mut from: tcp::OwnedReadHalf,
    mut to: tcp::OwnedWriteHalf,
    answers: watch::Sender<Answers>,
    shared: &Shared,
) {
    let mut plan = shared.plan.subscribe();
    let mut statements = HashMap::new();
    let mut first = true;
    while let Some(message) = next_message(&mut from, first).await {
        let sql = if first { None } else { sql_of(&message, &mut statements) };
        first = false;
        let planned = *plan.borrow();
        if let (Some(sql), Some(planned)) = (sql, planned)
            && sql.contains(planned.at)
            // A lane's: others end transactions, too.
            && statements.values().any(|sql| sql.contains(MARKER))
            && !shared.befallen.swap(true, Ordering::Relaxed)
        {
            match planned.fault {
                Fault::CutBefore => {
                    answers.send_replace(Answers::Never);
                    break;
                }
                Fault::CutAfter | Fault::CutForLong => {
                    answers.send_replace(Answers::Never);
                    let _ = to.write_all(&message).await;
                    break;
                }
                Fault::LateAnswer => {
                    answers.send_replace(Answers::Late);
                }
                Fault::Late => {
                    let _ = plan.wait_for(Option::is_none).await;
                }
            }
        }
        if to.write_all(&message).await.is_err() {
            break;
        }
    }
    // The server is told that nothing more comes, after it was told all that came before.
    let _ = to.shutdown().await;
    // Not dropped before: without a sender, the answers can't be told what becomes of them.
    drop(answers);
}

/// A message of PostgreSQL's protocol: a letter, which only the first one lacks, a length that counts itself, and so many bytes.
async fn next_message(from: &mut tcp::OwnedReadHalf, first: bool) -> Option<Vec<u8>> {
    let head = if first { 4 } else { 5 };
    let mut message = vec![0; head];
    from.read_exact(&mut message).await.ok()?;
    let length = u32::from_be_bytes(message[head - 4..].try_into().ok()?);
    let rest = usize::try_from(length).ok()?.checked_sub(4)?;
    message.resize(head + rest, 0);
    from.read_exact(&mut message[head..]).await.ok()?;
    Some(message)
}

/// The SQL that a message has carried out, if it does that.
fn sql_of(message: &[u8], statements: &mut HashMap<Vec<u8>, String>) -> Option<String> {
    let mut texts = message[5..].split(|byte| *byte == 0);
    let (first, second) = (texts.next()?, texts.next()?);
    match message[0] {
        // Parse: a name and its SQL.
        b'P' => {
            statements.insert(first.to_owned(), String::from_utf8_lossy(second).into_owned());
            None
        }
        // Bind: a portal and the statement's name.
        b'B' => statements.get(second).cloned(),
        // A simple query.
        b'Q' => Some(String::from_utf8_lossy(first).into_owned()),
        _ => None,
    }
}

fn open(url: String, timeout: Duration) -> Arc<dyn Books> {
    let settings = PostgresSettings {
        lanes: 1,
        readers: 2,
        timeout,
        ..PostgresSettings::new(url)
    };
    let options = StoreOptions {
        database: Database::Postgres(settings),
        master_key: MasterKey::from_bytes([1; 32]),
        rules: Rules::default(),
    };
    countersign_store::open(options).unwrap().0
}

async fn new_account(books: &dyn Books) -> AccountKey {
    let id = AccountId::from_entropy(0x1234_5678_9abc_def0);
    let new = NewAccount {
        key: AccountKey::of_new(id),
        token: ApiToken::new(id, [9; 32]),
        name: "Acme".into(),
        phone: PhoneNumber::from_stored(9_996_600_000),
        now: NOW,
    };
    let key = new.key;
    books.create_account(new, Actor::Operator).await.unwrap();
    let amount = Credits::parse(PAID).unwrap();
    let bought = books.submit(key, command(Action::Purchase { amount })).await;
    bought.unwrap().unwrap();
    key
}

const fn command(action: Action) -> Command {
    Command {
        now: NOW,
        token: None,
        idempotency: None,
        action,
    }
}

fn send(number: u64) -> Command {
    command(Action::Send(Box::new(Send {
        email: None,
        locale: None,
        phone: PhoneNumber::from_stored(391_234_500_000 + number),
        request: None,
        sender: None,
        code: SendCode::Supplied(Code::parse("4711").unwrap()),
        callback_url: None,
        payload: None,
        ttl: Ttl::new(60).unwrap(),
        id_entropy: number,
        reach: Reach::Reachable,
        plan: None,
        skipped: Vec::new(),
        guard: None,
    })))
}

/// What the books said of a send whose line failed, and what of it stands in the database at the end.
struct Tried {
    told: Result<Outcome, StoreError>,
    is_there: bool,
    fees: i64,
}

impl Tried {
    /// What was told is so; a request that is there cost one fee.
    fn assert_true(&self) {
        match &self.told {
            Ok(answer) => assert!(self.is_there, "{answer:?} was told, and nothing is there"),
            // Nobody knows.
            Err(StoreError::Lost) => {}
            Err(error) => assert!(!self.is_there, "{error} was told, and the request is there"),
        }
        // One for the send before it, one for the send after it.
        assert_eq!(self.fees, 2 + i64::from(self.is_there));
    }
}

/// Sends through a line that a fault befalls. `None` where there is no server for tests.
async fn tried(test: &str, plan: Plan) -> Option<Tried> {
    if std::env::var_os("COUNTERSIGN_TEST_POSTGRES").is_none() {
        println!("COUNTERSIGN_TEST_POSTGRES names no server: not tried");
        return None;
    }
    let name = format!("t_{}_{test}", std::process::id());
    let url = testing::new_database(&name).unwrap();
    // By a way of its own, which nothing befalls.
    let beside = open(url.clone(), Duration::from_secs(20));
    let account = new_account(beside.as_ref()).await;
    let line = Line::to(&url).await;
    let books = open(line.url.clone(), TIMEOUT);
    books.submit(account, send(1)).await.unwrap().unwrap();

    line.befall(plan);
    let mend_itself = async {
        match plan.for_so_long {
            Some(time) => tokio::time::sleep(time).await,
            None => std::future::pending().await,
        }
        line.mend();
        std::future::pending::<()>().await;
    };
    let told = tokio::select! {
        told = books.submit(account, send(2)) => told,
        () = mend_itself => return None,
    };
    assert!(line.shared.befallen.load(Ordering::Relaxed), "nothing befell the line");
    line.mend();
    // It waits for the account's row, and so for whatever is still under way.
    beside.submit(account, send(3)).await.unwrap().unwrap();
    let request = beside.request(account, RequestId::new(NOW, 2)).await.unwrap();
    let balance = beside.account(account.id).await.unwrap().unwrap().balance;
    let paid = Credits::parse(PAID).unwrap() - balance;
    books.close().await.unwrap();
    beside.close().await.unwrap();
    Some(Tried {
        told,
        is_there: request.is_some(),
        fees: paid.micros() / FEE_MICROS,
    })
}

/// The last row of a batch, and the last word.
const MARKER: &str = "UPDATE batch_marker";
const COMMIT: &str = "COMMIT";
/// The first rows that a batch writes.
const REQUESTS: &str = "INSERT INTO request";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_was_not_committed_is_judged_again() {
    for (test, at) in [("cut_rows", REQUESTS), ("cut_marker", MARKER), ("cut_commit", COMMIT)] {
        let Some(tried) = tried(test, Plan::new(Fault::CutBefore, at)).await else {
            return;
        };
        assert!(tried.told.is_ok(), "{at}: {:?}", tried.told);
        tried.assert_true();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_whose_commit_got_no_answer_is_found_by_its_marker() {
    for (test, fault) in [("after_commit", Fault::CutAfter), ("late_answer", Fault::LateAnswer)] {
        let Some(tried) = tried(test, Plan::new(fault, COMMIT)).await else {
            return;
        };
        assert!(tried.told.is_ok(), "{fault:?}: {:?}", tried.told);
        tried.assert_true();
    }
}

/// A connection of the test's own, which nothing befalls.
async fn beside(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Waits until so many wait for what somebody else has locked.
async fn so_many_wait(onlooker: &tokio_postgres::Client, wanted: i64) {
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    while onlooker.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) != wanted {
        tokio::task::yield_now().await;
    }
}

/// What a batch answered that the others had joined while it waited for its account, and then a fault befell its line; how long that took, and
/// what it charged.
struct Joined {
    told: Vec<Result<Outcome, StoreError>>,
    took: Duration,
    fees: i64,
    requests: i64,
}

const JOINED: u64 = 10;

/// `None` where there is no server for tests.
async fn joined(test: &str, plan: Plan, timeout: Duration, before: &str) -> Option<Joined> {
    if std::env::var_os("COUNTERSIGN_TEST_POSTGRES").is_none() {
        println!("COUNTERSIGN_TEST_POSTGRES names no server: not tried");
        return None;
    }
    let url = testing::new_database(&format!("t_{}_joined_{test}", std::process::id())).unwrap();
    let line = Line::to(&url).await;
    let books = open(line.url.clone(), timeout);
    let account = new_account(books.as_ref()).await;
    let (holder, onlooker) = (beside(&url).await, beside(&url).await);
    // All statements of a batch are known to its connection from here on.
    books.submit(account, send(0)).await.unwrap().unwrap();
    holder.batch_execute(before).await.unwrap();
    holder
        .batch_execute("BEGIN; SELECT 1 FROM account FOR UPDATE")
        .await
        .unwrap();
    let mut answers = JoinSet::new();
    let mut submit = |number| {
        let books = Arc::clone(&books);
        answers.spawn(async move { books.submit(account, send(number)).await });
    };
    submit(1);
    so_many_wait(&onlooker, 1).await;
    (2..=JOINED).for_each(submit);
    while books.load().queued + 1 < usize::try_from(JOINED).unwrap() {
        tokio::task::yield_now().await;
    }
    line.befall(plan);
    let began = std::time::Instant::now();
    holder.batch_execute("COMMIT").await.unwrap();
    let told = answers.join_all().await;
    let took = began.elapsed();
    assert!(line.shared.befallen.load(Ordering::Relaxed), "nothing befell the line");
    line.mend();
    // It waits for whatever is still under way.
    holder
        .batch_execute("BEGIN; SELECT 1 FROM account FOR UPDATE; COMMIT")
        .await
        .unwrap();
    let sql = "SELECT balance, (SELECT count(*) FROM request) FROM account";
    let row = onlooker.query_one(sql, &[]).await.unwrap();
    let paid = Credits::parse(PAID).unwrap().micros() - row.get::<_, i64>(0);
    books.close().await.unwrap();
    Some(Joined {
        told,
        took,
        // One is that of the send before.
        fees: paid / FEE_MICROS - 1,
        requests: row.get::<_, i64>(1) - 1,
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_joined_a_batch_whose_line_is_cut_is_answered_and_charged_once() {
    for (test, fault, at) in [
        ("rows", Fault::CutBefore, REQUESTS),
        ("marker", Fault::CutBefore, MARKER),
        ("commit", Fault::CutBefore, COMMIT),
        ("answer", Fault::CutAfter, COMMIT),
    ] {
        let plan = Plan::new(fault, at);
        let Some(joined) = joined(test, plan, Duration::from_secs(20), "").await else {
            return;
        };
        assert!(
            joined.told.iter().all(Result::is_ok),
            "{fault:?} {at}: {:?}",
            joined.told
        );
        assert_eq!([joined.fees, joined.requests], [10, 10], "{fault:?} {at}");
    }
}

/// One of the batch is what the database refuses; before each is judged alone, the database is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_in_turn_for_a_database_that_is_gone() {
    let refused = "ALTER TABLE request ADD CONSTRAINT refused CHECK (random <> 3)";
    let plan = Plan::new(Fault::CutForLong, "ROLLBACK");
    let Some(joined) = joined("refused", plan, TIMEOUT, refused).await else {
        return;
    };
    let unavailable = |told: &Result<Outcome, StoreError>| matches!(told, Err(StoreError::Unavailable));
    assert!(joined.told.iter().all(unavailable), "{:?}", joined.told);
    assert_eq!([joined.fees, joined.requests], [0, 0]);
    assert!(joined.took < 4 * TIMEOUT, "it took {:?}", joined.took);
}

/// Other nodes have ended this one's epoch and cleared up before it could ask: then nobody knows, once, and it goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_whose_marker_is_gone_is_not_judged_again() {
    if std::env::var_os("COUNTERSIGN_TEST_POSTGRES").is_none() {
        println!("COUNTERSIGN_TEST_POSTGRES names no server: not tried");
        return;
    }
    let url = testing::new_database(&format!("t_{}_gone", std::process::id())).unwrap();
    let line = Line::to(&url).await;
    let books = open(line.url.clone(), Duration::from_secs(20));
    let account = new_account(books.as_ref()).await;
    let (holder, cleaner, onlooker) = (beside(&url).await, beside(&url).await, beside(&url).await);
    // The batch holds its marker and waits for the account; who deletes the marker is next, before the books can ask.
    let sql = "BEGIN; SELECT 1 FROM account FOR UPDATE";
    holder.batch_execute(sql).await.unwrap();
    line.befall(Plan::new(Fault::CutForLong, COMMIT));
    let of_task = Arc::clone(&books);
    let told = tokio::spawn(async move { of_task.submit(account, send(1)).await });
    so_many_wait(&onlooker, 1).await;
    let cleared = tokio::spawn(async move { cleaner.execute("DELETE FROM batch_marker", &[]).await.unwrap() });
    so_many_wait(&onlooker, 2).await;
    holder.batch_execute("COMMIT").await.unwrap();
    assert_eq!(cleared.await.unwrap(), 1);
    line.mend();
    assert!(matches!(told.await.unwrap(), Err(StoreError::Lost)));
    books.submit(account, send(2)).await.unwrap().unwrap();
    let balance = books.account(account.id).await.unwrap().unwrap().balance;
    let paid = Credits::parse(PAID).unwrap() - balance;
    assert_eq!(paid.micros(), 2 * FEE_MICROS, "one charge for each");
    books.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_arrives_late_makes_no_answer_wrong() {
    for (test, at) in [
        ("late_rows", REQUESTS),
        ("late_marker", MARKER),
        ("late_commit", COMMIT),
    ] {
        let Some(tried) = tried(test, Plan::new(Fault::Late, at)).await else {
            return;
        };
        println!(
            "{at}: {:?}, and it is {}",
            tried.told,
            if tried.is_there { "there" } else { "not there" }
        );
        tried.assert_true();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_arrives_while_the_books_ask_for_its_marker_is_waited_for() {
    let plan = Plan {
        // The books have given the connection up by then, and the server hasn't.
        for_so_long: Some(TIMEOUT + TIMEOUT / 2),
        ..Plan::new(Fault::Late, MARKER)
    };
    let Some(tried) = tried("late_asked", plan).await else {
        return;
    };
    assert!(tried.told.is_ok(), "{:?}", tried.told);
    tried.assert_true();
}
