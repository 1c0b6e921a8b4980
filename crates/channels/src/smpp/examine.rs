//! Tries everything that can be tried without a message to anyone, for `countersign doctor`: the name, the connection, TLS, the bind, and
//! whether the message centre answers. Where this process is bound already, that session is asked instead of a second one.

use std::sync::Arc;
use std::time::Duration;

use rusmpp_core::CommandStatus;
use rusmpp_core::pdus::owned::Pdu;
use tokio::sync::watch;

use super::link::{self, BindError, Link};
use super::messages::Messages;
use super::session::{self, Session};
use super::settings::Settings;
use super::status;
use crate::{Finding, http};

pub(super) async fn examine(link: &Link, settings: &Settings) -> Vec<Finding> {
    let address = link.dialer().address();
    if let Ok(session) = link.session(Duration::ZERO).await {
        let found = format!("{address}: this server is bound as {:?}", settings.system_id.as_str());
        return vec![Finding::well(found), ask(&session, settings, &address).await];
    }
    let stream = match link.dialer().dial().await {
        Ok(stream) => stream,
        Err(error) => return vec![Finding::broken(error.problem, error.remedy)],
    };
    let encrypted = if link.dialer().is_encrypted() {
        "over TLS"
    } else {
        "in the clear"
    };
    let mut findings = vec![Finding::well(format!("{address}: connected, {encrypted}"))];
    if !link.dialer().is_encrypted() && !http::is_this_machine(&settings.host) {
        findings.push(Finding::warning(
            format!("{address}: password, numbers and codes travel in the clear"),
            "Set tls = true if the message centre speaks it, or lead the connection through a VPN.",
        ));
    }
    let (session, connection, _deliveries) = session::prepare(stream, Arc::new(Messages::default()));
    let (end, told) = watch::channel(false);
    let tried = async {
        match link::bind(&session, settings).await {
            Ok(()) => {
                findings.push(Finding::well(format!(
                    "{address}: bound as {:?}",
                    settings.system_id.as_str()
                )));
                findings.push(ask(&session, settings, &address).await);
            }
            Err(error) => findings.push(refused(&address, &error)),
        }
        end.send_replace(true);
    };
    tokio::join!(session::drive(connection, told), tried);
    findings
}

async fn ask(session: &Session, settings: &Settings, address: &str) -> Finding {
    match session.request(Pdu::EnquireLink, None, settings.response_timeout).await {
        Ok(_) => Finding::well(format!("{address}: enquire_link is answered")),
        Err(_) => Finding::broken(
            format!("{address}: enquire_link is not answered"),
            "Ask the operator of the message centre whether it is supported: without it a dead connection isn’t noticed.",
        ),
    }
}

fn refused(address: &str, error: &BindError) -> Finding {
    use CommandStatus as S;
    let status = match error {
        BindError::NoAnswer => {
            return Finding::broken(
                format!("{address}: the bind is not answered"),
                "Check that the port speaks SMPP, and whether it wants TLS (tls = true).",
            );
        }
        BindError::Refused(status) => *status,
    };
    let found = format!("{address}: the bind was refused: {}", status::describe(status));
    let remedy = match status {
        S::EsmeRalybnd => {
            return Finding::warning(
                found,
                "The running server probably holds the only session that is allowed: then all is well.",
            );
        }
        S::EsmeRinvpaswd => "Check password (or password_file): at most 8 characters, case counts.",
        S::EsmeRinvsysid => "Check system_id.",
        S::EsmeRinvsystyp => "Check system_type: some message centres want a certain one, most want none.",
        S::EsmeRbindfail => {
            "Check system_id, password and system_type; ask whether a transceiver bind is allowed from this address, and \
             how many sessions at once."
        }
        _ => "Ask the operator of the message centre what this status means there.",
    };
    Finding::broken(found, remedy)
}
