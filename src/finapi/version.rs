//! Which of Access' two versions finAPI's client is bound to (`finapi.api_version`), and the probe that proves it.
//!
//! A client is bound to one version, and the other one's services answer 403. The client's mandator can switch it while workers run. The probe decides:
//! a 403 has many causes, and its wording is not documented.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

use super::client::FinApi;
use super::probe::{ClientGrant, Probed};
use crate::refresh::failure::{Failure, FailureClass};
use crate::setting::Value;
use crate::telemetry::metrics::FinApiMetrics;

/// Which version is spoken (`finapi.api_version`).
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum ApiVersion {
    /// Whichever finAPI's client is bound to.
    #[default]
    Auto,
    /// V1 and nothing else.
    V1,
    /// V2 and nothing else.
    V2,
}

impl ApiVersion {
    /// Whether a client that is bound to a version can be used with this setting.
    #[must_use]
    pub fn allows(self, version: Version) -> bool {
        match self {
            Self::Auto => true,
            Self::V1 => version == Version::V1,
            Self::V2 => version == Version::V2,
        }
    }
}

/// One of the two versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// `/oauth/token`, `/api/v1/…`.
    V1,
    /// `/api/v2/oauth/token`, `/api/v2/…`.
    V2,
}

/// A call of Access, whose path differs by version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AccessCall {
    Token,
    ClientConfiguration,
    BankConnection,
    Accounts,
    Transactions,
}

/// What is known of the version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// finAPI has answered a probe of this version, or the setting names it.
    Proven(Version),
    /// Nothing may be sent.
    Unproven {
        /// For operators.
        why: String,
        /// When it is probed again.
        next: Instant,
    },
}

/// What a 403 of finAPI's own means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Forbidden {
    /// What it says: the version is the right one.
    Stands,
    /// finAPI's client is bound to the other version by now.
    Changed,
    /// That shows at the next probe, after this.
    Unknown(Duration),
}

/// After a 403, finAPI is probed once in this time at most; wrong credentials of the client are tried as often.
pub(super) const PROBE_INTERVAL: Duration = Duration::from_secs(60);

/// The first wait before a version that is not proven is probed again. Each wait is twice the one before, up to [`PROBE_INTERVAL`].
const BACKOFF: Duration = Duration::from_secs(1);

/// A probe counts for requests that were sent so long after it. Else of a thousand refreshes that wait for the next probe one would have its
/// verdict, and the others would wait for another minute.
const PROBE_COUNTS_FOR: Duration = Duration::from_secs(10);

/// The version that is spoken.
#[derive(Debug)]
pub(super) struct Versions {
    setting: ApiVersion,
    proof: watch::Sender<Proof>,
    /// Held while a probe runs that a 403 led to: when the last one ended.
    last_probe: Mutex<Option<Instant>>,
    /// What finAPI said last of a token of the client's own, and when.
    pub(super) last_client_grant: Mutex<Option<(Instant, ClientGrant)>>,
    metrics: FinApiMetrics,
}

impl Version {
    /// Its name in settings, logs and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
        }
    }

    /// A call's method and path, with `{id}` where an id goes.
    pub(super) fn endpoint(self, call: AccessCall) -> &'static str {
        match (call, self) {
            (AccessCall::Token, Self::V1) => "POST /oauth/token",
            (AccessCall::Token, Self::V2) => "POST /api/v2/oauth/token",
            (AccessCall::ClientConfiguration, Self::V1) => "GET /api/v1/clientConfiguration",
            (AccessCall::ClientConfiguration, Self::V2) => "GET /api/v2/clientConfiguration",
            (AccessCall::BankConnection, Self::V1) => "GET /api/v1/bankConnections/{id}",
            (AccessCall::BankConnection, Self::V2) => "GET /api/v2/bankConnections/{id}",
            (AccessCall::Accounts, Self::V1) => "GET /api/v1/accounts",
            (AccessCall::Accounts, Self::V2) => "GET /api/v2/accounts",
            (AccessCall::Transactions, Self::V1) => "GET /api/v1/transactions",
            (AccessCall::Transactions, Self::V2) => "GET /api/v2/transactions",
        }
    }
}

impl Versions {
    pub(super) fn new(setting: ApiVersion, metrics: FinApiMetrics) -> Self {
        let proof = match setting {
            ApiVersion::Auto => Proof::Unproven {
                why: "it was not probed yet".to_owned(),
                next: Instant::now(),
            },
            ApiVersion::V1 => Proof::Proven(Version::V1),
            ApiVersion::V2 => Proof::Proven(Version::V2),
        };
        let versions = Self {
            setting,
            proof: watch::Sender::new(proof),
            last_probe: Mutex::new(None),
            last_client_grant: Mutex::new(None),
            metrics,
        };
        versions.show();
        versions
    }

    /// The version to speak; a failure as long as none is proven.
    pub(super) fn get(&self) -> Result<Version, Failure> {
        match &*self.proof.borrow() {
            Proof::Proven(version) => Ok(*version),
            Proof::Unproven { why, next } => {
                let wait = next.saturating_duration_since(Instant::now()) + BACKOFF;
                let message = format!("finAPI's version is not proven: {why}");
                Err(Failure::new(FailureClass::NotSent(wait), &message))
            }
        }
    }

    /// Why nothing may be sent, where that is so.
    pub(super) fn unproven(&self) -> Option<String> {
        match &*self.proof.borrow() {
            Proof::Proven(_) => None,
            Proof::Unproven { why, .. } => Some(why.clone()),
        }
    }

