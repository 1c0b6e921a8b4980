//! The one table of settings. A new setting is a field in [`Settings`] and a row here; everything else follows.

use std::time::Duration;

use countersign_core::Locale;

use super::Settings;
use super::database::put_database;
use super::values::{
    address, base_url, flag, http_address, networks, node_name, order_amount, parse_mode, path, put, put_limit,
    put_optional, retry_delays, seconds, within,
};
use crate::Mode;

/// How a setting is written in the file. In the environment everything is text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A string.
    Text,
    /// `true` or `false`.
    Flag,
    /// A whole number.
    Whole,
    /// An array of strings; in the environment separated by commas.
    List,
    /// An array of whole numbers; in the environment separated by commas.
    Numbers,
}

/// One setting.
pub struct Setting {
    /// Its section in the file; empty for the two at the top.
    pub section: &'static str,
    /// Its name within the section.
    pub key: &'static str,
    /// How it is written in the file.
    pub kind: Kind,
    /// What it must be, to complete "expected …".
    pub expects: &'static str,
    /// Its default as text, in the sandbox; empty for none.
    pub sandbox: &'static str,
    /// Its default as text, in production; empty for none.
    pub production: &'static str,
    /// What it does, one sentence or two.
    pub doc: &'static str,
    /// Takes the value as text; `None` where it isn't what [`Self::expects`] says. Empty text unsets it.
    pub(super) set: fn(&mut Settings, &str) -> Option<()>,
}

impl Setting {
    /// Its full name, as messages give it.
    pub fn name(&self) -> String {
        if self.section.is_empty() {
            self.key.to_owned()
        } else {
            format!("{}.{}", self.section, self.key)
        }
    }

    /// Its environment variable.
    pub fn variable(&self) -> String {
        let name = self.name().replace('.', "_").to_uppercase();
        format!("COUNTERSIGN_{name}")
    }

    /// Its default as text; empty for none.
    pub const fn default_of(&self, mode: Mode) -> &'static str {
        match mode {
            Mode::Sandbox => self.sandbox,
            Mode::Production => self.production,
        }
    }
}

const A_FILE: &str = "the path of a file";
const A_FLAG: &str = "true or false";
const AN_ADDRESS: &str = "an IP address with a port, like \"127.0.0.1:8099\"";
const AN_ORDER: &str = "an amount above 0 in quotes, like \"10\"";
const A_LIMIT: &str = "a whole number, 0 for no limit";
const SECONDS: &str = "a whole number of seconds from 1 to 300";

/// 15 s, 1 min, 5 min, 15 min, 30 min, 1 h, 2 h, 4 h, 8 h, 12 h.
const RETRY_DELAYS: &str = "15,60,300,900,1800,3600,7200,14400,28800,43200";

