//! `bankrefresh dead-letters`

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::{ArgGroup, Parser, Subcommand, ValueEnum};
use jiff::Timestamp;
use prost::Message as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{Ended, show};
use crate::broker::rabbit::{DeadLetter, DeadLetters};
use crate::broker::topology::Topology;
use crate::broker::{Header, Outgoing, PublishError};
use crate::config::Config;
use crate::proto::{RefreshConnection, RefreshState};
use crate::refresh::state;
use crate::worker::message::{self, COMMAND_NAME, QUEUE_HEADER, REASON_HEADER};

#[derive(Debug, Subcommand)]
#[command(
    after_help = "Exit codes: 0 done; 1 an id was not found, or something could not be done; 2 the command line is wrong."
)]
pub(super) enum Command {
    /// Print a line for each: its id, since when it is dead, the queue it came from, its type and the reason
    List {
        #[command(flatten)]
        selection: Selection,
        /// How to print them
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
    /// Print all of it as JSON, secrets hidden
    Show {
        #[command(flatten)]
        selection: Selection,
    },
    /// Publish it again to where it came from, and take it out of here once that is confirmed
    Replay(Selected),
    /// Delete it for good
    Discard(Selected),
}

/// Which dead letters are meant: those for which everything given holds.
#[derive(Debug, Parser)]
pub(super) struct Selection {
    /// These, by the ids that `list` prints
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// Those whose reason has this text in it
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Those that came from this queue, with or without amqp.prefix
    #[arg(long, value_name = "NAME")]
    queue: Option<String>,
    /// Those of this type, with or without its package
    #[arg(long = "type", value_name = "NAME")]
    kind: Option<String>,
    /// Those that are known to be dead for longer than this, for instance 4h
    #[arg(long, value_name = "DURATION", value_parser = super::send::humantime)]
    older_than: Option<Duration>,
    /// Not more than so many, from the head of the queue; list and show stop at 1000 unless told otherwise
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

/// A selection that has to be made.
#[derive(Debug, Parser)]
#[command(group(ArgGroup::new("which").required(true).multiple(true).args(["all", "ids", "reason", "queue", "kind", "older_than"])))]
pub(super) struct Selected {
    #[command(flatten)]
    selection: Selection,
    /// All of them
    #[arg(long, conflicts_with_all = ["ids", "reason", "queue", "kind", "older_than"])]
    all: bool,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// One line each
    Text,
    /// One JSON object a line
    Json,
}

/// How many are printed at most by default.
const PRINTED_MAX: usize = 1000;

/// What an operator sees instead of a secret.
const HIDDEN: &str = "(hidden)";

/// What to do with what is selected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    List(Format),
    Show,
    Replay { dry_run: bool },
    Discard { dry_run: bool },
}

/// A dead letter as it is told about. Holds nothing of its body.
#[derive(Debug)]
struct Row {
    id: String,
    died_at: Option<Timestamp>,
    queue: String,
    kind: String,
    reason: String,
}

pub(super) async fn run(command: Command, config: &Config) -> Ended {
    super::log_warnings(&config.telemetry);
    let topology = Topology::new(&config.amqp.prefix);
    let (mut selection, deed) = match command {
        Command::List { selection, format } => (selection, Deed::List(format)),
        Command::Show { selection } => (selection, Deed::Show),
        Command::Replay(Selected { selection, dry_run, .. }) => (selection, Deed::Replay { dry_run }),
        Command::Discard(Selected { selection, dry_run, .. }) => (selection, Deed::Discard { dry_run }),
    };
    if matches!(deed, Deed::List(_) | Deed::Show) {
        selection.limit.get_or_insert(PRINTED_MAX);
    }
    let settings = config.amqp.named("dead-letters");
    let letters = DeadLetters::open(&settings, &topology).await?;
    let mut going = Going {
        topology,
        selection,
        deed,
        now: Timestamp::now(),
        letters,
        found: BTreeSet::new(),
        done: 0,
        failed: 0,
    };
    let went = going.through_all().await;
    // Also after a failure: it goes back in order this way.
    let code = going.sum_up(went.is_ok());
    let closed = going.letters.close().await;
    went?;
    closed?;
    Ok(code)
}

/// Going through the queue.
struct Going {
    topology: Topology,
    selection: Selection,
    deed: Deed,
    now: Timestamp,
    letters: DeadLetters,
    /// Which of the ids were there.
    found: BTreeSet<String>,
    done: usize,
    failed: usize,
}

impl Going {
    async fn through_all(&mut self) -> Result<(), Box<dyn std::error::Error>> {
        while self.room() > 0 {
            let page = self.letters.next_page().await?;
            if page.is_empty() {
                break;
            }
            let mut selected: Vec<(Row, DeadLetter)> = Vec::new();
            for letter in page {
                let row = Row::of(&letter, &self.topology);
                if selected.len() < self.room() && self.selection.takes(&row, self.now) {
                    self.found.insert(row.id.clone());
                    selected.push((row, letter));
                }
            }
            match self.deed {
                Deed::List(format) => self.list(&selected, format)?,
                Deed::Show => self.show(&selected)?,
                Deed::Replay { dry_run } => self.replay(selected, dry_run).await?,
                Deed::Discard { dry_run } => self.discard(selected, dry_run).await?,
            }
        }
        Ok(())
    }

