//! A strange finAPI: every few seeds also have a run with the same users, connections, commands and trouble, at a finAPI that
//! answers as no one should: as gateways, odd data, old answers and faults of one user do. What each may lead to is known in advance
//! (`check/strange.rs`). Whatever such a run violates counts apart, so no other check gets looser by it.

mod kinds;
mod places;

use std::time::Duration;

use bankrefresh::sandbox::Fault;

use crate::draw::{Source, Variant};
use crate::scenario::{Act, Scenario};
use kinds::{KINDS, Stage};

/// Every so many seeds have a strange run.
const EVERY: u64 = 4;
/// The most acts that a run has beside that of its turn.
const MORE_MAX: usize = 2;

/// Something that no one should do.
#[derive(Clone, Debug)]
pub(crate) struct Strange {
    /// Its kind, as it is counted.
    pub(crate) name: &'static str,
    pub(crate) from: Duration,
    /// None: it lasts.
    pub(crate) until: Option<Duration>,
    pub(crate) means: Means,
}

/// How it is done.
#[derive(Clone, Debug)]
pub(crate) enum Means {
    /// Calls meet this.
    Fault(Fault),
    /// Updates of this connection store some of what they import late.
    Late(i64),
    /// finAPI's clock is off.
    Clock,
}

/// Whether a seed has a strange run.
pub(crate) fn goes_with(seed: u64) -> bool {
    seed.is_multiple_of(EVERY)
}

/// The seed's scenario, with an act of the kind whose turn it is and some of other kinds.
pub(crate) fn scenario(seed: u64) -> Scenario {
    let source = Source::new(seed, Variant::default());
    let mut scenario = Scenario::draw(seed);
    let mut whole = source.whole("strange");
    let turn = usize::try_from(seed / EVERY).unwrap_or_default() % KINDS.len();
    let more = whole.usize(0..=MORE_MAX);
    let more = (0..more).map(|_| whole.usize(0..=KINDS.len() - 1));
    let kinds: Vec<usize> = [turn].into_iter().chain(more).collect();
    for (number, kind) in kinds.into_iter().enumerate() {
        let (name, happens) = KINDS[kind];
        happens(Stage::new(source.of("strange act", number), &mut scenario, name));
    }
    plan(&mut scenario);
    scenario
}

fn plan(scenario: &mut Scenario) {
    for (number, strange) in scenario.strange.iter().enumerate() {
        scenario.plan.push((strange.from, Act::Begins(number)));
        scenario
            .plan
            .extend(strange.until.map(|until| (until, Act::Ends(number))));
    }
    scenario.plan.sort_by_key(|(at, _)| *at);
    let last = scenario.plan.last().map_or(Duration::ZERO, |(at, _)| *at);
    scenario.calm_at = scenario.calm_at.max(last);
    // What lasts is waited for as long as a refresh may take, where few users call.
    if scenario.strange.iter().any(|strange| strange.until.is_none()) {
        scenario.quiet_max += scenario.policy.limits.refresh;
    }
}
