//! The URL of a service.

use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use url::{Host, Url};

use crate::secret::HIDDEN;

/// An `http` or `https` URL with a host and without a password. A user's name and a query may be secrets, too: formatted for debugging and
/// serialized, it shows [`HIDDEN`] in their place.
#[derive(Clone, PartialEq, Eq)]
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

    /// The URL for people: without the user's name, the query and the fragment.
    #[must_use]
    pub fn shown(&self) -> String {
        let mut url = self.0.clone();
        let hidden = |part: &str| if part.is_empty() { None } else { Some(HIDDEN) };
        url.set_query(self.0.query().and_then(hidden));
        url.set_fragment(self.0.fragment().and_then(hidden));
        // An http URL always may have a user.
        let _ = url.set_username(hidden(self.0.username()).unwrap_or_default());
        url.to_string().replace("%28hidden%29", HIDDEN)
    }

    /// Whether nobody on the way can read what is sent to it: `https`, or only this machine; or an operator allows it to be insecure.
    #[must_use]
    pub fn is_secure(&self, allow_insecure: bool) -> bool {
        allow_insecure || self.0.scheme() == "https" || self.is_loopback()
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

impl fmt::Debug for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}

impl Serialize for HttpUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.shown())
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
    fn a_users_name_and_a_query_are_not_shown() {
        let url: HttpUrl = "https://s3cret@host.test:1/x?key=s3cret#s3cret".parse().expect("a URL");
        let json = serde_json::to_string(&url).expect("JSON");
        for shown in [url.shown(), format!("{url:?}"), json] {
            assert!(
                shown.contains("https://(hidden)@host.test:1/x?(hidden)#(hidden)"),
                "{shown}"
            );
            assert!(!shown.contains("s3cret"), "{shown}");
        }
        let url: HttpUrl = "http://host.test/x".parse().expect("a URL");
        assert_eq!(url.shown(), "http://host.test/x");
    }

    #[test]
    fn only_https_and_this_machine_are_secure() {
        let is_secure = |url: &str| url.parse::<HttpUrl>().expect("a URL").is_secure(false);
        for url in [
            "https://host.test",
            "http://localhost:1",
            "http://127.0.0.2",
            "http://[::1]",
        ] {
            assert!(is_secure(url), "{url}");
        }
        for url in [
            "http://host.test",
            "http://localhost.test",
            "http://10.0.0.1",
            "http://[fe80::1]",
        ] {
            assert!(!is_secure(url), "{url}");
        }
        assert!("http://host.test".parse::<HttpUrl>().expect("a URL").is_secure(true));
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