    /// What to say of a 403 where the setting alone decides.
    pub(super) fn hint(&self) -> &'static str {
        match self.setting {
            ApiVersion::Auto => "",
            ApiVersion::V1 => "; finapi.api_version is v1: is the client bound to V2?",
            ApiVersion::V2 => "; finapi.api_version is v2: is the client bound to V1?",
        }
    }

    /// When it is probed again, where it is not proven.
    fn next_probe(&self) -> Option<Instant> {
        match &*self.proof.borrow() {
            Proof::Proven(_) => None,
            Proof::Unproven { next, .. } => Some(*next),
        }
    }

    /// Notified whenever that changes.
    pub(super) fn watch(&self) -> watch::Receiver<Proof> {
        self.proof.subscribe()
    }

    /// The setting is the proof.
    pub(super) fn is_set(&self) -> bool {
        self.setting != ApiVersion::Auto
    }

    /// A probe has ended. Whether the client is bound to another version than before.
    fn on_probed(&self, probed: Probed, wait: Duration) -> bool {
        let next = Instant::now() + wait;
        let before = self.proof.borrow().clone();
        let proof = match probed {
            Probed::Bound(version) => Proof::Proven(version),
            Probed::Refused(why) | Probed::Unknown(why) => Proof::Unproven { why, next },
        };
        let changed = match (&before, &proof) {
            (Proof::Proven(before), Proof::Proven(now)) => before != now,
            (Proof::Unproven { .. }, Proof::Proven(_)) => true,
            (_, Proof::Unproven { .. }) => false,
        };
        match &proof {
            Proof::Proven(version) if changed => {
                tracing::info!(
                    version = version.name(),
                    "finAPI's client is bound to this version of Access"
                );
            }
            Proof::Proven(_) => {}
            Proof::Unproven { why, .. } => {
                tracing::warn!(
                    why,
                    "finAPI's version is not proven, so no command is taken and no update is started"
                );
            }
        }
        if proof != before {
            self.proof.send_replace(proof);
            self.show();
        }
        changed
    }

    fn show(&self) {
        let spoken = match &*self.proof.borrow() {
            Proof::Proven(version) => Some(version.name()),
            Proof::Unproven { .. } => None,
        };
        self.metrics
            .api_version([Version::V1, Version::V2].map(Version::name), spoken);
    }
}

impl FinApi {
    /// Notified whenever a version of Access is proven, or no longer so.
    #[must_use]
    pub fn watch_version(&self) -> watch::Receiver<Proof> {
        self.versions.watch()
    }

    /// Why no update may be started, where no version of Access is proven.
    #[must_use]
    pub fn unproven(&self) -> Option<String> {
        self.versions.unproven()
    }

    /// Proves the version whenever it is not proven, and takes new secrets of the client into use, for ever.
    pub async fn keep_version(&self) {
        tokio::join!(self.prove_version(), self.keep_client_secret());
    }

    async fn prove_version(&self) {
        let mut proof = self.versions.watch();
        let mut wait = BACKOFF;
        loop {
            let Some(next) = self.versions.next_probe() else {
                // Whoever drops the sender drops this, too.
                let _ = proof.changed().await;
                continue;
            };
            tokio::time::sleep_until(next).await;
            let probed = self.probe().await;
            if let Probed::Refused(_) = probed {
                wait = PROBE_INTERVAL;
            }
            self.on_probed(probed, wait);
            wait = match self.versions.unproven() {
                Some(_) => (2 * wait).min(PROBE_INTERVAL),
                None => BACKOFF,
            };
        }
    }

    /// finAPI answered 403, in its own form, to a request of this version that was sent then.
    pub(super) async fn on_forbidden(&self, version: Version, sent: Instant) -> Forbidden {
        if self.versions.is_set() {
            return Forbidden::Stands;
        }
        let mut last_probe = self.versions.last_probe.lock().await;
        match self.versions.get() {
            Ok(now) if now != version => return Forbidden::Changed,
            Ok(_) => {}
            Err(_) => return Forbidden::Unknown(BACKOFF),
        }
        if let Some(last) = *last_probe {
            if sent <= last + PROBE_COUNTS_FOR {
                return Forbidden::Stands;
            }
            let wait = (last + PROBE_INTERVAL).saturating_duration_since(Instant::now());
            if !wait.is_zero() {
                return Forbidden::Unknown(wait);
            }
        }
        let probed = self.probe().await;
        *last_probe = Some(Instant::now());
        // What has worked goes on as long as nothing proves that it is over.
        if let Probed::Unknown(why) = probed {
            tracing::warn!(
                why,
                "finAPI answered 403, and a probe could not show whether its client is bound to another version"
            );
            return Forbidden::Unknown(PROBE_INTERVAL);
        }
        let is_bound = matches!(probed, Probed::Bound(_));
        match self.on_probed(probed, PROBE_INTERVAL) {
            true => Forbidden::Changed,
            false if is_bound => Forbidden::Stands,
            false => Forbidden::Unknown(PROBE_INTERVAL),
        }
    }

    fn on_probed(&self, probed: Probed, wait: Duration) -> bool {
        let changed = self.versions.on_probed(probed, wait);
        if changed {
            self.tokens.forget_all();
        }
        changed
    }
}

impl Value for ApiVersion {
    const KIND: &'static str = "`auto`, `v1` or `v2`";

    fn show(&self) -> String {
        format!("{self:?}").to_lowercase()
    }
}
