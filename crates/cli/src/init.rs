//! `countersign init`: asks what a server needs, and writes the configuration file, in which all other settings stand with their
//! defaults. What it wrote is read as `serve` reads it before it is kept.

mod questions;

use std::fs::{self, OpenOptions};
use std::io::{BufRead, ErrorKind, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, anyhow, bail};
use clap::{Args, ValueEnum};
use countersign_server::settings::{DEFAULT_FILE, Environment, Overrides, Settings, file_with};
use countersign_server::{keys, random};
use countersign_store::MasterKey;
use serde::Serialize;

use crate::arguments::Common;
use crate::output::Output;
use questions::Asked;

/// The database's name in a data directory.
const DATABASE_FILE: &str = "countersign.db";
const DEFAULT_DATA_DIR: &str = "countersign-data";
const DEFAULT_LISTEN: &str = "127.0.0.1:8099";

/// Options of `init`.
#[derive(Debug, Default, Args)]
#[command(after_help = "\
On a terminal it asks what no option says. Elsewhere it guesses nothing: --mode is needed, and for production
--behind-proxy or a certificate. Every other setting stands in the file with what it does and its default.

In production the master key is made where it is missing. Keep a copy where the backups are not.

Examples:
  countersign init
  countersign init --mode sandbox
  countersign init --mode production --config /etc/countersign/countersign.toml \\
    --data-dir /var/lib/countersign --behind-proxy --trusted-proxies 10.0.0.0/8")]
pub(crate) struct InitArguments {
    /// The file to write [default: ./countersign.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Replace a file that is already there
    #[arg(long)]
    force: bool,
    /// What the server is for
    #[arg(long, value_enum)]
    mode: Option<Kind>,
    /// A PostgreSQL database for the books [default: a file in the data directory]
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// Where it listens [default: 127.0.0.1:8099]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// How callers write its address: `https://` and its host name
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// Its certificate chain, in PEM
    #[arg(
        long,
        value_name = "FILE",
        requires = "tls_key_file",
        conflicts_with = "behind_proxy"
    )]
    tls_cert_file: Option<String>,
    /// The key of that certificate, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert_file")]
    tls_key_file: Option<String>,
    /// A proxy in front terminates TLS
    #[arg(long)]
    behind_proxy: bool,
    /// Proxies whose word on the caller's address is believed, separated by commas
    #[arg(long, value_name = "NETWORKS", requires = "behind_proxy")]
    trusted_proxies: Option<String>,
    /// Its master key; made where it is missing [default: master.key in the data directory]
    #[arg(long, value_name = "FILE")]
    master_key_file: Option<PathBuf>,
}

/// What a server is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Development and CI
    Sandbox,
    /// Real phones
    Production,
}

/// Settings by their names, as their variables would have them.
type Answers = Vec<(&'static str, String)>;

#[derive(Serialize)]
struct Written<'a> {
    config_file: &'a Path,
    #[serde(skip_serializing_if = "Option::is_none")]
    new_master_key_file: Option<&'a Path>,
}

/// Asks, and writes the file.
pub(crate) fn run(arguments: &InitArguments, common: &Common, output: &Output) -> anyhow::Result<ExitCode> {
    let path = arguments.config.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_FILE));
    if !arguments.force && path.exists() {
        return Err(already_there(&path));
    }
    let mut asked = Asked::at_terminal();
    let answers = ask(arguments, common.named_data_dir(), &mut asked)?;
    let new_key = make_master_key(&answers)?;
    if let Err(error) = write(&path, arguments.force, &answers) {
        // Nothing of it is left: the next attempt begins anew.
        if let Some(file) = &new_key {
            let _ = fs::remove_file(file);
        }
        return Err(error);
    }
    let written = Written {
        config_file: &path,
        new_master_key_file: new_key.as_deref(),
    };
    output.show(&written, |_| {
        let key = new_key.as_ref().map_or_else(String::new, |file| {
            format!(
                "Made the master key {}. Keep a copy where the backups are not.\n",
                file.display()
            )
        });
        format!(
            "Wrote {path}. Look at it, then start with: countersign serve --config {path}\n{key}",
            path = path.display()
        )
    })?;
    Ok(ExitCode::SUCCESS)
}

fn already_there(path: &Path) -> anyhow::Error {
    anyhow!(
        "{} is already there and was left alone: edit it, name another file with --config, or replace it with --force",
        path.display()
    )
}

