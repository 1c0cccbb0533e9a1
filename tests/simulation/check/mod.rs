//! What must hold. Each check looks at the whole history of a run and says what was violated.

mod broker;
mod data;
mod figures;
mod finapi;
mod killer;
mod ledger;
mod outcomes;
mod secrets;
mod user;

pub(crate) use figures::Figures;

use crate::scenario::Scenario;
use crate::world::History;
use ledger::Ledger;

type Check = fn(&Ledger<'_>, &mut Vec<String>);

const CHECKS: [(&str, Check); 17] = [
    ("quiet", broker::all_is_quiet_in_the_end),
    ("outcome", outcomes::every_command_has_one),
    ("outcome", outcomes::conflicts_need_a_second_run),
    ("dead letters", outcomes::dead_letters_are_what_cant_be_read),
    ("repeats", outcomes::events_repeat_only_with_their_delivery),
    ("time", outcomes::outcomes_come_in_time),
    ("start", finapi::a_command_starts_one_task),
    ("locks", finapi::one_update_runs_at_a_time),
    ("looks", finapi::looks_are_a_second_apart),
    ("lost", finapi::who_lost_the_broker_goes_no_further),
    ("calls", finapi::calls_are_bounded),
    ("web form", user::the_user_is_told_first),
    ("data", data::what_an_update_brought_is_told),
    ("messages", broker::messages_are_bounded),
    ("settling", broker::deliveries_are_settled_once),
    ("killer", killer::it_takes_no_other_with_it),
    ("secrets", secrets::nothing_secret_is_said),
];

/// Everything that was violated, and how much happened.
pub(crate) fn check(scenario: &Scenario, history: &History) -> (Vec<String>, Figures) {
    let ledger = Ledger::new(scenario, history);
    let mut violated = Vec::new();
    for (name, check) in CHECKS {
        let mut found = Vec::new();
        check(&ledger, &mut found);
        violated.extend(found.into_iter().map(|what| format!("{name}: {what}")));
    }
    (violated, Figures::of(&ledger))
}
