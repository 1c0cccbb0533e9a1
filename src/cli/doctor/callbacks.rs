//! The URL by which finAPI calls back.

use url::Host;

use super::Finding;
use crate::callbacks::Settings;
use crate::setting::HttpUrl;

const ABOUT: &str = "callbacks";

pub(super) fn check(settings: &Settings) -> Vec<Finding> {
    let Some(url) = &settings.public_url else {
        return vec![Finding::ok(
            ABOUT,
            "off: updates are detected by polls (callbacks.public_url)",
        )];
    };
    let mut findings = vec![reach(url)];
    if settings.listen.is_none() {
        let words = "callbacks.listen is not set, so this worker serves no callbacks; at least one behind callbacks.public_url must";
        findings.push(Finding::note(ABOUT, words));
    }
    findings
}

/// Whether finAPI may reach it, by its form.
fn reach(url: &HttpUrl) -> Finding {
    let shown = url.shown();
    if url.is_loopback() {
        let words = format!(
            "{shown}: only this machine reaches it, so finAPI calls nobody back; only the sandbox may have it so"
        );
        return Finding::note(ABOUT, words);
    }
    let is_private = match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_private() || ip.is_link_local() || ip.is_unspecified(),
        Some(Host::Ipv6(ip)) => ip.is_unspecified() || ip.is_unique_local() || ip.is_unicast_link_local(),
        Some(Host::Domain(name)) => {
            !name.trim_end_matches('.').contains('.')
                || [".local", ".internal", ".svc"].iter().any(|end| name.ends_with(end))
        }
        None => true,
    };
    match is_private {
        true => Finding::wrong(
            ABOUT,
            format!("{shown}: finAPI can't reach a host of a private network; give it a public name"),
        ),
        false => Finding::ok(
            ABOUT,
            format!("{shown} has a form that finAPI can reach; whether it does shows in bankrefresh_callbacks_total"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn a_url_that_finapi_cannot_reach_is_wrong() {
        for (url, verdict) in [
            ("https://callbacks.example.org/finapi", Verdict::Ok),
            ("https://203.0.113.7/", Verdict::Ok),
            ("http://127.0.0.1:8080/", Verdict::Note),
            ("https://10.1.2.3/", Verdict::Wrong),
            ("https://[fd00::1]/", Verdict::Wrong),
            ("https://worker/", Verdict::Wrong),
            ("https://worker.default.svc/", Verdict::Wrong),
        ] {
            let url: HttpUrl = url.parse().expect("a URL");
            assert_eq!(reach(&url).verdict, verdict, "{}", url.shown());
        }
    }
}
