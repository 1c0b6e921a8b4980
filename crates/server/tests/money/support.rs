//! A server of the pages with everything behind it, made by hand so that a test reaches its books, and a browser without a
//! script: it keeps cookies, remembers the page that it shows, and sends that page's forms.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use countersign_channels::Inbox;
use countersign_core::{
    AccountId, AccountKey, Action, ApiToken, CodeLength, Command, Credits, PhoneNumber, Reach, SandboxNumbers, Send,
    SendCode, Timestamp, Ttl,
};
use countersign_server::http::{HttpLimits, HttpServer, bind};
use countersign_server::operator::OperatorKey;
use countersign_server::settings::Settings;
use countersign_server::workers::{self, Workers};
use countersign_server::{App, LoginDesk, Mode, random, start};
use countersign_store::{
    Actor, Books, DetailsChange, MasterKey, NewAccount, NewSession, SessionOwner, SessionToken, SiteStore, Store,
    testing,
};
use reqwest::header::{COOKIE, LOCATION, SET_COOKIE};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, StatusCode};
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};

/// No test waits longer for one answer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// A number that numbering plans call possible, and no account's own.
pub(crate) const PHONE: &str = "+391234567890";
/// The first account's own number.
pub(crate) const OWNER: &str = "+393333333333";
/// What opens the operator's API and console.
pub(crate) const OPERATOR_KEY: &str = "the-operators-key-of-a-test";

/// A running server, with one account that has a credit of 10 and has answered the questions of its first sign-in.
pub(crate) struct Site {
    pub(crate) store: Arc<dyn Books>,
    pub(crate) address: SocketAddr,
    pub(crate) account: AccountKey,
    _draining: watch::Sender<bool>,
    _http: HttpServer,
    _workers: Workers,
    _dir: TempDir,
}

impl Site {
    /// A sandbox.
    pub(crate) async fn start() -> Self {
        Self::start_with(Mode::Sandbox, |_| {}).await
    }

    /// A server whose settings differ from the mode's defaults.
    pub(crate) async fn start_with(mode: Mode, set: impl FnOnce(&mut Settings)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = Settings::defaults(mode);
        set(&mut settings);
        let master_key = MasterKey::from_bytes([7; 32]);
        let (store, committed) = testing::open(dir.path(), master_key, settings.rules()).unwrap();
        let (draining, is_draining) = watch::channel(false);
        let (news, news_queue) = mpsc::channel(64);
        let inbox = settings.inbox.enabled.then(|| Inbox::new(news));
        let app = Arc::new(App {
            store: Arc::clone(&store) as Arc<dyn Store>,
            site: Arc::clone(&store) as Arc<dyn SiteStore>,
            mode,
            routes: countersign_server::Routes::built_in(&settings, inbox.as_ref()),
            texts: countersign_channels::Texts::built_in().unwrap(),
            inbox,
            onlookers: Arc::default(),
            login: LoginDesk::new(&settings).unwrap(),
            operator_key: OperatorKey::new(OPERATOR_KEY).unwrap(),
            settings,
            vitals: Arc::default(),
            draining: is_draining,
        });
        let workers = workers::start(&app, committed, news_queue).unwrap();
        let http = HttpServer::new(start::router(&app), HttpLimits::new(100, PATIENCE));
        let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        http.listen(listener, None);
        let account = make_account(store.as_ref(), 1, OWNER).await;
        Self {
            store,
            address,
            account,
            _draining: draining,
            _http: http,
            _workers: workers,
            _dir: dir,
        }
    }

    /// A further account with a credit of 10 that has answered the questions; `seed` makes its id and token.
    pub(crate) async fn account(&self, seed: u8, phone: &str) -> AccountKey {
        make_account(self.store.as_ref(), seed, phone).await
    }

    /// A browser that nobody signed in with.
    pub(crate) fn browser(&self) -> Browser {
        Browser {
            client: Client::builder()
                .no_proxy()
                .timeout(PATIENCE)
                .redirect(Policy::none())
                .build()
                .unwrap(),
            base: format!("http://{}", self.address),
            cookies: Mutex::default(),
            page: Mutex::default(),
        }
    }

    /// A browser in which the first account is signed in.
    pub(crate) async fn owner(&self) -> Browser {
        self.signed_in(self.account).await
    }

    /// A browser in which an account is signed in.
    pub(crate) async fn signed_in(&self, account: AccountKey) -> Browser {
        let browser = self.browser();
        let secret = random::bytes::<32>();
        let new = NewSession {
            token: SessionToken(secret),
            id: i64::from_ne_bytes(random::bytes()) & i64::MAX,
            owner: SessionOwner::Account(account),
            device: "A test".to_owned(),
            address: "127.0.0.1".to_owned(),
            now: now(),
            life_ms: 3_600_000,
        };
        self.store.begin_session(new).await.unwrap();
        browser.set_cookie("countersign-session", &base64url(&secret));
        browser
    }
}

/// The present time, to the millisecond.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap())
}

/// A number of a test.
pub(crate) fn phone(text: &str) -> PhoneNumber {
    PhoneNumber::parse(text, SandboxNumbers::Accepted).unwrap()
}

/// A send to a number; `id_entropy` is the random half of its request's id.
pub(crate) fn send(to: &str, id_entropy: u64) -> Action {
    Action::Send(Box::new(Send {
        email: None,
        locale: None,
        phone: phone(to),
        request: None,
        sender: None,
        code: SendCode::Generate {
            length: CodeLength::default(),
            entropy: 123_456,
        },
        callback_url: None,
        payload: None,
        ttl: Ttl::default(),
        id_entropy,
        reach: Reach::Reachable,
        plan: None,
        skipped: Vec::new(),
        guard: None,
    }))
}

