//! The configuration file, with channels and routes. Nothing of a secret may stand in an error or in `Debug` output.
#![no_main]

use std::path::PathBuf;

use countersign_server::settings::{Environment, Overrides, Settings};
use libfuzzer_sys::fuzz_target;
use toml::{Table, Value};

/// The keys of channels that hold secrets.
const SECRET_KEYS: [&str; 9] = [
    "token",
    "password",
    "secret",
    "auth_token",
    "api_secret",
    "app_secret",
    "access_token",
    "verify_token",
    "dsn_secret",
];

/// Secrets of the file that stand nowhere else in it, and are too long to be there by chance.
fn secrets(text: &str) -> Vec<String> {
    let Ok(table) = text.parse::<Table>() else {
        return Vec::new();
    };
    let sections = table.get("channels").and_then(Value::as_table).into_iter().flatten();
    let values = sections.filter_map(|(_, section)| section.as_table()).flatten();
    let secrets = values.filter(|(key, _)| SECRET_KEYS.contains(&key.as_str()));
    let texts = secrets.filter_map(|(_, value)| value.as_str());
    let hidden = texts.filter(|secret| secret.len() >= 10 && text.matches(*secret).count() == 1);
    hidden.map(str::to_owned).collect()
}

fuzz_target!(|text: &str| {
    thread_local!(static DIRECTORY: tempfile::TempDir = tempfile::tempdir().expect("a directory"));
    let path: PathBuf = DIRECTORY.with(|directory| directory.path().join("countersign.toml"));
    std::fs::write(&path, text).expect("a file");
    let overrides = Overrides {
        config: Some(path),
        ..Overrides::default()
    };
    let environment = Environment::default();
    let loaded = Settings::load(&overrides, &environment);
    let shown = match &loaded {
        Ok(settings) => format!("{settings:?}"),
        Err(error) => format!("{error}\n{error:?}"),
    };
    for secret in secrets(text) {
        assert!(!shown.contains(&secret), "a secret is shown");
    }
    let Ok(settings) = loaded else { return };
    assert_eq!(
        Settings::load(&overrides, &environment).expect("it was read before"),
        settings
    );
    assert!(settings.channels.len() <= 64 && settings.routes.len() <= 64);
    for route in &settings.routes {
        let known = |leg: &countersign_core::LegName| {
            *leg == countersign_core::LegName::INBOX
                || settings.channels.iter().any(|channel| channel.config.name == *leg)
        };
        assert!(
            route.legs.iter().all(|leg| known(&leg.channel)),
            "a leg of a channel that there isn't"
        );
    }
    // Where the books are doesn't depend on how much of the file is read.
    let books = Settings::load_database(&overrides, &environment).expect("all of it was read before");
    assert_eq!(books.database, settings.database);
    assert_eq!(books.data_dir, settings.data_dir);
});
