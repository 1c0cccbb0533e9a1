//! The kinds of bad neighbours, and what each may cost the others.

use std::time::Duration;

use bankrefresh::sandbox::{After, Endpoint, Fault, FaultKind, Script, ScriptedConnection, Transactions};

use super::well::{self, HALF_A_SECOND, SECOND, SPAN};
use crate::commands::{self, Load};
use crate::draw::{Draw, Source, Variant};
use crate::scenario::{self, Killer, Scenario};

/// A kind of bad neighbour.
pub(crate) struct Kind {
    /// As it is counted.
    pub(crate) name: &'static str,
    /// What holds beside it.
    pub(crate) promise: &'static str,
    bad: Bad,
    bound: Bound,
    /// How many are well.
    pub(super) well: usize,
    /// What `in_flight` is drawn from.
    pub(super) in_flight: &'static [u16],
}

/// Who is bad, and how.
#[derive(Clone, Copy)]
enum Bad {
    /// A user's calls of an endpoint answer 500.
    UserFailsAt(Endpoint),
    /// The calls about a connection answer 500.
    ConnectionFails,
    /// A user's calls are never answered.
    UserHangs,
    /// Nobody answers who asks for a user's credentials.
    CredentialsHang,
    /// A connection has so many new transactions.
    Transactions(u32),
    /// A message kills every worker that begins to run it.
    Killer,
    /// A user sends so many commands at once.
    Commands(usize),
    /// Somebody sends so many messages at once that can't be read.
    Malformed(usize),
}

/// How late the well ones may be.
struct Bound {
    /// So long after their commands were first published; none: twice as late as without the bad one, and half a second.
    within: Option<Duration>,
    /// So many of a hundred may be later.
    late_percent: usize,
}

const USUAL: Bound = Bound {
    within: None,
    late_percent: 5,
};

/// Without a bad one, nobody is later.
const ALONE_MAX: Duration = Duration::from_secs(20);

pub(super) const KINDS: [Kind; 9] = [
    kind(
        "neighbour: a user whose token requests answer 500",
        "one user whose token requests answer 500 delays no other user",
        Bad::UserFailsAt(Endpoint::Token),
    ),
    kind(
        "neighbour: a user whose lists of tasks answer 500",
        "one user whose lists of tasks answer 500 delays no other user",
        Bad::UserFailsAt(Endpoint::Tasks),
    ),
    kind(
        "neighbour: a connection that answers 500",
        "one connection that answers 500 delays no other user",
        Bad::ConnectionFails,
    ),
    kind(
        "neighbour: a user whose calls are never answered",
        "one user whose calls are never answered delays no other user",
        Bad::UserHangs,
    ),
    kind(
        "neighbour: a user whose credentials never come",
        "one user whose credentials never come delays no other user",
        Bad::CredentialsHang,
    ),
    kind(
        "neighbour: a connection with very many transactions",
        "one connection with very many transactions delays no other user",
        Bad::Transactions(800),
    ),
    Kind {
        bound: Bound {
            within: Some(Duration::from_secs(120)),
            late_percent: 0,
        },
        ..kind(
            "neighbour: a message that kills workers",
            "beside one message that kills workers all others are done within two minutes",
            Bad::Killer,
        )
    },
    Kind {
        in_flight: &[20],
        ..flood("neighbour: a user who sends 600 commands at once", 600)
    },
    Kind {
        in_flight: &[20],
        ..kind(
            "neighbour: 600 messages that can't be read",
            "a flood of messages that can't be read delays no user",
            Bad::Malformed(600),
        )
    },
];

const fn kind(name: &'static str, promise: &'static str, bad: Bad) -> Kind {
    Kind {
        name,
        promise,
        bad,
        bound: USUAL,
        well: 20,
        in_flight: &[20, 2000],
    }
}

/// One user's commands in front of those of a hundred others.
pub(super) const fn flood(name: &'static str, commands: usize) -> Kind {
    let promise = "behind one user's flood of commands 95 % of the others are done within 30 s";
    Kind {
        bound: Bound {
            within: Some(Duration::from_secs(30)),
            late_percent: 5,
        },
        well: 100,
        in_flight: &[2000],
        ..kind(name, promise, Bad::Commands(commands))
    }
}

impl Kind {
    /// How late a well one may be that is so late without the bad one.
    pub(super) fn latest(&self, alone: Duration) -> Duration {
        self.bound.within.unwrap_or(2 * alone + HALF_A_SECOND)
    }

    /// How many of so many may be later.
    pub(super) fn late_max(&self, well: usize) -> usize {
        well * self.bound.late_percent / 100
    }

    /// Whoever is not done so long after the last command is too late.
    pub(super) fn quiet_max(&self) -> Duration {
        self.latest(ALONE_MAX) + SECOND
    }

