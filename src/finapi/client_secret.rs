//! A new secret of the client is taken into use once finAPI has granted a token for it. Until then the old one stays.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

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
        loop {
            let secret = match offered.wait_for(Option::is_some).await {
                Ok(secret) => secret.clone(),
                // This has a sender itself.
                Err(_) => return,
            };
            let Some(secret) = secret else { continue };
            if self.try_client_secret(&secret).await {
                self.settings.client_secret.rotate(&secret);
                self.settings.client_secret.has_worked();
                self.tokens.on_client_secret(&secret);
                self.offers.offer(None);
                tracing::info!("finAPI accepts the new finapi.client_secret, which is in use from now on");
                continue;
            }
            tokio::select! {
                () = tokio::time::sleep(AGAIN_AFTER) => {}
                // An error says that the sender is gone, which is this one's.
                _ = offered.changed() => {}
            }
        }
    }

    /// Whether finAPI grants a token for it.
    async fn try_client_secret(&self, secret: &Secret) -> bool {
        for version in [Version::V2, Version::V1] {
            match self.grant_for(version, secret).await {
                ClientGrant::Granted => return true,
                ClientGrant::Refused => {}
                ClientGrant::Unknown => return false,
            }
        }
        tracing::warn!("finAPI refuses the new finapi.client_secret, so the old one stays in use");
        false
    }
}
