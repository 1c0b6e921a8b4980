//! `countersign doctor`: reads the operator's texts, looks at the database and tries every channel as it was set, in a process of its
//! own, beside a live server too. Nothing is sent to anyone, and the books are not opened.

mod database;

use std::sync::Arc;
use std::time::Duration;

use countersign_channels::{
    Accounts, Autofill, Finding, Handle, Handles, MessageKey, PortError, Ports, Recipient, Recipients, Texts,
    TextsError, Verdict,
};
use countersign_core::{AccountKey, LegName, PhoneNumber};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesOrdered, StreamExt as _};
use tokio::sync::mpsc;

use crate::settings::{ChannelSettings, Settings};

/// The longest that one channel is tried.
const LIMIT: Duration = Duration::from_secs(40);

/// What was found of all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Examination {
    /// What was found of the operator's own texts, where they have some or these are wrong.
    pub texts: Option<Finding>,
    /// What was found of the PostgreSQL database, in the order in which it was asked; empty where the books are SQLite's.
    pub database: Vec<Finding>,
    /// What was found of each channel, in the order of the settings.
    pub channels: Vec<Examined>,
}

impl Examination {
    /// Whether all of it works.
    pub fn works(&self) -> bool {
        let texts_work = self
            .texts
            .as_ref()
            .is_none_or(|finding| finding.verdict != Verdict::Broken);
        texts_work && all_work(&self.database) && self.channels.iter().all(Examined::works)
    }
}

/// What was found of one channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Examined {
    /// The channel.
    pub name: LegName,
    /// Which kind it is.
    pub kind: String,
    /// What was found, in the order in which it was tried.
    pub findings: Vec<Finding>,
}

impl Examined {
    /// Whether it works.
    pub fn works(&self) -> bool {
        all_work(&self.findings)
    }
}

fn all_work(findings: &[Finding]) -> bool {
    findings.iter().all(|finding| finding.verdict != Verdict::Broken)
}

/// Reads the operator's texts, looks at the database, and tries all channels, side by side.
pub async fn examine(settings: &Settings) -> Examination {
    let (texts, of_texts) = match settings.open_texts() {
        Ok(texts) => {
            let of_texts = settings.texts.folder.is_some().then(|| good_texts(&texts));
            (Some(texts), of_texts)
        }
        // Channels can be tried all the same.
        Err(error) => (Texts::built_in().ok(), Some(broken_texts(&error))),
    };
    let channels = texts.iter().flat_map(|texts| {
        let each = settings.channels.iter();
        each.map(|channel| examine_channel(settings, channel, texts))
    });
    let channels = channels.collect::<FuturesOrdered<_>>().collect();
    let (database, channels) = tokio::join!(database::examine(settings.database()), channels);
    Examination {
        texts: of_texts,
        database,
        channels,
    }
}

fn good_texts(texts: &Texts) -> Finding {
    let tags = texts.languages().iter().map(|language| language.tag().to_string());
    Finding {
        verdict: Verdict::Well,
        found: format!("recipients are written to in {}", tags.collect::<Vec<_>>().join(", ")),
        remedy: String::new(),
    }
}

fn broken_texts(error: &TextsError) -> Finding {
    Finding {
        verdict: Verdict::Broken,
        found: error.to_string(),
        remedy: "mend that: the server doesn’t start before".to_owned(),
    }
}

async fn examine_channel(settings: &Settings, channel: &ChannelSettings, texts: &Arc<Texts>) -> Examined {
    let (news, _news) = mpsc::channel(1);
    let (logins, _logins) = mpsc::channel(1);
    let (costs, _costs) = mpsc::channel(1);
    let books = Arc::new(NoBooks);
    let ports = Ports {
        news,
        logins,
        costs,
        recipients: Arc::clone(&books) as Arc<dyn Recipients>,
        handles: Arc::clone(&books) as Arc<dyn Handles>,
        accounts: books,
        texts: Arc::clone(texts),
        public_url: settings.server.public_url.clone(),
        extra_ca_file: settings.callbacks.extra_ca_file.clone(),
    };
    let broken = |found: String, remedy: &str| {
        vec![Finding {
            verdict: Verdict::Broken,
            found,
            remedy: remedy.to_owned(),
        }]
    };
    let findings = match countersign_channels::make(channel.config.clone(), ports) {
        Err(error) => broken(
            error.to_string(),
            "mend the setting; the channel’s page in docs/ lists them",
        ),
        Ok(made) => match tokio::time::timeout(LIMIT, made.examine()).await {
            Ok(findings) => findings,
            Err(_) => broken(
                format!("it gave no answer in {} s", LIMIT.as_secs()),
                "look whether its host can be reached from this machine",
            ),
        },
    };
    Examined {
        name: channel.config.name.clone(),
        kind: channel.config.kind.clone(),
        findings,
    }
}

/// An examination neither reads nor writes what the books keep.
struct NoBooks;

fn done<T: Send + 'static>(value: T) -> BoxFuture<'static, Result<T, PortError>> {
    std::future::ready(Ok(value)).boxed()
}

impl Recipients for NoBooks {
    fn find<'a>(&'a self, _: &'a LegName, _: PhoneNumber) -> BoxFuture<'a, Result<Option<Recipient>, PortError>> {
        done(None)
    }

    fn at_address<'a>(&'a self, _: &'a LegName, _: &'a str) -> BoxFuture<'a, Result<Vec<Recipient>, PortError>> {
        done(Vec::new())
    }

    fn put<'a>(&'a self, _: &'a LegName, _: Recipient) -> BoxFuture<'a, Result<(), PortError>> {
        done(())
    }

    fn remove<'a>(&'a self, _: &'a LegName, _: PhoneNumber) -> BoxFuture<'a, Result<(), PortError>> {
        done(())
    }
}

impl Handles for NoBooks {
    fn message<'a>(&'a self, _: &'a LegName, _: &'a Handle) -> BoxFuture<'a, Result<Option<MessageKey>, PortError>> {
        done(None)
    }

    fn handle<'a>(&'a self, _: &'a LegName, _: MessageKey) -> BoxFuture<'a, Result<Option<Handle>, PortError>> {
        done(None)
    }

    fn note<'a>(&'a self, _: &'a LegName, _: &'a str) -> BoxFuture<'a, Result<Option<String>, PortError>> {
        done(None)
    }

    fn put_note<'a>(&'a self, _: &'a LegName, _: &'a str, _: String) -> BoxFuture<'a, Result<(), PortError>> {
        done(())
    }
}

impl Accounts for NoBooks {
    fn autofill(&self, _: AccountKey) -> BoxFuture<'_, Result<Autofill, PortError>> {
        done(Autofill::default())
    }
}
