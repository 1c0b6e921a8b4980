//! Tests of settings as an operator meets them: a file, variables, options, and the sentences that come back.

use std::path::{Path, PathBuf};

use super::*;

struct Given {
    dir: tempfile::TempDir,
    overrides: Overrides,
    variables: Vec<(String, String)>,
}

impl Given {
    fn file(text: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("countersign.toml");
        std::fs::write(&path, text).unwrap();
        let overrides = Overrides {
            config: Some(path),
            ..Overrides::default()
        };
        Self {
            dir,
            overrides,
            variables: Vec::new(),
        }
    }

    fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    fn load(&self) -> Result<Settings, SettingsError> {
        Settings::load(&self.overrides, &self.variables.iter().cloned().collect())
    }

    /// The refusal's sentence, with the directory's changing name taken out.
    fn refusal(&self) -> String {
        let sentence = self.load().unwrap_err().to_string();
        sentence.replace(&self.dir.path().display().to_string(), "DIR")
    }
}

/// A production file that starts, in whose place a test may put something else.
const PRODUCTION: &str = "mode = \"production\"\n[server]\nbehind_proxy = true\ntrusted_proxies = [\"10.0.0.0/8\"]\n";

fn production(text: &str) -> Given {
    let given = Given::file(text);
    let key = given.dir.path().join("key");
    std::fs::write(&key, "00".repeat(32)).unwrap();
    given.variable("COUNTERSIGN_KEYS_MASTER_KEY_FILE", key.to_str().unwrap())
}

#[test]
fn without_a_file_and_variables_it_is_the_sandbox_on_loopback() {
    let settings = Settings::load(&Overrides::default(), &Environment::default()).unwrap();
    assert_eq!(settings, Settings::defaults(Mode::Sandbox));
    assert_eq!(settings.server.listen, "127.0.0.1:8099".parse().unwrap());
    assert_eq!(settings.data_dir, Path::new("countersign-data"));
    assert!(settings.inbox.enabled && !settings.callbacks.allow_private_addresses);
    let rules = settings.rules();
    assert_eq!(
        (rules.account_limit, rules.number_limit, rules.free_sends_per_day),
        (None, None, None)
    );
    assert_eq!(rules.max_check_attempts, 5);
}

#[test]
fn every_default_is_what_its_setting_expects_and_every_name_is_unique() {
    for setting in TABLE {
        for mode in [Mode::Sandbox, Mode::Production] {
            let mut settings = Settings::defaults(mode);
            let taken = (setting.set)(&mut settings, setting.default_of(mode));
            assert!(taken.is_some(), "{}", setting.name());
            assert_eq!(settings, Settings::defaults(mode));
        }
        assert_eq!(
            TABLE
                .iter()
                .filter(|other| other.variable() == setting.variable())
                .count(),
            1,
            "{}",
            setting.name()
        );
    }
}

#[test]
fn the_file_that_init_writes_sets_nothing_and_every_line_of_it_can_be_uncommented() {
    let written = commented_file();
    assert_eq!(Given::file(&written).load().unwrap(), Settings::defaults(Mode::Sandbox));
    let is_setting = |line: &&str| {
        line.strip_prefix('#')
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()))
    };
    assert_eq!(written.lines().filter(is_setting).count(), TABLE.len());
    let uncommented: String = written
        .lines()
        .map(|line| if is_setting(&line) { &line[1..] } else { line })
        .flat_map(|line| [line, "\n"])
        .collect();
    assert_eq!(
        Given::file(&uncommented).load().unwrap(),
        Settings::defaults(Mode::Sandbox)
    );
}