/// What the options say, and for the rest whoever sits at the terminal.
fn ask<R: BufRead, W: Write>(
    arguments: &InitArguments,
    data_dir: Option<PathBuf>,
    asked: &mut Asked<R, W>,
) -> anyhow::Result<Answers> {
    let kinds = [
        (
            "sandbox",
            "development and CI; open inbox, scripted numbers, a clock that you move",
        ),
        ("production", "real phones, real money"),
    ];
    let kind = match arguments.mode {
        Some(kind) => kind,
        None if asked.choose(
            "What is this server for?",
            &kinds,
            "--mode sandbox or --mode production",
        )? == 0 =>
        {
            Kind::Sandbox
        }
        None => Kind::Production,
    };
    let data_dir = match data_dir {
        Some(named) => named,
        None if asked.is_there() => asked.line("Data directory", DEFAULT_DATA_DIR, "--data-dir", |text| {
            Ok(PathBuf::from(text))
        })?,
        None => PathBuf::from(DEFAULT_DATA_DIR),
    };
    let mut answers: Answers = vec![("data_dir", data_dir.display().to_string())];
    if let Some(url) = optional(
        arguments.database.as_deref(),
        asked,
        kind,
        "PostgreSQL database (a URL), if not a file",
        "",
    )? {
        answers.push(("database.url", url));
    }
    if kind == Kind::Sandbox {
        let listen = arguments.listen.clone();
        answers.extend(listen.map(|listen| ("server.listen", listen)));
        answers.push(("mode", "sandbox".to_owned()));
        return Ok(answers);
    }
    answers.push(("mode", "production".to_owned()));
    answers.extend(tls(arguments, asked)?);
    let listen = match &arguments.listen {
        Some(named) => named.clone(),
        None if asked.is_there() => {
            asked.line("Address and port to listen on", DEFAULT_LISTEN, "--listen", |text| {
                let address: Result<SocketAddr, _> = text.parse();
                address
                    .map(|_| text.to_owned())
                    .map_err(|_| "Like 0.0.0.0:443, please.".to_owned())
            })?
        }
        None => DEFAULT_LISTEN.to_owned(),
    };
    answers.push(("server.listen", listen));
    if let Some(url) = optional(
        arguments.public_url.as_deref(),
        asked,
        kind,
        "How callers write its address (https://…)",
        "",
    )? {
        answers.push(("server.public_url", url));
    }
    let key = arguments
        .master_key_file
        .clone()
        .unwrap_or_else(|| data_dir.join("master.key"));
    let key = key.display().to_string();
    let key = match optional(None, asked, kind, "Master key file; made if it is missing", &key)? {
        Some(named) if arguments.master_key_file.is_none() => named,
        _ => key,
    };
    answers.push(("keys.master_key_file", key));
    Ok(answers)
}

/// An answer that may be left out; asked for in production only.
fn optional<R: BufRead, W: Write>(
    named: Option<&str>,
    asked: &mut Asked<R, W>,
    kind: Kind,
    question: &str,
    default: &str,
) -> anyhow::Result<Option<String>> {
    if named.is_some() || kind == Kind::Sandbox || !asked.is_there() {
        return Ok(named.map(str::to_owned));
    }
    let answer = asked.line(question, default, "it", |text| Ok(text.to_owned()))?;
    Ok(Some(answer).filter(|answer| !answer.is_empty()))
}

/// Who terminates TLS: production doesn't start before that is said.
fn tls<R: BufRead, W: Write>(arguments: &InitArguments, asked: &mut Asked<R, W>) -> anyhow::Result<Answers> {
    let options = "--behind-proxy, or --tls-cert-file and --tls-key-file";
    if let (Some(certificate), Some(key)) = (&arguments.tls_cert_file, &arguments.tls_key_file) {
        return Ok(with_certificate(certificate.clone(), key.clone()));
    }
    let choices = [
        ("server", "this server, with a certificate in files"),
        ("proxy", "a proxy in front of it"),
    ];
    if !arguments.behind_proxy && asked.choose("Who terminates TLS?", &choices, options)? == 0 {
        let file = |text: &str| {
            let is_there = Path::new(text).is_file();
            is_there
                .then(|| text.to_owned())
                .ok_or_else(|| format!("There is no file {text}."))
        };
        let certificate = asked.needed("Certificate chain (PEM file)", options, file)?;
        let key = asked.needed("Its private key (PEM file)", options, file)?;
        return Ok(with_certificate(certificate, key));
    }
    let mut answers = vec![("server.behind_proxy", "true".to_owned())];
    let question = "The proxy's addresses or networks, separated by commas";
    if let Some(proxies) = optional(
        arguments.trusted_proxies.as_deref(),
        asked,
        Kind::Production,
        question,
        "",
    )? {
        answers.push(("server.trusted_proxies", proxies));
    }
    Ok(answers)
}