/// Every setting, in the order in which `countersign init` writes them.
pub static TABLE: &[Setting] = &[
    Setting {
        section: "",
        key: "mode",
        kind: Kind::Text,
        expects: "\"sandbox\" or \"production\"",
        sandbox: "sandbox",
        production: "production",
        doc: "\"sandbox\" is a stand-in for development and CI: open inbox, sandbox numbers, a movable clock. \
              \"production\" has none of these and refuses to start where it would not be safe.",
        set: |settings, text| put(&mut settings.mode, parse_mode(text)),
    },
    Setting {
        section: "",
        key: "data_dir",
        kind: Kind::Text,
        expects: "the path of a directory",
        sandbox: "countersign-data",
        production: "countersign-data",
        doc: "Where the database and the keys are; made where it is missing. One server at a time uses it.",
        set: |settings, text| put(&mut settings.data_dir, path(text)),
    },
    Setting {
        section: "database",
        key: "url",
        kind: Kind::Text,
        expects: "postgres://USER:PASSWORD@HOST:PORT/NAME, or sqlite://DIR, a data directory",
        sandbox: "",
        production: "",
        doc: "The PostgreSQL database that holds the books, for several nodes at once; docs/postgresql.md. Where none is named, \
              they are a file in data_dir. Several hosts are separated by commas: the one that takes writes is used.",
        set: put_database,
    },
    Setting {
        section: "database",
        key: "ca_file",
        kind: Kind::Text,
        expects: A_FILE,
        sandbox: "",
        production: "",
        doc: "PEM certificate of the authority that signed the database server's; the system's authorities where none is named.",
        set: |settings, text| put_optional(&mut settings.database.ca_file, text, path),
    },
    Setting {
        section: "database",
        key: "lanes",
        kind: Kind::Whole,
        expects: "a whole number from 1 to 32",
        sandbox: "4",
        production: "4",
        doc: "How many batches this node commits at once, each on a connection of its own.",
        set: |settings, text| put(&mut settings.database.lanes, within(text, 1, 32)),
    },
    Setting {
        section: "database",
        key: "readers",
        kind: Kind::Whole,
        expects: "a whole number from 1 to 64",
        sandbox: "4",
        production: "4",
        doc: "How many connections this node has for pages, status calls and settings besides.",
        set: |settings, text| put(&mut settings.database.readers, within(text, 1, 64)),
    },
    Setting {
        section: "database",
        key: "timeout_seconds",
        kind: Kind::Whole,
        expects: "a whole number of seconds from 1 to 60",
        sandbox: "5",
        production: "5",
        doc: "How long the database may take for one question or one batch; then callers get UNAVAILABLE (503).",
        set: |settings, text| {
            put(
                &mut settings.database.timeout,
                within(text, 1, 60).map(|seconds: u32| Duration::from_secs(seconds.into())),
            )
        },
    },
    Setting {
        section: "database",
        key: "node_name",
        kind: Kind::Text,
        expects: "a name of at most 63 bytes",
        sandbox: "",
        production: "",
        doc: "What this node is called in `countersign database status` and in the database's list of connections; the host's \
              name where none is named.",
        set: |settings, text| put_optional(&mut settings.database.node_name, text, node_name),
    },
    Setting {
        section: "server",
        key: "listen",
        kind: Kind::Text,
        expects: AN_ADDRESS,
        sandbox: "127.0.0.1:8099",
        production: "127.0.0.1:8099",
        doc: "The address of the API. Port 0 takes a free one, which `serve` prints. \
              The sandbox takes loopback addresses only, unless sandbox.exposed is true.",
        set: |settings, text| put(&mut settings.server.listen, address(text)),
    },
    Setting {
        section: "server",
        key: "public_url",
        kind: Kind::Text,
        expects: "an http:// or https:// address without a path",
        sandbox: "",
        production: "",
        doc: "How callers write this server's address, where it differs from the one it listens on.",
        set: |settings, text| put_optional(&mut settings.server.public_url, text, base_url),
    },
    Setting {
        section: "server",
        key: "tls_cert_file",
        kind: Kind::Text,
        expects: A_FILE,
        sandbox: "",
        production: "",
        doc: "Certificate chain in PEM, the server's own certificate first. Read at start.",
        set: |settings, text| put_optional(&mut settings.server.tls_cert_file, text, path),
    },
    Setting {
        section: "server",
        key: "tls_key_file",
        kind: Kind::Text,
        expects: A_FILE,
        sandbox: "",
        production: "",
        doc: "The private key of that certificate, in PEM.",
        set: |settings, text| put_optional(&mut settings.server.tls_key_file, text, path),
    },
    Setting {
        section: "server",
        key: "behind_proxy",
        kind: Kind::Flag,
        expects: A_FLAG,
        sandbox: "false",
        production: "false",
        doc: "A proxy in front terminates TLS: plain HTTP is served to it, also in production.",
        set: |settings, text| put(&mut settings.server.behind_proxy, flag(text)),
    },
    Setting {
        section: "server",
        key: "trusted_proxies",
        kind: Kind::List,
        expects: "addresses or networks, like [\"127.0.0.1\", \"10.0.0.0/8\"]",
        sandbox: "",
        production: "",
        doc: "Proxies whose X-Forwarded-For header names the caller; from anyone else that header is ignored. \
              Allow-lists judge the address found this way.",
        set: |settings, text| put(&mut settings.server.trusted_proxies, networks(text)),
    },
    Setting {
        section: "server",
        key: "max_connections",
        kind: Kind::Whole,
        expects: "a whole number from 1 to 1000000",
        sandbox: "20000",
        production: "20000",
        doc: "The most connections at once; a further caller gets UNAVAILABLE (503) and may come back. \
              The system's limit on open files bounds it too.",
        set: |settings, text| put(&mut settings.server.max_connections, within(text, 1, 1_000_000)),
    },
    Setting {
        section: "server",
        key: "request_timeout_seconds",
        kind: Kind::Whole,
        expects: SECONDS,
        sandbox: "10",
        production: "10",
        doc: "How long a caller may take to send the head of a request, and then its body.",
        set: |settings, text| put(&mut settings.server.request_timeout, seconds(text)),
    },
    Setting {
        section: "metrics",
        key: "listen",
        kind: Kind::Text,
        expects: AN_ADDRESS,
        sandbox: "",
        production: "",
        doc: "The address of GET /metrics for Prometheus, apart from the API and without a key: one that only Prometheus reaches, \
              like \"127.0.0.1:9464\". Metrics are served nowhere where none is named.",
        set: |settings, text| put_optional(&mut settings.metrics.listen, text, address),
    },
    Setting {
        section: "traces",
        key: "endpoint",
        kind: Kind::Text,
        expects: "an http:// or https:// address, like \"http://127.0.0.1:4318/v1/traces\"",
        sandbox: "",
        production: "",
        doc: "The collector to which OpenTelemetry traces go, by OTLP over HTTP; there are none where none is named.",
        set: |settings, text| put_optional(&mut settings.traces.endpoint, text, http_address),
    },
    Setting {
        section: "traces",
        key: "sample_percent",
        kind: Kind::Whole,
        expects: "a whole number from 1 to 100",
        sandbox: "100",
        production: "100",
        doc: "How many of a hundred traces are sent. For a call in a caller's own trace (traceparent) the caller has decided.",
        set: |settings, text| put(&mut settings.traces.sample_percent, within(text, 1, 100)),
    },
    Setting {
        section: "sandbox",
        key: "exposed",
        kind: Kind::Flag,
        expects: A_FLAG,
        sandbox: "false",
        production: "false",
        doc: "Lets the sandbox listen on other addresses than loopback, for a stand-in in its own container. \
              Whoever reaches it reads every code.",
        set: |settings, text| put(&mut settings.sandbox.exposed, flag(text)),
    },
    Setting {
        section: "sandbox",
        key: "tls",
        kind: Kind::Flag,
        expects: A_FLAG,
        sandbox: "false",
        production: "false",
        doc: "Also serves gatewayapi.telegram.org over TLS, for clients that hard-code that name. The certificate is signed \
              by a private CA; clients trust it by DIR/sandbox-ca.pem.",
        set: |settings, text| put(&mut settings.sandbox.tls, flag(text)),
    },
    Setting {
        section: "sandbox",
        key: "tls_listen",
        kind: Kind::Text,
        expects: AN_ADDRESS,
        sandbox: "127.0.0.1:8443",
        production: "127.0.0.1:8443",
        doc: "The address of that TLS listener.",
        set: |settings, text| put(&mut settings.sandbox.tls_listen, address(text)),
    },
    Setting {
        section: "inbox",
        key: "enabled",
        kind: Kind::Flag,
        expects: A_FLAG,
        sandbox: "true",
        production: "false",
        doc: "The built-in inbox at /inbox takes every message and shows its code to whoever reaches the server. \
              Production refuses to start with it.",
        set: |settings, text| put(&mut settings.inbox.enabled, flag(text)),
    },
    Setting {
        section: "keys",
        key: "master_key_file",
        kind: Kind::Text,
        expects: A_FILE,
        sandbox: "",
        production: "",
        doc: "The key that seals codes and tokens in the database: 64 hexadecimal digits or 32 raw bytes. The sandbox makes \
              DIR/master.key where none is named; production never makes one. Keep a copy apart from the backups.",
        set: |settings, text| put_optional(&mut settings.keys.master_key_file, text, path),
    },
    Setting {
        section: "keys",
        key: "operator_key_file",
        kind: Kind::Text,
        expects: A_FILE,
        sandbox: "",
        production: "",
        doc: "The key of the operator's API; DIR/operator.key where none is named. Made where it is missing.",
        set: |settings, text| put_optional(&mut settings.keys.operator_key_file, text, path),
    },
    Setting {
        section: "callbacks",
        key: "extra_ca_file",
        kind: Kind::Text,
        expects: A_FILE,
        sandbox: "",
        production: "",
        doc: "PEM certificates of CAs that receivers of delivery reports may use, besides the system's.",
        set: |settings, text| put_optional(&mut settings.callbacks.extra_ca_file, text, path),
    },
    Setting {
        section: "callbacks",
        key: "timeout_seconds",
        kind: Kind::Whole,
        expects: SECONDS,
        sandbox: "10",
        production: "10",
        doc: "How long the receiver of a delivery report may take to acknowledge it.",
        set: |settings, text| put(&mut settings.callbacks.timeout, seconds(text)),
    },
    Setting {
        section: "callbacks",
        key: "allow_private_addresses",
        kind: Kind::Flag,
        expects: A_FLAG,
        sandbox: "false",
        production: "false",
        doc: "Delivery reports may go to private addresses. With false a customer can't make this server call into your \
              network; the sandbox calls its own machine all the same.",
        set: |settings, text| put(&mut settings.callbacks.allow_private_addresses, flag(text)),
    },
    Setting {
        section: "callbacks",
        key: "retry_delays_seconds",
        kind: Kind::Numbers,
        expects: "ten growing whole numbers of seconds, each from 1 to 604800",
        sandbox: RETRY_DELAYS,
        production: RETRY_DELAYS,
        doc: "How long after a failed attempt a delivery report is tried again, from the first retry to the tenth; each is \
              lengthened at random by up to a fifth. Then the report is lost.",
        set: |settings, text| put(&mut settings.callbacks.retries, retry_delays(text)),
    },
    Setting {
        section: "delivery",
        key: "ask_timeout_seconds",
        kind: Kind::Whole,
        expects: "a whole number of seconds from 1 to 30",
        sandbox: "5",
        production: "5",
        doc: "How long the legs of a route may take together to answer whether they reach a number, where that must be asked \
              before a message is sent.",
        set: |settings, text| {
            put(
                &mut settings.delivery.ask_timeout,
                within(text, 1, 30).map(|seconds: u32| Duration::from_secs(seconds.into())),
            )
        },
    },
    Setting {
        section: "delivery",
        key: "own_number_paid_legs",
        kind: Kind::Flag,
        expects: A_FLAG,
        sandbox: "false",
        production: "false",
        doc: "Whether the free messages to an account's own number may take legs that cost you money.",
        set: |settings, text| put(&mut settings.delivery.own_number_paid_legs, flag(text)),
    },
    Setting {
        section: "guard",
        key: "refuse_ranges",
        kind: Kind::Flag,
        expects: A_FLAG,
        sandbox: "false",
        production: "true",
        doc: "Whether texts to ranges that the numbering plan knows as premium-rate, toll-free, fixed lines or other services are \
              refused, where a message could go by text alone. An account allows a prefix to lift it.",
        set: |settings, text| put(&mut settings.guard.refuse_ranges, flag(text)),
    },
    Setting {
        section: "guard",
        key: "pumping",
        kind: Kind::Flag,
        expects: A_FLAG,
        sandbox: "false",
        production: "false",
        doc: "Whether places from which too few of an account's codes come back are slowed, then stopped. It judges accounts that \
              have their codes checked here, and no others.",
        set: |settings, text| put(&mut settings.guard.pumping, flag(text)),
    },
    Setting {
        section: "payment",
        key: "transfer_instructions_file",
        kind: Kind::Text,
        expects: A_FILE,
        sandbox: "",
        production: "",
        doc: "Markdown that tells customers how to pay an order by bank transfer: your bank account, and what to write. \
              {reference} and {amount} are filled in.",
        set: |settings, text| put_optional(&mut settings.payment.transfer_instructions_file, text, path),
    },
    Setting {
        section: "payment",
        key: "least_order",
        kind: Kind::Text,
        expects: AN_ORDER,
        sandbox: "1",
        production: "1",
        doc: "The least that one order of credit may be for, as text: \"10\" or \"2.50\".",
        set: |settings, text| put(&mut settings.payment.least_order, order_amount(text)),
    },
    Setting {
        section: "payment",
        key: "most_order",
        kind: Kind::Text,
        expects: AN_ORDER,
        sandbox: "100000",
        production: "100000",
        doc: "The most that one order of credit may be for.",
        set: |settings, text| put(&mut settings.payment.most_order, order_amount(text)),
    },
    Setting {
        section: "limits",
        key: "account_sends_per_second",
        kind: Kind::Whole,
        expects: A_LIMIT,
        sandbox: "0",
        production: "100",
        doc: "Sends and ability checks of one account in a second; above it FLOOD_WAIT_n. 0: no limit.",
        set: |settings, text| put_limit(&mut settings.limits.account_sends_per_second, text),
    },
    Setting {
        section: "limits",
        key: "number_sends_per_hour",
        kind: Kind::Whole,
        expects: A_LIMIT,
        sandbox: "0",
        production: "10",
        doc: "Sends and ability checks of one account to one number in an hour; above it FLOOD_WAIT_n. 0: no limit.",
        set: |settings, text| put_limit(&mut settings.limits.number_sends_per_hour, text),
    },
    Setting {
        section: "limits",
        key: "one_live_code_seconds",
        kind: Kind::Whole,
        expects: A_LIMIT,
        sandbox: "0",
        production: "0",
        doc: "Lets one code live at a time for an account, a number and a sender: the next send ends the code before it, and gets \
              FLOOD_WAIT_n in the first so many seconds after it. 0: codes live beside each other.",
        set: |settings, text| put_limit(&mut settings.limits.one_live_code_seconds, text),
    },
    Setting {
        section: "limits",
        key: "free_sends_per_day",
        kind: Kind::Whole,
        expects: A_LIMIT,
        sandbox: "0",
        production: "20",
        doc: "Free sends a day to the account owner's own number; above it FLOOD_WAIT_n. 0: no limit.",
        set: |settings, text| put_limit(&mut settings.limits.free_sends_per_day, text),
    },
    Setting {
        section: "limits",
        key: "check_attempts",
        kind: Kind::Whole,
        expects: "a whole number from 1 to 100",
        sandbox: "5",
        production: "5",
        doc: "The wrong code of a request that ends its checks: code_max_attempts_exceeded.",
        set: |settings, text| put(&mut settings.limits.check_attempts, within(text, 1, 100)),
    },
    Setting {
        section: "limits",
        key: "login_attempts_per_hour",
        kind: Kind::Whole,
        expects: A_LIMIT,
        sandbox: "0",
        production: "5",
        doc: "Sign-ins to the pages that one number may begin in an hour; one address may begin, and mistype codes, four times \
              as often. 0: no limit.",
        set: |settings, text| put_limit(&mut settings.limits.login_attempts_per_hour, text),
    },
    Setting {
        section: "privacy",
        key: "keep_requests_days",
        kind: Kind::Whole,
        expects: A_LIMIT,
        sandbox: "0",
        production: "90",
        doc: "Verification requests older than so many days are let go, with number, code, payload and reports; the ledger and \
              the statistics stay. 0: they are kept for ever.",
        set: |settings, text| put_limit(&mut settings.keep_requests_days, text),
    },
    Setting {
        section: "site",
        key: "sign_up",
        kind: Kind::Flag,
        expects: A_FLAG,
        sandbox: "true",
        production: "false",
        doc: "Whoever confirms a phone number that no account has gets a new account, without credit. With false only the \
              operator makes accounts.",
        set: |settings, text| put(&mut settings.site.sign_up, flag(text)),
    },
    Setting {
        section: "site",
        key: "terms_file",
        kind: Kind::Text,
        expects: A_FILE,
        sandbox: "",
        production: "",
        doc: "The terms that people accept at their first sign-in, in Markdown; shown at /terms. Read at start. A short text of \
              ours where none is named.",
        set: |settings, text| put_optional(&mut settings.site.terms_file, text, path),
    },
    Setting {
        section: "texts",
        key: "folder",
        kind: Kind::Text,
        expects: "the path of a folder",
        sandbox: "",
        production: "",
        doc: "Your own texts for recipients: TAG.ftl adds a language or replaces single texts of one, CHANNEL/TAG.ftl does so for \
              one channel. Read at start; docs/texts.md has the ids.",
        set: |settings, text| put_optional(&mut settings.texts.folder, text, path),
    },
    Setting {
        section: "texts",
        key: "default_language",
        kind: Kind::Text,
        expects: "the tag of a language, like \"de\" or \"pt-BR\"",
        sandbox: "en",
        production: "en",
        doc: "The language of recipients who asked for none that there are texts in, and whose country has none.",
        set: |settings, text| put(&mut settings.texts.default_language, Locale::parse(text)),
    },
];
