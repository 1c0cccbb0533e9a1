//! What must hold. Each check looks at the whole history of a run and says what was violated.

mod broker;
mod calls;
mod data;
mod figures;
mod findings;
mod killer;
mod ledger;
mod limits;
mod lives;
mod lost;
mod orders;
mod outcomes;
mod polls;
mod secrets;
mod starts;
mod strange;
mod user;

pub(crate) use broker::STATE_MAX;
pub(crate) use figures::Figures;
pub(crate) use ledger::Ledger;

use crate::scenario::Scenario;
use crate::world::History;
use findings::Findings;

/// What a check promises, and how it is checked.
struct Check {
    name: &'static str,
    promise: &'static str,
    check: fn(&Ledger<'_>, &mut Findings),
}

/// A promise that does not hold.
#[derive(Clone, Debug)]
pub(crate) struct Violation {
    pub(crate) check: &'static str,
    pub(crate) promise: &'static str,
    pub(crate) what: String,
}

const fn check(name: &'static str, promise: &'static str, check: fn(&Ledger<'_>, &mut Findings)) -> Check {
    Check { name, promise, check }
}

/// A promise that may be known to be broken is a check of its own.
const CHECKS: &[Check] = &[
    check("quiet", "all is done in the end", broker::all_is_quiet_in_the_end),
    check(
        "outcome",
        "every command has one complete outcome",
        outcomes::every_command_has_one,
    ),
    check(
        "conflicts",
        "a command ends in one way in one run",
        outcomes::conflicts_need_a_second_run,
    ),
    check(
        "dead letters",
        "only what can't be read is a dead letter",
        outcomes::dead_letters_are_what_cant_be_read,
    ),
    check(
        "repeats",
        "an event comes again only with its delivery",
        outcomes::events_repeat_only_with_their_delivery,
    ),
    check("time", "an outcome comes in time", outcomes::outcomes_come_in_time),
    check(
        "one start",
        "a command starts one task",
        starts::a_command_starts_one_task,
    ),
    check(
        "two starts",
        "two duplicates of a command start one task between them",
        starts::duplicates_start_one_task_between_them,
    ),
    check(
        "starts",
        "who knows of a running task starts none",
        starts::who_knows_of_a_running_task_starts_none,
    ),
    check(
        "orders",
        "who knows of a pause or a cancellation starts nothing of it",
        orders::nothing_stopped_is_started,
    ),
    check(
        "cancelled",
        "only an order cancels a refresh or a web form",
        orders::only_orders_cancel,
    ),
    check(
        "polls",
        "a refresh polls its task once a second at most",
        polls::polls_are_a_second_apart,
    ),
    check(
        "lost",
        "who has lost the broker sends nothing",
        lost::who_lost_the_broker_sends_nothing,
    ),
    check(
        "outside of runs",
        "what is sent in no run fetches a token, or finds out the version of finAPI",
        lost::outside_of_runs_only_tokens_are_fetched,
    ),
    check("calls", "a refresh costs few calls", calls::calls_are_bounded),
    check(
        "web form",
        "the user is notified before anything comes of a web form",
        user::the_user_is_notified_first,
    ),
    check(
        "real data",
        "a transaction is real and published once",
        data::transactions_are_real_and_distinct,
    ),
    check(
        "data",
        "what an update brought is published",
        data::what_an_update_brought_is_published,
    ),
    check(
        "duplicates",
        "the messages of a command don't multiply",
        broker::messages_do_not_multiply,
    ),
    check("messages", "messages are few and short", broker::messages_are_bounded),
    check(
        "settling",
        "a delivery is acknowledged once",
        broker::deliveries_are_acknowledged_once,
    ),
    check(
        "killer",
        "a message that kills workers takes no other with it",
        killer::it_takes_no_other_with_it,
    ),
    check("secrets", "nothing secret is said", secrets::nothing_secret_is_said),
];

/// The check that all violations of strange runs count under, each with its promise.
const STRANGE: &str = "strange";

/// Whether there is such a check with such a promise.
pub(crate) fn exists(name: &str, promise: &str) -> bool {
    let mut checks = CHECKS.iter().chain(strange::CHECKS);
    checks.any(|check| (check.name == name || name == STRANGE) && check.promise == promise)
}

/// Everything that was violated, and how much happened.
pub(crate) fn check_all(scenario: &Scenario, history: &History) -> (Vec<Violation>, Figures) {
    let ledger = Ledger::new(scenario, history);
    let mut findings = Findings::default();
    let violated = violated(&ledger, CHECKS.iter(), &mut findings);
    (violated, Figures::of(&ledger, &findings))
}

/// The same for a strange run: what it violates is under a name of its own, and of what happened only what is strange counts.
pub(crate) fn check_strange(scenario: &Scenario, history: &History) -> (Vec<Violation>, Figures) {
    let ledger = Ledger::new(scenario, history);
    let mut findings = Findings::default();
    let mut violated = violated(&ledger, CHECKS.iter().chain(strange::CHECKS), &mut findings);
    violated.iter_mut().for_each(|violation| violation.check = STRANGE);
    (violated, Figures::of_strange(&ledger, &findings))
}

fn violated<'a>(
    ledger: &Ledger<'_>,
    checks: impl Iterator<Item = &'a Check>,
    findings: &mut Findings,
) -> Vec<Violation> {
    let mut violated = Vec::new();
    for Check { name, promise, check } in checks {
        check(ledger, findings);
        let found = findings.take_violated().into_iter();
        violated.extend(found.map(|what| Violation {
            check: name,
            promise,
            what,
        }));
    }
    violated
}
