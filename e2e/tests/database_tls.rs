//! The way to the database: encrypted by a certificate that is checked, and opened by a password that nothing shows. As a user sees it,
//! on the real binary, with a PostgreSQL server of each test's own. Needs PostgreSQL; elsewhere it says so.

#![expect(clippy::print_stdout, reason = "it says what it left out")]

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use countersign_e2e::{Options, Postgres, Server, binary};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::json;
use tempfile::TempDir;

/// With what an address gives a meaning to.
const PASSWORD: &str = "spring?rain/7";
const IN_ADDRESS: &str = "spring%3Frain%2F7";
/// A start waits for a database that may still come for a minute. What no waiting mends is told well before that.
const AT_ONCE: Duration = Duration::from_secs(30);

/// A server of PostgreSQL with a certificate for `localhost`, which asks for a password.
struct World {
    postgres: Postgres,
    folder: TempDir,
}

impl World {
    /// `None` where PostgreSQL isn't installed.
    fn start() -> Result<Option<Self>> {
        let folder = tempfile::tempdir()?;
        let authority = write_authority(folder.path(), "ca.pem")?;
        write_authority(folder.path(), "another.pem")?;
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(vec!["localhost".to_owned()])?.signed_by(&key, &authority)?;
        let (certificate_file, key_file) = (folder.path().join("server.crt"), folder.path().join("server.key"));
        std::fs::write(&certificate_file, certificate.pem())?;
        std::fs::write(&key_file, key.serialize_pem())?;
        let arguments = [
            "--tls",
            &certificate_file.display().to_string(),
            &key_file.display().to_string(),
            "--password",
            PASSWORD,
            "fsync=off",
        ];
        let Some(postgres) = Postgres::start(&arguments)? else {
            println!("PostgreSQL isn't installed: not tried");
            return Ok(None);
        };
        Ok(Some(Self { postgres, folder }))
    }

    /// Its address with the right password, the server named so. It listens at one of localhost's addresses only.
    fn address(&self, host: &str, settings: &str) -> Result<String> {
        self.address_with(IN_ADDRESS, host, settings)
    }

    fn address_with(&self, password: &str, host: &str, settings: &str) -> Result<String> {
        let url = self.postgres.url();
        let place = url
            .strip_prefix("postgres://countersign@127.0.0.1:")
            .context(url.to_owned())?;
        Ok(format!(
            "postgres://countersign:{password}@{host}:{place}?hostaddr=127.0.0.1{settings}"
        ))
    }

    /// Settings of an address: the mode, and the file with who is trusted.
    fn trusting(&self, mode: &str, file: &str) -> String {
        let file = self.folder.path().join(file);
        format!("&sslmode={mode}&sslrootcert={}", file.display())
    }

    /// Starts a node, which sends a code, and tells how many of its connections there are, and how many of them are encrypted.
    async fn connections_of_a_node(&self, database: String, env: &[(&str, String)]) -> Result<(u32, u32)> {
        let mut server = Server::start(Options {
            database: Some(database),
            // With the master key that the books were made with.
            data_dir: Some(self.folder.path().join("node")),
            env: env
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.clone()))
                .collect(),
            ..Options::default()
        })?;
        let parameters = json!({ "phone_number": "+9996610001" });
        server.api()?.call("sendVerificationMessage", &parameters).await?;
        let told = self.postgres.psql(
            "SELECT count(*), count(*) FILTER (WHERE ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
             WHERE usename = 'countersign'",
        )?;
        let (all, encrypted) = told.trim().split_once('|').with_context(|| told.clone())?;
        let counted = (all.parse()?, encrypted.parse()?);
        ensure!(server.terminate()?.success(), "{}", server.log());
        ensure!(
            !server.log().contains("spring"),
            "the log shows the password: {}",
            server.log()
        );
        Ok(counted)
    }

    /// What `serve` says where it doesn't start: on standard error, at once, without the password.
    fn refusal(&self, database: &str) -> Result<String> {
        self.refusal_of(&["serve", "--listen", "127.0.0.1:0", "--database", database])
    }

    fn refusal_of(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(binary()?);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("COUNTERSIGN_") {
                command.env_remove(name);
            }
        }
        let began = Instant::now();
        let output = command
            .args(arguments)
            .arg("--data-dir")
            .arg(self.folder.path().join("data"))
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .output()?;
        let said = String::from_utf8(output.stderr)?;
        ensure!(output.status.code() == Some(1), "{}: {said}", output.status);
        ensure!(output.stdout.is_empty(), "it printed {:?}", output.stdout);
        ensure!(began.elapsed() < AT_ONCE, "it took {:?}: {said}", began.elapsed());
        for secret in ["spring", "rain", "autumn"] {
            ensure!(!said.contains(secret), "it shows the password: {said}");
        }
        Ok(said)
    }
}

fn write_authority(folder: &Path, name: &str) -> Result<CertifiedIssuer<'static, KeyPair>> {
    let mut parameters = CertificateParams::new(Vec::new())?;
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(parameters, KeyPair::generate()?)?;
    std::fs::write(folder.join(name), authority.pem())?;
    Ok(authority)
}

