//! A production server over channels that do as a test says, called over HTTP as customers do.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use countersign_channels::{
    Asked, Channel, ChannelNews, Destination, Finding, Handover, LoginPrompt, OutgoingMessage, Receipts, WebhookAnswer,
    WebhookCall,
};
use countersign_core::{
    AccountId, AccountKey, Action, ApiToken, Command, Credits, LegName, News, PhoneNumber, Reach, RequestId, RouteName,
    SandboxNumbers, TimelineEvent,
};
use countersign_server::http::{HttpLimits, HttpServer, bind};
use countersign_server::operator::OperatorKey;
use countersign_server::settings::{LegSettings, RouteSettings, Settings};
use countersign_server::workers::{self, Workers};
use countersign_server::{App, LoginDesk, Mode, Routes, clock, start};
use countersign_store::{Actor, Books, MasterKey, NewAccount, RequestRef, SiteStore, Store, testing};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::{Notify, mpsc, watch};

/// The longest wait for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// A number that numbering plans call possible.
pub(crate) const PHONE: &str = "+391234567890";
/// The account's own number.
pub(crate) const OWNER: &str = "+447400123456";
/// The largest body of a call that the fake channels take.
pub(crate) const MAX_WEBHOOK_BYTES: usize = 600_000;
const OPERATOR_KEY: &str = "the-operators-key-of-a-test";

/// A channel that does as it is told.
pub(crate) struct Fake {
    name: LegName,
    pub(crate) receipts: Receipts,
    pub(crate) paid: bool,
    pub(crate) text: bool,
    pub(crate) reach: Reach,
    at_once: usize,
    /// What it does with the next messages; then it accepts.
    handovers: Mutex<VecDeque<Handover>>,
    /// What it answers to the next questions; then that it reaches.
    answers: Mutex<VecDeque<Asked>>,
    /// Whether questions are never answered.
    pub(crate) silent: bool,
    /// Held while messages are to wait in the channel.
    pub(crate) gate: tokio::sync::RwLock<()>,
    taken: Mutex<Vec<OutgoingMessage>>,
    withdrawn: Mutex<Vec<RequestId>>,
    asked: Mutex<usize>,
    changed: Notify,
}

impl Fake {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: LegName::parse(name).unwrap(),
            receipts: Receipts::Reported,
            paid: false,
            text: false,
            reach: Reach::Reachable,
            at_once: 8,
            handovers: Mutex::default(),
            answers: Mutex::default(),
            silent: false,
            gate: tokio::sync::RwLock::default(),
            taken: Mutex::default(),
            withdrawn: Mutex::default(),
            asked: Mutex::default(),
            changed: Notify::new(),
        }
    }

    pub(crate) fn does(self, handovers: impl IntoIterator<Item = Handover>) -> Self {
        self.handovers.lock().unwrap().extend(handovers);
        self
    }

    pub(crate) fn answers(self, answers: impl IntoIterator<Item = Asked>) -> Self {
        self.answers.lock().unwrap().extend(answers);
        self
    }

    /// How many questions it was asked.
    pub(crate) fn asked(&self) -> usize {
        *self.asked.lock().unwrap()
    }

    /// How many messages it was handed, refused ones among them.
    pub(crate) fn taken(&self) -> Vec<OutgoingMessage> {
        self.taken.lock().unwrap().clone()
    }

    /// Waits until it was handed so many.
    pub(crate) async fn wait_for(&self, count: usize) -> Vec<OutgoingMessage> {
        self.wait_until(|fake| fake.taken.lock().unwrap().len() >= count).await;
        self.taken()
    }

    /// Waits until a message was withdrawn from it so many times.
    pub(crate) async fn wait_for_withdrawals(&self, request: RequestId, times: usize) {
        let of = |withdrawn: &[RequestId]| withdrawn.iter().filter(|&&one| one == request).count();
        self.wait_until(|fake| of(&fake.withdrawn.lock().unwrap()) >= times)
            .await;
    }

    async fn wait_until(&self, holds: impl Fn(&Self) -> bool) {
        let wait = async {
            loop {
                let changed = self.changed.notified();
                if holds(self) {
                    return;
                }
                changed.await;
            }
        };
        tokio::time::timeout(PATIENCE, wait)
            .await
            .expect("the channel saw nothing of it");
    }
}

impl Channel for Fake {
    fn name(&self) -> &LegName {
        &self.name
    }

