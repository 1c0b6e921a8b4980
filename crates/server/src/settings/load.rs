//! Reads settings: defaults, file, environment, command line, each over the one before.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use countersign_channels::OwnTexts;
use countersign_core::Credits;
use toml::{Table, Value};

use super::channels;
use super::database::without_secret;
use super::table::{Kind, Setting, TABLE};
use super::values::parse_mode;
use super::{
    CallbackSettings, DEFAULT_FILE, DatabaseSettings, DeliverySettings, GuardSettings, InboxSettings, KeySettings,
    LimitSettings, MetricsSettings, PaymentSettings, QuotaSettings, SandboxSettings, ServerSettings, Settings,
    SettingsError, SiteSettings, TraceSettings,
};
use crate::Mode;
use crate::workers::RetrySchedule;

pub(super) const PREFIX: &str = "COUNTERSIGN_";
/// Names the configuration file where the command line doesn't.
const FILE_VARIABLE: &str = "COUNTERSIGN_CONFIG";

/// What the command line of `countersign serve` says; `None` and `false` leave a setting alone.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--config FILE`.
    pub config: Option<PathBuf>,
    /// `--data-dir DIR`.
    pub data_dir: Option<PathBuf>,
    /// `--database URL`.
    pub database: Option<String>,
    /// `--listen ADDRESS`.
    pub listen: Option<String>,
    /// `--sandbox-exposed`.
    pub sandbox_exposed: bool,
    /// `--sandbox-tls`.
    pub sandbox_tls: bool,
    /// `--sandbox-tls-listen ADDRESS`; it switches the listener on.
    pub sandbox_tls_listen: Option<String>,
}

/// Without the database's password.
impl fmt::Debug for Overrides {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Overrides")
            .field("config", &self.config)
            .field("data_dir", &self.data_dir)
            .field("database", &self.database.as_deref().map(without_secret))
            .field("listen", &self.listen)
            .field("sandbox_exposed", &self.sandbox_exposed)
            .field("sandbox_tls", &self.sandbox_tls)
            .field("sandbox_tls_listen", &self.sandbox_tls_listen)
            .finish()
    }
}

