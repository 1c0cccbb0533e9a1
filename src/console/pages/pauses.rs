//! What is paused, and how to pause and resume.

use jiff::Timestamp;
use maud::{Markup, html};

use super::{number, time};
use crate::console::memory::ReadOrders;
use crate::console::pauses::{CHOICES, Failed, fields};
use crate::limits::PAUSE_REASON_CHARACTERS_MAX;
use crate::refresh::order::{Pause, Target};

/// How many pauses a page lists.
const LISTED_MAX: usize = 100;

/// How many the overview names.
const NAMED_MAX: usize = 5;

/// Whether a visitor may pause and resume: by the token for forms, or why not.
pub(in crate::console) enum Allowed<'a> {
    Yes(&'a str),
    No(&'static str),
}

/// The page, under what did not become of the visitor's order.
pub(in crate::console) fn pauses(
    orders: &ReadOrders,
    allowed: &Allowed,
    failed: Option<&Failed>,
    now: Timestamp,
) -> Markup {
    html! {
        h1 { "Pauses" }
        p { "A pause stops new starts of updates. What has a task or a web form at finAPI continues to its outcome." }
        @match failed {
            None => {}
            Some(Failed::Refused(why)) => p.alarm role="alert" { strong { "Nothing was done. " } (why) },
            Some(Failed::MayBeGiven(why)) => p.alarm role="alert" {
                strong { "The order may not have been given: " } (why) ". The list shows what is in force."
            },
        }
        div #pauses data-live { (list(orders, allowed, now)) }
        @match allowed {
            Allowed::Yes(token) => (form(token)),
            Allowed::No(why) => p.hint { (why) },
        }
    }
}

fn list(orders: &ReadOrders, allowed: &Allowed, now: Timestamp) -> Markup {
    let pauses = orders.pauses(now);
    let left = pauses
        .as_ref()
        .map_or(0, |pauses| pauses.len().saturating_sub(LISTED_MAX));
    html! {
        @match pauses.as_deref() {
            None => p.hint {
                strong { "What is paused is not known. " }
                "The console can't read the stream of orders. May its RabbitMQ user read the queue, and is it there? "
                code { "bankrefresh paused" } " says what is paused to whoever may."
            },
            Some([]) => p.hint { strong { "Nothing is paused. " } "A pause shows here and on the overview." },
            Some(pauses) => @for pause in pauses.iter().take(LISTED_MAX) { (card(pause, allowed)) },
        }
        @if left > 0 {
            p { (number(left as u64)) " more are not listed. " code { "bankrefresh paused" } " prints them." }
        }
    }
}

fn card(pause: &Pause, allowed: &Allowed) -> Markup {
    let name = name(&pause.target);
    html! {
        article.card.pause {
            h2 { (name) }
            dl.facts {
                dt { "Since" } dd { (time(pause.since)) }
                dt { "Ends" } dd { (time(pause.ends_at())) " at the latest" }
                dt { "By" } dd { (pause.by) }
                @if !pause.reason.is_empty() { dt { "Why" } dd { (pause.reason) } }
            }
            @if let Allowed::Yes(token) = allowed { (resume(pause, token, &name)) }
        }
    }
}

fn resume(pause: &Pause, token: &str, name: &str) -> Markup {
    let (what, id) = fields(&pause.target);
    html! {
        form.actions method="post" action="/pauses" {
            input type="hidden" name="token" value=(token);
            input type="hidden" name="action" value="resume";
            input type="hidden" name="what" value=(what);
            input type="hidden" name="id" value=(id);
            // Which one, for whoever hears buttons apart from their card.
            button type="submit" aria-label={ "Resume " (name) } { "Resume" }
        }
    }
}

fn form(token: &str) -> Markup {
    html! {
        h2 { "Pause" }
        form.card.fields method="post" action="/pauses" {
            input type="hidden" name="token" value=(token);
            input type="hidden" name="action" value="pause";
            label for="what" { "What" }
            select #what name="what" required {
                option value="" { "Choose …" }
                option value="everything" { "Everything" }
                option value="interactive" { "The interactive lane" }
                option value="background" { "The background lane" }
                option value="bank" { "A bank, by finAPI's id" }
                option value="user" { "A user, by finAPI's id" }
            }
            label for="id" { "Id of the bank or user" }
            input #id name="id" type="text" maxlength="36" autocomplete="off" spellcheck="false";
            label for="lasts" { "For" }
            select #lasts name="lasts" {
                @for (seconds, name) in CHOICES { option value=(seconds) { (name) } }
            }
            label for="reason" { "Why, for other operators" }
            input #reason name="reason" type="text" maxlength=(PAUSE_REASON_CHARACTERS_MAX) autocomplete="off";
            button type="submit" { "Pause" }
        }
    }
}

/// The pauses on the overview.
pub(super) fn summary(orders: &ReadOrders, now: Timestamp) -> Markup {
    let pauses = orders.pauses(now);
    let left = pauses
        .as_ref()
        .map_or(0, |pauses| pauses.len().saturating_sub(NAMED_MAX));
    html! {
        @match pauses {
            None => p.quiet { "What is paused is not known (" a href="/pauses" { "why" } ")." },
            Some(pauses) => @for pause in pauses.iter().take(NAMED_MAX) {
                p.hint {
                    strong { "Paused: " (name(&pause.target)) }
                    " since " (time(pause.since)) ", by " (pause.by) ", until " (time(pause.ends_at())) " at the latest"
                    @if !pause.reason.is_empty() { ": " (pause.reason) }
                }
            },
        }
        @if left > 0 { p.hint { (number(left as u64)) " more " a href="/pauses" { "pauses" } " are in force." } }
    }
}

fn name(target: &Target) -> String {
    let mut name = target.named();
    if let Some(first) = name.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::refresh::order::Order;

    #[test]
    fn a_long_list_says_how_many_it_leaves_out() {
        let now = Timestamp::UNIX_EPOCH;
        let mut orders = ReadOrders::default();
        orders.begin(true);
        for number in 0..LISTED_MAX + 7 {
            let pause = Pause {
                target: Target::User(format!("user-{number}").parse().expect("an id")),
                since: now,
                until: None,
                by: "<anna>".to_owned(),
                reason: String::new(),
            };
            orders.follow(Order::Pause(pause), now);
        }
        orders.caught_up();
        let page = pauses(&orders, &Allowed::Yes("a token"), None, now).into_string();
        assert_eq!(page.matches("<article").count(), LISTED_MAX);
        assert!(
            page.contains("7 more are not listed") && page.contains("&lt;anna&gt;"),
            "{page}"
        );
        let off = pauses(&orders, &Allowed::No("Actions are off."), None, now).into_string();
        assert!(!off.contains("<form") && off.contains("Actions are off."), "{off}");
        let overview = summary(&orders, now).into_string();
        assert!(overview.contains("102 more"), "{overview}");
    }
}
