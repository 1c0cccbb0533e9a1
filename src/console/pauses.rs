//! Pauses and resumes for a visitor.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use tokio::sync::Mutex as Turn;
use tokio::time::timeout;

use super::said;
use crate::broker::topology::Topology;
use crate::broker::{Outgoing, rabbit};
use crate::message;
use crate::orders::give;
use crate::proto::{Lane, PauseRefreshes, PauseTarget, ResumeRefreshes, from_timestamp, pause_target};
use crate::refresh::later;
use crate::refresh::order::{Order, Target};

/// How long a visitor waits for its turn, and then for the order to be given. A request may take ten seconds.
const TURN_MAX: Duration = Duration::from_secs(2);
const WAIT_MAX: Duration = Duration::from_secs(5);

/// For how long a visitor can pause: each choice in seconds, and its name.
pub(super) const CHOICES: [(&str, &str); 6] = [
    ("900", "15 minutes"),
    ("3600", "an hour"),
    ("21600", "6 hours"),
    ("86400", "a day"),
    ("604800", "a week"),
    ("", "until it is resumed, 30 days at most"),
];

/// What a visitor asks for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct OrderForm {
    pub(super) token: String,
    action: String,
    what: String,
    id: String,
    lasts: String,
    reason: String,
}

/// The way to give orders.
#[derive(Debug)]
pub(super) struct Pauses {
    settings: rabbit::Settings,
    topology: Topology,
    /// One after the other: each has a connection of its own.
    turn: Arc<Turn<()>>,
}

/// What did not become of a visitor's order, and why.
#[derive(Debug)]
pub(super) enum Failed {
    /// It is none.
    Refused(String),
    /// It may be in force all the same: a confirm can be lost.
    MayBeGiven(String),
}

/// An order, checked, and on its way.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) order: Order,
    outgoing: Outgoing,
}

impl Pauses {
    pub(super) fn new(settings: &rabbit::Settings, topology: Topology) -> Self {
        Self {
            settings: settings.named("console orders"),
            topology,
            turn: Arc::default(),
        }
    }

    /// The order that a visitor asks for, by their name, or why it is none.
    pub(super) fn check(&self, asked: OrderForm, by: String, now: Timestamp) -> Result<Checked, Failed> {
        let checked = self.checked(asked, by, now);
        checked.map_err(Failed::Refused)
    }

    fn checked(&self, asked: OrderForm, by: String, now: Timestamp) -> Result<Checked, String> {
        let target = Some(asked.target()?);
        let lasts = match asked.lasts.as_str() {
            "" => None,
            seconds => Some(seconds.parse().map_err(|_| "No time can be as long as that.")?),
        };
        let (order, outgoing) = match asked.action.as_str() {
            "pause" => {
                let order = PauseRefreshes {
                    target,
                    paused_at: Some(from_timestamp(now)),
                    until: lasts.map(|seconds| from_timestamp(later(now, Duration::from_secs(seconds)))),
                    by,
                    reason: asked.reason,
                };
                let outgoing = message::pause(&self.topology, &order, now);
                (Order::pause(order, now), outgoing)
            }
            "resume" => {
                let order = ResumeRefreshes {
                    target,
                    resumed_at: Some(from_timestamp(now)),
                    by,
                };
                let outgoing = message::resume(&self.topology, &order, now);
                (Order::resume(order, now), outgoing)
            }
            _ => return Err("There is no such action.".to_owned()),
        };
        let order = order.map_err(|invalid| invalid.to_string())?;
        Ok(Checked { order, outgoing })
    }

    /// Gives it. What has begun goes on if the visitor leaves; what has no turn in time is not given at all.
    pub(super) async fn give(&self, checked: Checked) -> Result<(), Failed> {
        let Ok(turn) = timeout(TURN_MAX, Arc::clone(&self.turn).lock_owned()).await else {
            let why = "Another order is on its way just now. Try again.";
            return Err(Failed::Refused(why.to_owned()));
        };
        let (settings, topology) = (self.settings.clone(), self.topology.clone());
        let giving = tokio::spawn(async move {
            let given = give(settings, topology, checked.outgoing).await;
            let given = given.map_err(|error| said(&error));
            log(&checked.order, &given);
            drop(turn);
            given
        });
        let given = match timeout(WAIT_MAX, giving).await {
            Ok(Ok(given)) => given,
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("the broker has not confirmed it yet".to_owned()),
        };
        given.map_err(Failed::MayBeGiven)
    }
}