    /// How many more may be done.
    fn room(&self) -> usize {
        let limit = self.selection.limit.unwrap_or(usize::MAX);
        limit.saturating_sub(self.done + self.failed)
    }

    fn list(&mut self, selected: &[(Row, DeadLetter)], format: Format) -> std::io::Result<()> {
        let mut out = std::io::stdout().lock();
        for (row, letter) in selected {
            match format {
                Format::Text => writeln!(out, "{}", row.line())?,
                Format::Json => writeln!(out, "{}", row.json(letter))?,
            }
        }
        self.done += selected.len();
        Ok(())
    }

    fn show(&mut self, selected: &[(Row, DeadLetter)]) -> Result<(), Box<dyn std::error::Error>> {
        let mut out = std::io::stdout().lock();
        for (row, letter) in selected {
            writeln!(out, "{}", serde_json::to_string_pretty(&whole(row, letter))?)?;
        }
        self.done += selected.len();
        Ok(())
    }

    /// Confirmed first, then acknowledged: whenever this is cut short, a message is here, or there, or both.
    async fn replay(
        &mut self,
        selected: Vec<(Row, DeadLetter)>,
        dry_run: bool,
    ) -> Result<(), Box<dyn std::error::Error>> {
        let mut ways = Vec::new();
        for (row, letter) in selected {
            match message::replay(&self.topology, &letter.message, &row.queue) {
                Some(outgoing) => ways.push((row, letter, outgoing)),
                None => self.complain(&row, "there is no telling where it came from"),
            }
        }
        if dry_run {
            for (row, _, outgoing) in &ways {
                self.tell("would replay", row, Some(outgoing))?;
            }
            return Ok(());
        }
        if ways.is_empty() {
            return Ok(());
        }
        let all = ways.iter().map(|(_, _, outgoing)| outgoing.clone()).collect();
        match self.letters.publish(all).await {
            Ok(()) => {}
            Err(error @ (PublishError::Down | PublishError::TimedOut)) => return Err(error.into()),
            // One of them is at fault; the others may be taken twice by this, which does no harm.
            Err(_) => ways = self.replay_singly(ways).await?,
        }
        let letters: Vec<DeadLetter> = ways.iter().map(|(_, letter, _)| letter.clone()).collect();
        self.letters.ack(&letters).await?;
        for (row, _, outgoing) in &ways {
            self.tell("replayed", row, Some(outgoing))?;
        }
        Ok(())
    }

    /// Answers with those that were taken.
    async fn replay_singly(
        &mut self,
        ways: Vec<(Row, DeadLetter, Outgoing)>,
    ) -> Result<Vec<(Row, DeadLetter, Outgoing)>, PublishError> {
        let mut taken = Vec::new();
        for (row, letter, outgoing) in ways {
            match self.letters.publish(vec![outgoing.clone()]).await {
                Ok(()) => taken.push((row, letter, outgoing)),
                Err(error @ (PublishError::Down | PublishError::TimedOut)) => return Err(error),
                Err(error) => self.complain(&row, &error.to_string()),
            }
        }
        Ok(taken)
    }

    async fn discard(
        &mut self,
        selected: Vec<(Row, DeadLetter)>,
        dry_run: bool,
    ) -> Result<(), Box<dyn std::error::Error>> {
        let (rows, letters): (Vec<Row>, Vec<DeadLetter>) = selected.into_iter().unzip();
        if !dry_run {
            self.letters.ack(&letters).await?;
        }
        let did = if dry_run { "would discard" } else { "discarded" };
        for row in &rows {
            self.tell(did, row, None)?;
        }
        Ok(())
    }

