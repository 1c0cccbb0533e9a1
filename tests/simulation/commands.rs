//! The commands of a run, good and bad.

use std::time::Duration;

use bankrefresh::broker::topology::Topology;
use bankrefresh::broker::{Message, Outgoing, Properties};
use bankrefresh::message::{COMMAND_NAME, CONTENT_TYPE};
use bankrefresh::proto::{
    AccountType, ImportNewAccounts, RefreshConnection, RefreshState, SavedSetting, UserMetadata, from_timestamp,
};
use jiff::Timestamp;
use prost::Message as _;

use crate::draw::{Draw, Source};
use crate::platform::Platform;

/// A message that is published at least once.
#[derive(Clone, Debug)]
pub(crate) struct Command {
    /// Its `message_id`, by which it is known in the broker.
    pub(crate) id: String,
    pub(crate) is: Is,
    pub(crate) at: Duration,
    /// When it is published once more.
    pub(crate) duplicates: Vec<Duration>,
    pub(crate) interactive: bool,
    body: Vec<u8>,
    kind: Option<&'static str>,
    timestamp: Option<u64>,
}

/// What becomes of it.
#[derive(Clone, Debug)]
pub(crate) enum Is {
    /// It has an outcome.
    Valid(Box<RefreshConnection>),
    /// It is a dead letter.
    Invalid,
    /// A state that only a newer worker can read; it is kept for one.
    Newer,
}

impl Command {
    pub(crate) fn outgoing(&self, topology: &Topology) -> Outgoing {
        let (exchange, routing_key) = match self.is {
            Is::Newer => (topology.steps(), topology.steps()),
            Is::Valid(_) | Is::Invalid if self.interactive => (topology.commands(), "interactive".to_owned()),
            Is::Valid(_) | Is::Invalid => (topology.commands(), "background".to_owned()),
        };
        Outgoing {
            exchange,
            routing_key,
            message: Message {
                body: self.body.clone().into(),
                properties: Properties {
                    content_type: Some(CONTENT_TYPE.to_owned()),
                    kind: self.kind.map(str::to_owned),
                    message_id: Some(self.id.clone()),
                    correlation_id: Some(format!("sender-{}", self.id)),
                    timestamp: self.timestamp,
                    ..Properties::default()
                },
            },
        }
    }

    /// Makes it one that can't be read.
    pub(crate) fn spoil(&mut self) {
        self.body = NO_COMMAND.to_vec();
        self.is = Is::Invalid;
    }
}

/// Bytes that are no command.
const NO_COMMAND: [u8; 3] = [0xff, 0x00, 0xff];

const SECOND: Duration = Duration::from_secs(1);
/// The user of the command that kills workers.
pub(crate) const KILLER: &str = "killer";
const KILLERS_CONNECTION: i64 = 99;

/// How many commands come, and how fast.
pub(crate) struct Load {
    pub(crate) count: usize,
    /// They all come within this time.
    pub(crate) span: Duration,
}

impl Load {
    pub(crate) fn draw(source: &Source) -> Self {
        let mut draw = source.whole("load");
        let most = draw.pick(&[4, 6, 6, 10, 25]);
        Self {
            count: draw.usize(3..=most),
            span: draw.pick(&[SECOND, 30 * SECOND, 120 * SECOND]),
        }
    }
}

pub(crate) fn draw(source: &Source, load: &Load, platform: &Platform, start: Timestamp) -> Vec<Command> {
    let numbers = source.numbers("command", load.count);
    numbers
        .map(|number| {
            let mut draw = source.of("command", number);
            let target = match number > load.count {
                true => platform.connections[platform.connections.len() - 1].clone(),
                false => platform.connection(&mut draw),
            };
            let at = draw.up_to(load.span);
            one(&mut draw, target, start, at)
        })
        .collect()
}

/// The command whose message kills every worker that begins to run it. Its user, whom no other command has, is known by that.
pub(crate) fn killer(draw: &mut Draw, load: &Load, start: Timestamp) -> Command {
    let at = draw.up_to(load.span);
    ordinary(draw, (KILLERS_CONNECTION, KILLER.to_owned()), start, at)
}

