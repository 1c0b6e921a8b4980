//! A server of the pages with an account that is signed in. No worker runs: nothing happens to a message but what a test
//! says.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use countersign_channels::{Inbox, Texts};
use countersign_core::*;
use countersign_server::http::{HttpLimits, HttpServer, bind};
use countersign_server::operator::OperatorKey;
use countersign_server::settings::Settings;
use countersign_server::{App, LoginDesk, Mode, clock, start};
use countersign_store::*;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};

/// No test waits longer for one answer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// What opens the operator's console.
pub(crate) const OPERATOR_KEY: &str = "the-operators-key-of-a-test";
/// A number that is no account's own.
pub(crate) const PHONE: u64 = 391_234_567_890;
/// The first account's own number.
pub(crate) const OWNER: u64 = 393_333_333_333;
/// The second account's own number.
const OTHER_OWNER: u64 = 393_333_333_334;

/// A running server.
pub(crate) struct Server {
    pub(crate) store: Arc<dyn Books>,
    address: SocketAddr,
    pub(crate) drain: watch::Sender<bool>,
    _committed: CommittedWork,
    _news: mpsc::Receiver<countersign_channels::ChannelNews>,
    _http: HttpServer,
    _directory: TempDir,
}

/// A browser in which an account is signed in.
pub(crate) struct Browser<'s> {
    server: &'s Server,
    pub(crate) account: AccountKey,
    cookie: String,
}

/// A page as it came.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) status: u16,
    pub(crate) head: String,
    /// The head in its own letters.
    raw_head: String,
    pub(crate) body: String,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::start_in(Mode::Sandbox).await
    }

    pub(crate) async fn start_in(mode: Mode) -> Self {
        Self::start_with(mode, Texts::built_in().unwrap()).await
    }

    /// With those words for recipients.
    #[expect(clippy::unused_async, reason = "a server starts on its caller's runtime")]
    pub(crate) async fn start_with(mode: Mode, texts: Arc<Texts>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let master_key = MasterKey::from_bytes([7; 32]);
        let (store, committed) = testing::open(directory.path(), master_key, Rules::default()).unwrap();
        let settings = Settings::defaults(mode);
        let (drain, draining) = watch::channel(false);
        let (news, news_queue) = mpsc::channel(64);
        let inbox = (mode == Mode::Sandbox).then(|| Inbox::new(news));
        let app = Arc::new(App {
            store: Arc::clone(&store) as Arc<dyn Store>,
            site: Arc::clone(&store) as Arc<dyn SiteStore>,
            mode,
            routes: countersign_server::Routes::built_in(&settings, inbox.as_ref()),
            texts,
            inbox,
            login: LoginDesk::new(&settings).unwrap(),
            operator_key: OperatorKey::new(OPERATOR_KEY).unwrap(),
            settings,
            onlookers: Arc::default(),
            vitals: Arc::default(),
            draining,
        });
        let http = HttpServer::new(start::router(&app), HttpLimits::new(100, PATIENCE));
        let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        http.listen(listener, None);
        Self {
            store,
            address,
            drain,
            _committed: committed,
            _news: news_queue,
            _http: http,
            _directory: directory,
        }
    }

    /// The first account, signed in, with a credit of 10.
    pub(crate) async fn owner(&self) -> Browser<'_> {
        self.sign_in(1, OWNER).await
    }

    /// Another account, signed in.
    pub(crate) async fn other(&self) -> Browser<'_> {
        self.sign_in(2, OTHER_OWNER).await
    }

    /// A browser with any cookie.
    pub(crate) fn browser(&self, cookie: &str) -> Browser<'_> {
        Browser {
            server: self,
            account: AccountKey::of_new(AccountId::from_entropy(u64::MAX)),
            cookie: cookie.to_owned(),
        }
    }

    /// The operator, signed in at the console.
    pub(crate) async fn operator(&self) -> Browser<'_> {
        let secret = [99; 32];
        let session = NewSession {
            token: SessionToken(secret),
            id: 99,
            owner: SessionOwner::Operator,
            device: "Test".into(),
            address: "127.0.0.1".into(),
            now: clock::now(),
            life_ms: DAY_MS,
        };
        self.store.begin_session(session).await.unwrap();
        self.browser(&format!("countersign-operator={}", base64(&secret)))
    }

    async fn sign_in(&self, seed: u8, phone: u64) -> Browser<'_> {
        let account = AccountKey::of_new(AccountId::from_entropy(u64::from_be_bytes([seed; 8])));
        if self.store.account(account.id).await.unwrap().is_none() {
            let new = NewAccount {
                key: account,
                token: ApiToken::new(account.id, [seed; 32]),
                name: format!("Account {seed}"),
                phone: PhoneNumber::from_stored(phone),
                now: clock::now(),
            };
            self.store.create_account(new, Actor::Operator).await.unwrap();
            let amount = Credits::parse("10").unwrap();
            self.submit(account, Action::Purchase { amount }).await;
            // Who hasn't answered the questions of the first sign-in sees nothing else.
            let answers = DetailsChange {
                name: format!("Account {seed}"),
                accepted_terms: Some("test".into()),
                ..DetailsChange::default()
            };
            self.store.set_details(account, answers, clock::now()).await.unwrap();
        }
        let secret = [seed; 32];
        let session = NewSession {
            token: SessionToken(secret),
            id: i64::from(seed),
            owner: SessionOwner::Account(account),
            device: "Test".into(),
            address: "127.0.0.1".into(),
            now: clock::now(),
            life_ms: DAY_MS,
        };
        self.store.begin_session(session).await.unwrap();
        let secret = base64(&secret);
        Browser {
            server: self,
            account,
            cookie: format!("countersign-session={secret}"),
        }
    }

    pub(crate) async fn submit(&self, account: AccountKey, action: Action) -> Answer {
        let command = Command {
            now: clock::now(),
            token: None,
            idempotency: None,
            action,
        };
        self.store.submit(account, command).await.unwrap().unwrap()
    }

    /// Sends bytes on a new connection, which stays open.
    pub(crate) async fn connect(&self, request: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }

    async fn ask(&self, request: &str) -> Page {
        self.ask_bytes(request.as_bytes()).await
    }

    async fn ask_bytes(&self, request: &[u8]) -> Page {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut bytes = Vec::new();
        let read = stream.read_to_end(&mut bytes);
        tokio::time::timeout(PATIENCE, read).await.unwrap().unwrap();
        // A picture is no text.
        let text = String::from_utf8_lossy(&bytes);
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        Page {
            status: head.split(' ').nth(1).unwrap().parse().unwrap(),
            head: head.to_ascii_lowercase(),
            raw_head: head.to_owned(),
            body: body.to_owned(),
        }
    }
}

