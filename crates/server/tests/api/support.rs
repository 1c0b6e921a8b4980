//! A server of the API with everything behind it, made by hand so that a test reaches its books, and a client that sends
//! exactly the bytes that it is told to.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use countersign_channels::Inbox;
use countersign_core::{
    AccountId, AccountKey, Action, ApiToken, Command, Credits, PhoneNumber, Rules, SandboxNumbers, Timestamp,
};
use countersign_server::http::{HttpLimits, HttpServer, bind};
use countersign_server::operator::OperatorKey;
use countersign_server::settings::{QuotaSettings, Settings};
use countersign_server::workers::{self, Workers};
use countersign_server::{App, Mode, account, api, operator};
use countersign_store::{Actor, Books, MasterKey, NewAccount, SiteStore, Store, testing};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};

/// No test waits longer for one answer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A number that numbering plans call possible, and no account's own.
pub(crate) const PHONE: &str = "+391234567890";
/// The first account's own number.
pub(crate) const OWNER: &str = "+393333333333";

/// What opens the operator's API.
pub(crate) const OPERATOR_KEY: &str = "the-operators-key-of-a-test";

/// How a server is made.
pub(crate) struct Setup {
    pub(crate) mode: Mode,
    pub(crate) inbox: bool,
    pub(crate) rules: Rules,
    pub(crate) trusted_proxies: Vec<&'static str>,
    pub(crate) quotas: &'static str,
    pub(crate) request_timeout: Duration,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            mode: Mode::Sandbox,
            inbox: true,
            rules: Rules::default(),
            trusted_proxies: Vec::new(),
            quotas: "",
            request_timeout: PATIENCE,
        }
    }
}

/// An account of a test.
pub(crate) struct TestAccount {
    pub(crate) key: AccountKey,
    pub(crate) token: String,
}

/// A running server, with one account that has a credit of 10.
pub(crate) struct Server {
    pub(crate) store: Arc<dyn Books>,
    pub(crate) address: SocketAddr,
    pub(crate) account: TestAccount,
    draining: watch::Sender<bool>,
    _http: HttpServer,
    _workers: Workers,
    _dir: TempDir,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::start_with(Setup::default()).await
    }

    pub(crate) async fn start_with(setup: Setup) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let master_key = MasterKey::from_bytes([7; 32]);
        let (store, committed) = testing::open(dir.path(), master_key, setup.rules).unwrap();
        let mut settings = Settings::defaults(setup.mode);
        settings.server.trusted_proxies = setup.trusted_proxies.iter().map(|net| net.parse().unwrap()).collect();
        settings.server.request_timeout = setup.request_timeout;
        settings.limits.quotas = QuotaSettings::parse(setup.quotas).unwrap();
        let (draining, is_draining) = watch::channel(false);
        let (news, news_queue) = mpsc::channel(64);
        let inbox = setup.inbox.then(|| Inbox::new(news));
        let app = Arc::new(App {
            store: Arc::clone(&store) as Arc<dyn Store>,
            site: Arc::clone(&store) as Arc<dyn SiteStore>,
            mode: setup.mode,
            routes: countersign_server::Routes::built_in(&settings, inbox.as_ref()),
            texts: countersign_channels::Texts::built_in().unwrap(),
            inbox,
            login: countersign_server::LoginDesk::new(&settings).unwrap(),
            operator_key: OperatorKey::new(OPERATOR_KEY).unwrap(),
            settings,
            onlookers: Arc::default(),
            vitals: Arc::default(),
            draining: is_draining,
        });
        let workers = workers::start(&app, committed, news_queue).unwrap();
        let router = account::router(Arc::clone(&app))
            .merge(operator::router(Arc::clone(&app)))
            .merge(api::router(app));
        let http = HttpServer::new(router, HttpLimits::new(100, setup.request_timeout));
        let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        http.listen(listener, None);
        let account = make_account(store.as_ref(), 1, OWNER, "10").await;
        Self {
            store,
            address,
            account,
            draining,
            _http: http,
            _workers: workers,
            _dir: dir,
        }
    }

    /// A further account; `seed` makes its id and token.
    pub(crate) async fn account(&self, seed: u8, phone: &str, credit: &str) -> TestAccount {
        make_account(self.store.as_ref(), seed, phone, credit).await
    }

    /// Lets the server begin to end.
    pub(crate) fn drain(&self) {
        self.draining.send_replace(true);
    }

    /// What can be spent by the first account.
    pub(crate) async fn balance(&self) -> String {
        let profile = self.store.account(self.account.key.id).await.unwrap().unwrap();
        profile.balance.to_string()
    }

    /// Sends bytes on a new connection, and reads its answer.
    pub(crate) async fn raw(&self, request: &[u8]) -> Reply {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // The server may answer and close before it has read everything.
        let _ = stream.write_all(request).await;
        Reply::read(&mut stream).await
    }

    /// A request with these headers and this body, its length declared.
    pub(crate) async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        let mut request = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n");
        for (name, value) in headers {
            request.extend([name, ": ", value, "\r\n"]);
        }
        if !body.is_empty() {
            request.extend(["content-length: ", &body.len().to_string(), "\r\n"]);
        }
        request += "\r\n";
        self.raw(&[request.as_bytes(), body].concat()).await
    }

    /// A call by POST and JSON with the first account's token.
    pub(crate) async fn call(&self, method: &str, parameters: Value) -> Reply {
        self.call_as(&self.account.token, method, parameters).await
    }

    /// A call by POST and JSON with a token.
    pub(crate) async fn call_as(&self, token: &str, method: &str, parameters: Value) -> Reply {
        self.call_with(&[("authorization", &format!("Bearer {token}"))], method, parameters)
            .await
    }

    /// A call by POST and JSON with these headers.
    pub(crate) async fn call_with(&self, headers: &[(&str, &str)], method: &str, parameters: Value) -> Reply {
        let mut headers = headers.to_vec();
        headers.push(("content-type", "application/json"));
        let body = parameters.to_string();
        self.send("POST", &format!("/{method}"), &headers, body.as_bytes())
            .await
    }

    /// Sends a message to a number; answers its request's id.
    pub(crate) async fn sent(&self, parameters: Value) -> String {
        let result = self.call("sendVerificationMessage", parameters).await.result();
        result["request_id"].as_str().unwrap().to_owned()
    }
}

