//! Against Exim, a mail server that offers delivery reports: it gets messages with `ENVID` and `NOTIFY`, delivers, refuses or passes them on, and
//! brings its reports by the lines of docs/channel-email.md. `./test` unpacks it; it runs in a temporary folder without any right.

use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use countersign_channels::testing::Server;
use countersign_channels::testing::smtp::Smtp;
use countersign_channels::{Channel, Handover, OutgoingMessage, WebhookCall};
use countersign_core::News;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::fixture::{SECRET, channel, message_to, server};

/// Whom Exim runs as where the test itself is root, and isn't to be.
const NOBODY: u32 = 65_534;

/// Everything that Exim needs, in a folder that it owns.
struct Exim {
    folder: tempfile::TempDir,
    owner: (u32, u32),
    is_root: bool,
}

impl Exim {
    /// `None` where there is none and `./test` has said so. It brings reports to `reports`, and passes mail to `far` on to that port.
    fn new(reports: u16, far: u16) -> Option<Self> {
        let unpacked = unpacked()?;
        let folder = tempfile::tempdir().unwrap();
        let own = std::fs::metadata(folder.path()).unwrap();
        let is_root = own.uid() == 0;
        let owner = if is_root {
            (NOBODY, NOBODY)
        } else {
            (own.uid(), own.gid())
        };
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("lib")).unwrap();
        std::fs::create_dir(at("spool")).unwrap();
        let binary = unpacked.join("usr/sbin/exim4");
        std::fs::copy(binary, at("exim")).unwrap();
        // Not as root, as it comes.
        std::fs::set_permissions(at("exim"), std::fs::Permissions::from_mode(0o755)).unwrap();
        copy_libraries(&unpacked.join("usr/lib"), &at("lib"));
        let (uid, gid) = owner;
        let passwd = format!("root:x:0:0::/root:/bin/sh\nDebian-exim:x:{uid}:{gid}::/:/bin/sh\n");
        std::fs::write(at("passwd"), passwd).unwrap();
        std::fs::write(at("group"), format!("root:x:0:\nDebian-exim:x:{gid}:\nmail:x:8:\n")).unwrap();
        std::fs::write(at("header"), format!("Authorization: Bearer {SECRET}\n")).unwrap();
        std::fs::write(at("exim.conf"), configuration(folder.path(), reports, far)).unwrap();
        if is_root {
            give_away(folder.path(), uid);
        }
        Some(Self { folder, owner, is_root })
    }

    /// Where it takes mail: each connection has a process of its own.
    async fn listen(self: &Arc<Self>) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let exim = Arc::clone(self);
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                exim.serve(connection);
            }
        });
        port
    }

    fn serve(&self, connection: TcpStream) {
        let connection = connection.into_std().unwrap();
        connection.set_nonblocking(false).unwrap();
        let other_end: OwnedFd = connection.try_clone().unwrap().into();
        let at = |name: &str| self.folder.path().join(name);
        let mut command = Command::new(at("exim"));
        command
            .arg("-C")
            .arg(at("exim.conf"))
            .arg("-bs")
            .env_clear()
            .env("LD_PRELOAD", at("lib/libnss_wrapper.so"))
            .env("LD_LIBRARY_PATH", at("lib"))
            .env("NSS_WRAPPER_PASSWD", at("passwd"))
            .env("NSS_WRAPPER_GROUP", at("group"))
            .current_dir("/")
            .stdin(Stdio::from(OwnedFd::from(connection)))
            .stdout(Stdio::from(other_end))
            .stderr(Stdio::null());
        if self.is_root {
            command.uid(self.owner.0).gid(self.owner.1);
        }
        let mut process = command.spawn().unwrap();
        // It ends with its connection.
        tokio::task::spawn_blocking(move || process.wait());
    }
}

/// Where `./test` unpacks it: named in `COUNTERSIGN_TEST_MAIL`, else beside the build.
fn unpacked() -> Option<PathBuf> {
    let path = if let Some(named) = std::env::var_os("COUNTERSIGN_TEST_MAIL") {
        if named == "none" {
            return None;
        }
        PathBuf::from(named)
    } else {
        let own = std::env::current_exe().unwrap();
        own.ancestors().nth(3).unwrap().join("test-mail")
    };
    assert!(
        path.join("usr/sbin/exim4").is_file(),
        "no Exim in {}: ./test puts it there",
        path.display()
    );
    Some(path)
}

fn copy_libraries(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name.contains("-linux-gnu") {
            copy_libraries(&path, to);
        } else if path.is_file() && name.contains(".so") {
            std::fs::copy(&path, to.join(name)).unwrap();
        }
    }
}

fn give_away(path: &Path, owner: u32) {
    std::os::unix::fs::chown(path, Some(owner), Some(owner)).unwrap();
    if path.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            give_away(&entry.unwrap().path(), owner);
        }
    }
}

