//! What the operator sets: defaults by mode, then the file, then the environment, then the command line.
//!
//! Each setting is described once, in [`TABLE`]: its name, what it expects, its defaults and its documentation feed the
//! parser, the error messages and the file that `countersign init` writes. [`Settings::check`] holds the rules that concern
//! several settings at once; nothing here opens a socket or makes a file.

mod channels;
mod check;
mod database;
mod error;
mod load;
mod quotas;
mod setting;
mod table;
mod text;
mod values;

pub use channels::{ChannelSettings, LegSettings, MessageKind, RouteSettings};
pub use database::{DatabaseSettings, DatabaseUrl, PostgresUrl};
pub use error::SettingsError;
pub use load::{Environment, Overrides};
pub use quotas::{QuotaOf, QuotaSetting, QuotaSettings};
pub use table::{Kind, Setting, TABLE};
pub use text::{commented_file, file_with};

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use countersign_channels::{OwnTexts, Texts, TextsError};
use countersign_core::{Credits, LegName, Limit, PriceList, RouteName, Rules};
use countersign_store::Database;
use ipnet::IpNet;
use url::Url;

use crate::Mode;
use crate::workers::RetrySchedule;

/// The configuration file that is read where no other is named, if it exists.
pub const DEFAULT_FILE: &str = "countersign.toml";

/// Everything that can be set, typed and parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Sandbox or production.
    pub mode: Mode,
    /// Where the books and the keys are.
    pub data_dir: PathBuf,
    /// Where the books are, where it isn't the data directory.
    pub database: DatabaseSettings,
    /// How callers reach the server.
    pub server: ServerSettings,
    /// What Prometheus reads.
    pub metrics: MetricsSettings,
    /// Where traces go.
    pub traces: TraceSettings,
    /// What exists in the sandbox only.
    pub sandbox: SandboxSettings,
    /// The built-in messenger.
    pub inbox: InboxSettings,
    /// Secrets, by file.
    pub keys: KeySettings,
    /// Delivery reports.
    pub callbacks: CallbackSettings,
    /// Orders of credit.
    pub payment: PaymentSettings,
    /// Flood limits and bounds on guessing.
    pub limits: LimitSettings,
    /// For how many days verification requests are kept; `None`: for ever.
    pub keep_requests_days: Option<u32>,
    /// The pages.
    pub site: SiteSettings,
    /// What recipients read, in their languages.
    pub texts: OwnTexts,
    /// How messages are delivered.
    pub delivery: DeliverySettings,
    /// What keeps codes from where nobody should pay for them.
    pub guard: GuardSettings,
    /// Ways to reach a phone besides the inbox.
    pub channels: Vec<ChannelSettings>,
    /// Which legs messages take. None: all go to the inbox, where it is switched on.
    pub routes: Vec<RouteSettings>,
    /// What the operator should know of these settings though it is no error; `start` logs each.
    pub warnings: Vec<String>,
}

/// How callers reach the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerSettings {
    /// The address of the API.
    pub listen: SocketAddr,
    /// What callers use as the beginning of every address, without a slash at its end.
    pub public_url: Option<String>,
    /// Certificate chain, PEM.
    pub tls_cert_file: Option<PathBuf>,
    /// Its private key, PEM.
    pub tls_key_file: Option<PathBuf>,
    /// A proxy in front terminates TLS.
    pub behind_proxy: bool,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// The most connections at once; more are told to come back.
    pub max_connections: usize,
    /// The longest that reading one request may take.
    pub request_timeout: Duration,
}

/// What Prometheus reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricsSettings {
    /// Its own address; `None`: nowhere.
    pub listen: Option<SocketAddr>,
}

/// Where traces go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceSettings {
    /// The collector's address for traces by OTLP over HTTP; `None`: there are none.
    pub endpoint: Option<Url>,
    /// How many of a hundred traces are sent that begin here.
    pub sample_percent: u32,
}

/// What exists in the sandbox only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxSettings {
    /// Other addresses than loopback are allowed, and pages answer under any host name.
    pub exposed: bool,
    /// A second listener speaks TLS as `gatewayapi.telegram.org`, with a certificate of a private CA.
    pub tls: bool,
    /// Its address.
    pub tls_listen: SocketAddr,
}

/// The built-in messenger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboxSettings {
    /// Messages go to the built-in inbox, open to whoever reaches the server.
    pub enabled: bool,
}

