//! Rows that another node waits for are let go before their commit is safe; whoever is answered is answered only after that. A standby
//! that isn't there makes the time in between as long as a test needs. Each test has a server of its own, since that holds up all of it.

use std::path::Path;
use std::process::Command as Process;

use super::one_account::send_command;
use super::*;

const CLUSTER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../e2e/postgres/cluster");

/// Sends before those that wait.
const WARM_UPS: u64 = 2;

/// A server, which ends with the test.
struct Server {
    folder: tempfile::TempDir,
    url: String,
}

impl Server {
    /// `None` in the runs on SQLite and on a sharded database, where no rows are let go early.
    fn start() -> Option<Self> {
        if !testing::on_postgres() || testing::on_sharded() {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let own = std::process::id().to_string();
        // Without places for standbys, no commit would wait for one.
        let settings = ["--for", &own, "wal_level=replica", "max_wal_senders=2"];
        cluster("start", folder.path(), &settings);
        let server = Self {
            url: cluster("url", folder.path(), &["books"]),
            folder,
        };
        // Owned by the role of the address, which makes the tables.
        server.run("CREATE DATABASE books OWNER countersign");
        Some(server)
    }

    /// As the server's superuser.
    fn run(&self, sql: &str) {
        cluster("psql", self.folder.path(), &["-d", "postgres", "-c", sql]);
    }

    /// Commits are safe from now on once a standby has them that isn't there.
    fn expect_standby(&self) {
        self.run("ALTER SYSTEM SET synchronous_standby_names = 'nobody'");
        self.run("SELECT pg_reload_conf()");
    }

    /// Says so no more: to the server that is started next, and to this one once it is told to look.
    fn expect_no_standby(&self) {
        self.run("ALTER SYSTEM RESET synchronous_standby_names");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = Process::new(CLUSTER).arg("stop").arg(self.folder.path()).status();
    }
}

fn cluster(action: &str, folder: &Path, more: &[&str]) -> String {
    let output = Process::new(CLUSTER)
        .arg(action)
        .arg(folder)
        .args(more)
        .output()
        .unwrap();
    assert!(output.status.success(), "{action}: {output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Waits until so many of the server's connections wait for the standby, with a statement like that.
async fn wait_for_standby(client: &tokio_postgres::Client, statement: &str, count: i64) {
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND query LIKE $1";
    in_time(&format!("{count} that wait for the standby, {statement}"), async {
        while client.query_one(sql, &[&statement]).await.unwrap().get::<_, i64>(0) != count {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

type Sends = tokio::task::JoinSet<Result<Outcome, StoreError>>;

/// Two nodes whose batches for one account are both committed, and not yet safe: the second has the rows that the first let go.
async fn two_that_wait(
    server: &Server,
    client: &tokio_postgres::Client,
) -> ([Arc<PostgresStore>; 2], AccountKey, Sends) {
    let nodes = [(); 2].map(|()| {
        let settings = PostgresSettings {
            lanes: 2,
            readers: 2,
            ..PostgresSettings::new(server.url.clone())
        };
        let (store, mut work) =
            PostgresStore::open(&settings, &MasterKey::from_bytes([1; 32]), Rules::default()).unwrap();
        let reports = work.take_reports().unwrap();
        Node { store, work, reports }
    });
    let account = nodes[0].account().await;
    // Each has a marker from its first batch on, and the first node is who wrote last.
    for (number, of) in [(11, 1), (12, 0)] {
        let warm_up = nodes[of].store.submit(account, send_command(number, None)).await;
        warm_up.unwrap().unwrap();
    }
    server.expect_standby();
    // Once a commit waits, all do.
    let probe = onlooker(&server.url).await;
    tokio::spawn(async move {
        while probe
            .batch_execute("SELECT 'probe', pg_logical_emit_message(true, '', '')")
            .await
            .is_ok()
        {}
    });
    wait_for_standby(client, "%probe%", 1).await;
    let mut sends = Sends::new();
    // Each finds that the other wrote the account last, and so lets it go.
    let stores = nodes.map(|node| node.store);
    for (number, of) in [(1, 1), (2, 0)] {
        let store = Arc::clone(&stores[of]);
        sends.spawn(async move { store.submit(account, send_command(number, None)).await });
        let waiting = i64::try_from(number).unwrap();
        wait_for_standby(client, "SET LOCAL%pg_logical_emit_message%", waiting).await;
    }
    assert!(sends.try_join_next().is_none(), "answered before it was safe");
    (stores, account, sends)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_are_let_go_before_a_commit_is_safe_and_its_callers_are_answered_after() {
    let Some(server) = Server::start() else { return };
    let client = onlooker(&server.url).await;
    let (stores, account, mut sends) = two_that_wait(&server, &client).await;
    server.expect_no_standby();
    server.run("SELECT pg_reload_conf()");
    while let Some(told) = in_time("answers", sends.join_next()).await {
        told.unwrap().unwrap().unwrap();
    }
    let profile = stores[0].account(account.id).await.unwrap().unwrap();
    assert_eq!(
        profile.entries,
        1 + WARM_UPS + 2,
        "a purchase and a charge for each send"
    );
    for store in stores {
        store.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_ends_before_rows_let_go_are_safe_charges_nobody_twice() {
    let Some(server) = Server::start() else { return };
    let client = onlooker(&server.url).await;
    let (stores, account, mut sends) = two_that_wait(&server, &client).await;
    // The running server isn't told.
    server.expect_no_standby();
    cluster("down", server.folder.path(), &["immediate"]);
    cluster("up", server.folder.path(), &[]);
    let mut answered = 0;
    while let Some(told) = in_time("answers", sends.join_next()).await {
        match told.unwrap() {
            Ok(outcome) => answered += u64::from(outcome.is_ok()),
            Err(error) => assert!(matches!(error, StoreError::Lost), "{error}"),
        }
    }
    let profile = stores[0].account(account.id).await.unwrap().unwrap();
    let charged = profile.entries - 1 - WARM_UPS;
    assert!(
        answered <= charged && charged <= 2,
        "{answered} answered, {charged} charged"
    );
    for store in stores {
        store.close().await.unwrap();
    }
}
