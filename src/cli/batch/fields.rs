//! What a line says, as a command. The fields are those of `commands.proto`, by its descriptor: a field that is added there can be
//! sent without a change here.

use jiff::Timestamp;
use prost_reflect::{DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value, json};

use crate::cli::send::{Lane, humantime};
use crate::message::{self, COMMAND_NAME};
use crate::proto::RefreshConnection;

/// Names and values of a line, each name once.
pub(super) type Fields = Vec<(String, Value)>;

/// What separates the values of a list in a cell.
const SEPARATOR: char = '|';

/// The column or member that says the lane. It is no field of a command.
const LANE: &str = "lane";

/// A command as a line has it: its id and `requested_at` may be missing.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) command: RefreshConnection,
    pub(super) lane: Option<Lane>,
}

/// Whether a column of CSV is a field: by its name, or `labels.NAME`, or `user_metadata.NAME`.
///
/// # Errors
///
/// It is none.
pub(super) fn check_column(column: &str) -> Result<(), String> {
    match column == LANE || field_of_column(column).is_some() {
        true => Ok(()),
        false => Err(format!(
            "its header names {column:?}, which is no field of a command; there are: {}",
            names()
        )),
    }
}

/// All that can be given.
fn names() -> String {
    let fields = descriptor()
        .map(|descriptor| descriptor.fields().collect::<Vec<_>>())
        .unwrap_or_default();
    let name = |field: &FieldDescriptor| match field.kind() {
        _ if field.is_map() => format!("{}.NAME", field.name()),
        Kind::Message(message) if !is_time(&message) => {
            let parts: Vec<String> = message
                .fields()
                .map(|part| format!("{}.{}", field.name(), part.name()))
                .collect();
            parts.join(", ")
        }
        _ => field.name().to_owned(),
    };
    let names: Vec<String> = fields.iter().map(name).chain([LANE.to_owned()]).collect();
    names.join(", ")
}

fn descriptor() -> Result<MessageDescriptor, String> {
    message::descriptor(COMMAND_NAME).map_err(|error| error.to_string())
}

fn is_time(message: &MessageDescriptor) -> bool {
    message.full_name().starts_with("google.protobuf.")
}

/// The field of a column, and the part of it that the column is for.
fn field_of_column(column: &str) -> Option<(FieldDescriptor, Option<&str>)> {
    let (name, part) = match column.split_once('.') {
        Some((name, part)) => (name, Some(part)),
        None => (column, None),
    };
    let field = descriptor().ok()?.get_field_by_name(name)?;
    let is_whole = match field.kind() {
        _ if field.is_map() => part.is_some_and(|key| !key.is_empty()),
        Kind::Message(message) if !is_time(&message) => message.get_field_by_name(part?).is_some(),
        _ => part.is_none(),
    };
    is_whole.then_some((field, part))
}

/// The cells of a line that are not empty, as if they were JSON.
pub(super) fn of_cells(cells: &[(&str, &str)]) -> Result<Fields, String> {
    let mut fields = Map::new();
    for (column, text) in cells {
        let Some((field, part)) = field_of_column(column) else {
            fields.insert((*column).to_owned(), json!(text));
            continue;
        };
        match part {
            Some(part) => {
                let whole = fields.entry(field.name()).or_insert_with(|| json!({}));
                if let Some(whole) = whole.as_object_mut() {
                    whole.insert(part.to_owned(), json!(text));
                }
            }
            None if field.is_list() => {
                let values: Vec<&str> = text.split(SEPARATOR).map(str::trim).collect();
                fields.insert(field.name().to_owned(), json!(values));
            }
            None => drop(fields.insert(field.name().to_owned(), json!(text))),
        }
    }
    Ok(fields.into_iter().collect())
}

/// Reads a line. Whether the command can be acted on is for [`crate::refresh::Command::parse`] to say.
///
/// # Errors
///
/// Names the field and what is allowed, and repeats no value.
pub(super) fn asked(fields: Fields) -> Result<Asked, String> {
    let descriptor = descriptor()?;
    let mut message = DynamicMessage::new(descriptor.clone());
    let mut lane = None;
    for (name, value) in fields {
        if name == LANE {
            lane = Some(lane_of(&value)?);
            continue;
        }
        let field = descriptor.get_field_by_name(&name);
        let field = field.ok_or_else(|| format!("{name:?} is no field of a command; there are: {}", names()))?;
        let object = json!({ field.name(): plain_form(&field, value) });
        let read = DynamicMessage::deserialize(descriptor.clone(), object);
        let read = read.map_err(|_| format!("{name}: must be {}", allowed(&field)))?;
        if read.has_field(&field) {
            message.set_field(&field, read.get_field(&field).into_owned());
        }
    }
    let command = message.transcode_to().map_err(|error| error.to_string())?;
    Ok(Asked { command, lane })
}

