//! The URL of a service.

use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, de};
use url::{Host, Url};

/// An `http` or `https` URL with a host and without a password, so it may be shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct HttpUrl(Url);

/// A text that is not an [`HttpUrl`]. Repeats nothing of it, because it may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it must be an http:// or https:// URL without a password")]
pub struct NotHttp;

impl HttpUrl {
    /// The URL with exactly one more segment in its path. None where the segment can't be written as one: `.` and `..` lead to another
    /// place, encoded or not, and a URL has no tabs and line breaks.
    #[must_use]
    pub fn with_segment(&self, segment: &str) -> Option<Url> {
        if segment.contains(char::is_control) {
            return None;
        }
        let with = |segment| {
            let mut url = self.0.clone();
            url.path_segments_mut().ok()?.pop_if_empty().push(segment);
            Some(url)
        };
        let segments = |url: &Url| {
            url.path_segments()
                .map(|mut all| (all.clone().count(), all.next_back() == Some("")))
        };
        let url = with(segment)?;
        (segments(&url) == segments(&with("one")?)).then_some(url)
    }

    /// Whether only this machine can be reached by it.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        match self.0.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(ip)) => ip.is_loopback(),
            Some(Host::Ipv6(ip)) => ip.is_loopback(),
            None => false,
        }
    }
}

impl TryFrom<Url> for HttpUrl {
    type Error = NotHttp;

    fn try_from(url: Url) -> Result<Self, NotHttp> {
        let is_http = matches!(url.scheme(), "http" | "https") && url.has_host();
        if !is_http || url.password().is_some() {
            return Err(NotHttp);
        }
        Ok(Self(url))
    }
}

impl FromStr for HttpUrl {
    type Err = NotHttp;

    fn from_str(text: &str) -> Result<Self, NotHttp> {
        Url::parse(text).map_err(|_| NotHttp)?.try_into()
    }
}

impl Deref for HttpUrl {
    type Target = Url;

    fn deref(&self) -> &Url {
        &self.0
    }
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for HttpUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_url_of_a_service_is_refused_without_repeating_it() {
        let wrong = [
            "s3cret",
            "ftp://s3cret.test",
            "mailto:s3cret@host.test",
            "https://user:s3cret@host.test",
            "https://user:s3cret@host.test:99999",
        ];
        for text in wrong {
            let error = text.parse::<HttpUrl>().expect_err("no URL");
            assert!(!format!("{error} {error:?}").contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn a_segment_is_escaped() {
        for base in ["http://host.test/users", "http://host.test/users/"] {
            let base: HttpUrl = base.parse().expect("a URL");
            let url = |segment| base.with_segment(segment).map(String::from);
            assert_eq!(url("a/ä").as_deref(), Some("http://host.test/users/a%2F%C3%A4"));
            assert_eq!(url("%2e%2e").as_deref(), Some("http://host.test/users/%252e%252e"));
            for wrong in [".", "..", ".\t.", "\t..", ".\r.", "an\tna", "anna\n", "\0"] {
                assert_eq!(url(wrong), None, "{wrong:?}");
            }
        }
        let root: HttpUrl = "http://host.test".parse().expect("a URL");
        assert_eq!(
            root.with_segment("a").map(String::from).as_deref(),
            Some("http://host.test/a")
        );
        assert_eq!(root.with_segment(".."), None);
    }
}
