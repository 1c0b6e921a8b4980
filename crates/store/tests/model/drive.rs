//! Gives steps to the reference books and to a store at once, and compares what each comes to. Calls are queued in order and
//! left outstanding, a different number each time, so that the writer finds batches of every size.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;

use countersign_core::{AccountKey, Answer, ApiError, Decision, Rules, VerificationRequest, Work};
use countersign_model::{Books, Expected, Happening, Setting, Step, Submitted};
use countersign_store::{
    Actor, CommittedWork, Handed, MasterKey, NewAccount, NewOrder, Ordered, Outcome, PriceSetting, Rotation,
    StoreError, testing,
};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::task::unconstrained;

/// How many calls are left outstanding before they are awaited: from one at a time to more than a batch holds.
const OUTSTANDING: [usize; 7] = [700, 1, 40, 3_000, 7, 513, 150];

/// What a call to the store came to, or must come to.
#[derive(Debug, PartialEq, Eq)]
enum Came {
    Command(Outcome),
    Setting(Expected),
}

/// A call that was queued and isn't compared yet.
struct Call {
    number: usize,
    said: String,
    expected: Came,
    reply: Reply,
}

enum Reply {
    There(Result<Came, StoreError>),
    Waiting(BoxFuture<'static, Result<Came, StoreError>>),
}

/// What the store must hand to the workers, in order.
#[derive(Debug, PartialEq, Eq)]
struct ForTheWorkers {
    work: Option<Work>,
    request: VerificationRequest,
}

/// A store under test.
pub(crate) struct Driver {
    pub(crate) store: Arc<dyn countersign_store::Books>,
    work: CommittedWork,
    /// By account: accounts' commands may be judged by several writers at once.
    for_the_workers: BTreeMap<AccountKey, VecDeque<ForTheWorkers>>,
    outstanding: Vec<Call>,
    windows: usize,
    commands: usize,
    met: BTreeMap<String, usize>,
}

fn open(directory: &Path, rules: &Rules) -> (Arc<dyn countersign_store::Books>, CommittedWork) {
    testing::open(directory, MasterKey::from_bytes([3; 32]), rules.clone()).unwrap()
}

impl Driver {
    pub(crate) fn open(directory: &Path, rules: &Rules) -> Self {
        let (store, work) = open(directory, rules);
        Self {
            store,
            work,
            for_the_workers: BTreeMap::new(),
            outstanding: Vec::new(),
            windows: 0,
            commands: 0,
            met: BTreeMap::new(),
        }
    }

    /// Closes the store once everything is answered.
    pub(crate) async fn close(&mut self) -> Result<(), String> {
        self.settle().await?;
        self.store.close().await.map_err(|error| error.to_string())
    }

    /// Opens it again, under other rules.
    pub(crate) fn reopen(&mut self, directory: &Path, rules: &Rules) {
        (self.store, self.work) = open(directory, rules);
        testing::take_over(directory).unwrap();
    }

    /// Commands so far.
    pub(crate) const fn commands(&self) -> usize {
        self.commands
    }

    /// What came of the commands, and how often.
    pub(crate) const fn met(&self) -> &BTreeMap<String, usize> {
        &self.met
    }

    fn note(&mut self, decision: &Decision) {
        let outcome = match &decision.outcome {
            Ok(Answer::Again(_)) => "answered again".to_owned(),
            Ok(Answer::Admitted(_)) => "admitted".to_owned(),
            Ok(_) => "done".to_owned(),
            Err(ApiError::FloodWait { .. }) => "FLOOD_WAIT".to_owned(),
            Err(error) => error.wire_name().into_owned(),
        };
        let low = decision.low_balance.iter().map(|_| "low balance".to_owned());
        let told = low.chain(decision.budget.iter().map(|_| "daily budget".to_owned()));
        let orders = decision
            .order
            .iter()
            .map(|order| format!("order {}", order.state.name()));
        let entries = decision.entries.iter().map(|entry| entry.kind.name().to_owned());
        for name in std::iter::once(outcome).chain(entries).chain(orders).chain(told) {
            *self.met.entry(name).or_default() += 1;
        }
    }