/// An account that nothing was booked for, whose owner has answered the questions of the first sign-in.
pub(crate) async fn new_account(store: &dyn Books, seed: u8, owner: &str) -> AccountKey {
    let id = AccountId::from_entropy(u64::from_be_bytes([seed; 8]));
    let key = AccountKey::of_new(id);
    let new = NewAccount {
        key,
        token: ApiToken::new(id, [seed; 32]),
        name: format!("Account {seed}"),
        phone: phone(owner),
        now: now(),
    };
    store.create_account(new, Actor::Operator).await.unwrap();
    let answers = DetailsChange {
        name: format!("Account {seed}"),
        country: "IT".to_owned(),
        purpose: "Tests".to_owned(),
        accepted_terms: Some("test".to_owned()),
        ..DetailsChange::default()
    };
    store.set_details(key, answers, now()).await.unwrap();
    key
}

async fn make_account(store: &dyn Books, seed: u8, owner: &str) -> AccountKey {
    let key = new_account(store, seed, owner).await;
    let purchase = Command {
        now: now(),
        token: None,
        idempotency: None,
        action: Action::Purchase {
            amount: Credits::parse("10").unwrap(),
        },
    };
    store.submit(key, purchase).await.unwrap().unwrap();
    key
}

fn base64url(bytes: &[u8]) -> String {
    const SIGNS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0_u32, |group, &byte| group << 8 | u32::from(byte)) << (8 * (3 - chunk.len()));
        for place in 0..=chunk.len() {
            text.push(char::from(SIGNS[(group >> (18 - 6 * place) & 63) as usize]));
        }
    }
    text
}

/// An answer, read.
#[derive(Debug, Clone)]
pub(crate) struct Page {
    pub(crate) status: StatusCode,
    /// Where a redirect leads.
    pub(crate) to: Option<String>,
    /// The `Set-Cookie` headers.
    pub(crate) set_cookies: Vec<String>,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
}

impl Page {
    /// The hidden CSRF field of the page's forms.
    pub(crate) fn csrf(&self) -> String {
        let (_, after) = self
            .text
            .split_once("name=\"csrf\" value=\"")
            .expect("no form on the page");
        after.split_once('"').unwrap().0.to_owned()
    }

    /// The text of the page's only `<h1>`.
    pub(crate) fn heading(&self) -> &str {
        let (_, after) = self.text.split_once("<h1>").expect("no heading on the page");
        after.split_once("</h1>").unwrap().0
    }

    #[track_caller]
    pub(crate) fn leads_to(&self, path: &str) {
        assert_eq!(
            (self.status, self.to.as_deref()),
            (StatusCode::SEE_OTHER, Some(path)),
            "{}",
            self.text
        );
    }

    #[track_caller]
    pub(crate) fn shows(&self, what: &str) {
        assert!(self.text.contains(what), "{what:?} isn't on the page:\n{}", self.text);
    }
}

/// A browser without a script.
pub(crate) struct Browser {
    client: Client,
    base: String,
    cookies: Mutex<BTreeMap<String, String>>,
    /// The page that it shows.
    page: Mutex<Option<Page>>,
}

impl Browser {
    pub(crate) fn set_cookie(&self, name: &str, value: &str) {
        self.cookies.lock().unwrap().insert(name.to_owned(), value.to_owned());
    }

    /// Opens a page; a redirect isn't followed.
    pub(crate) async fn get(&self, path: &str) -> Page {
        let page = self.ask(Method::GET, path, None, &[]).await;
        *self.page.lock().unwrap() = Some(page.clone());
        page
    }

    /// Sends a form of the page that is shown, with its hidden field.
    pub(crate) async fn submit(&self, path: &str, fields: &[(&str, &str)]) -> Page {
        let csrf = self.page.lock().unwrap().as_ref().expect("no page is open").csrf();
        let mut all = vec![("csrf", csrf.as_str())];
        all.extend(fields);
        self.post(path, &all).await
    }

    /// Sends a form as it is given.
    pub(crate) async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Page {
        self.ask(Method::POST, path, Some(fields), &[]).await
    }

    /// Asks with further headers.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        form: Option<&[(&str, &str)]>,
        headers: &[(&str, &str)],
    ) -> Page {
        let cookies: Vec<String> = {
            let cookies = self.cookies.lock().unwrap();
            cookies.iter().map(|(name, value)| format!("{name}={value}")).collect()
        };
        let mut request = self.client.request(method, format!("{}{path}", self.base));
        if !cookies.is_empty() {
            request = request.header(COOKIE, cookies.join("; "));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(fields) = form {
            request = request.form(fields);
        }
        let answer = request.send().await.unwrap();
        let headers = answer.headers().clone();
        let text = |value: &reqwest::header::HeaderValue| value.to_str().unwrap().to_owned();
        let page = Page {
            status: answer.status(),
            to: headers.get(LOCATION).map(text),
            set_cookies: headers.get_all(SET_COOKIE).iter().map(text).collect(),
            headers,
            text: answer.text().await.unwrap(),
        };
        for cookie in &page.set_cookies {
            let (name, rest) = cookie.split_once('=').unwrap();
            let value = rest.split(';').next().unwrap();
            if cookie.contains("Max-Age=0") {
                self.cookies.lock().unwrap().remove(name);
            } else {
                self.set_cookie(name, value);
            }
        }
        page
    }
}