fn configuration(folder: &Path, reports: u16, far: u16) -> String {
    let folder = folder.display();
    format!(
        "primary_hostname = mx.example\n\
         exim_path = {folder}/exim\n\
         spool_directory = {folder}/spool\n\
         log_file_path = {folder}/%slog\n\
         keep_environment = LD_PRELOAD:LD_LIBRARY_PATH:NSS_WRAPPER_PASSWD:NSS_WRAPPER_GROUP\n\
         deliver_drop_privilege\n\
         never_users =\n\
         dsn_advertise_hosts = *\n\
         tls_advertise_hosts =\n\
         acl_smtp_rcpt = accept\n\
         acl_smtp_data = accept\n\
         begin routers\n\
         countersign_dsn:\n  driver = accept\n  domains = acme.example\n  local_parts = bounces\n  transport = countersign_dsn\n\
         unknown:\n  driver = redirect\n  local_parts = unknown\n  allow_fail\n  data = :fail: no such person here\n\
         far:\n  driver = manualroute\n  local_parts = far\n  route_list = * 127.0.0.1\n  self = send\n  transport = far\n\
         here:\n  driver = accept\n  transport = mailbox\n\
         begin transports\n\
         far:\n  driver = smtp\n  port = {far}\n  allow_localhost\n  hosts_try_fastopen =\n\
         mailbox:\n  driver = appendfile\n  file = {folder}/spool/mailbox\n  user = Debian-exim\n  create_file = anywhere\n\
         countersign_dsn:\n  driver = pipe\n  path = /usr/local/bin:/usr/bin:/bin\n\
         \x20 command = curl --fail --silent --show-error --max-time 30 --data-binary @- \
         --header \"Content-Type: message/rfc822\" --header @{folder}/header \
         http://127.0.0.1:{reports}/channels/mail/dsn\n\
         \x20 user = Debian-exim\n  message_prefix =\n  message_suffix =\n  temp_errors = 75\n  return_output = false\n\
         begin retry\n* * F,1h,5m\n"
    )
}

/// Takes one call over HTTP, as the server does, and gives it to the channel. Its status.
async fn take_one(listener: &TcpListener, channel: &dyn Channel) -> u16 {
    let (mut connection, _) = listener.accept().await.unwrap();
    let mut read = Vec::new();
    let (head, body) = loop {
        connection.read_buf(&mut read).await.unwrap();
        let Some(at) = read.windows(4).position(|window| window == b"\r\n\r\n") else {
            continue;
        };
        let head = String::from_utf8(read[..at].to_vec()).unwrap();
        let lower = head.to_ascii_lowercase();
        let length = lower.split("content-length: ").nth(1).unwrap();
        let length: usize = length.split("\r\n").next().unwrap().parse().unwrap();
        if read.len() >= at + 4 + length {
            break (head, read[at + 4..].to_vec());
        }
    };
    assert!(head.starts_with("POST /channels/mail/dsn "), "{head}");
    let headers = head.lines().skip(1).filter_map(|line| line.split_once(": "));
    let call = WebhookCall {
        path: "dsn".to_owned(),
        headers: headers
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect(),
        body,
        ..WebhookCall::default()
    };
    let status = channel.receive(call).await.status;
    let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    connection.write_all(answer.as_bytes()).await.unwrap();
    status
}

/// A server's news about a message that Exim got.
async fn reported(
    server: &mut Server,
    channel: &Arc<dyn Channel>,
    listener: &TcpListener,
    message: &OutgoingMessage,
) -> (News, String) {
    let handover = channel.deliver(message.clone()).await;
    assert!(matches!(handover, Handover::Accepted(Some(_))), "{handover:?}");
    assert!(server.news.try_recv().is_err(), "it waits for the report");
    let status = tokio::time::timeout(Duration::from_secs(30), take_one(listener, channel.as_ref()));
    assert_eq!(status.await.unwrap(), 200);
    let news = server.news.recv().await.unwrap();
    assert_eq!((news.account, news.request), (message.account, message.request));
    let detail = news.detail.map(|detail| detail.as_str().to_owned());
    (news.news, detail.unwrap_or_default())
}

#[tokio::test]
async fn exim_reports_what_became_of_messages_through_the_documented_pipe() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut far = Smtp::start(json!({})).await.unwrap();
    let Some(exim) = Exim::new(listener.local_addr().unwrap().port(), far.port()) else {
        return;
    };
    let exim = Arc::new(exim);
    let port = exim.listen().await;
    let mut server = server();
    let settings = [("dsn_secret", SECRET), ("envelope_from", "bounces@acme.example")];
    let channel = channel(&server, port, &settings);

    let findings = format!("{:?}", channel.examine().await);
    assert!(findings.contains("offers DSN"), "{findings}");

    let delivered = reported(&mut server, &channel, &listener, &message_to(1, "ida@mx.example")).await;
    assert_eq!(delivered, (News::Delivered, String::new()));

    let failed = reported(&mut server, &channel, &listener, &message_to(2, "unknown@mx.example")).await;
    assert_eq!(failed.0, News::Failed, "{failed:?}");
    assert!(failed.1.contains("not delivered (5.0.0)"), "{failed:?}");

    let passed = reported(&mut server, &channel, &listener, &message_to(3, "far@mx.example")).await;
    // Exim calls that delivered, too, where others say that it was relayed.
    assert_eq!(passed, (News::Delivered, String::new()));
    let came = far.event("message").await.unwrap();
    assert_eq!(came["defects"], json!([]), "{came}");
}
