//! The simulated finAPI: its users, its connections and what they do, its faults.

use std::time::Duration;

use bankrefresh::sandbox::{
    Account, AccountType, After, ApiVersion, Behaviour, Endpoint, Fault, FaultKind, SandboxConfig, Script,
    ScriptedConnection, ScriptedUser, Transactions, UserDoes,
};
use jiff::Timestamp;

use crate::draw::{Draw, Source};

pub(crate) const CLIENT_SECRET: &str = "the-clients-own-secret";
pub(crate) const WEB_FORM_URL: &str = "https://webform.simulated.test";
/// The bank of every connection, as the sandbox has it where nothing else is scripted.
pub(crate) const BANK: &str = "Sandbox Bank";
/// What a bank says to its customer, and nobody else.
pub(crate) const BANK_MESSAGE: &str = "Ihre PIN ist falsch";

/// Who is there.
pub(crate) struct Platform {
    pub(crate) users: Vec<String>,
    /// Each with its owner.
    pub(crate) connections: Vec<(i64, String)>,
    /// How many users and connections the seed alone has.
    of_seed: (usize, usize),
    scripted_users: Vec<ScriptedUser>,
}

const SECOND: Duration = Duration::from_secs(1);

impl Platform {
    pub(crate) fn draw(source: &Source) -> Self {
        let mut whole = source.whole("platform");
        let of_seed = (whole.usize(1..=3), whole.usize(1..=5));
        let users = source.numbers("user", of_seed.0);
        let mut platform = Self {
            users: users.clone().map(|number| format!("user-{number}")).collect(),
            connections: Vec::new(),
            of_seed,
            scripted_users: Vec::new(),
        };
        for number in users {
            let mut draw = source.of("user", number);
            platform.scripted_users.extend(draw.chance(0.03).then(|| ScriptedUser {
                user_id: platform.users[number - 1].clone(),
                locked: draw.chance(0.5),
                unverified: true,
                password: None,
            }));
        }
        for number in source.numbers("connection", of_seed.1) {
            let mut draw = source.of("connection", number);
            let owner = match number > of_seed.1 {
                true => platform.users[platform.users.len() - 1].clone(),
                false => platform.user(&mut draw),
            };
            platform.connections.push((number as i64, owner));
        }
        platform
    }

    /// One of the users that the seed has.
    pub(crate) fn user(&self, draw: &mut Draw) -> String {
        draw.pick(&self.users[..self.of_seed.0])
    }

    /// One of the connections that the seed has.
    pub(crate) fn connection(&self, draw: &mut Draw) -> (i64, String) {
        draw.pick(&self.connections[..self.of_seed.1])
    }

    /// The sandbox, whose clock may differ from the workers' a little.
    pub(crate) fn sandbox(&self, source: &Source, start: Timestamp) -> SandboxConfig {
        let mut draw = source.whole("sandbox");
        let ahead = draw.pick(&[0, 0, 0, -1900, 700, 20_000]);
        let scripted = |(id, user): &(i64, String)| ScriptedConnection {
            user_id: Some(user.clone()),
            connection_id: *id,
            script: script(&mut source.of("script", *id as usize)),
        };
        let connections = self.connections.iter().map(scripted).collect();
        let random_faults = match draw.chance(0.5) {
            true => FaultKind::all(),
            false => outages(),
        };
        SandboxConfig {
            start: Some(start + jiff::SignedDuration::from_millis(ahead)),
            seed: source.seed,
            client_secret: CLIENT_SECRET.to_owned(),
            token_life: draw.pick(&[15 * SECOND, 3600 * SECOND, 3600 * SECOND, Duration::ZERO]),
            web_form_life: draw.pick(&[30 * SECOND, 120 * SECOND, 300 * SECOND]),
            web_form_url: WEB_FORM_URL.to_owned(),
            users: self.scripted_users.clone(),
            connections,
            api_version: source.whole("api version").pick(&[
                ApiVersion::V2,
                ApiVersion::V2,
                ApiVersion::V2,
                ApiVersion::V1,
            ]),
            fault_rate: draw.pick(&[0.0, 0.0, 0.05, 0.3]),
            random_faults,
            ids_pick_behaviour: false,
            ..SandboxConfig::default()
        }
    }
}

