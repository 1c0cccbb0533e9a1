//! What a connection does by its id alone. `docs/sandbox.md` has the table.

use std::time::Duration;

use super::config::SandboxConfig;
use super::endpoint::Endpoint;
use super::fault::{Fault, FaultKind};
use super::script::{Account, AccountType, After, Behaviour, Script, Transactions, UserDoes};

/// The script that an id picks.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Pick {
    /// There is no such connection.
    Unknown,
    /// The default script.
    Default,
    /// This one.
    Script(Box<Script>),
}

pub(super) fn pick(config: &SandboxConfig, id: i64) -> Pick {
    match id {
        _ if !config.ids_pick_behaviour => Pick::Default,
        9404 => Pick::Unknown,
        _ => script(id).map_or(Pick::Default, |script| Pick::Script(Box::new(script))),
    }
}

fn script(id: i64) -> Option<Script> {
    let after = After::secs(3);
    let user_after = After::secs(10);
    let during = |user| Some(Script::of(Behaviour::WebFormDuring { after, user }));
    match id {
        9001 => during(UserDoes::Completes { after: user_after }),
        9002 => during(UserDoes::Aborts { after: user_after }),
        9003 => during(UserDoes::Expires),
        9004 => Some(Script::of(Behaviour::ImmediateWebForm {
            user: UserDoes::Completes { after: user_after },
        })),
        9005 => Some(Script::of(Behaviour::Fails {
            after,
            error_code: "BANK_SERVER_REJECTION".to_owned(),
            error_message: "The bank rejected the credentials.".to_owned(),
        })),
        9006 => Some(Script {
            batch_update: Some(After::secs(10)),
            ..Script::default()
        }),
        9007 => Some(Script {
            new_accounts: vec![
                Account::new(AccountType::CreditCard),
                Account::new(AccountType::Security),
            ],
            ..Script::default()
        }),
        9008 => Some(Script {
            transactions: Transactions {
                older: 300,
                per_update: 1_700,
            },
            ..Script::default()
        }),
        9009..=9013 => Some(faulty(id)),
        9014 => Some(Script {
            settles: After::Fixed(Duration::from_secs(30)),
            categorizes: After::secs(60),
            ..Script::default()
        }),
        9015 => during(UserDoes::Waits),
        _ => None,
    }
}

fn faulty(id: i64) -> Script {
    let unsupported = FaultKind::Status {
        status: 422,
        code: Some("BANK_NOT_SUPPORTED".to_owned()),
        retry_after: None,
    };
    let faults = match id {
        9009 => vec![Fault::at(Endpoint::StartUpdate, FaultKind::ResponseLost).first(1)],
        9010 => vec![Fault::at(Endpoint::StartUpdate, FaultKind::status(500)).first(2)],
        9011 => vec![Fault::at(Endpoint::StartUpdate, FaultKind::retry_after(429, 3)).first(1)],
        9012 => vec![
            Fault::at(Endpoint::StartUpdate, FaultKind::Malformed).first(1),
            Fault::at(Endpoint::Task, FaultKind::Malformed).first(1),
        ],
        _ => vec![Fault::at(Endpoint::StartUpdate, unsupported)],
    };
    Script {
        faults,
        ..Script::default()
    }
}