#[test]
fn the_command_line_wins_over_variables_and_those_over_the_file() {
    let given = Given::file("data_dir = \"of-the-file\"\n[server]\nlisten = \"127.0.0.1:1\"\nmax_connections = 7\n");
    assert_eq!(given.load().unwrap().server.max_connections, 7);
    let mut given = given
        .variable("COUNTERSIGN_SERVER_LISTEN", "127.0.0.1:2")
        .variable("COUNTERSIGN_DATA_DIR", "of-the-variable")
        .variable("COUNTERSIGN_SERVER_MAX_CONNECTIONS", "");
    let settings = given.load().unwrap();
    assert_eq!(settings.server.listen, "127.0.0.1:2".parse().unwrap());
    assert_eq!(settings.data_dir, Path::new("of-the-variable"));
    assert_eq!(settings.server.max_connections, 7, "an empty variable counts as absent");
    given.overrides.listen = Some("localhost:3".to_owned());
    given.overrides.data_dir = Some(PathBuf::from("of-the-option"));
    given.overrides.sandbox_tls_listen = Some("[::1]:4".to_owned());
    let settings = given.load().unwrap();
    assert_eq!(settings.server.listen, "127.0.0.1:3".parse().unwrap());
    assert_eq!(settings.data_dir, Path::new("of-the-option"));
    assert!(settings.sandbox.tls);
    assert_eq!(settings.sandbox.tls_listen, "[::1]:4".parse().unwrap());
}

#[test]
fn the_books_are_in_the_data_directory_or_in_the_database_that_is_named() {
    let dir = Path::new("countersign-data");
    let of = |settings: &Settings| format!("{:?}", settings.database());
    assert_eq!(
        of(&Given::file("").load().unwrap()),
        format!("{:?}", Database::Sqlite(dir.into()))
    );
    let given = Given::file("[database]\nurl = \"postgres://kim:secret@db1:5433,db2/books\"\nnode_name = \"one\"\n");
    let shown = of(&given.load().unwrap());
    assert!(
        shown.contains("db1:5433,db2:5432/books") && shown.contains("\"one\""),
        "{shown}"
    );
    assert!(!shown.contains("secret") && !format!("{:?}", given.load()).contains("secret"));
    let mut given = given.variable("COUNTERSIGN_DATABASE_URL", "sqlite:///var/lib/books");
    let settings = given.load().unwrap();
    assert_eq!(settings.data_dir, Path::new("/var/lib/books"));
    assert!(matches!(settings.database(), Database::Sqlite(_)));
    given.overrides.data_dir = Some("elsewhere".into());
    assert!(given.refusal().contains("name one of the two"), "{}", given.refusal());
    given.overrides.database = Some("postgres:///books".into());
    assert!(matches!(given.load().unwrap().database(), Database::Postgres(_)));
}

#[test]
fn a_wrong_address_of_the_database_is_not_repeated_since_it_may_hold_a_password() {
    for wrong in [
        "mysql://kim:secret@db/books",
        "postgres://kim:secret@db:port/books",
        "kim:secret@db",
    ] {
        let refusal = Given::file("").variable("COUNTERSIGN_DATABASE_URL", wrong).refusal();
        assert!(
            refusal.contains("expected postgres://") && !refusal.contains("secret"),
            "{refusal}"
        );
        let refusal = Given::file(&format!("[database]\nurl = {wrong:?}\n")).refusal();
        assert!(
            refusal.contains("database.url") && !refusal.contains("secret"),
            "{refusal}"
        );
    }
}

#[test]
fn lists_are_arrays_in_the_file_and_separated_by_commas_in_a_variable() {
    let given = Given::file("[server]\ntrusted_proxies = [\"10.0.0.0/8\", \"::1\"]\n");
    let of_file = given.load().unwrap().server.trusted_proxies;
    let variable = Given::file("").variable("COUNTERSIGN_SERVER_TRUSTED_PROXIES", "10.0.0.0/8, ::1");
    assert_eq!(variable.load().unwrap().server.trusted_proxies, of_file);
    assert_eq!(of_file.len(), 2);
}

