//! Where finAPI's endpoints are.

use std::fmt;

use url::Url;

use super::client::FinApi;

impl FinApi {
    /// A path below a base URL, without a query.
    pub(super) fn at(base: &Url, path: &str) -> Url {
        let mut url = base.clone();
        url.set_path(&format!("{}/{path}", base.path().trim_end_matches('/')));
        url
    }

    /// The same with an id as one more segment.
    pub(super) fn at_id(base: &Url, path: &str, id: impl fmt::Display) -> Url {
        let mut url = Self::at(base, path);
        Self::add_id(&mut url, id);
        url
    }

    pub(super) fn add_id(url: &mut Url, id: impl fmt::Display) {
        // An http URL always has segments.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.push(&id.to_string());
        }
    }

    /// Where an endpoint of Access is, without the id that goes last.
    pub(super) fn access_url(&self, endpoint: &str) -> Url {
        let path = endpoint.split_once(" /").map_or(endpoint, |(_, path)| path);
        Self::at(&self.settings.access_url, path.trim_end_matches("/{id}"))
    }
}
