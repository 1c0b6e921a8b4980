//! Batches that others joined while they waited for their account: one of it that can't be done fails alone, one that is tried again
//! answers and charges each once, and all are judged by the prices of the moment at which the account was theirs.

use tokio::task::JoinSet;

use super::one_account::{send_command, somebody_waits};
use super::*;

const FEE_MICROS: i64 = 10_000;

type Answers = JoinSet<(u64, Result<Outcome, StoreError>)>;

/// A node whose lane waits for an account that somebody else has locked.
struct Scene {
    node: Node,
    account: AccountKey,
    /// Holds the lock, until it commits.
    holder: tokio_postgres::Client,
    client: tokio_postgres::Client,
    answers: Answers,
}

impl Scene {
    async fn new(url: &str) -> Self {
        let node = node(url);
        let account = node.account().await;
        // The lane's marker is made before the first batch: from here on each batch is one.
        node.send(account, 1).await;
        Self {
            node,
            account,
            holder: onlooker(url).await,
            client: onlooker(url).await,
            answers: JoinSet::new(),
        }
    }

    /// As another node does while it writes an account.
    async fn lock(&self, account: AccountKey) {
        let sql = format!(
            "BEGIN; SELECT 1 FROM account WHERE account_id = {} FOR UPDATE",
            account.id.number()
        );
        self.holder.batch_execute(&sql).await.unwrap();
    }

    async fn unlock(&self) {
        self.holder.batch_execute("COMMIT").await.unwrap();
    }

    fn submit(&mut self, account: AccountKey, number: u64, command: Command) {
        let store = Arc::clone(&self.node.store);
        self.answers
            .spawn(async move { (number, store.submit(account, command).await) });
    }

    /// Sends in the account, which wait.
    async fn send(&mut self, numbers: std::ops::Range<u64>) {
        for number in numbers {
            self.submit(self.account, number, send_command(number, None));
        }
        self.queued(self.answers.len() - 1).await;
    }