/// Secrets, by file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySettings {
    /// The key that seals what is stored. The sandbox makes `DIR/master.key` where none is named.
    pub master_key_file: Option<PathBuf>,
    /// The key of the operator's API; `DIR/operator.key` where none is named, made where it is missing.
    pub operator_key_file: Option<PathBuf>,
}

/// Delivery reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallbackSettings {
    /// PEM certificates that are trusted besides the system's.
    pub extra_ca_file: Option<PathBuf>,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// Reports may go to loopback and private addresses.
    pub allow_private_addresses: bool,
    /// When a failed report is tried again.
    pub retries: RetrySchedule,
}

/// Orders of credit and how they are paid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentSettings {
    /// What is told to whoever pays by bank transfer: Markdown.
    pub transfer_instructions_file: Option<PathBuf>,
    /// The least that one order may be for.
    pub least_order: Credits,
    /// The most that one order may be for.
    pub most_order: Credits,
}

/// Flood limits and bounds on guessing. `None`: no limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitSettings {
    /// Sends and ability checks of one account in a second.
    pub account_sends_per_second: Option<u32>,
    /// Sends and ability checks of one account to one number in an hour.
    pub number_sends_per_hour: Option<u32>,
    /// Sends and ability checks of all accounts together, by what they have in common.
    pub quotas: QuotaSettings,
    /// After how many seconds a send may end the code before it; `None`: codes live beside each other.
    pub one_live_code_seconds: Option<u32>,
    /// Free sends a day to the owner's own number.
    pub free_sends_per_day: Option<u32>,
    /// The wrong code after which no code counts any more.
    pub check_attempts: u8,
    /// Sign-ins to the pages that one number may begin in an hour; one address four times as many.
    pub login_attempts_per_hour: Option<u32>,
}

/// How messages are delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliverySettings {
    /// How long all legs together may take to answer whether they reach a number.
    pub ask_timeout: Duration,
    /// Free messages to an account's own number may take legs that cost the operator money.
    pub own_number_paid_legs: bool,
}

/// What keeps codes from where nobody should pay for them, besides what each account's own rules say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuardSettings {
    /// No text goes to ranges that the numbering plan knows as dear, or as not reached by text.
    pub refuse_ranges: bool,
    /// Places from which too few codes come back are slowed, then stopped.
    pub pumping: bool,
}

/// The pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteSettings {
    /// Who confirms a number that no account has gets a new account.
    pub sign_up: bool,
    /// The terms that are accepted at the first sign-in, in Markdown.
    pub terms_file: Option<PathBuf>,
}

impl Settings {
    /// The rules that the books go by. Prices are not settings: they stand in the books.
    pub fn rules(&self) -> Rules {
        let limit = |count: Option<u32>, period_ms| count.map(|count| Limit { count, period_ms });
        Rules {
            prices: PriceList::default(),
            route: RouteName::INBOX,
            max_check_attempts: self.limits.check_attempts,
            free_sends_per_day: self.limits.free_sends_per_day,
            account_limit: limit(self.limits.account_sends_per_second, 1_000),
            number_limit: limit(self.limits.number_sends_per_hour, 3_600_000),
            one_live_code: self
                .limits
                .one_live_code_seconds
                .map(|seconds| i64::from(seconds) * 1_000),
        }
    }

    /// Reads what recipients read: the built-in texts, and the operator's own over them.
    pub fn open_texts(&self) -> Result<Arc<Texts>, TextsError> {
        let channels = self.channels.iter().map(|channel| channel.config.name.clone());
        let channels: Vec<_> = std::iter::once(LegName::INBOX).chain(channels).collect();
        Texts::with_own(&self.texts, &channels)
    }

    /// Which database holds the books.
    pub fn database(&self) -> Database {
        self.database.of(&self.data_dir)
    }

    /// The file that opens the books.
    pub fn master_key_file(&self) -> PathBuf {
        let named = self.keys.master_key_file.clone();
        named.unwrap_or_else(|| self.data_dir.join("master.key"))
    }

    /// The file with the operator's key.
    pub fn operator_key_file(&self) -> PathBuf {
        let named = self.keys.operator_key_file.clone();
        named.unwrap_or_else(|| self.data_dir.join("operator.key"))
    }
}

#[cfg(test)]
mod tests;
