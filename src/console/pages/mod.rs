//! The pages, as HTML. Everything from outside is escaped by `maud`.

mod chart;
mod letters;
mod overview;
mod pauses;
mod refreshes;
mod timeline;
mod words;
mod workers;

use jiff::Timestamp;
use maud::{DOCTYPE, Markup, html};

use super::memory::Feed;
pub(super) use letters::{Letters, letter, letters};
pub(super) use overview::overview;
pub(super) use pauses::{Allowed, pauses};
pub(super) use refreshes::{List, refreshes};
pub(super) use timeline::{no_refresh, timeline};
pub(super) use words::{origin_name, reason_name};
pub(super) use workers::workers;

/// The pages of the menu.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tab {
    Overview,
    Workers,
    Refreshes,
    Pauses,
    DeadLetters,
    /// None of them.
    None,
}

const TABS: [(Tab, &str, &str); 5] = [
    (Tab::Overview, "/", "Overview"),
    (Tab::Workers, "/workers", "Workers"),
    (Tab::Refreshes, "/refreshes", "Refreshes"),
    (Tab::Pauses, "/pauses", "Pauses"),
    (Tab::DeadLetters, "/dead-letters", "Dead letters"),
];

/// A whole page.
pub(super) fn page(tab: Tab, content: &Markup, feed: &Feed, now: Timestamp) -> Markup {
    let name = TABS
        .iter()
        .find(|(known, ..)| *known == tab)
        .map_or("Not found", |(_, _, name)| name);
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (name) " · bankrefresh" }
                link rel="stylesheet" href="/assets/console.css";
                link rel="icon" href="/assets/icon.svg" type="image/svg+xml";
                script type="module" src="/assets/console.js" {}
            }
            body {
                a.skip href="#main" { "Skip to the content" }
                header {
                    a.brand href="/" { img src="/assets/icon.svg" alt="" width="24" height="24"; "bankrefresh" }
                    nav aria-label="Pages" { (menu(tab)) }
                    p.live #live role="status" { "Not live" }
                }
                main #main tabindex="-1" {
                    // Each reading takes dead letters off their queue and puts them back, which nobody should do every second.
                    div #feed data-live[tab != Tab::DeadLetters] { (feed_state(feed, now)) }
                    (content)
                }
            }
        }
    }
}

fn menu(tab: Tab) -> Markup {
    html! {
        ul {
            @for (known, path, name) in TABS {
                li { a href=(path) aria-current=[(known == tab).then_some("page")] { (name) } }
            }
        }
    }
}

fn feed_state(feed: &Feed, now: Timestamp) -> Markup {
    match feed {
        Feed::Up { .. } => html! {},
        Feed::Down { reason, since } => html! {
            p.alarm role="alert" {
                strong { "The console has no connection to the broker" }
                " since " (time(*since)) " (" (age(*since, now)) "). What happens meanwhile is missing here; workers are not affected. "
                span.quiet { "Reason: " (reason) }
            }
        },
    }
}

pub(super) fn no_page() -> Markup {
    html! { h1 { "There is no such page" } p { "The pages are in the menu above." } }
}

/// A moment. The page's script shows it in the viewer's zone, and exactly on hover.
fn time(at: Timestamp) -> Markup {
    let exact = format!("{at:.3}");
    html! { time datetime=(exact) title=(exact) { (format!("{}", at.strftime("%H:%M:%S UTC"))) } }
}

/// How long ago.
fn age(at: Timestamp, now: Timestamp) -> String {
    format!("{} ago", span(now.duration_since(at).as_secs_f64()))
}

/// A span of time, short and readable.
fn span(seconds: f64) -> String {
    let seconds = seconds.max(0.0);
    match seconds {
        0.0 => "0 s".to_owned(),
        ..0.0995 => format!("{:.0} ms", seconds * 1000.0),
        ..9.95 => format!("{seconds:.1} s"),
        ..119.5 => format!("{seconds:.0} s"),
        ..7170.0 => format!("{:.0} min", seconds / 60.0),
        ..172_800.0 => format!("{:.1} h", seconds / 3600.0),
        _ => format!("{:.0} days", seconds / 86_400.0),
    }
}

/// A count as people read it.
fn number(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + 4);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_kept_up_to_date_unless_that_reads_dead_letters() {
        let now = Timestamp::UNIX_EPOCH;
        let feed = Feed::Up { since: now };
        let is_live = |tab| page(tab, &html! {}, &feed, now).into_string().contains("data-live");
        assert!(is_live(Tab::Overview));
        assert!(
            !is_live(Tab::DeadLetters),
            "each reading takes the letters off their queue"
        );
    }

    #[test]
    fn spans_and_numbers_are_short() {
        let spans = [
            (0.0, "0 s"),
            (0.05, "50 ms"),
            (1.25, "1.2 s"),
            (9.96, "10 s"),
            (60.0, "60 s"),
            (125.0, "2 min"),
            (7200.0, "2.0 h"),
            (400_000.0, "5 days"),
        ];
        for (seconds, shown) in spans {
            assert_eq!(span(seconds), shown);
        }
        assert_eq!(number(1_234_567).replace('\u{202f}', " "), "1 234 567");
        assert_eq!(number(12), "12");
    }
}
