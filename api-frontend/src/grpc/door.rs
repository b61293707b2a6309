//! The door to every service: who calls, by their certificate and by the policy of this moment.

use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use hyper::header::HeaderMap;
use tonic::{Code, Status};
use uuid::Uuid;

use super::error;
use crate::authorize::Caller;
use crate::jobs::is_request_id;
use crate::policy::{Policy, Standing};
use crate::tls::PeerInfo;

/// Lets in whoever has a role, call by call, before a byte of what they send is read. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Door {
    host: Arc<str>,
    policy: Arc<ArcSwap<Policy>>,
}

/// A caller, and the certificate they came with. Goes with the request that the door let in.
#[derive(Debug, Clone)]
pub(super) struct Guest {
    pub caller: Caller,
    pub peer: PeerInfo,
}

/// The header by which a client names its call; the same word is in both journals and in every refusal.
const REQUEST_ID_HEADER: &str = "x-request-id";

impl Door {
    /// `host` is the server's own name, for those who are refused.
    pub fn new(host: &str, policy: Arc<ArcSwap<Policy>>) -> Self {
        Self { host: host.into(), policy }
    }

    /// Whether somebody has a role at this moment.
    pub(super) fn knows(&self, peer: &PeerInfo) -> bool {
        self.policy.load().judge(&peer.identity).is_ok()
    }

    /// Who calls. Somebody without a role is refused whatever they ask.
    pub(super) fn admit(&self, peer: PeerInfo, headers: &HeaderMap) -> Result<Guest, Status> {
        let named = headers.get(REQUEST_ID_HEADER).and_then(|v| v.to_str().ok()).filter(|id| is_request_id(id));
        let request_id = named.map_or_else(|| Uuid::new_v4().to_string(), str::to_owned);
        let (name, serial) = (peer.identity.name(), peer.identity.serial());
        let refuse = |rule: String, why: String| {
            tracing::info!(request_id, name, serial, peer = %peer.address, rule, why, "refused");
            error::plain(Code::PermissionDenied, "NO_ROLE", why, &request_id)
        };
        if peer.identity.not_after() < SystemTime::now() {
            let why = format!("the certificate of {name} has ended; renew it");
            return Err(refuse("none, the certificate has ended".into(), why));
        }
        let policy = self.policy.load();
        let Standing { role, terms } = policy
            .judge(&peer.identity)
            .map_err(|no| refuse(no.decided_by().to_string(), format!("{name} has no role on {}: {no}", self.host)))?;
        let caller = Caller {
            name: name.to_owned(),
            serial: serial.to_owned(),
            peer: peer.address,
            role,
            visibility: policy.visibility(),
            terms,
            request_id,
            turns: peer.share.turns().clone(),
        };
        Ok(Guest { caller, peer })
    }
}
