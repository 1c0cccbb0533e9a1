//! The use cases of finAPI's guide, and what an endless stream of commands is made of.

use std::time::Duration;

use fastrand::Rng;

use crate::proto::{AccountType, ImportNewAccounts, RefreshConnection, SavedSetting};
use crate::sandbox::{self, After, Behaviour, Script, UserDoes};

/// One way a refresh can go, out of finAPI's guide.
pub(super) struct UseCase {
    pub(super) name: &'static str,
    pub(super) script: Script,
    pub(super) ask: fn(&mut RefreshConnection),
}

pub(super) fn use_cases() -> Vec<UseCase> {
    let plain = |_: &mut RefreshConnection| {};
    let case = |name, behaviour| UseCase {
        name,
        script: Script::of(behaviour),
        ask: plain,
    };
    let (soon, user_soon) = (After::secs(2), After::secs(4));
    let during = |user| Behaviour::WebFormDuring { after: soon, user };
    let silent = Behaviour::Silent { after: After::secs(3) };
    let completes = UserDoes::Completes { after: user_soon };
    vec![
        case("update silently", silent.clone()),
        UseCase {
            script: Script {
                new_accounts: vec![
                    sandbox::Account::new(sandbox::AccountType::CreditCard),
                    sandbox::Account::new(sandbox::AccountType::Security),
                ],
                ..Script::of(silent.clone())
            },
            ask: |command| {
                command.import_new_accounts = ImportNewAccounts::Conditional.into();
                command.account_types = vec![AccountType::CreditCard.into()];
            },
            ..case("import new credit cards", silent.clone())
        },
        case("user action in mid-update", during(completes.clone())),
        UseCase {
            ask: |command| command.edit_saved_settings = vec![SavedSetting::Credentials.into()],
            ..case("edit credentials", silent.clone())
        },
        case("immediate web form", Behaviour::ImmediateWebForm { user: completes }),
        case(
            "the bank refuses",
            Behaviour::Fails {
                after: soon,
                error_code: "BANK_SERVER_REJECTION".to_owned(),
                error_message: "Wrong PIN.".to_owned(),
            },
        ),
        case("the user cancels", during(UserDoes::Aborts { after: user_soon })),
        case("the web form expires", during(UserDoes::Expires)),
        UseCase {
            script: Script {
                batch_update: Some(After::secs(8)),
                ..Script::of(silent.clone())
            },
            ..case("locked by the batch update", silent)
        },
    ]
}

/// How one refresh of the stream goes: mostly well, and as often as not without the user.
pub(super) fn any(rng: &mut Rng) -> Script {
    let after = |min, max| After::Between {
        min: Duration::from_millis(min),
        max: Duration::from_millis(max),
    };
    let during = |user| Behaviour::WebFormDuring {
        after: after(1000, 3000),
        user,
    };
    let fails = |code: &str| Behaviour::Fails {
        after: after(1000, 4000),
        error_code: code.to_owned(),
        error_message: "The bank says no.".to_owned(),
    };
    let takes = after(4000, 15_000);
    Script::of(match rng.u8(..100) {
        ..60 => Behaviour::Silent {
            after: after(1500, 9000),
        },
        60..74 => during(UserDoes::Completes { after: takes }),
        74..80 => Behaviour::ImmediateWebForm {
            user: UserDoes::Completes { after: takes },
        },
        80..84 => during(UserDoes::Aborts { after: takes }),
        84..92 => fails("BANK_SERVER_REJECTION"),
        92.. => fails("INTERNAL_ERROR"),
    })
}

/// One whose user is the visitor.
pub(super) fn asks_the_visitor() -> Script {
    Script::of(Behaviour::WebFormDuring {
        after: After::secs(1),
        user: UserDoes::Waits,
    })
}