/// Base64url without padding, of 32 bytes.
fn base64(bytes: &[u8; 32]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let bits: Vec<u8> = bytes
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1))
        .collect();
    bits.chunks(6)
        .map(|chunk| {
            let value = (0..6).fold(0, |value, place| value << 1 | chunk.get(place).copied().unwrap_or(0));
            char::from(LETTERS[usize::from(value)])
        })
        .collect()
}

impl Browser<'_> {
    fn head(&self, method: &str, path: &str) -> String {
        let cookie = &self.cookie;
        format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncookie: {cookie}\r\n")
    }

    pub(crate) async fn get(&self, path: &str) -> Page {
        self.server.ask(&format!("{}\r\n", self.head("GET", path))).await
    }

    /// Opens a stream of events.
    pub(crate) async fn open(&self, path: &str) -> TcpStream {
        self.server.connect(&format!("{}\r\n", self.head("GET", path))).await
    }

    /// What it sends with each request.
    pub(crate) fn cookie(&self) -> &str {
        &self.cookie
    }

    /// The token that stands in this browser's forms.
    pub(crate) async fn csrf(&self) -> String {
        self.csrf_on("/account").await
    }

    /// The token that stands in the forms of one page.
    pub(crate) async fn csrf_on(&self, path: &str) -> String {
        let page = self.get(path).await;
        let (_, rest) = page.body.split_once("name=\"csrf\" value=\"").unwrap();
        rest.split('"').next().unwrap().to_owned()
    }

    /// Sends a form with its token.
    pub(crate) async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Page {
        let csrf = self.csrf().await;
        self.post_with(path, &csrf, fields).await
    }

    /// Sends a form with any token.
    pub(crate) async fn post_with(&self, path: &str, csrf: &str, fields: &[(&str, &str)]) -> Page {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("csrf", csrf).extend_pairs(fields);
        let body = form.finish();
        let request = format!(
            "{}content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{body}",
            self.head("POST", path),
            body.len()
        );
        self.server.ask(&request).await
    }

    /// Sends a form that may carry a picture, with its token.
    pub(crate) async fn upload(&self, path: &str, fields: &[(&str, &str)], picture: Option<&[u8]>) -> Page {
        const EDGE: &str = "----edge";
        let csrf = self.csrf().await;
        let mut body = Vec::new();
        for (name, value) in [("csrf", csrf.as_str())].iter().chain(fields) {
            let part = format!("--{EDGE}\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
            body.extend(part.into_bytes());
        }
        // Where no file was chosen, a browser sends an empty one.
        let part = "content-disposition: form-data; name=\"picture\"; filename=\"picture.png\"";
        body.extend(format!("--{EDGE}\r\n{part}\r\ncontent-type: image/png\r\n\r\n").into_bytes());
        body.extend(picture.unwrap_or_default());
        body.extend(format!("\r\n--{EDGE}--\r\n").into_bytes());
        let head = format!(
            "{}content-type: multipart/form-data; boundary={EDGE}\r\ncontent-length: {}\r\n\r\n",
            self.head("POST", path),
            body.len()
        );
        self.server.ask_bytes(&[head.as_bytes(), &body].concat()).await
    }

    /// Sends a message as a program of this account would.
    pub(crate) async fn sent(&self, to: u64, payload: Option<&str>, callback_url: Option<&str>) -> RequestId {
        self.send(Self::parameters(to, payload, callback_url)).await
    }

    /// Sends a message over a route, past a leg that was passed over.
    pub(crate) async fn sent_over(&self, plan: &str, passed_over: (&str, &str)) -> RequestId {
        let mut send = Self::parameters(PHONE, None, None);
        send.ttl = Ttl::new(60).unwrap();
        send.plan = RoutePlan::decode(plan).map(Arc::new);
        send.skipped = vec![(LegName::parse(passed_over.0).unwrap(), Detail::new(passed_over.1))];
        self.send(send).await
    }

    fn parameters(to: u64, payload: Option<&str>, callback_url: Option<&str>) -> Send {
        Send {
            email: None,
            locale: None,
            phone: PhoneNumber::from_stored(to),
            request: None,
            sender: None,
            code: SendCode::Supplied(Code::parse("48151623").unwrap()),
            callback_url: callback_url.map(|url| CallbackUrl::parse(url, PlainHttp::Refused).unwrap()),
            payload: payload.map(|text| Payload::new(text.to_owned()).unwrap()),
            ttl: Ttl::default(),
            id_entropy: u64::from_ne_bytes(countersign_server::random::bytes()),
            reach: Reach::Reachable,
            plan: None,
            skipped: Vec::new(),
            guard: None,
        }
    }

    async fn send(&self, send: Send) -> RequestId {
        let answer = self.server.submit(self.account, Action::Send(Box::new(send))).await;
        let Answer::Status(status) = answer else {
            panic!("the send was answered by {answer:?}");
        };
        RequestId::parse(&status.request_id).unwrap()
    }

    /// News that a leg tells, with what was said besides.
    pub(crate) async fn news_by(&self, request: RequestId, leg: &str, news: News, detail: Option<&str>) {
        let action = Action::News {
            request,
            leg: LegName::parse(leg),
            news,
            detail: detail.map(Detail::new),
            receipts: true,
        };
        self.server.submit(self.account, action).await;
    }

    /// Lets so many seconds pass for this account, and a worker look at the request.
    pub(crate) async fn pass_seconds(&self, seconds: i64, request: RequestId) {
        let by_ms = seconds * 1_000;
        self.server.submit(self.account, Action::AdvanceClock { by_ms }).await;
        self.server.submit(self.account, Action::Wake { request }).await;
    }

    pub(crate) async fn news(&self, request: RequestId, news: News) {
        self.server.submit(self.account, Action::news(request, news)).await;
    }
}

impl Page {
    /// Where a redirect leads.
    pub(crate) fn location(&self) -> &str {
        assert_eq!(self.status, 303, "{}", self.body);
        let lines = self.head.lines().find_map(|line| line.strip_prefix("location: "));
        lines.unwrap()
    }

    /// The cookie of that name that it sets, as the browser sends it back.
    pub(crate) fn cookie(&self, name: &str) -> Option<String> {
        let mut lines = self.raw_head.lines();
        let set = lines.find_map(|line| {
            let (header, value) = line.split_once(": ")?;
            let is_it = header.eq_ignore_ascii_case("set-cookie") && value.starts_with(&format!("{name}="));
            is_it.then_some(value)
        });
        set.and_then(|value| value.split(';').next()).map(str::to_owned)
    }

    pub(crate) fn has(&self, text: &str) -> bool {
        self.body.contains(text)
    }
}