    fn tell(&mut self, did: &str, row: &Row, to: Option<&Outgoing>) -> std::io::Result<()> {
        self.done += 1;
        let way = to.map(|to| format!(" to {} ({})", to.exchange, to.routing_key));
        writeln!(std::io::stdout(), "{did} {}{}", row.id, way.unwrap_or_default())
    }

    fn complain(&mut self, row: &Row, why: &str) {
        self.failed += 1;
        eprintln!("{} stays: {why}", row.id);
    }

    /// Says what is left to say, and how it ended.
    fn sum_up(&self, to_the_end: bool) -> ExitCode {
        let Self { done, failed, .. } = self;
        match self.deed {
            Deed::List(_) | Deed::Show => {}
            Deed::Replay { dry_run: false } => println!("{done} replayed, {failed} could not be"),
            Deed::Replay { dry_run: true } => println!("{done} would be replayed, {failed} could not be"),
            Deed::Discard { dry_run: false } => println!("{done} discarded"),
            Deed::Discard { dry_run: true } => println!("{done} would be discarded"),
        }
        if !to_the_end {
            return ExitCode::FAILURE;
        }
        let left = self.letters.left();
        if left > 0 && self.room() > 0 {
            eprintln!("{left} were not looked at: too many that are not meant lie before them");
            return ExitCode::FAILURE;
        }
        if left > 0 {
            eprintln!("stopped at the limit; {left} were not looked at (--limit)");
            return code(*failed == 0);
        }
        let missing = self.selection.ids.iter().filter(|id| !self.found.contains(*id));
        let missing: Vec<&String> = missing.collect();
        for id in &missing {
            eprintln!("there is no dead letter {id}");
        }
        code(*failed == 0 && missing.is_empty())
    }
}

fn code(good: bool) -> ExitCode {
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

impl Selection {
    fn takes(&self, row: &Row, now: Timestamp) -> bool {
        let is = |wanted: &Option<String>, holds: &dyn Fn(&str) -> bool| wanted.as_deref().is_none_or(holds);
        let ends = |whole: &str, end: &str| whole.strip_suffix(end).is_some_and(|rest| rest.ends_with('.'));
        (self.ids.is_empty() || self.ids.contains(&row.id))
            && is(&self.reason, &|text| row.reason.contains(text))
            && is(&self.queue, &|name| row.queue == name || ends(&row.queue, name))
            && is(&self.kind, &|name| row.kind == name || ends(&row.kind, name))
            && self.older_than.is_none_or(|least| {
                row.died_at
                    .is_some_and(|at| Duration::try_from(now.duration_since(at)).is_ok_and(|age| age > least))
            })
    }
}

impl Row {
    fn of(letter: &DeadLetter, topology: &Topology) -> Self {
        let properties = &letter.message.properties;
        let header = |name| properties.headers.get(name).and_then(Header::as_text);
        // What the broker gave up carries its word only: a worker takes that off whatever it publishes.
        let (reason, queue, died_at) = match &letter.death {
            Some(death) => {
                let queue = match header(QUEUE_HEADER) {
                    Some(queue) if death.queue == topology.suspects() => queue,
                    _ => &death.queue,
                };
                (death.reason.as_str(), queue, death.at)
            }
            None => (
                header(REASON_HEADER).unwrap_or_default(),
                header(QUEUE_HEADER).unwrap_or_default(),
                message::died_at(&letter.message),
            ),
        };
        Self {
            id: id(letter),
            died_at,
            queue: plain(queue),
            kind: plain(properties.kind.as_deref().unwrap_or_default()),
            reason: plain(reason),
        }
    }

    fn line(&self) -> String {
        let or_dash = |text: &str| {
            if text.is_empty() {
                "-".to_owned()
            } else {
                text.to_owned()
            }
        };
        let died_at = self.died_at.map(|at| format!("{at:.0}")).unwrap_or_default();
        format!(
            "{}  {:<20}  {}  {}  {}",
            self.id,
            or_dash(&died_at),
            or_dash(&self.queue),
            or_dash(&self.kind),
            or_dash(&self.reason)
        )
    }

    fn json(&self, letter: &DeadLetter) -> Value {
        json!({
            "id": self.id,
            "died_at": self.died_at,
            "queue": self.queue,
            "type": self.kind,
            "reason": self.reason,
            "size": letter.message.body.len(),
        })
    }
}

/// What a dead letter is called: its message id, else the id of its command, else a hash of its body.
fn id(letter: &DeadLetter) -> String {
    let message = &letter.message;
    let command_id = match message.properties.kind.as_deref() {
        Some(state::MESSAGE_NAME) => {
            let state = RefreshState::decode(message.body.clone());
            state
                .ok()
                .and_then(|state| state.command)
                .map(|command| command.command_id)
        }
        Some(COMMAND_NAME) | None => {
            let command = RefreshConnection::decode(message.body.clone());
            command.ok().map(|command| command.command_id)
        }
        Some(_) => None,
    };
    // Whatever else a sender put there is not to be typed, and may be anything.
    let is_fit = |id: &String| {
        let fits = |c: char| c.is_ascii_alphanumeric() || "-_.:/".contains(c);
        (1..=64).contains(&id.len()) && !id.starts_with('-') && id.chars().all(fits)
    };
    let named = message.properties.message_id.clone().filter(is_fit);
    named
        .or(command_id.filter(|id| uuid::Uuid::parse_str(id).is_ok()))
        .unwrap_or_else(|| hash(&message.body))
}

fn hash(body: &[u8]) -> String {
    let mut hash = hex::encode(Sha256::digest(body));
    hash.truncate(12);
    hash
}

/// A text that does nothing to a terminal.
fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

/// All of a dead letter but its secrets.
fn whole(row: &Row, letter: &DeadLetter) -> Value {
    let properties = &letter.message.properties;
    let headers = properties.headers.iter().map(|(name, value)| {
        let value = match value {
            Header::Text(text) => json!(text),
            Header::Integer(number) => json!(number),
            Header::Boolean(truth) => json!(truth),
        };
        (name.clone(), value)
    });
    let mut headers = json!(headers.collect::<BTreeMap<_, _>>());
    hide(&mut headers);
    let kind = properties.kind.as_deref().unwrap_or(COMMAND_NAME);
    let body = match kind {
        COMMAND_NAME | state::MESSAGE_NAME => show::json(kind, &letter.message.body).map_err(|error| error.to_string()),
        _ => Err("of a type that is none of a command or a state".to_owned()),
    };
    let body = body.map(|mut body| {
        hide(&mut body);
        body
    });
    let mut whole = row.json(letter);
    let rest = json!({
        "message_id": properties.message_id,
        "correlation_id": properties.correlation_id,
        "content_type": properties.content_type,
        "app_id": properties.app_id,
        "sent_at": properties.timestamp.and_then(|seconds| Timestamp::from_second(seconds.try_into().ok()?).ok()),
        "headers": headers,
        "hash": hash(&letter.message.body),
        "body": body.as_ref().ok(),
        "unreadable": body.as_ref().err(),
    });
    if let (Value::Object(whole), Value::Object(rest)) = (&mut whole, rest) {
        whole.extend(rest);
    }
    whole
}

/// Hides every value whose name says that it is a secret.
fn hide(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::Object(_) | Value::Array(_) => hide(value),
                    Value::String(text) if text.is_empty() => {}
                    _ if is_secret(name) => *value = json!(HIDDEN),
                    _ => {}
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(hide),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let words = [
        "token",
        "secret",
        "password",
        "authorization",
        "cookie",
        "api_key",
        "api-key",
        "apikey",
        // It opens the form.
        "web_form_id",
    ];
    name == "pin" || words.iter().any(|word| name.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_hidden_wherever_they_are() {
        let mut value = json!({
            "command": {"access_token": "s3cret", "user_id": "anna", "labels": {"Api-Key": "s3cret", "tenant": "blue"}},
            "list": [{"password": "s3cret"}],
            "awaiting_user": {"web_form_id": "s3cret"},
            "PIN": 12_345,
            "spinning": true,
            "token": "",
        });
        hide(&mut value);
        let text = value.to_string();
        assert!(!text.contains("s3cret") && !text.contains("12345"), "{text}");
        assert!(
            text.contains("anna") && text.contains("blue") && text.contains("true"),
            "{text}"
        );
        assert_eq!(text.matches(HIDDEN).count(), 5, "{text}");
    }

    #[test]
    fn a_terminal_gets_no_commands() {
        assert_eq!(plain("a\x1b[31mb\n"), "a\u{fffd}[31mb\u{fffd}");
    }
}