/// The environment variables whose names begin with `COUNTERSIGN_`. An empty one counts as absent.
#[derive(Debug, Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// The process's own. A value that isn't UTF-8 stands there with replacement characters, and is refused where its
    /// setting doesn't take them.
    pub fn of_process() -> Self {
        let text = |part: std::ffi::OsString| part.to_string_lossy().into_owned();
        std::env::vars_os()
            .map(|(name, value)| (text(name), text(value)))
            .collect()
    }

    /// The variables whose names begin so.
    pub(super) fn beginning_with(&self, prefix: &str) -> impl Iterator<Item = (&str, &str)> {
        let pairs = self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        pairs.filter(move |(name, _)| name.starts_with(prefix))
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

impl FromIterator<(String, String)> for Environment {
    fn from_iter<T: IntoIterator<Item = (String, String)>>(variables: T) -> Self {
        let ours = |(name, value): &(String, String)| name.starts_with(PREFIX) && !value.is_empty();
        Self(variables.into_iter().filter(ours).collect())
    }
}

impl Settings {
    /// The defaults of a mode.
    pub fn defaults(mode: Mode) -> Self {
        let mut settings = blank(mode);
        for setting in TABLE {
            let understood = (setting.set)(&mut settings, setting.default_of(mode));
            debug_assert!(
                understood.is_some(),
                "the default of {} isn't what it expects",
                setting.name()
            );
        }
        settings
    }

    /// Reads everything and checks it: what `countersign serve` starts with.
    pub fn load(overrides: &Overrides, environment: &Environment) -> Result<Self, SettingsError> {
        let file = File::find(overrides, environment)?;
        let mut settings = Self::defaults(mode_of(&file, environment)?);
        for setting in TABLE {
            settings.read(setting, &file, environment)?;
        }
        (settings.channels, settings.routes) = channels::read(&file.table, environment)?;
        settings.take_overrides(overrides)?;
        settings.warn_of_unknown_variables(environment);
        settings.check()?;
        Ok(settings)
    }

    /// Reads where the books are, and nothing else, without judging the rest: for commands that open them in a server's place.
    pub fn load_database(overrides: &Overrides, environment: &Environment) -> Result<Self, SettingsError> {
        let file = File::find(overrides, environment)?;
        let mut settings = Self::defaults(mode_of(&file, environment)?);
        let wanted = |setting: &&Setting| ["", "database", "keys"].contains(&setting.section);
        for setting in TABLE.iter().filter(wanted) {
            settings.read(setting, &file, environment)?;
        }
        settings.take_overrides(overrides)?;
        Ok(settings)
    }

    fn read(&mut self, setting: &Setting, file: &File, environment: &Environment) -> Result<(), SettingsError> {
        if let Some(text) = file.text_of(setting)? {
            apply(self, setting, &text, || file.place(setting))?;
        }
        let variable = setting.variable();
        if let Some(text) = environment.get(&variable) {
            apply(self, setting, text, || format!("environment variable {variable}"))?;
        }
        Ok(())
    }

    fn take_overrides(&mut self, overrides: &Overrides) -> Result<(), SettingsError> {
        if let Some(data_dir) = &overrides.data_dir {
            self.data_dir.clone_from(data_dir);
        }
        self.sandbox.exposed |= overrides.sandbox_exposed;
        self.sandbox.tls |= overrides.sandbox_tls || overrides.sandbox_tls_listen.is_some();
        let addresses = [
            ("database.url", "--database", &overrides.database),
            ("server.listen", "--listen", &overrides.listen),
            (
                "sandbox.tls_listen",
                "--sandbox-tls-listen",
                &overrides.sandbox_tls_listen,
            ),
        ];
        for (name, option, text) in addresses {
            let setting = TABLE.iter().find(|setting| setting.name() == name);
            if let (Some(setting), Some(text)) = (setting, text) {
                apply(self, setting, text, || option.to_owned())?;
            }
        }
        Ok(())
    }

    /// A misspelt variable would otherwise do nothing, silently. It is no error: container platforms invent variables
    /// from service names.
    fn warn_of_unknown_variables(&mut self, environment: &Environment) {
        for name in environment.0.keys() {
            let ours = TABLE.iter().any(|setting| {
                !setting.section.is_empty() && name.starts_with(&format!("{PREFIX}{}_", setting.section.to_uppercase()))
            });
            let known: Vec<String> = TABLE.iter().map(Setting::variable).collect();
            if ours && !known.contains(name) {
                let hint = nearest(name, known).map_or_else(String::new, |near| format!("; did you mean {near}?"));
                self.warnings.push(format!(
                    "environment variable {name} is no setting and was ignored{hint}"
                ));
            }
        }
    }
}

/// The configuration file, or its absence.
struct File {
    path: PathBuf,
    table: Table,
}

impl File {
    fn find(overrides: &Overrides, environment: &Environment) -> Result<Self, SettingsError> {
        let named = overrides
            .config
            .clone()
            .or_else(|| environment.get(FILE_VARIABLE).map(PathBuf::from));
        let path = named.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_FILE));
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(source) => return Err(SettingsError::Unreadable { path, source }),
        };
        Self::parse(path, &text)
    }

    fn parse(path: PathBuf, text: &str) -> Result<Self, SettingsError> {
        let table: Table = text.parse().map_err(|error: toml::de::Error| SettingsError::NotToml {
            path: path.clone(),
            // Never the line itself: it may hold a secret.
            message: match error.span() {
                Some(span) => {
                    let line = text.get(..span.start).map_or(0, |before| before.matches('\n').count()) + 1;
                    format!("line {line}: {}", error.message())
                }
                None => error.message().to_owned(),
            },
        })?;
        refuse_unknown(&path, &table)?;
        Ok(Self { path, table })
    }

    fn place(&self, setting: &Setting) -> String {
        format!("{}: {}", self.path.display(), setting.name())
    }

    fn value_of(&self, setting: &Setting) -> Option<&Value> {
        if setting.section.is_empty() {
            self.table.get(setting.key)
        } else {
            self.table.get(setting.section)?.as_table()?.get(setting.key)
        }
    }

    /// The value as text, where it stands in the file and has the right type.
    fn text_of(&self, setting: &Setting) -> Result<Option<String>, SettingsError> {
        let Some(value) = self.value_of(setting) else {
            return Ok(None);
        };
        let text = match (setting.kind, value) {
            (Kind::Text, Value::String(text)) => Some(text.clone()),
            (Kind::Flag, Value::Boolean(flag)) => Some(flag.to_string()),
            (Kind::Whole, Value::Integer(number)) => Some(number.to_string()),
            (Kind::List, Value::Array(items)) => {
                let texts: Option<Vec<&str>> = items.iter().map(Value::as_str).collect();
                texts.map(|texts| texts.join(","))
            }
            (Kind::Numbers, Value::Array(items)) => {
                let numbers: Option<Vec<String>> =
                    items.iter().map(|item| Some(item.as_integer()?.to_string())).collect();
                numbers.map(|numbers| numbers.join(","))
            }
            _ => None,
        };
        text.map(Some)
            .ok_or_else(|| wrong(setting, shown_value(setting, value), self.place(setting)))
    }
}

fn mode_of(file: &File, environment: &Environment) -> Result<Mode, SettingsError> {
    let Some(setting) = TABLE.iter().find(|setting| setting.key == "mode") else {
        return Ok(Mode::Sandbox);
    };
    let variable = setting.variable();
    let (text, place) = match environment.get(&variable) {
        Some(text) => (text.to_owned(), format!("environment variable {variable}")),
        None => match file.text_of(setting)? {
            Some(text) => (text, file.place(setting)),
            None => return Ok(Mode::Sandbox),
        },
    };
    parse_mode(&text).ok_or_else(|| wrong(setting, format!("{text:?}"), place))
}