    fn kind(&self) -> &'static str {
        "fake"
    }

    fn receipts(&self) -> Receipts {
        self.receipts
    }

    fn is_paid(&self) -> bool {
        self.paid
    }

    fn carries_buttons(&self) -> bool {
        false
    }

    fn is_text(&self) -> bool {
        self.text
    }

    fn concurrency(&self) -> usize {
        self.at_once
    }

    fn reach<'a>(&'a self, _to: &'a Destination) -> BoxFuture<'a, Reach> {
        std::future::ready(self.reach).boxed()
    }

    fn ask<'a>(&'a self, _to: &'a Destination) -> BoxFuture<'a, Asked> {
        *self.asked.lock().unwrap() += 1;
        if self.silent {
            return std::future::pending().boxed();
        }
        let answer = self.answers.lock().unwrap().pop_front().unwrap_or(Asked::Reaches);
        std::future::ready(answer).boxed()
    }

    fn deliver(&self, message: OutgoingMessage) -> BoxFuture<'_, Handover> {
        async move {
            let handover = self
                .handovers
                .lock()
                .unwrap()
                .pop_front()
                .unwrap_or(Handover::Accepted(None));
            self.taken.lock().unwrap().push(message);
            self.changed.notify_waiters();
            let _open = self.gate.read().await;
            handover
        }
        .boxed()
    }

    fn withdraw(&self, _account: AccountKey, request: RequestId) -> BoxFuture<'_, ()> {
        self.withdrawn.lock().unwrap().push(request);
        self.changed.notify_waiters();
        std::future::ready(()).boxed()
    }

    fn address_problem(&self, address: &str) -> Option<&'static str> {
        (!address.contains('@')).then_some("that is no address")
    }

    fn deliver_login(&self, _prompt: LoginPrompt) -> BoxFuture<'_, Handover> {
        std::future::ready(Handover::Accepted(None)).boxed()
    }

    fn withdraw_login(&self, _attempt: i64) -> BoxFuture<'_, ()> {
        std::future::ready(()).boxed()
    }

    fn max_webhook_bytes(&self) -> usize {
        MAX_WEBHOOK_BYTES
    }

    fn receive(&self, call: WebhookCall) -> BoxFuture<'_, WebhookAnswer> {
        let known = call.path == "hook" && call.header("x-secret") == Some("right") && call.body.starts_with(b"{}");
        std::future::ready(WebhookAnswer::status(if known { 200 } else { 401 })).boxed()
    }

    fn examine(&self) -> BoxFuture<'_, Vec<Finding>> {
        std::future::ready(Vec::new()).boxed()
    }
}

/// A running server.
pub(crate) struct House {
    pub(crate) store: Arc<dyn Books>,
    pub(crate) account: AccountKey,
    pub(crate) news: mpsc::Sender<ChannelNews>,
    pub(crate) address: SocketAddr,
    token: ApiToken,
    client: reqwest::Client,
    dir: Arc<TempDir>,
    _draining: watch::Sender<bool>,
    _http: HttpServer,
    workers: Workers,
}

impl House {
    /// New books with one account that has a credit of 10, and one route over these channels.
    pub(crate) async fn new(channels: &[Arc<Fake>], set: impl FnOnce(&mut Settings)) -> Self {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let id = AccountId::from_entropy(7);
        let (account, token) = (AccountKey::of_new(id), ApiToken::new(id, [7; 32]));
        let house = Self::open(dir, account, token.clone(), channels, set);
        let new = NewAccount {
            key: account,
            token,
            name: "Test".to_owned(),
            phone: phone(OWNER),
            now: clock::now(),
        };
        house.store.create_account(new, Actor::Operator).await.unwrap();
        let amount = Credits::parse("10").unwrap();
        house.submit(Action::Purchase { amount }).await;
        house
    }

    fn open(
        dir: Arc<TempDir>,
        account: AccountKey,
        token: ApiToken,
        channels: &[Arc<Fake>],
        set: impl FnOnce(&mut Settings),
    ) -> Self {
        let mut settings = Settings::defaults(Mode::Production);
        settings.routes = vec![route("main", channels)];
        set(&mut settings);
        let (store, committed) = open_books(dir.path(), &settings);
        let (draining, is_draining) = watch::channel(false);
        let (news, news_queue) = mpsc::channel(64);
        let made = channels
            .iter()
            .map(|channel| Arc::clone(channel) as Arc<dyn Channel>)
            .collect();
        let app = Arc::new(App {
            store: Arc::clone(&store) as Arc<dyn Store>,
            site: Arc::clone(&store) as Arc<dyn SiteStore>,
            mode: Mode::Production,
            routes: Arc::new(Routes::new(&settings, None, made)),
            texts: countersign_channels::Texts::built_in().unwrap(),
            inbox: None,
            login: LoginDesk::new(&settings).unwrap(),
            operator_key: OperatorKey::new(OPERATOR_KEY).unwrap(),
            settings,
            onlookers: Arc::default(),
            vitals: Arc::default(),
            draining: is_draining,
        });
        let workers = workers::start(&app, committed, news_queue).unwrap();
        let http = HttpServer::new(start::router(&app), HttpLimits::new(100, PATIENCE));
        let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        http.listen(listener, None);
        Self {
            store,
            account,
            news,
            address,
            token,
            client: reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap(),
            dir,
            _draining: draining,
            _http: http,
            workers,
        }
    }

