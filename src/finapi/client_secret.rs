//! A new secret of the client is taken into use once finAPI has granted a token for it. Until then the old one stays.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use super::client::FinApi;
use super::probe::ClientGrant;
use super::version::Version;
use crate::secret::Secret;

/// How long to wait before a secret that did not work is tried again: people may change it here first and at finAPI later.
const AGAIN_AFTER: Duration = Duration::from_secs(10);

/// Where new secrets of the client are handed in. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ClientSecretOffers(Arc<watch::Sender<Option<Secret>>>);

impl Default for ClientSecretOffers {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }
}

impl ClientSecretOffers {
    /// Hands one in, in the place of one that has not worked yet. None takes that back.
    pub fn offer(&self, secret: Option<Secret>) {
        self.0.send_if_modified(|offered| {
            let is_same = match (&*offered, &secret) {
                (Some(one), Some(other)) => one.is(other),
                (None, None) => true,
                _ => false,
            };
            *offered = secret;
            !is_same
        });
    }

    /// Whether one was handed in that has not worked yet.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        self.0.borrow().is_some()
    }
}

impl FinApi {
    /// Where new secrets of the client are handed in.
    #[must_use]
    pub fn client_secret_offers(&self) -> ClientSecretOffers {
        self.offers.clone()
    }

    /// Tries what is handed in, for ever.
    pub(super) async fn keep_client_secret(&self) {
        let mut offered = self.offers.0.subscribe();
        // What operators were warned of last, and of which secret. It is tried again every few seconds, and says nothing new until something changes.
        let mut warned: Option<(Secret, ClientGrant)> = None;
        loop {
            let secret = match offered.wait_for(Option::is_some).await {
                Ok(secret) => secret.clone(),
                // This has a sender itself.
                Err(_) => return,
            };
            let Some(secret) = secret else { continue };
            let granted = self.try_client_secret(&secret).await;
            if granted == ClientGrant::Granted {
                self.use_client_secret(&secret).await;
                warned = None;
                continue;
            }
            if !warned.is_some_and(|(of, was)| was == granted && of.is(&secret)) {
                warn(granted);
            }
            warned = Some((secret, granted));
            // An error says that the sender is gone, which is this one's.
            let _ = timeout(AGAIN_AFTER, offered.changed()).await;
        }
    }

    async fn use_client_secret(&self, secret: &Secret) {
        self.settings.client_secret.rotate(secret);
        self.settings.client_secret.has_worked(secret.expose().as_bytes());
        // What finAPI said of the old one says nothing of this one.
        *self.versions.last_client_grant.lock().await = None;
        self.tokens.on_client_secret(secret);
        self.offers.offer(None);
        tracing::info!("finAPI accepts the new finapi.client_secret, which is in use from now on");
    }

    /// Whether finAPI grants a token for it, in one version or the other.
    async fn try_client_secret(&self, secret: &Secret) -> ClientGrant {
        for version in [Version::V2, Version::V1] {
            match self.grant_for(version, secret).await {
                ClientGrant::Refused => {}
                granted => return granted,
            }
        }
        ClientGrant::Refused
    }
}

fn warn(granted: ClientGrant) {
    match granted {
        ClientGrant::Granted => {}
        ClientGrant::Refused => {
            tracing::warn!("finAPI refuses the new finapi.client_secret, so the old one stays in use");
        }
        ClientGrant::Unknown => {
            tracing::warn!(
                "finAPI does not say whether it accepts the new finapi.client_secret, so the old one stays in use"
            );
        }
    }
}