    /// The well ones of a seed, alone and beside the bad one.
    pub(super) fn pair(&self, seed: u64) -> (Scenario, Scenario) {
        let source = Source::new(seed, Variant::default());
        let (alone, mut beside) = (well::scenario(&source, self), well::scenario(&source, self));
        let mut neighbour = Neighbour {
            draw: source.whole("neighbour"),
            scenario: &mut beside,
        };
        neighbour.moves_in(self.bad);
        beside.plan = scenario::published(&beside.commands);
        beside.plan.sort_by_key(|(at, _)| *at);
        (alone, beside)
    }
}

/// The bad one, as it moves in.
struct Neighbour<'a> {
    draw: Draw,
    scenario: &'a mut Scenario,
}

/// The bad user.
const BAD: &str = "bad";
/// The first of its connections.
const CONNECTION: i64 = 1001;

impl Neighbour<'_> {
    fn moves_in(&mut self, bad: Bad) {
        let fails = Fault::new(FaultKind::status(500));
        let user_id = Some(BAD.to_owned());
        match bad {
            Bad::UserFailsAt(endpoint) => {
                let at = Some(endpoint);
                self.calls_meet(Fault { at, user_id, ..fails });
            }
            Bad::ConnectionFails => {
                let (at, connection_id) = (Some(Endpoint::BankConnection), Some(CONNECTION));
                self.calls_meet(Fault {
                    at,
                    connection_id,
                    ..fails
                });
            }
            Bad::UserHangs => {
                use Endpoint::{BankConnection, Tasks, Transactions};
                let at = self
                    .draw
                    .pick(&[None, Some(Tasks), Some(BankConnection), Some(Transactions)]);
                let hangs = Fault::new(FaultKind::Slow {
                    by: After::secs(24 * 3600),
                });
                self.calls_meet(Fault { at, user_id, ..hangs });
            }
            Bad::CredentialsHang => {
                self.scenario.hung_credentials = user_id;
                self.sends_some(Script::default());
            }
            Bad::Transactions(per_update) => self.sends_some(Script {
                transactions: Transactions { older: 0, per_update },
                ..Script::default()
            }),
            Bad::Killer => self.kills(),
            Bad::Commands(count) => self.floods(count),
            Bad::Malformed(count) => self.sends_what_cant_be_read(count),
        }
    }

    fn calls_meet(&mut self, fault: Fault) {
        self.scenario.sandbox.faults.push(fault);
        self.sends_some(Script::default());
    }

    /// One command, some, or many, at once or one after the other.
    fn sends_some(&mut self, script: Script) {
        self.has_connections(1, script);
        let from = self.draw.up_to(SPAN / 2);
        let within = self.draw.pick(&[Duration::ZERO, SPAN / 2]);
        for _ in 0..self.draw.pick(&[1, 20, 40]) {
            let at = from + self.draw.up_to(within);
            self.sends(CONNECTION, at);
        }
    }

    /// Many at once, all in one lane, for some connections or for many.
    fn floods(&mut self, count: usize) {
        let connections = self.draw.pick(&[10, 600]);
        self.has_connections(connections, Script::default());
        let interactive = self.draw.chance(0.5);
        for number in 0..count {
            self.sends(CONNECTION + number as i64 % connections, Duration::ZERO);
            self.last_command().interactive = interactive;
        }
    }

    fn sends_what_cant_be_read(&mut self, count: usize) {
        let interactive = self.draw.chance(0.5);
        for _ in 0..count {
            self.sends(CONNECTION, Duration::ZERO);
            let command = self.last_command();
            command.interactive = interactive;
            command.spoil();
        }
    }

    fn kills(&mut self) {
        let after = self.draw.pick(&[Duration::ZERO, Duration::from_millis(50), SECOND]);
        let load = Load {
            count: 1,
            span: SPAN / 2,
        };
        let command = commands::killer(&mut self.draw, &load, self.scenario.start);
        self.scenario.killer = Some(Killer {
            command: self.scenario.commands.len(),
            after,
        });
        self.scenario.commands.push(command);
    }

    fn has_connections(&mut self, count: i64, script: Script) {
        let numbers = CONNECTION..CONNECTION + count;
        self.scenario
            .sandbox
            .connections
            .extend(numbers.map(|id| ScriptedConnection {
                user_id: Some(BAD.to_owned()),
                connection_id: id,
                script: script.clone(),
            }));
    }

    fn sends(&mut self, connection: i64, at: Duration) {
        let target = (connection, BAD.to_owned());
        let command = commands::ordinary(&mut self.draw, target, self.scenario.start, at);
        self.scenario.commands.push(command);
    }

    fn last_command(&mut self) -> &mut commands::Command {
        self.scenario.commands.last_mut().expect("a command")
    }
}