fn lane_of(value: &Value) -> Result<Lane, String> {
    match value.as_str() {
        Some("interactive") => Ok(Lane::Interactive),
        Some("background") => Ok(Lane::Background),
        _ => Err("lane: must be interactive or background".to_owned()),
    }
}

/// The form that protobuf's JSON has for what people write: `conditional`, `4h`, `true` as text. Anything else stays.
fn plain_form(field: &FieldDescriptor, value: Value) -> Value {
    match (field.kind(), value) {
        (Kind::Enum(choices), Value::Array(values)) => {
            values.into_iter().map(|value| choice(&choices, value)).collect()
        }
        (Kind::Enum(choices), value) => choice(&choices, value),
        (Kind::Bool, Value::String(text)) => match text.as_str() {
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            _ => Value::String(text),
        },
        (Kind::Message(message), Value::String(text)) => match message.full_name() {
            "google.protobuf.Duration" => humantime(&text).map_or(json!(""), |duration| {
                json!(format!("{}.{:09}s", duration.as_secs(), duration.subsec_nanos()))
            }),
            // With an offset, too.
            "google.protobuf.Timestamp" => text.parse::<Timestamp>().map_or(json!(""), |at| json!(at.to_string())),
            _ => Value::String(text),
        },
        (_, value) => value,
    }
}

/// `forced` for `IMPORT_NEW_ACCOUNTS_FORCED`. What is no choice stays, and is refused.
fn choice(choices: &EnumDescriptor, value: Value) -> Value {
    let Some(text) = value.as_str() else { return value };
    let wanted = text.to_uppercase().replace('-', "_");
    let found = choices
        .values()
        .find(|choice| choice.name() == wanted || short(choices, choice.name()) == wanted);
    found.map_or(value, |choice| json!(choice.name()))
}

/// The name of a choice without what all of them begin with.
fn short<'a>(choices: &EnumDescriptor, name: &'a str) -> &'a str {
    let zero = choices
        .get_value(0)
        .map(|zero| zero.name().to_owned())
        .unwrap_or_default();
    let prefix = zero.trim_end_matches("UNSPECIFIED");
    name.strip_prefix(prefix).unwrap_or(name)
}

