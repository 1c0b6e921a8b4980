//! Tries everything that can be tried without a message to anyone, for `countersign doctor`: the name, the connection, TLS, signing in, and
//! whether the server lets the sender's address send. Says what the server offers, and what can't be seen from here.

use super::connection::{Connection, DialError, Envelope, Step, Trouble};
use super::reply::{Hidden, in_words, no_connection};
use super::settings::Security;
use super::{Email, PATH_OF_REPORTS};
use crate::Finding;

impl Email {
    pub(super) async fn try_out(&self) -> Vec<Finding> {
        let address = self.settings.address();
        let mut connection = match self.pool.dialer().dial().await {
            Ok(connection) => connection,
            Err(error) => return vec![self.no_connection(&address, &error)],
        };
        let mut findings = vec![self.connected(&address)];
        if self.settings.security == Security::None && !self.settings.is_local() {
            findings.push(Finding::warning(
                format!("{address}: addresses and codes travel in the clear"),
                "Set security = \"starttls\" or \"tls\" if the mail server speaks TLS.",
            ));
        }
        findings.push(self.sender(&address, &mut connection).await);
        findings.push(self.offers(&address, &connection));
        connection.quit().await;
        let domain = self.settings.from.email.domain();
        findings.push(Finding::well(format!(
            "Not checked: whether the world believes mail from {domain} that comes over {} (SPF, DKIM, DMARC in its DNS)",
            self.settings.host
        )));
        if self.ports.public_url.is_none() {
            findings.push(Finding::warning(
                "Messages have no link to say “it wasn’t me” or “no more of these”".to_owned(),
                "Set server.public_url, under which recipients reach this server.",
            ));
        } else if self.keys.is_none() {
            findings.push(Finding::warning(
                "Messages have no link to say “it wasn’t me” or “no more of these”: it is signed with dsn_secret or password"
                    .to_owned(),
                "Set dsn_secret.",
            ));
        }
        findings
    }

    fn connected(&self, address: &str) -> Finding {
        let how = match self.settings.security {
            Security::StartTls => "with STARTTLS and a good certificate",
            Security::Tls => "over TLS with a good certificate",
            Security::None => "in the clear",
        };
        let who = match &self.settings.credentials {
            Some((user, _)) => format!(", signed in as {}", masked(user)),
            None => ", without signing in".to_owned(),
        };
        Finding::well(format!("{address}: connected {how}{who}"))
    }

    async fn sender(&self, address: &str, connection: &mut Connection) -> Finding {
        let from = &self.settings.envelope_from;
        let envelope = Envelope {
            from,
            to: from,
            id: None,
        };
        let answered = tokio::time::timeout(self.settings.timeout, connection.sender(&envelope, b"")).await;
        match answered.unwrap_or(Err(Trouble::TimedOut)) {
            Ok(()) => {
                connection.reset().await;
                Finding::well(format!("{address}: takes {from} as the sender"))
            }
            Err(trouble) => Finding::broken(
                format!(
                    "{address}: doesn’t take {from} as the sender: {}",
                    in_words(&trouble, Hidden::default())
                ),
                "Use an address in from (or envelope_from) that your account there may send with; set user and password if it wants you to sign in.",
            ),
        }
    }

    fn offers(&self, address: &str, connection: &Connection) -> Finding {
        let offers = connection.offers();
        let listed = [
            (offers.reports, "DSN"),
            (offers.utf8, "SMTPUTF8"),
            (offers.size.is_some(), "SIZE"),
        ];
        let names: Vec<_> = listed
            .iter()
            .filter(|(offered, _)| *offered)
            .map(|(_, name)| *name)
            .collect();
        let listed = if names.is_empty() {
            "nothing special".to_owned()
        } else {
            names.join(", ")
        };
        match (self.settings.delivery_reports, offers.reports) {
            (true, false) => Finding::warning(
                format!("{address}: offers {listed}, and no delivery reports (DSN)"),
                "Delivery is then assumed as soon as the server takes a message, and what it reports later comes too late. Use a server that offers DSN, or leave it so.",
            ),
            (false, true) => Finding::warning(
                format!("{address}: offers {listed}; its delivery reports (DSN) are not used"),
                "Set dsn_secret, and let your mail server bring them: the page about this channel has the lines.",
            ),
            (true, true) => Finding::well(format!(
                "{address}: offers {listed}; delivery reports are expected at POST /channels/{}/{PATH_OF_REPORTS}",
                self.name
            )),
            (false, false) => Finding::well(format!(
                "{address}: offers {listed}; delivery is assumed once it takes a message"
            )),
        }
    }

    fn no_connection(&self, address: &str, error: &DialError) -> Finding {
        let found = format!("{address}: {}", no_connection(error));
        let remedy = match error.step {
            Step::Resolve => "Check host, and this machine’s DNS.",
            Step::Connect => {
                "Check host and port, and whether a firewall lets this machine out: many providers block port 25."
            }
            Step::Greeting | Step::Hello if self.settings.security != Security::Tls => {
                "Check that the port speaks SMTP: 465 speaks TLS from the first byte (security = \"tls\")."
            }
            Step::Greeting | Step::Hello => "Check that the port speaks SMTP.",
            Step::StartTls => "Use the port that offers STARTTLS (mostly 587), or security = \"tls\" with port 465.",
            Step::Tls => {
                "Set host to the name that the certificate bears, and callbacks.extra_ca_file where its authority is your own. Port \
                 587 wants security = \"starttls\", port 465 \"tls\"."
            }
            Step::Authenticate => {
                "Check user and password. Many providers want a password made for programs (an app password or an API key)."
            }
        };
        Finding::broken(found, remedy)
    }
}

/// A user's name may be an e-mail address.
fn masked(user: &str) -> String {
    match user.split_once('@') {
        Some((local, domain)) => format!("{}…@{domain}", local.chars().next().unwrap_or('…')),
        None => user.to_owned(),
    }
}