/// What finAPI answers when all of it is in trouble.
pub(crate) fn outages() -> Vec<FaultKind> {
    vec![
        FaultKind::status(503),
        FaultKind::retry_after(503, 7),
        FaultKind::retry_after(429, 3),
        FaultKind::status(500),
        FaultKind::Dropped,
        FaultKind::Slow { by: After::secs(8) },
    ]
}

/// What goes down together: all of finAPI, one of its hosts, or a part of one.
pub(crate) fn hosts() -> Vec<Vec<Endpoint>> {
    use Endpoint::{
        Accounts, BankConnection, CancelWebForm, ClientConfiguration, StartUpdate, Task, Tasks, Token, Transactions,
        WebForm,
    };
    vec![
        Endpoint::ALL.to_vec(),
        vec![StartUpdate, Tasks, Task, WebForm, CancelWebForm],
        vec![Token, ClientConfiguration, BankConnection, Accounts, Transactions],
        vec![Accounts, Transactions],
    ]
}

fn script(draw: &mut Draw) -> Script {
    let updates = (0..draw.usize(1..=3)).map(|_| behaviour(draw)).collect();
    let lasting = |draw: &mut Draw, seconds: u32| draw.after(seconds * SECOND);
    let faults = (0..draw.up_to_number(3, 0.4)).map(|_| fault(draw)).collect();
    let new_accounts = [AccountType::CreditCard, AccountType::Security];
    Script {
        updates,
        batch_update: draw.chance(0.1).then(|| lasting(draw, 20)),
        settles: lasting(draw, 6),
        categorizes: lasting(draw, 15),
        new_accounts: new_accounts.map(Account::new).to_vec(),
        transactions: Transactions {
            older: draw.u32(0..=9),
            per_update: draw.u32(0..=12),
        },
        faults,
        ..Script::default()
    }
}

fn behaviour(draw: &mut Draw) -> Behaviour {
    let after = draw.after(15 * SECOND);
    match draw.usize(0..=9) {
        0..=3 => Behaviour::Silent { after },
        4..=6 => Behaviour::WebFormDuring {
            after,
            user: user(draw),
        },
        7..=8 => Behaviour::ImmediateWebForm { user: user(draw) },
        _ => Behaviour::Fails {
            after,
            error_code: draw
                .pick(&["BANK_SERVER_REJECTION", "INTERNAL_ERROR", "SOMETHING_NEW"])
                .to_owned(),
            error_message: BANK_MESSAGE.to_owned(),
        },
    }
}

fn user(draw: &mut Draw) -> UserDoes {
    let after = draw.after(50 * SECOND);
    match draw.usize(0..=7) {
        0..=3 => UserDoes::Completes { after },
        4..=5 => UserDoes::Aborts { after },
        6 => UserDoes::Expires,
        _ => UserDoes::FailsWith {
            after,
            code: draw
                .pick(&["BANK_SERVER_REJECTION", "UNEXPECTED_ACCESS_RESPONSE"])
                .to_owned(),
        },
    }
}

fn fault(draw: &mut Draw) -> Fault {
    let late = FaultKind::Slow { by: After::secs(8) };
    let kinds = [
        FaultKind::all(),
        vec![FaultKind::ResponseLost, FaultKind::Malformed, late],
    ]
    .concat();
    let at = [
        Endpoint::StartUpdate,
        Endpoint::StartUpdate,
        Endpoint::Tasks,
        Endpoint::Task,
    ];
    let kind = draw.pick(&kinds);
    Fault {
        at: draw.chance(0.8).then(|| draw.pick(&at)),
        skip: draw.u32(0..=1),
        first: Some(draw.u32(1..=2)),
        ..Fault::new(kind)
    }
}