fn allowed(field: &FieldDescriptor) -> String {
    let one = match field.kind() {
        _ if field.is_map() => "an object of texts".to_owned(),
        Kind::Bool => "true or false".to_owned(),
        Kind::Enum(choices) => {
            let names = choices.values().filter(|choice| choice.number() != 0);
            let names: Vec<String> = names
                .map(|choice| short(&choices, choice.name()).to_lowercase())
                .collect();
            names.join(", ")
        }
        Kind::Message(message) => match message.full_name() {
            "google.protobuf.Duration" => "a duration such as 4h".to_owned(),
            "google.protobuf.Timestamp" => "a time such as 2026-11-27T02:00:00Z".to_owned(),
            _ => "an object".to_owned(),
        },
        Kind::String => "a text".to_owned(),
        _ => "a whole number".to_owned(),
    };
    if field.is_list() {
        format!("a list of: {one}")
    } else {
        one
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::proto::{AccountType, BankingInterface, ImportNewAccounts, SavedSetting, UserMetadata, from_timestamp};

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    /// Every field that a command can have.
    fn everything() -> RefreshConnection {
        RefreshConnection {
            command_id: "0198c0de-0000-7000-8000-000000000001".to_owned(),
            user_id: "anna".to_owned(),
            bank_connection_id: 7,
            requested_at: Some(from_timestamp(at("2026-11-27T18:20:00.5Z"))),
            import_new_accounts: ImportNewAccounts::Conditional.into(),
            account_types: vec![AccountType::Checking.into(), AccountType::CreditCard.into()],
            allowed_interfaces: vec![BankingInterface::Xs2a.into()],
            edit_saved_settings: vec![SavedSetting::DefaultTwoStepProcedure.into()],
            skip_balances_download: true,
            skip_positions_download: true,
            load_owner_data: true,
            user_metadata: Some(UserMetadata {
                ip_address: "192.0.2.7".to_owned(),
                device_os: "iOS 26".to_owned(),
                user_agent: "App".to_owned(),
            }),
            profile_id: "d9fd1b93-2f9c-4d0b-8f6a-6e4b1a1e6f10".to_owned(),
            redirect_url: "https://platform.example.org/done".to_owned(),
            max_age: Some(prost_types::Duration {
                seconds: 5400,
                nanos: 0,
            }),
            wait_for_categorization: true,
            access_token: "s3cret".to_owned(),
            labels: [("tenant".to_owned(), "blue".to_owned())].into(),
            transactions_since: Some(from_timestamp(at("2026-11-18T11:06:40Z"))),
            client: "live".to_owned(),
        }
    }

    #[test]
    fn every_field_of_a_command_can_be_given_in_both_forms() {
        let descriptor = descriptor().expect("the command");
        let command = everything();
        let message =
            DynamicMessage::decode(descriptor.clone(), command.encode_to_vec().as_slice()).expect("a command");
        for field in descriptor.fields() {
            assert!(message.has_field(&field), "{} is not in this test", field.name());
        }
        // As a spreadsheet has it.
        let cells = [
            ("command_id", "0198c0de-0000-7000-8000-000000000001"),
            ("user_id", "anna"),
            ("bank_connection_id", "7"),
            ("requested_at", "2026-11-27T19:20:00.5+01:00"),
            ("import_new_accounts", "conditional"),
            ("account_types", "checking | CREDIT_CARD"),
            ("allowed_interfaces", "BANKING_INTERFACE_XS2A"),
            ("edit_saved_settings", "default-two-step-procedure"),
            ("skip_balances_download", "true"),
            ("skip_positions_download", "true"),
            ("load_owner_data", "true"),
            ("user_metadata.ip_address", "192.0.2.7"),
            ("user_metadata.device_os", "iOS 26"),
            ("user_metadata.user_agent", "App"),
            ("profile_id", "d9fd1b93-2f9c-4d0b-8f6a-6e4b1a1e6f10"),
            ("redirect_url", "https://platform.example.org/done"),
            ("max_age", "1h 30m"),
            ("wait_for_categorization", "true"),
            ("access_token", "s3cret"),
            ("labels.tenant", "blue"),
            ("transactions_since", "2026-11-18T11:06:40Z"),
            ("client", "live"),
            ("lane", "interactive"),
        ];
        for (column, _) in cells {
            assert_eq!(check_column(column), Ok(()));
        }
        let read = asked(of_cells(&cells).expect("fields")).expect("a command");
        assert_eq!(read.command, command);
        assert_eq!(read.lane, Some(Lane::Interactive));
        // As protobuf's own JSON has it.
        let json = message::json(COMMAND_NAME, &command.encode_to_vec()).expect("JSON");
        let fields = json.as_object().expect("an object").clone().into_iter().collect();
        assert_eq!(asked(fields).expect("a command").command, command);
    }

    #[test]
    fn a_wrong_value_is_named_by_its_field_and_not_repeated() {
        for (name, value, allowed) in [
            ("bank_connection_id", json!("s3cret"), "must be a whole number"),
            ("bank_connection_id", json!(1.5), "must be a whole number"),
            ("access_token", json!(["s3cret"]), "must be a text"),
            ("access_token", json!(12_345), "must be a text"),
            ("max_age", json!("soon"), "must be a duration such as 4h"),
            ("max_age", json!(5), "must be a duration such as 4h"),
            ("transactions_since", json!("s3cret"), "must be a time such as"),
            ("transactions_since", json!("2026-11-27"), "must be a time such as"),
            ("load_owner_data", json!("yes"), "must be true or false"),
            (
                "import_new_accounts",
                json!("always"),
                "must be skip, conditional, forced",
            ),
            (
                "account_types",
                json!(["s3cret"]),
                "must be a list of: checking, savings",
            ),
            ("labels", json!({"a": 5}), "must be an object of texts"),
            ("user_metadata", json!("s3cret"), "must be an object"),
            ("lane", json!("s3cret"), "must be interactive or background"),
            ("iban", json!(1), "is no field of a command"),
        ] {
            let error = asked(vec![(name.to_owned(), value)]).expect_err(name);
            assert!(error.contains(allowed) && error.contains(name), "{error}");
            assert!(!error.contains("s3cret") && !error.contains("12345"), "{error}");
        }
    }
}
