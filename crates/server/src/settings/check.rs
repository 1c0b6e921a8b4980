//! The rules that concern several settings at once. Each refusal is a sentence with its remedy.

use super::{DatabaseUrl, Settings, SettingsError};
use crate::Mode;

impl Settings {
    /// Refuses settings that can't stand together, and a production server that would not be safe.
    pub fn check(&mut self) -> Result<(), SettingsError> {
        if self.server.tls_cert_file.is_some() != self.server.tls_key_file.is_some() {
            return refuse("server.tls_cert_file and server.tls_key_file belong together: set both or neither");
        }
        if let Some(DatabaseUrl::DataDir(directory)) = &self.database.url
            && *directory != self.data_dir
        {
            return refuse(&format!(
                "database.url names the data directory {}, and data_dir is {}: name one of the two",
                directory.display(),
                self.data_dir.display()
            ));
        }
        if let Some(authority) = self.database.ca_file.as_ref().filter(|file| !file.is_file()) {
            return refuse(&format!(
                "the file {} (database.ca_file) isn't there: put the authority's certificate in it, or leave the setting out",
                authority.display()
            ));
        }
        let payment = &self.payment;
        if payment.least_order > payment.most_order {
            return refuse("payment.least_order is more than payment.most_order: nothing could be ordered");
        }
        if let Some(file) = payment
            .transfer_instructions_file
            .as_ref()
            .filter(|file| !file.is_file())
        {
            return refuse(&format!(
                "the file {} (payment.transfer_instructions_file) isn't there: write in it how to pay, or leave the setting out",
                file.display()
            ));
        }
        if let Some(terms) = &self.site.terms_file
            && !terms.is_file()
        {
            return refuse(&format!(
                "the terms {} (site.terms_file) aren't there: write them in Markdown, or name no file",
                terms.display()
            ));
        }
        if let Some(address) = self.metrics.listen.filter(|address| !address.ip().is_loopback()) {
            self.warnings.push(format!(
                "metrics are served on {address} without a key: let only Prometheus reach it. They name no account and no number, but \
                 tell how much you send, and over which legs"
            ));
        }
        match self.mode {
            Mode::Sandbox => self.check_sandbox(),
            Mode::Production => self.check_production(),
        }
    }

    fn check_sandbox(&mut self) -> Result<(), SettingsError> {
        let tls_listen = self.sandbox.tls.then_some(self.sandbox.tls_listen);
        for address in [Some(self.server.listen), tls_listen].into_iter().flatten() {
            if address.ip().is_loopback() {
                continue;
            }
            if !self.sandbox.exposed {
                return refuse(&format!(
                    "the sandbox shows every code to whoever reaches it, so it listens on loopback only, and {address} isn't \
                     loopback: listen on 127.0.0.1, start with --sandbox-exposed if that network is yours alone, or set mode = \
                     \"production\""
                ));
            }
            self.warnings.push(format!(
                "the sandbox is exposed on {address}: whoever reaches it reads every code and the inbox"
            ));
        }
        Ok(())
    }

    fn check_production(&mut self) -> Result<(), SettingsError> {
        if self.inbox.enabled {
            return refuse(
                "production doesn't start with the open inbox, which shows every code: set inbox.enabled = false, or mode = \
                 \"sandbox\"",
            );
        }
        if self.sandbox.exposed || self.sandbox.tls {
            return refuse(
                "sandbox.exposed and sandbox.tls exist in the sandbox only: leave them out, or set mode = \"sandbox\"",
            );
        }
        let Some(master_key) = &self.keys.master_key_file else {
            return refuse(
                "production doesn't start without a master key: make one with `openssl rand -hex 32 > FILE`, keep a copy of it, \
                 and name the file in keys.master_key_file (or COUNTERSIGN_KEYS_MASTER_KEY_FILE)",
            );
        };
        if !master_key.is_file() {
            return refuse(&format!(
                "the master key file {} (keys.master_key_file) isn't there: restore it, or make a new one for a new database \
                 with `openssl rand -hex 32 > FILE`",
                master_key.display()
            ));
        }
        if self.server.tls_cert_file.is_none() && !self.server.behind_proxy {
            return refuse(
                "production doesn't start without TLS: set server.tls_cert_file and server.tls_key_file, or server.behind_proxy \
                 = true where a proxy in front terminates TLS",
            );
        }
        if self.server.behind_proxy && self.server.trusted_proxies.is_empty() {
            self.warnings.push(
                "server.behind_proxy is true and server.trusted_proxies is empty: allow-lists see the proxy's address, not the \
                 caller's"
                    .to_owned(),
            );
        }
        Ok(())
    }
}

fn refuse(sentence: &str) -> Result<(), SettingsError> {
    Err(SettingsError::Refused(sentence.to_owned()))
}