fn apply(
    settings: &mut Settings,
    setting: &Setting,
    text: &str,
    place: impl FnOnce() -> String,
) -> Result<(), SettingsError> {
    (setting.set)(settings, text).ok_or_else(|| wrong(setting, shown(setting, text), place()))
}

/// The same of a value of another type.
fn shown_value(setting: &Setting, value: &Value) -> String {
    if setting.name() == "database.url" {
        format!("another type ({})", value.type_str())
    } else {
        value.to_string()
    }
}

/// What was found, as an error may show it.
fn shown(setting: &Setting, text: &str) -> String {
    if setting.name() == "database.url" {
        without_secret(text)
    } else {
        format!("{text:?}")
    }
}

fn wrong(setting: &Setting, found: String, place: String) -> SettingsError {
    SettingsError::Wrong {
        place,
        expected: setting.expects,
        found,
    }
}

fn refuse_unknown(path: &Path, table: &Table) -> Result<(), SettingsError> {
    let names: Vec<String> = TABLE.iter().map(Setting::name).collect();
    let unknown = |name: String| {
        let nearest = nearest(&name, names.clone());
        let path = path.to_owned();
        Err(SettingsError::Unknown { path, name, nearest })
    };
    for (key, value) in table {
        let is_section = TABLE.iter().any(|setting| setting.section == key);
        match value {
            _ if channels::reads(key) => {}
            Value::Table(section) if is_section => {
                for inner in section.keys() {
                    let name = format!("{key}.{inner}");
                    if !names.contains(&name) {
                        return unknown(name);
                    }
                }
            }
            Value::Table(section) => {
                let inner = section
                    .keys()
                    .next()
                    .map_or_else(String::new, |inner| format!(".{inner}"));
                return unknown(format!("{key}{inner}"));
            }
            _ if names.contains(key) => {}
            _ => return unknown(key.clone()),
        }
    }
    Ok(())
}

/// The known name that is most like an unknown one, if it is like it at all.
fn nearest(name: &str, known: Vec<String>) -> Option<String> {
    let last = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
    let distance = |other: &String| {
        // The same key in another section is the commonest mistake: it counts as one step.
        if last(other) == last(name) {
            1
        } else {
            edits(name, other)
        }
    };
    // Of several sections with that key, the one whose name is most like the one that was written.
    let steps_to = |other: String| (distance(&other), edits(name, &other), other);
    let (steps, _, nearest) = known.into_iter().map(steps_to).min()?;
    (steps <= name.len() / 3 + 1).then_some(nearest)
}

/// How many single letters must change to make one word of the other.
fn edits(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (line, letter) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for column in 0..other.len() {
            let replaced = diagonal + usize::from(letter != other[column]);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

/// Settings before the table's defaults are put in.
fn blank(mode: Mode) -> Settings {
    let nowhere = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    Settings {
        mode,
        data_dir: PathBuf::new(),
        database: DatabaseSettings::blank(),
        server: ServerSettings {
            listen: nowhere,
            public_url: None,
            tls_cert_file: None,
            tls_key_file: None,
            behind_proxy: false,
            trusted_proxies: Vec::new(),
            max_connections: 0,
            request_timeout: std::time::Duration::ZERO,
        },
        metrics: MetricsSettings { listen: None },
        traces: TraceSettings {
            endpoint: None,
            sample_percent: 100,
        },
        sandbox: SandboxSettings {
            exposed: false,
            tls: false,
            tls_listen: nowhere,
        },
        inbox: InboxSettings { enabled: false },
        keys: KeySettings {
            master_key_file: None,
            operator_key_file: None,
        },
        callbacks: CallbackSettings {
            extra_ca_file: None,
            timeout: std::time::Duration::ZERO,
            allow_private_addresses: false,
            retries: RetrySchedule::default(),
        },
        payment: PaymentSettings {
            transfer_instructions_file: None,
            least_order: Credits::ZERO,
            most_order: Credits::ZERO,
        },
        limits: LimitSettings {
            account_sends_per_second: None,
            number_sends_per_hour: None,
            quotas: QuotaSettings::default(),
            one_live_code_seconds: None,
            free_sends_per_day: None,
            check_attempts: 0,
            login_attempts_per_hour: None,
        },
        keep_requests_days: None,
        site: SiteSettings {
            sign_up: false,
            terms_file: None,
        },
        texts: OwnTexts::default(),
        delivery: DeliverySettings {
            ask_timeout: std::time::Duration::ZERO,
            own_number_paid_legs: false,
        },
        guard: GuardSettings {
            refuse_ranges: false,
            pumping: false,
        },
        channels: Vec::new(),
        routes: Vec::new(),
        warnings: Vec::new(),
    }
}