    /// Lets a step happen in both.
    pub(crate) async fn step(&mut self, books: &mut Books, step: &Step) -> Result<(), String> {
        match books.prepare(step) {
            Happening::Nothing => Ok(()),
            Happening::Setting(setting, expected) => self.set(setting, expected).await,
            Happening::Command(submitted) => self.submit(books, &submitted).await,
        }
    }

    /// Gives a command to both.
    pub(crate) async fn submit(&mut self, books: &mut Books, submitted: &Submitted) -> Result<(), String> {
        let decision = books.decide(submitted);
        self.commands += 1;
        self.note(&decision);
        let expected = Came::Command(decision.outcome.clone());
        self.expect_work(&decision);
        let (store, account) = (Arc::clone(&self.store), books.accounts[submitted.account].account.key);
        let command = submitted.command.clone();
        let said = format!("account {}: {command:?}", submitted.account);
        books.apply(submitted, decision);
        let call = async move { store.submit(account, command).await.map(Came::Command) };
        self.queue(said, expected, Box::pin(call)).await
    }

    /// Gives a setting to the store.
    pub(crate) async fn set(&mut self, setting: Setting, expected: Expected) -> Result<(), String> {
        let said = format!("{setting:?}");
        let store = Arc::clone(&self.store);
        let call = async move { set(&store, setting).await.map(Came::Setting) };
        let in_turn = testing::on_postgres();
        if in_turn {
            // There a setting takes no place in the queue: only what was answered comes before it.
            self.settle().await?;
        }
        self.queue(said, Came::Setting(expected), Box::pin(call)).await?;
        if in_turn {
            self.settle().await?;
        }
        Ok(())
    }

    async fn queue(
        &mut self,
        said: String,
        expected: Came,
        mut call: BoxFuture<'static, Result<Came, StoreError>>,
    ) -> Result<(), String> {
        // The first poll puts it into the queue: the order of polls is the order in which the books take them.
        let reply = match (&mut call).now_or_never() {
            Some(answer) => Reply::There(answer),
            None => Reply::Waiting(call),
        };
        self.outstanding.push(Call {
            number: self.commands,
            said,
            expected,
            reply,
        });
        if self.outstanding.len() < OUTSTANDING[self.windows % OUTSTANDING.len()] {
            return Ok(());
        }
        self.settle().await
    }

    /// Awaits everything outstanding, and compares it.
    pub(crate) async fn settle(&mut self) -> Result<(), String> {
        self.windows += 1;
        for call in std::mem::take(&mut self.outstanding) {
            let answer = match call.reply {
                Reply::There(answer) => answer,
                Reply::Waiting(waiting) => waiting.await,
            };
            let came = answer.map_err(|error| format!("command {}, {}: {error}", call.number, call.said))?;
            if came != call.expected {
                return Err(format!(
                    "command {}, {}\nin memory: {:?}\nin the store: {came:?}",
                    call.number, call.said, call.expected
                ));
            }
        }
        self.compare_work()
    }

    fn expect_work(&mut self, decision: &Decision) {
        if let Some(ended) = &decision.ended
            && (ended.work.is_some() || !ended.reports.is_empty())
        {
            self.expect(ended.work, &ended.request);
        }
        if let Some(request) = &decision.request
            && (decision.work.is_some() || !decision.reports.is_empty())
        {
            self.expect(decision.work, request);
        }
    }

    fn expect(&mut self, work: Option<Work>, request: &VerificationRequest) {
        let of_account = self.for_the_workers.entry(request.account).or_default();
        of_account.push_back(ForTheWorkers {
            work,
            request: request.clone(),
        });
    }