/// A command in one message, without anything special.
pub(crate) fn ordinary(draw: &mut Draw, target: (i64, String), start: Timestamp, at: Duration) -> Command {
    let id = draw.uuid().to_string();
    let (connection, user) = target;
    let plain = RefreshConnection {
        profile_id: id.clone(),
        command_id: id.clone(),
        user_id: user,
        bank_connection_id: connection,
        requested_at: Some(from_timestamp(start + at)),
        ..RefreshConnection::default()
    };
    Command {
        id,
        at,
        duplicates: Vec::new(),
        interactive: draw.chance(0.5),
        body: plain.encode_to_vec(),
        kind: Some(COMMAND_NAME),
        timestamp: None,
        is: Is::Valid(Box::new(plain)),
    }
}

fn one(draw: &mut Draw, target: (i64, String), start: Timestamp, at: Duration) -> Command {
    let duplicates = (0..draw.up_to_number(2, 0.15))
        .map(|_| at + draw.up_to(40 * SECOND))
        .collect();
    let plain = plain(draw, target, start, at);
    let command = Command {
        id: plain.command_id.clone(),
        at,
        duplicates,
        interactive: draw.chance(0.5),
        body: plain.encode_to_vec(),
        kind: draw.chance(0.9).then_some(COMMAND_NAME),
        // A sender's clock may be ahead.
        timestamp: draw
            .chance(0.5)
            .then(|| u64::try_from((start + at).as_second()).unwrap_or_default() + u64::from(draw.u32(0..=1))),
        is: Is::Valid(Box::new(plain.clone())),
    };
    match draw.usize(0..=19) {
        0 => Command {
            body: spoilt(draw, plain),
            is: Is::Invalid,
            ..command
        },
        1 => Command {
            kind: Some("bankrefresh.v1.SomethingElse"),
            is: Is::Invalid,
            ..command
        },
        2 if draw.chance(0.5) => Command {
            body: newer(plain),
            kind: Some("bankrefresh.v1.RefreshState"),
            duplicates: Vec::new(),
            is: Is::Newer,
            ..command
        },
        _ => command,
    }
}

fn plain(draw: &mut Draw, target: (i64, String), start: Timestamp, at: Duration) -> RefreshConnection {
    let id = draw.uuid().to_string();
    let (connection, user) = target;
    let asked_before = draw.pick(&[Duration::ZERO, Duration::ZERO, SECOND, 10 * SECOND]);
    let requested_at = start + at - draw.up_to(asked_before);
    let mut command = RefreshConnection {
        // finAPI gets it as the profile, so that what it was asked can be distinguished.
        profile_id: id.clone(),
        command_id: id,
        user_id: user,
        bank_connection_id: connection,
        requested_at: draw.chance(0.7).then(|| from_timestamp(requested_at)),
        wait_for_categorization: draw.chance(0.2),
        ..RefreshConnection::default()
    };
    match draw.usize(0..=11) {
        0 => command.edit_saved_settings = vec![SavedSetting::Credentials.into()],
        1 => {
            command.import_new_accounts = ImportNewAccounts::Conditional.into();
            command.account_types = vec![AccountType::CreditCard.into()];
        }
        2 => command.import_new_accounts = ImportNewAccounts::Forced.into(),
        3..=4 => {
            let age = draw.up_to(120 * SECOND);
            command.max_age = prost_types::Duration::try_from(age).ok();
        }
        5 => {
            command.user_metadata = Some(UserMetadata {
                ip_address: "192.0.2.7".to_owned(),
                device_os: "Plan 9".to_owned(),
                user_agent: "Mothra".to_owned(),
            });
        }
        // Somebody else's, or nobody's.
        6 if draw.chance(0.3) => command.bank_connection_id = draw.pick(&[77, 1]),
        // A token that finAPI does not know.
        7 if draw.chance(0.3) => command.access_token = "feedfacefeedfacefeedfacefeedfacefeedfacefeedface".to_owned(),
        _ => {}
    }
    command
}

fn spoilt(draw: &mut Draw, mut command: RefreshConnection) -> Vec<u8> {
    match draw.usize(0..=2) {
        0 => return NO_COMMAND.to_vec(),
        1 => command.bank_connection_id = 0,
        _ => command.user_id.clear(),
    }
    command.encode_to_vec()
}

fn newer(command: RefreshConnection) -> Vec<u8> {
    let state = RefreshState {
        version: 99,
        command: Some(command),
        ..RefreshState::default()
    };
    state.encode_to_vec()
}