    /// Stops every worker where it is and starts all anew, over these channels.
    pub(crate) async fn crash(self, channels: &[Arc<Fake>]) -> Self {
        drop(self.workers);
        self.store.close().await.unwrap();
        Self::open(self.dir, self.account, self.token, channels, |_| {})
    }

    /// Calls a method of the Gateway API.
    pub(crate) async fn call(&self, method: &str, parameters: Value) -> Value {
        let url = format!("http://{}/{method}", self.address);
        let request = self.client.post(url).bearer_auth(self.token.as_str()).json(&parameters);
        request.send().await.unwrap().json().await.unwrap()
    }

    /// Sends and answers the request's id.
    pub(crate) async fn send(&self, to: &str) -> RequestId {
        let answer = self
            .call(
                "sendVerificationMessage",
                serde_json::json!({"phone_number": to, "code": "4829"}),
            )
            .await;
        let id = answer["result"]["request_id"].as_str();
        RequestId::parse(id.unwrap_or_else(|| panic!("refused: {answer}"))).unwrap()
    }

    /// Asks the operator's API.
    pub(crate) async fn operator(&self, path: &str) -> Value {
        self.operator_does("GET", path, None).await
    }

    /// Calls the operator's API.
    pub(crate) async fn operator_does(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        let url = format!("http://{}/operator/v1/{path}", self.address);
        let request = self
            .client
            .request(method.parse().unwrap(), url)
            .bearer_auth(OPERATOR_KEY);
        let request = match body {
            Some(body) => request.body(body.to_string()),
            None => request,
        };
        request.send().await.unwrap().json().await.unwrap()
    }

    /// Calls a channel as its other side does; answers the status.
    pub(crate) async fn webhook(&self, path: &str, secret: &str) -> u16 {
        self.webhook_of(path, secret, 2).await
    }

    /// The same with a body of that many bytes.
    pub(crate) async fn webhook_of(&self, path: &str, secret: &str, bytes: usize) -> u16 {
        let url = format!("http://{}/channels/{path}", self.address);
        let request = self
            .client
            .post(url)
            .header("x-secret", secret)
            .body(format!("{{}}{}", " ".repeat(bytes.saturating_sub(2))));
        request.send().await.unwrap().status().as_u16()
    }

    pub(crate) async fn submit(&self, action: Action) {
        let command = Command {
            now: clock::now(),
            token: None,
            idempotency: None,
            action,
        };
        self.store.submit(self.account, command).await.unwrap().unwrap();
    }

    /// What a channel hears later.
    pub(crate) async fn hears(&self, leg: &str, request: RequestId, news: News) {
        let news = ChannelNews {
            account: self.account,
            request,
            leg: LegName::parse(leg).unwrap(),
            news,
            detail: None,
        };
        self.news.send(news).await.unwrap();
    }

    /// Waits until the books hold this delivery state.
    pub(crate) async fn wait_for_state(&self, request: RequestId, state: &str) -> Value {
        let wait = async {
            let mut watch = self.store.watch(self.of(request)).unwrap();
            loop {
                let parameters = serde_json::json!({"request_id": request.to_string()});
                let answer = self.call("checkVerificationStatus", parameters).await;
                if answer["result"]["delivery_status"]["status"] == state {
                    return answer["result"].clone();
                }
                watch.changed().await;
            }
        };
        tokio::time::timeout(PATIENCE, wait)
            .await
            .unwrap_or_else(|_| panic!("the request never became {state}"))
    }

    pub(crate) async fn timeline(&self, request: RequestId) -> Vec<TimelineEvent> {
        self.store.timeline(self.of(request)).await.unwrap()
    }

    pub(crate) async fn balance(&self) -> (Credits, Credits) {
        let account = self.store.account(self.account.id).await.unwrap().unwrap();
        (account.balance, account.held)
    }

    const fn of(&self, request: RequestId) -> RequestRef {
        RequestRef {
            account: self.account,
            id: request,
        }
    }
}

fn open_books(path: &Path, settings: &Settings) -> (Arc<dyn Books>, countersign_store::CommittedWork) {
    testing::open(path, MasterKey::from_bytes([7; 32]), settings.rules()).unwrap()
}

/// A route over channels, in their order, with equal shares.
pub(crate) fn route(name: &str, channels: &[Arc<Fake>]) -> RouteSettings {
    let share = u16::try_from(1_000 / channels.len()).unwrap();
    RouteSettings {
        name: RouteName::parse(name).unwrap(),
        legs: channels
            .iter()
            .map(|channel| LegSettings {
                channel: channel.name.clone(),
                share,
                skip: Vec::new(),
            })
            .collect(),
        accounts: Vec::new(),
        prefixes: Vec::new(),
        kinds: Vec::new(),
    }
}

pub(crate) fn phone(text: &str) -> PhoneNumber {
    PhoneNumber::parse(text, SandboxNumbers::Refused).unwrap()
}