    /// Waits until so many are queued behind a batch.
    async fn queued(&self, jobs: usize) {
        in_time("queued", async {
            while self.node.store.load().queued < jobs {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    /// What each was told, in the order of their numbers.
    async fn told(&mut self) -> Vec<(u64, Result<Outcome, StoreError>)> {
        let mut told = Vec::new();
        while let Some(answer) = in_time("answers", self.answers.join_next()).await {
            told.push(answer.unwrap());
        }
        told.sort_by_key(|(number, _)| *number);
        told
    }

    /// The number of the lane's last batch, in whatever bucket.
    async fn batches(&self) -> i64 {
        let last = "SELECT max(number) FROM batch_marker";
        self.client.query_one(last, &[]).await.unwrap().get(0)
    }

    /// All charges of the account, and of how many messages.
    async fn charged(&self) -> (i64, u64) {
        let profile = self.node.store.account(self.account.id).await.unwrap().unwrap();
        let paid = Credits::parse("1000").unwrap() - profile.balance;
        // The first entry is the purchase.
        (paid.micros(), profile.entries - 1)
    }
}

#[tokio::test]
async fn a_command_whose_row_is_damaged_or_missing_fails_alone_in_a_batch_that_others_joined() {
    let Some(url) = database("joined_damage") else { return };
    let mut scene = Scene::new(&url).await;
    let account = scene.account;
    let damaged = scene.node.send(account, 2).await;
    // The unknown one is of the same bucket; the busy one of the same lane, which works for it first.
    let busy = scene.node.account_in(4).await;
    let unknown = AccountKey {
        bucket: account.bucket,
        id: AccountId::from_entropy(0xffff_ffff_ffff_0001),
    };
    let spoilt = "UPDATE request SET code_sealed = '\\x00' WHERE random = 2";
    assert_eq!(scene.client.execute(spoilt, &[]).await.unwrap(), 1);
    let before = scene.batches().await;

    let gate = onlooker(&url).await;
    let closed = format!(
        "BEGIN; SELECT 1 FROM account WHERE account_id = {} FOR UPDATE",
        busy.id.number()
    );
    gate.batch_execute(&closed).await.unwrap();
    scene.lock(account).await;
    scene.submit(busy, 100, send_command(100, None));
    somebody_waits(&scene.client).await;
    scene.submit(account, 101, command(Action::news(damaged.id, News::Delivered)));
    scene.queued(1).await;
    scene.submit(unknown, 102, send_command(102, None));
    scene.queued(2).await;
    scene.submit(account, 103, send_command(103, None));
    scene.queued(3).await;
    gate.batch_execute("COMMIT").await.unwrap();
    // The second batch has them all and waits for the account; these come meanwhile.
    in_time("the second batch", async {
        while scene.node.store.load().queued > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    somebody_waits(&scene.client).await;
    for number in 104..110 {
        scene.submit(account, number, send_command(number, None));
    }
    scene.queued(6).await;
    scene.unlock().await;

    for (number, told) in scene.told().await {
        match number {
            101 => assert!(matches!(told, Err(StoreError::Damaged(_))), "{told:?}"),
            102 => assert!(matches!(told, Err(StoreError::NotFound("account"))), "{told:?}"),
            _ => assert!(matches!(told, Ok(Ok(_))), "{number}: {told:?}"),
        }
    }
    assert_eq!(scene.batches().await - before, 2, "nobody was judged alone");
    assert_eq!(scene.charged().await, (9 * FEE_MICROS, 9));
    scene.node.store.close().await.unwrap();
}

#[tokio::test]
async fn what_the_database_refuses_fails_alone_in_a_batch_that_others_joined() {
    let Some(url) = database("joined_refused") else { return };
    let mut scene = Scene::new(&url).await;
    let refused = "ALTER TABLE request ADD CONSTRAINT refused CHECK (random <> 5)";
    scene.client.batch_execute(refused).await.unwrap();
    scene.lock(scene.account).await;
    scene.submit(scene.account, 2, send_command(2, None));
    somebody_waits(&scene.client).await;
    scene.send(3..12).await;
    scene.unlock().await;
    for (number, told) in scene.told().await {
        match number {
            5 => assert!(matches!(told, Err(StoreError::Database(_))), "{told:?}"),
            _ => assert!(matches!(told, Ok(Ok(_))), "{number}: {told:?}"),
        }
    }
    assert_eq!(scene.charged().await, (10 * FEE_MICROS, 10));
    scene.node.store.close().await.unwrap();
}

/// Fails the first batches that reach their end, as a server does that has found a deadlock or two transactions that can't both be.
const FAIL_TWICE: &str = "
    CREATE SEQUENCE tries;
    CREATE FUNCTION fail_twice() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE try bigint := nextval('tries');
        BEGIN
            IF try = 1 THEN RAISE EXCEPTION 'a deadlock' USING ERRCODE = 'deadlock_detected'; END IF;
            IF try = 2 THEN RAISE EXCEPTION 'not both' USING ERRCODE = 'serialization_failure'; END IF;
            RETURN NEW;
        END $$;
    CREATE TRIGGER fail_twice BEFORE UPDATE ON batch_marker FOR EACH ROW EXECUTE FUNCTION fail_twice()";

#[tokio::test]
async fn a_batch_that_fails_for_a_deadlock_answers_and_charges_those_who_joined_once() {
    let Some(url) = database("joined_again") else { return };
    let mut scene = Scene::new(&url).await;
    scene.client.batch_execute(FAIL_TWICE).await.unwrap();
    scene.lock(scene.account).await;
    scene.submit(scene.account, 2, send_command(2, None));
    somebody_waits(&scene.client).await;
    scene.send(3..20).await;
    scene.unlock().await;
    for (number, told) in scene.told().await {
        assert!(matches!(told, Ok(Ok(_))), "{number}: {told:?}");
    }
    let tries = scene
        .client
        .query_one("SELECT last_value FROM tries", &[])
        .await
        .unwrap();
    assert_eq!(tries.get::<_, i64>(0), 3, "one batch, which was tried three times");
    assert_eq!(scene.charged().await, (19 * FEE_MICROS, 19));
    let found = "SELECT count(*) FROM request";
    let found = scene.client.query_one(found, &[]).await.unwrap();
    assert_eq!(found.get::<_, i64>(0), 19);
    scene.node.store.close().await.unwrap();
}

#[tokio::test]
async fn a_price_that_another_node_sets_while_a_batch_waits_for_its_account_counts_for_that_batch() {
    let Some(url) = database("joined_price") else { return };
    let mut scene = Scene::new(&url).await;
    let second = node(&url);
    scene.lock(scene.account).await;
    scene.submit(scene.account, 2, send_command(2, None));
    somebody_waits(&scene.client).await;
    let since = now().plus_millis(-60_000);
    let dear = Credits::parse("2").unwrap();
    let setting = PriceSetting {
        rows: vec![PriceRow {
            route: PriceRoute::All,
            prefix: NumberPrefix::parse_or_default("+39").unwrap(),
            effective_from: since,
            price: Some(dear),
        }],
        dry_run: false,
        set_by: Actor::Operator,
        now: since,
    };
    second.store.set_prices(setting).await.unwrap();
    scene.send(3..6).await;
    scene.unlock().await;
    for (number, told) in scene.told().await {
        assert!(matches!(told, Ok(Ok(_))), "{number}: {told:?}");
    }
    assert_eq!(scene.charged().await, (FEE_MICROS + 4 * dear.micros(), 5));
    for node in [scene.node, second] {
        node.store.close().await.unwrap();
    }
}
