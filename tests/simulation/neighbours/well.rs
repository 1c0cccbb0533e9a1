//! The well ones: each a user with a connection that is updated silently, and a command.

use std::time::Duration;

use bankrefresh::broker::memory::Latency;
use bankrefresh::finapi::breaker;
use bankrefresh::finapi::version::ApiVersion;
use bankrefresh::refresh::Policy;
use bankrefresh::sandbox::{Behaviour, SandboxConfig, Script, ScriptedConnection, Transactions};
use bankrefresh::worker;
use jiff::Timestamp;

use super::kinds::Kind;
use crate::commands::{self, Command};
use crate::draw::{Draw, Source};
use crate::platform::{CLIENT_SECRET, WEB_FORM_URL};
use crate::scenario::{self, Scenario};

pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const HALF_A_SECOND: Duration = Duration::from_millis(500);
/// All commands come within this time. Those of the well ones come after half a second, so behind those that come at once.
pub(super) const SPAN: Duration = Duration::from_secs(10);

/// Nothing goes wrong here, and there is room for all.
pub(super) fn scenario(source: &Source, kind: &Kind) -> Scenario {
    let start = "2026-03-10T09:36:15Z".parse().expect("a timestamp");
    let (connections, commands): (_, Vec<Command>) = (1..=kind.well).map(|number| one(source, number, start)).unzip();
    let mut plan = scenario::published(&commands);
    plan.sort_by_key(|(at, _)| *at);
    let mut draw = source.whole("neighbours");
    let mut policy = Policy::default();
    // What a well one has fits.
    policy.events.size_max = draw.pick(&[16 * 1024, 512 * 1024]);
    Scenario {
        seed: source.seed,
        start,
        workers: draw.usize(1..=2),
        settings: worker::Settings {
            in_flight: draw.pick(kind.in_flight),
            ..worker::Settings::default()
        },
        policy,
        breaker: breaker::Settings::default(),
        calls_max: draw.pick(&[8, 64]),
        page_size: 100,
        users_max: 1 + kind.well,
        finapi_latency: latency(&mut draw, &[0, 20, 200]),
        broker_latency: Latency {
            publish: latency(&mut draw, &[0, 20]),
            confirm: latency(&mut draw, &[0, 20]),
            ack: latency(&mut draw, &[0, 20]),
        },
        sandbox: SandboxConfig {
            start: Some(start),
            seed: source.seed,
            client_secret: CLIENT_SECRET.to_owned(),
            web_form_url: WEB_FORM_URL.to_owned(),
            connections,
            ids_pick_behaviour: false,
            ..SandboxConfig::default()
        },
        api_version: ApiVersion::Auto,
        callbacks: false,
        commands,
        plan,
        deadly: [].into(),
        killer: None,
        hung_credentials: None,
        strange: Vec::new(),
        asks_for_status: true,
        calm_at: SPAN,
        quiet_max: kind.quiet_max(),
    }
}

fn latency(draw: &mut Draw, longest: &[u64]) -> Duration {
    Duration::from_millis(draw.pick(longest))
}

fn one(source: &Source, number: usize, start: Timestamp) -> (ScriptedConnection, Command) {
    let mut draw = source.of("well", number);
    let (connection_id, user) = (number as i64, format!("well-{number}"));
    let script = Script {
        // What a worker learns of a bank from one connection changes when it polls another.
        bank_name: format!("Bank {number}"),
        settles: draw.after(SECOND),
        transactions: Transactions {
            older: 0,
            per_update: draw.u32(0..=5),
        },
        ..Script::of(Behaviour::Silent {
            after: draw.after(3 * SECOND),
        })
    };
    let at = HALF_A_SECOND + draw.up_to(SPAN - HALF_A_SECOND);
    let command = commands::ordinary(&mut draw, (connection_id, user.clone()), start, at);
    let connection = ScriptedConnection {
        user_id: Some(user),
        connection_id,
        script,
    };
    (connection, command)
}