    /// A batch is handed over before its callers are answered: what is expected is there by now.
    fn compare_work(&mut self) -> Result<(), String> {
        // Unconstrained: a task that has taken much is told to wait, though there is more.
        while let Some(handed) = unconstrained(self.work.next()).now_or_never().flatten() {
            let Handed::Batch(batch) = handed else {
                return Err("the bounded hand-over was full, though it was emptied in time".to_owned());
            };
            for committed in batch {
                let handed = ForTheWorkers {
                    work: committed.work,
                    request: committed.request,
                };
                let of_account = self.for_the_workers.entry(handed.request.account).or_default();
                let expected = of_account.pop_front();
                if expected.as_ref() != Some(&handed) {
                    return Err(format!("handed to the workers: {handed:?}\ninstead of {expected:?}"));
                }
            }
        }
        match self.for_the_workers.values_mut().find_map(VecDeque::pop_front) {
            None => Ok(()),
            Some(missing) => Err(format!("never handed to the workers: {missing:?}")),
        }
    }
}

/// Says a setting to the store, and what it came to.
async fn set(store: &Arc<dyn countersign_store::Books>, setting: Setting) -> Result<Expected, StoreError> {
    let done = match setting {
        Setting::CreateAccount { key, token, phone, now } => {
            let name = key.id.to_string();
            let new = NewAccount {
                key,
                token,
                name,
                phone,
                now,
            };
            store.create_account(new, Actor::Operator).await.map(drop)
        }
        Setting::RotateToken {
            account,
            token,
            grace,
            now,
        } => {
            let rotation = Rotation {
                token,
                grace,
                by: Actor::Operator,
                now,
            };
            store.rotate(account, rotation).await.map(drop)
        }
        Setting::EndGrace { account, kind, now } => store.end_grace(account, kind, Actor::Operator, now).await,
        Setting::ForgetOldTokens { now } => return store.forget_old_tokens(now).await.map(Expected::Forgot),
        Setting::CloseAccount { account, now } => store.close_account(account, now, Actor::Operator).await,
        Setting::AddSender { account, username, now } => store
            .add_sender(account, username, now, Actor::Operator)
            .await
            .map(drop),
        Setting::VerifySender { username, now } => store.verify_sender(username, now, Actor::Operator).await.map(drop),
        Setting::SetPrice { row, now } => {
            let setting = PriceSetting {
                rows: vec![row],
                dry_run: false,
                set_by: Actor::System,
                now,
            };
            store.set_prices(setting).await.map(drop)
        }
        Setting::MakeOrder { order } => {
            let new = NewOrder {
                account: order.account,
                id: order.id,
                amount: order.amount,
                provider: order.provider.clone(),
                by: Actor::Owner,
                now: order.created_at,
            };
            match store.make_order(new).await {
                Ok(Ordered::Made(made)) if made == order => Ok(()),
                Ok(Ordered::Made(made)) => return Err(StoreError::Database(format!("another order: {made:?}"))),
                Ok(Ordered::TooManyOpen | Ordered::TooManyToday) => return Ok(Expected::TooMany),
                Err(error) => Err(error),
            }
        }
        Setting::ChangeAreas { account, change, now } => {
            store.change_areas(account, change, Actor::Owner, now).await.map(drop)
        }
        Setting::SetLowBalance { account, low_balance } => {
            store.set_low_balance(account, low_balance, Actor::Operator).await
        }
        Setting::SetBudget { account, budget, now } => store.set_budget(account, budget, Actor::Operator, now).await,
        Setting::ForgetOldAnswers { now } => return store.forget_old_answers(now).await.map(Expected::Forgot),
    };
    match done {
        Ok(()) => Ok(Expected::Done),
        Err(StoreError::Conflict(_)) => Ok(Expected::Conflict),
        Err(StoreError::NotFound(_)) => Ok(Expected::NotFound),
        Err(error) => Err(error),
    }
}