#[test]
fn an_unknown_setting_is_named_together_with_the_nearest_known_one() {
    let cases = [
        ("[server]\nlisen = \"x\"", "server.lisen; did you mean server.listen?"),
        (
            "[limits]\nmax_connections = 1",
            "limits.max_connections; did you mean server.max_connections?",
        ),
        ("listen = \"x\"", "listen; did you mean server.listen?"),
        ("[sever]\nlisten = \"x\"", "sever.listen; did you mean server.listen?"),
        ("mod = \"production\"", "mod; did you mean mode?"),
        ("zzzzzzzzzzzz = 1", "zzzzzzzzzzzz. `countersign init`"),
    ];
    for (text, expected) in cases {
        let sentence = Given::file(text).refusal();
        assert!(sentence.contains(expected), "{text:?}: {sentence}");
    }
}

#[test]
fn a_wrong_value_names_its_place_what_is_expected_and_what_was_found() {
    let cases = [
        (
            "[server]\nlisten = 8099",
            "DIR/countersign.toml: server.listen: expected an IP address with a port, like \"127.0.0.1:8099\", found 8099",
        ),
        (
            "[inbox]\nenabled = \"yes\"",
            "DIR/countersign.toml: inbox.enabled: expected true or false, found \"yes\"",
        ),
        (
            "[limits]\ncheck_attempts = 0",
            "DIR/countersign.toml: limits.check_attempts: expected a whole number from 1 to 100, found \"0\"",
        ),
        (
            "mode = \"live\"",
            "DIR/countersign.toml: mode: expected \"sandbox\" or \"production\", found \"live\"",
        ),
        (
            "[callbacks]\nretry_delays_seconds = [1, 2, 3]",
            "DIR/countersign.toml: callbacks.retry_delays_seconds: expected ten growing whole numbers of seconds, each from 1 to 604800, found \"1,2,3\"",
        ),
        (
            "[callbacks]\nretry_delays_seconds = [1, 2, 3, 4, 5, 6, 7, 8, 9, 9]",
            "DIR/countersign.toml: callbacks.retry_delays_seconds: expected ten growing whole numbers of seconds, each from 1 to 604800, found \"1,2,3,4,5,6,7,8,9,9\"",
        ),
        (
            "[server]\ntrusted_proxies = [\"10/8\"]",
            "DIR/countersign.toml: server.trusted_proxies: expected addresses or networks, like [\"127.0.0.1\", \"10.0.0.0/8\"], found \"10/8\"",
        ),
        (
            "[server]\npublic_url = \"ftp://x\"",
            "DIR/countersign.toml: server.public_url: expected an http:// or https:// address without a path, found \"ftp://x\"",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(Given::file(text).refusal(), expected);
    }
    let variable = Given::file("").variable("COUNTERSIGN_CALLBACKS_TIMEOUT_SECONDS", "soon");
    assert_eq!(
        variable.refusal(),
        "environment variable COUNTERSIGN_CALLBACKS_TIMEOUT_SECONDS: expected a whole number of seconds from 1 to 300, found \"soon\""
    );
    let mut option = Given::file("");
    option.overrides.listen = Some("8099".to_owned());
    assert_eq!(
        option.refusal(),
        "--listen: expected an IP address with a port, like \"127.0.0.1:8099\", found \"8099\""
    );
}

#[test]
fn a_file_that_is_named_must_be_there_and_be_toml() {
    let mut given = Given::file("mode = ");
    assert!(
        given.refusal().starts_with("DIR/countersign.toml is not valid TOML: "),
        "{}",
        given.refusal()
    );
    given.overrides.config = Some(given.dir.path().join("none.toml"));
    assert!(
        given.refusal().contains("write one with `countersign init`"),
        "{}",
        given.refusal()
    );
}

#[test]
fn a_misspelt_variable_is_a_warning() {
    let given = Given::file("")
        .variable("COUNTERSIGN_SERVER_LISTN", "x")
        .variable("COUNTERSIGN_TOKEN", "x");
    let warnings = given.load().unwrap().warnings;
    assert_eq!(
        warnings,
        [
            "environment variable COUNTERSIGN_SERVER_LISTN is no setting and was ignored; did you mean COUNTERSIGN_SERVER_LISTEN?"
        ]
    );
}

#[test]
fn the_sandbox_leaves_loopback_only_when_told_and_warns_then() {
    let mut given = Given::file("[server]\nlisten = \"0.0.0.0:8099\"");
    assert!(given.refusal().contains("--sandbox-exposed"), "{}", given.refusal());
    given.overrides.sandbox_exposed = true;
    assert!(given.load().unwrap().warnings[0].contains("whoever reaches it reads every code"));
    let mut given = Given::file("");
    given.overrides.sandbox_tls_listen = Some("0.0.0.0:8443".to_owned());
    assert!(given.refusal().contains("0.0.0.0:8443"), "{}", given.refusal());
}

#[test]
fn production_starts_where_it_is_safe() {
    let settings = production(PRODUCTION).load().unwrap();
    assert_eq!(settings.mode, Mode::Production);
    assert!(!settings.inbox.enabled && !settings.callbacks.allow_private_addresses);
    assert_eq!(settings.warnings, Vec::<String>::new());
    let rules = settings.rules();
    assert!(rules.account_limit.is_some() && rules.number_limit.is_some());
    assert_eq!(rules.free_sends_per_day, Some(20));
    let by_variable = production("[server]\nbehind_proxy = true").variable("COUNTERSIGN_MODE", "production");
    assert_eq!(by_variable.load().unwrap().mode, Mode::Production);
}

#[test]
fn production_refuses_what_is_not_safe_with_a_remedy() {
    let with = |more: &str| production(&format!("{PRODUCTION}{more}"));
    assert!(
        with("[inbox]\nenabled = true")
            .refusal()
            .contains("set inbox.enabled = false")
    );
    assert!(with("[sandbox]\nexposed = true").refusal().contains("leave them out"));
    assert!(with("[sandbox]\ntls = true").refusal().contains("leave them out"));
    let no_tls = production("mode = \"production\"");
    assert!(no_tls.refusal().contains("server.behind_proxy"), "{}", no_tls.refusal());
    let half = production("mode = \"production\"\n[server]\ntls_cert_file = \"x\"");
    assert!(half.refusal().contains("set both or neither"), "{}", half.refusal());
}

#[test]
fn production_refuses_to_start_without_a_master_key() {
    let unset = Given::file(PRODUCTION);
    assert!(unset.refusal().contains("keys.master_key_file"), "{}", unset.refusal());
    let empty = Given::file(PRODUCTION).variable("COUNTERSIGN_KEYS_MASTER_KEY_FILE", "");
    assert!(empty.refusal().contains("keys.master_key_file"), "{}", empty.refusal());
    let missing = Given::file(PRODUCTION).variable("COUNTERSIGN_KEYS_MASTER_KEY_FILE", "/nowhere/master.key");
    assert!(
        missing.refusal().contains("/nowhere/master.key"),
        "{}",
        missing.refusal()
    );
}

#[test]
fn delays_between_retries_come_from_the_file_and_the_environment_alike() {
    let delays = RetrySchedule::new([1, 2, 3, 4, 5, 6, 7, 8, 9, 604_800].map(|seconds| seconds * 1_000));
    let file = Given::file("[callbacks]\nretry_delays_seconds = [1, 2, 3, 4, 5, 6, 7, 8, 9, 604800]\n");
    assert_eq!(file.load().unwrap().callbacks.retries, delays);
    let variable = Given::file("").variable("COUNTERSIGN_CALLBACKS_RETRY_DELAYS_SECONDS", "1,2,3,4,5,6,7,8,9,604800");
    assert_eq!(variable.load().unwrap().callbacks.retries, delays);
    assert_eq!(
        Settings::defaults(Mode::Production).callbacks.retries,
        RetrySchedule::default()
    );
}
