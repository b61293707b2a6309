//! Changing the authority without a day on which anybody is locked out.
//!
//! Three steps: [`Authority::start_next`] makes a second authority, and from then on `ca.crt` holds both; everybody gets
//! the new `ca.crt`, and certificates are renewed from the new one; [`Authority::retire_old`] forgets the first.

use std::fs;

use crate::authority::Authority;
use crate::error::Error;
use crate::files::{self, Access};
use crate::index::Listed;
use crate::init::{default_label, make_authority};
use crate::keys::{self, KeyKind};
use crate::names::Label;
use crate::terms::{Existing, Lifetime};

impl Authority {
    /// Makes the next authority. `ca.crt` and `crl.pem` hold both from now on; new certificates come from the new one.
    ///
    /// Until everybody has the new `ca.crt`, do not renew a server's certificate.
    ///
    /// # Errors
    /// [`Error::Rollover`] while an earlier change is unfinished.
    pub fn start_next(&mut self, label: Option<&Label>, key: KeyKind, lifetime: Lifetime) -> Result<(), Error> {
        if self.is_changing() {
            let problem =
                "a change of authority is under way already; finish it first: airlock certs init --retire-old";
            return Err(Error::Rollover { problem: problem.to_owned() });
        }
        let label = label.cloned().unwrap_or_else(default_label);
        let (key, certificate) = make_authority(&label, key, lifetime, self.now)?;
        let digits: String = certificate.key_fingerprint.to_string().split(':').take(8).collect();
        let key_file = self.folder.join(format!("ca-{digits}.key"));
        files::write(&key_file, keys::to_pem(&key)?.as_bytes(), Access::Secret, Existing::Keep)?;
        // Replacing ca.crt is the one step that makes the change; a key that no certificate names is harmless.
        self.certificates.insert(0, certificate);
        self.write_certificates()?;
        self.refresh_crl()?;
        Ok(())
    }

    /// Ends the change: the old authority leaves `ca.crt` and `crl.pem`, and its private key is deleted.
    ///
    /// Returns the certificates that stop counting wherever the new `ca.crt` arrives; there are such only with `anyway`.
    ///
    /// # Errors
    /// [`Error::Rollover`] when no change is under way, or when people would be left behind and `anyway` is false.
    pub fn retire_old(&mut self, anyway: bool) -> Result<Vec<Listed>, Error> {
        if !self.is_changing() {
            let problem = "there is no older authority to retire; airlock certs init --next begins a change".to_owned();
            return Err(Error::Rollover { problem });
        }
        let left_behind = self.left_behind();
        if !left_behind.is_empty() && !anyway {
            let names: Vec<&str> = left_behind.iter().map(|listed| listed.record.name.as_str()).collect();
            let (certificates, count, them) = match names.len() {
                1 => ("1 certificate".to_owned(), "counts", "it"),
                several => (format!("{several} certificates"), "count", "them"),
            };
            let problem = format!(
                "{certificates} of the old authority still {count} ({}); renew or revoke {them} first: airlock certs renew NAME",
                names.join(", ")
            );
            return Err(Error::Rollover { problem });
        }
        let retired = self.certificates.split_off(1);
        let mut old_keys = Vec::new();
        for certificate in &retired {
            // A key that was moved elsewhere beforehand is not missed.
            if let Ok((path, _)) = self.key_of(certificate) {
                old_keys.push(path);
            }
        }
        self.write_certificates()?;
        self.refresh_crl()?;
        for path in old_keys {
            fs::remove_file(&path).map_err(Error::io("delete", &path))?;
        }
        Ok(left_behind)
    }
}