impl OrderForm {
    fn target(&self) -> Result<PauseTarget, &'static str> {
        let id = self.id.trim();
        let lane = |lane: Lane| pause_target::Target::Lane(lane.into());
        let (target, has_id) = match self.what.as_str() {
            "everything" => (pause_target::Target::Everything(true), false),
            "interactive" => (lane(Lane::Interactive), false),
            "background" => (lane(Lane::Background), false),
            // What is no number is refused, as 0 is.
            "bank" => (pause_target::Target::BankId(id.parse().unwrap_or_default()), true),
            "user" => (pause_target::Target::UserId(id.to_owned()), true),
            _ => return Err("Choose what is to be paused."),
        };
        // Somebody who typed the id of a bank meant the bank.
        if !has_id && !id.is_empty() {
            return Err("An id goes with a bank or a user only. Empty it, or choose one of these.");
        }
        Ok(PauseTarget { target: Some(target) })
    }
}

/// A target as a form names it: what, and the id.
pub(super) fn fields(target: &Target) -> (&'static str, String) {
    match target {
        Target::Everything => ("everything", String::new()),
        Target::Lane { interactive: true } => ("interactive", String::new()),
        Target::Lane { interactive: false } => ("background", String::new()),
        Target::Bank(id) => ("bank", id.to_string()),
        Target::User(id) => ("user", id.to_string()),
    }
}

fn log(order: &Order, given: &Result<(), String>) {
    let (Order::Pause(crate::refresh::order::Pause { target, .. }) | Order::Resume { target, .. }) = order else {
        return;
    };
    let name = order.name();
    match given {
        Ok(()) => tracing::warn!("a visitor of the console gave an order: {name} {target}"),
        Err(why) => tracing::warn!(
            why,
            "an order of a visitor of the console may not have been given: {name} {target}"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pauses() -> Pauses {
        // Nobody listens there.
        let settings = rabbit::Settings::new("amqp://127.0.0.1:9/%2f".parse().expect("a URL"));
        Pauses::new(&settings, Topology::new("bankrefresh"))
    }

    fn asked(action: &str, what: &str, id: &str) -> OrderForm {
        OrderForm {
            action: action.to_owned(),
            what: what.to_owned(),
            id: id.to_owned(),
            ..OrderForm::default()
        }
    }

    fn check(asked: OrderForm) -> Result<Order, String> {
        let checked = pauses().checked(asked, "anna".to_owned(), Timestamp::UNIX_EPOCH)?;
        Ok(checked.order)
    }

    #[test]
    fn each_target_is_paused_and_resumed_by_the_fields_of_its_form() {
        for (what, id) in [
            ("everything", ""),
            ("interactive", ""),
            ("background", ""),
            ("bank", "280001"),
            ("user", "anna"),
        ] {
            let Ok(Order::Pause(pause)) = check(asked("pause", what, id)) else {
                panic!("{what} is not paused");
            };
            assert_eq!(fields(&pause.target), (what, id.to_owned()));
            assert_eq!((pause.by.as_str(), pause.until), ("anna", None));
            let resumed = check(asked("resume", what, id));
            assert!(
                matches!(&resumed, Ok(Order::Resume { target, .. }) if *target == pause.target),
                "{resumed:?}"
            );
        }
    }

    #[test]
    fn what_is_not_meant_for_sure_is_refused() {
        let with = |lasts: &str, reason: String| OrderForm {
            lasts: lasts.to_owned(),
            reason,
            ..asked("pause", "everything", "")
        };
        for (asked, why) in [
            (asked("pause", "", ""), "Choose"),
            (asked("pause", "everything", "280001"), "An id goes with"),
            (asked("pause", "bank", "a bank"), "greater than zero"),
            (asked("pause", "user", " "), "1 to 36 characters"),
            (asked("cancel", "user", "anna"), "no such action"),
            (with("-1", String::new()), "No time"),
            (with("0", String::new()), "until"),
            (with("99999999", String::new()), "at most 30 days"),
            (with("", "x".repeat(201)), "reason"),
        ] {
            let refused = check(asked).expect_err(why);
            assert!(refused.contains(why), "{refused}");
        }
        for (seconds, name) in CHOICES {
            assert!(check(with(seconds, String::new())).is_ok(), "{name}");
        }
    }

    #[tokio::test]
    async fn an_order_that_reaches_no_broker_says_why() {
        let pauses = pauses();
        let checked = pauses.check(asked("pause", "everything", ""), "anna".to_owned(), Timestamp::now());
        let why = pauses
            .give(checked.expect("an order"))
            .await
            .expect_err("nobody listens");
        assert!(matches!(&why, Failed::MayBeGiven(_)), "{why:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_order_that_has_no_turn_in_time_is_not_given_later() {
        let pauses = pauses();
        let _turn = Arc::clone(&pauses.turn).lock_owned().await;
        let checked = pauses.check(asked("pause", "everything", ""), "anna".to_owned(), Timestamp::now());
        let failed = pauses.give(checked.expect("an order")).await.expect_err("no turn");
        assert!(matches!(&failed, Failed::Refused(_)), "{failed:?}");
        assert_eq!(Arc::strong_count(&pauses.turn), 2, "nobody waits");
    }
}