fn says(said: &str, words: &[&str]) -> Result<()> {
    for word in words {
        ensure!(said.contains(word), "{word:?} is missing in {said:?}");
    }
    Ok(())
}

#[tokio::test]
async fn all_connections_of_a_node_are_encrypted_where_that_is_asked_for() -> Result<()> {
    let Some(world) = World::start()? else { return Ok(()) };
    let verified = world.address("localhost", &world.trusting("verify-full", "ca.pem"))?;
    let (all, encrypted) = world.connections_of_a_node(verified, &[]).await?;
    ensure!(
        all >= 4 && encrypted == all,
        "{encrypted} of {all} connections are encrypted"
    );

    // The same by the setting, and a server that could do without.
    let authority = (
        "COUNTERSIGN_DATABASE_CA_FILE",
        world.folder.path().join("ca.pem").display().to_string(),
    );
    let preferred = world.address("localhost", "&sslmode=prefer")?;
    let (all, encrypted) = world.connections_of_a_node(preferred.clone(), &[authority]).await?;
    ensure!(
        all >= 4 && encrypted == all,
        "{encrypted} of {all} connections are encrypted"
    );
    // Encrypted for whom isn't known: also where it could be left out.
    says(&world.refusal(&preferred)?, &["certificate", "database.ca_file"])?;

    // On this machine, and where it is said.
    for settings in ["", "&sslmode=disable"] {
        let plain = world.address("localhost", settings)?;
        let (all, encrypted) = world.connections_of_a_node(plain, &[]).await?;
        ensure!(
            all >= 4 && encrypted == 0,
            "{encrypted} of {all} connections are encrypted"
        );
    }
    Ok(())
}

#[test]
fn a_certificate_of_another_authority_or_name_is_refused_at_once() -> Result<()> {
    let Some(world) = World::start()? else { return Ok(()) };
    let stranger = world.address("localhost", &world.trusting("verify-full", "another.pem"))?;
    let words = [
        "the database can't be used: localhost:",
        "/books: ",
        "UnknownIssuer",
        "sslrootcert",
    ];
    says(&world.refusal(&stranger)?, &words)?;
    says(
        &world.refusal_of(&["database", "status", "--database", &stranger])?,
        &words,
    )?;
    // It is checked whatever the word for it is.
    let required = world.address("localhost", &world.trusting("require", "another.pem"))?;
    says(&world.refusal(&required)?, &words)?;

    for host in ["127.0.0.1", "db.example.com"] {
        let misnamed = world.address(host, &world.trusting("verify-full", "ca.pem"))?;
        let words = [host, "localhost", "not valid for name", "as its certificate does"];
        says(&world.refusal(&misnamed)?, &words)?;
    }
    // Another machine, as far as its name tells: nothing need be said, and the platform's authorities don't know this one.
    says(
        &world.refusal(&world.address("db.example.com", "")?)?,
        &["db.example.com", "certificate"],
    )?;

    let nothing = world.address("localhost", &world.trusting("verify-full", "none.pem"))?;
    says(&world.refusal(&nothing)?, &["none.pem"])?;
    Ok(())
}

#[tokio::test]
async fn a_server_without_tls_is_refused_unless_that_is_allowed() -> Result<()> {
    let Some(world) = World::start()? else { return Ok(()) };
    world.postgres.psql("ALTER SYSTEM SET ssl = off")?;
    world.postgres.stop(countersign_e2e::Stop::Immediate)?;
    world.postgres.restart()?;
    for mode in ["require", "verify-full"] {
        let address = world.address("localhost", &world.trusting(mode, "ca.pem"))?;
        says(&world.refusal(&address)?, &["server does not support TLS"])?;
    }
    let preferred = world.address("localhost", &world.trusting("prefer", "ca.pem"))?;
    let (all, encrypted) = world.connections_of_a_node(preferred, &[]).await?;
    ensure!(
        all >= 4 && encrypted == 0,
        "{encrypted} of {all} connections are encrypted"
    );
    Ok(())
}

#[test]
fn a_wrong_password_is_told_of_at_once_and_not_shown() -> Result<()> {
    let Some(world) = World::start()? else { return Ok(()) };
    for settings in [String::new(), world.trusting("verify-full", "ca.pem")] {
        let wrong = world.address_with("autumn", "localhost", &settings)?;
        let words = ["localhost:", "password authentication failed for user \"countersign\""];
        says(&world.refusal(&wrong)?, &words)?;
        says(
            &world.refusal_of(&["database", "status", "--database", &wrong])?,
            &words,
        )?;
        says(&world.refusal_of(&["audit", "--database", &wrong])?, &words)?;
    }
    let none = world.address("localhost", "")?.replace(&format!(":{IN_ADDRESS}@"), "@");
    says(&world.refusal(&none)?, &["localhost:", "password"])?;
    // An address that can't be read holds one, too.
    let garbled = world.address("localhost", "&sslmode=perhaps")?;
    says(&world.refusal(&garbled)?, &["postgres://"])?;
    Ok(())
}
