//! What happens and when, all of it drawn from the seed.

use std::time::Duration;

use bankrefresh::proto::RefreshConnection;
use bankrefresh::sandbox::{After, Behaviour, Endpoint, Fault, FaultKind, Script, UserDoes};
use fastrand::Rng;
use uuid::Builder;

use crate::options::Options;

/// One worker is killed each time.
const KILL_EVERY: Duration = Duration::from_millis(500);

/// Every so many times the worker is asked to stop instead.
pub const STOP_EVERY: u32 = 10;

/// How many workers there are.
pub const WORKERS: usize = 3;

/// How many connections a user has.
const CONNECTIONS_PER_USER: u32 = 4;

/// How many transactions an update brings, where it brings many.
const MANY: u32 = 600;

/// The plan of a run.
pub struct Schedule {
    pub orders: Vec<Order>,
    /// What is published when, as indices of `orders`, the earliest first.
    pub publishes: Vec<(Duration, usize)>,
    /// The earliest first.
    pub actions: Vec<(Duration, Action)>,
}

/// A command, and what its bank does.
pub struct Order {
    pub command: RefreshConnection,
    pub interactive: bool,
    pub case: Case,
    /// It is published twice.
    pub twice: bool,
    /// How often it was published in the end.
    pub copies: u32,
}

/// What happens to a refresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Case {
    Silent,
    ManyTransactions,
    FormDuring,
    FormAtOnce,
    FormFails,
    BankFails,
    Refused,
    LockedByBatch,
}

/// What is done to the system.
#[derive(Clone, Copy, Debug)]
pub enum Action {
    /// SIGKILL.
    Kill(usize),
    /// SIGTERM.
    Stop(usize),
    CrashBroker,
    CutBroker,
    CutFinapi,
    SlowBroker(Duration),
    SlowFinapi(Duration),
}

impl Schedule {
    pub fn draw(options: &Options) -> Self {
        let mut rng = Rng::with_seed(options.seed);
        let window = KILL_EVERY * options.kills;
        let orders: Vec<Order> = (0..options.refreshes).map(|n| order(&mut rng, n)).collect();
        let mut publishes = Vec::new();
        for (index, order) in orders.iter().enumerate() {
            let at = window.mul_f64(rng.f64() * 0.95);
            publishes.push((at, index));
            if order.twice {
                // As a sender whose confirm was lost does, or one who lost patience.
                let later = if rng.bool() { 0.0 } else { rng.f64() * 5.0 };
                publishes.push((at + Duration::from_secs_f64(later), index));
            }
        }
        publishes.sort_by_key(|(at, _)| *at);
        let mut actions = Vec::new();
        for n in 1..=options.kills {
            let slot = rng.usize(..WORKERS);
            let action = match n % STOP_EVERY {
                0 => Action::Stop(slot),
                _ => Action::Kill(slot),
            };
            actions.push((KILL_EVERY * n, action));
        }
        for n in 1..=options.broker_restarts {
            let part = (f64::from(n) - 0.25 + rng.f64() / 2.0) / f64::from(options.broker_restarts + 1);
            actions.push((window.mul_f64(part), Action::CrashBroker));
        }
        // A cut every three seconds, a slow spell every six.
        for _ in 0..options.kills / 6 {
            actions.push((window.mul_f64(rng.f64()), Action::CutBroker));
            actions.push((window.mul_f64(rng.f64()), Action::CutFinapi));
        }
        for _ in 0..options.kills / 12 {
            for slow in [Action::SlowBroker, Action::SlowFinapi] {
                let at = window.mul_f64(rng.f64());
                let delay = Duration::from_millis(rng.u64(20..=200));
                actions.push((at, slow(delay)));
                actions.push((at + Duration::from_millis(1500), slow(Duration::ZERO)));
            }
        }
        actions.sort_by_key(|(at, _)| *at);
        Self {
            orders,
            publishes,
            actions,
        }
    }
}

fn order(rng: &mut Rng, n: u32) -> Order {
    let case = Case::draw(rng);
    let command = RefreshConnection {
        command_id: Builder::from_random_bytes(rng.u128(..).to_be_bytes())
            .into_uuid()
            .to_string(),
        user_id: format!("user-{}", n / CONNECTIONS_PER_USER),
        bank_connection_id: i64::from(n) + 1,
        ..RefreshConnection::default()
    };
    Order {
        command,
        interactive: rng.u8(..3) == 0,
        case,
        twice: rng.u8(..20) == 0,
        copies: 0,
    }
}

impl Case {
    pub const ALL: [Self; 8] = [
        Self::Silent,
        Self::ManyTransactions,
        Self::FormDuring,
        Self::FormAtOnce,
        Self::FormFails,
        Self::BankFails,
        Self::Refused,
        Self::LockedByBatch,
    ];

    /// How many of a hundred commands are of this case.
    fn weight(self) -> u8 {
        match self {
            Self::Silent => 64,
            Self::ManyTransactions | Self::FormAtOnce => 4,
            Self::FormDuring => 8,
            Self::FormFails | Self::BankFails | Self::LockedByBatch => 6,
            Self::Refused => 2,
        }
    }

    pub fn share(self) -> f64 {
        f64::from(self.weight()) / 100.0
    }

    fn draw(rng: &mut Rng) -> Self {
        let mut left = rng.u8(..100);
        for case in Self::ALL {
            match left.checked_sub(case.weight()) {
                None => return case,
                Some(rest) => left = rest,
            }
        }
        unreachable!("the weights add up to a hundred")
    }

    /// Whether the refresh ends well.
    pub fn succeeds(self) -> bool {
        !matches!(self, Self::FormFails | Self::BankFails | Self::Refused)
    }

    /// Whether finAPI hands out a web form.
    pub fn needs_its_user(self) -> bool {
        matches!(self, Self::FormDuring | Self::FormAtOnce | Self::FormFails)
    }

    pub fn script(self, rng: &mut Rng) -> Script {
        let between = |min, max| After::Between {
            min: Duration::from_millis(min),
            max: Duration::from_millis(max),
        };
        let after = between(500, 2500);
        let behaviour = match self {
            Self::Silent | Self::ManyTransactions | Self::Refused | Self::LockedByBatch => Behaviour::Silent { after },
            Self::FormDuring => Behaviour::WebFormDuring {
                after,
                user: UserDoes::Completes { after },
            },
            Self::FormAtOnce => Behaviour::ImmediateWebForm {
                user: UserDoes::Completes { after },
            },
            Self::FormFails => {
                let code = "BANK_SERVER_REJECTION".to_owned();
                let user = match rng.u8(..3) {
                    0 => UserDoes::Aborts { after },
                    1 => UserDoes::Expires,
                    _ => UserDoes::FailsWith { after, code },
                };
                Behaviour::WebFormDuring { after, user }
            }
            Self::BankFails => Behaviour::Fails {
                after,
                error_code: "BANK_SERVER_REJECTION".to_owned(),
                error_message: "The bank's own words.".to_owned(),
            },
        };
        let mut script = Script {
            settles: between(100, 1000),
            ..Script::of(behaviour)
        };
        match self {
            Self::ManyTransactions => script.transactions.per_update = MANY,
            Self::LockedByBatch => script.batch_update = Some(between(2000, 6000)),
            Self::Refused => script.faults.push(Fault {
                at: Some(Endpoint::StartUpdate),
                ..Fault::of(FaultKind::Status {
                    status: 422,
                    code: Some("BANK_NOT_SUPPORTED".to_owned()),
                    retry_after: None,
                })
            }),
            _ => {}
        }
        script
    }
}