async fn make_account(store: &dyn Books, seed: u8, phone: &str, credit: &str) -> TestAccount {
    let key = AccountKey::of_new(AccountId::from_entropy(u64::from_be_bytes([seed; 8])));
    let token = ApiToken::new(key.id, [seed; 32]);
    let now = now();
    let account = NewAccount {
        key,
        token: token.clone(),
        name: format!("Account {seed}"),
        phone: PhoneNumber::parse(phone, SandboxNumbers::Accepted).unwrap(),
        now,
    };
    store.create_account(account, Actor::Operator).await.unwrap();
    let amount = Credits::parse(credit).unwrap();
    if !amount.is_zero() {
        let purchase = Command {
            now,
            token: None,
            idempotency: None,
            action: Action::Purchase { amount },
        };
        store.submit(key, purchase).await.unwrap().unwrap();
    }
    TestAccount {
        key,
        token: token.as_str().to_owned(),
    }
}

/// Real time.
pub(crate) fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp::from_millis(i64::try_from(since_epoch.as_millis()).unwrap())
}

/// An answer as it came.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Reply {
    /// Reads an answer to the end of its body, by its `content-length`.
    pub(crate) async fn read(stream: &mut TcpStream) -> Self {
        let mut bytes = Vec::new();
        let read = async {
            loop {
                let read = stream.read_buf(&mut bytes).await;
                if let Some(reply) = Self::parse(&bytes) {
                    return reply;
                }
                let goes_on = matches!(read, Ok(1..));
                assert!(
                    goes_on,
                    "the connection ended within an answer: {:?}",
                    String::from_utf8_lossy(&bytes)
                );
            }
        };
        tokio::time::timeout(PATIENCE, read).await.unwrap()
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n")?;
        let status: u16 = head.split(' ').nth(1)?.parse().unwrap();
        let head = head.to_ascii_lowercase();
        if status == 100 {
            return Self::parse(body.as_bytes());
        }
        let length = head.split("content-length: ").nth(1)?.lines().next()?.parse().unwrap();
        (body.len() >= length).then(|| Self {
            status,
            head: head.clone(),
            body: body[..length].to_owned(),
        })
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        lines.find(|line| line.0 == name).map(|line| line.1)
    }

    /// The result of a call that succeeded.
    pub(crate) fn result(&self) -> Value {
        let answer: Value = serde_json::from_str(&self.body).unwrap();
        assert_eq!((self.status, &answer["ok"]), (200, &Value::Bool(true)), "{}", self.body);
        assert!(!self.body.contains("null"), "{}", self.body);
        answer["result"].clone()
    }

    /// The error's name of a call that was refused with status 200.
    pub(crate) fn error(&self) -> String {
        assert_eq!(self.status, 200, "{}", self.body);
        self.error_name()
    }

    /// The error's name; its answer has exactly the contract's form.
    pub(crate) fn error_name(&self) -> String {
        let answer: Value = serde_json::from_str(&self.body).unwrap();
        let name = answer["error"]
            .as_str()
            .unwrap_or_else(|| panic!("no error: {}", self.body))
            .to_owned();
        assert_eq!(self.body, format!("{{\"ok\":false,\"error\":\"{name}\"}}"));
        assert_eq!(self.header("content-type"), Some("application/json"));
        name
    }

    /// The body with ids and times replaced, which differ from run to run.
    pub(crate) fn redacted(&self) -> String {
        let mut redacted = String::new();
        let mut rest = self.body.as_str();
        while let Some((place, mark)) = ["\"request_id\":\"", "\"updated_at\":"]
            .into_iter()
            .filter_map(|mark| rest.find(mark).map(|place| (place, mark)))
            .min()
        {
            let value = &rest[place + mark.len()..];
            let length = value.find(|c: char| !c.is_ascii_alphanumeric()).unwrap();
            redacted += &rest[..place + mark.len()];
            redacted += if mark.ends_with('"') { "ID" } else { "TIME" };
            rest = &value[length..];
        }
        redacted + rest
    }
}