fn with_certificate(certificate: String, key: String) -> Answers {
    vec![("server.tls_cert_file", certificate), ("server.tls_key_file", key)]
}

/// Makes the master key that the answers name, if it isn't there; answers where it is then.
fn make_master_key(answers: &[(&'static str, String)]) -> anyhow::Result<Option<PathBuf>> {
    let named = |wanted: &str| {
        answers
            .iter()
            .find(|(name, _)| *name == wanted)
            .map(|(_, text)| PathBuf::from(text))
    };
    let Some(file) = named("keys.master_key_file").filter(|file| !file.exists()) else {
        return Ok(None);
    };
    if let Some(books) = named("data_dir")
        .map(|directory| directory.join(DATABASE_FILE))
        .filter(|books| books.exists())
    {
        bail!(
            "the master key {} isn't there, and {} can't be opened without it: restore it, or name it with --master-key-file",
            file.display(),
            books.display()
        );
    }
    let made = || {
        if let Some(directory) = file.parent().filter(|directory| !directory.as_os_str().is_empty()) {
            let mut builder = fs::DirBuilder::new();
            #[cfg(unix)]
            std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
            builder.recursive(true).create(directory)?;
        }
        keys::write_master_key(&file, &MasterKey::from_bytes(random::bytes()))
    };
    made().with_context(|| format!("the master key {} can't be made", file.display()))?;
    Ok(Some(file))
}

/// Writes the file, once a draft of it was read without complaint.
fn write(path: &Path, force: bool, answers: &[(&'static str, String)]) -> anyhow::Result<()> {
    let text = file_with(answers);
    let draft = path.with_extension("toml.draft");
    let kept = put(&draft, true, &text).and_then(|()| {
        let overrides = Overrides {
            config: Some(draft.clone()),
            ..Overrides::default()
        };
        let read = Settings::load(&overrides, &Environment::default());
        read.map(drop).map_err(|error| anyhow!("{error}. Nothing was written"))
    });
    let _ = fs::remove_file(&draft);
    kept?;
    put(path, force, &text)
}

/// For its owner alone: a database's URL may hold a password.
fn put(path: &Path, force: bool, text: &str) -> anyhow::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true);
    if force {
        options.create(true).truncate(true);
    } else {
        options.create_new(true);
    }
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => already_there(path),
        _ => anyhow!(
            "can't write {}: {error}. Name another file with --config",
            path.display()
        ),
    })?;
    file.write_all(text.as_bytes())
        .with_context(|| format!("can't write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(answers: &str) -> anyhow::Result<Answers> {
        let mut asked = Asked::with(answers.as_bytes(), Vec::new());
        ask(&InitArguments::default(), None, &mut asked)
    }

    fn told(answers: &[(&'static str, &str)]) -> Answers {
        answers.iter().map(|(name, text)| (*name, (*text).to_owned())).collect()
    }

    #[test]
    fn a_sandbox_is_asked_for_its_directory_alone() {
        let expected = told(&[("data_dir", "here"), ("mode", "sandbox")]);
        assert_eq!(asked("sandbox\nhere\n").unwrap(), expected);
    }

    #[test]
    fn production_is_asked_for_what_it_does_not_start_without() {
        let expected = told(&[
            ("data_dir", "countersign-data"),
            ("database.url", "postgres://db.example.com/books"),
            ("mode", "production"),
            ("server.behind_proxy", "true"),
            ("server.trusted_proxies", "10.0.0.0/8"),
            ("server.listen", "10.0.0.7:8099"),
            ("server.public_url", "https://verify.example.com"),
            ("keys.master_key_file", "countersign-data/master.key"),
        ]);
        let answers = "2\n\npostgres://db.example.com/books\nproxy\n10.0.0.0/8\nnowhere\n10.0.0.7:8099\n\
                       https://verify.example.com\n\n";
        assert_eq!(asked(answers).unwrap(), expected);
    }

    #[test]
    fn without_a_terminal_nothing_is_guessed_and_options_are_enough() {
        let mut nobody = Asked::<&[u8], Vec<u8>>::nobody();
        let mut arguments = InitArguments::default();
        let refused = ask(&arguments, None, &mut nobody).unwrap_err();
        assert!(refused.to_string().contains("--mode"), "{refused}");
        arguments.mode = Some(Kind::Production);
        let refused = ask(&arguments, None, &mut nobody).unwrap_err();
        assert!(refused.to_string().contains("--behind-proxy"), "{refused}");
        arguments.behind_proxy = true;
        let answers = ask(&arguments, Some("data".into()), &mut nobody).unwrap();
        assert!(answers.contains(&("keys.master_key_file", "data/master.key".to_owned())));
    }
}
