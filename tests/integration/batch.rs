//! `bankrefresh send --from`, with a worker, a broker and finAPI's simulator.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use bankrefresh::sandbox::{After, Behaviour, SandboxConfig, Script, UserDoes};
use lapin::options::QueueDeleteOptions;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::time::{sleep, timeout};

use crate::support::platform::{PATIENCE, Platform, WorkerProcess, quick, silent};
use crate::support::rabbitmq::{self, RabbitMq};

/// A folder with an input.
struct Night {
    _folder: TempDir,
    input: PathBuf,
    results: PathBuf,
}

impl Night {
    fn new(text: &str) -> Self {
        let folder = TempDir::new().expect("a folder");
        let input = folder.path().join("night.csv");
        fs::write(&input, text).expect("written");
        Self {
            results: folder.path().join("night.csv.results.jsonl"),
            input,
            _folder: folder,
        }
    }

    fn send(&self, platform: &Platform, more: &[&str]) -> Command {
        let input = self.input.to_str().expect("text");
        platform.program(&[&["send", "--from", input], more].concat(), &[])
    }

    /// Every whole record so far of a kind.
    fn records(&self, kind: &str) -> Vec<Value> {
        records(&self.results, kind)
    }

    /// Waits until so many commands are published.
    async fn until_published(&self, count: usize) {
        let started = Instant::now();
        while self.records("published").len() < count {
            let patience = Duration::from_secs(90 + setting("NIGHT_SECONDS", 0));
            assert!(started.elapsed() < patience, "{count} are not published");
            sleep(Duration::from_millis(100)).await;
        }
    }
}

fn records(path: &Path, kind: &str) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let records = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    records.filter(|record| record["record"] == kind).collect()
}

/// What a run printed.
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

async fn ended(mut command: Command) -> Said {
    said(command.output().await.expect("it runs"))
}

fn said(output: Output) -> Said {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    Said {
        code: output.status.code(),
        out: text(output.stdout),
        err: text(output.stderr),
    }
}

fn setting(name: &str, default: u64) -> u64 {
    let given = std::env::var(name).ok();
    given.map_or(default, |text| text.parse().expect("a number"))
}

/// Updates are silent whatever their ids are.
fn all_good() -> SandboxConfig {
    SandboxConfig {
        ids_pick_behaviour: false,
        ..quick()
    }
}

/// Set `NIGHT_COMMANDS=20000` and `NIGHT_SECONDS=600` for the long form.
#[tokio::test]
async fn a_night_that_is_killed_twice_and_continued_has_one_outcome_for_each_command() {
    let total = setting("NIGHT_COMMANDS", 400);
    let spread = format!("{}s", setting("NIGHT_SECONDS", 8));
    let mut platform = Platform::start(all_good()).await;
    let _workers = [platform.worker(&[]), platform.worker(&[])];
    let header = "user_id,bank_connection_id,transactions_since,labels.batch\n".to_owned();
    let since = "2026-01-01T00:00:00Z";
    let lines = (1..=total).map(|n| format!("user-{},{n},{since},night\n", n % 500));
    let night = Night::new(&lines.fold(header, |all, line| all + line.as_str()));
    let total = usize::try_from(total).expect("a count");
    let started = Instant::now();
    for part in [1, 2] {
        let mut run = night
            .send(&platform, &["--spread", &spread])
            .spawn()
            .expect("it starts");
        night.until_published(total * part / 3).await;
        run.kill().await.expect("killed");
        // As if the kill had cut the last line.
        let mut results = fs::OpenOptions::new()
            .append(true)
            .open(&night.results)
            .expect("the file");
        results.write_all(br#"{"record":"outcome","li"#).expect("written");
    }
    let last = ended(night.send(&platform, &["--spread", &spread])).await;
    assert_eq!(last.code, Some(0), "{}{}", last.out, last.err);
    println!("{total} commands after {:?}: {}", started.elapsed(), last.out);
    let outcomes = night.records("outcome");
    let lines: BTreeSet<u64> = outcomes
        .iter()
        .map(|outcome| outcome["line"].as_u64().expect("a line"))
        .collect();
    assert_eq!(
        (outcomes.len(), lines.len()),
        (total, total),
        "one outcome for each line"
    );
    assert!(
        outcomes
            .iter()
            .all(|outcome| outcome["outcome"] == "updated" && outcome["covered_until"].is_string())
    );
    // Each command has one id, and the platform has one outcome for it.
    let ids: BTreeMap<String, u64> = (night.records("command").iter())
        .map(|command| {
            (
                command["command_id"].as_str().expect("an id").to_owned(),
                command["line"].as_u64().expect("a line"),
            )
        })
        .collect();
    assert_eq!((ids.len(), night.records("command").len()), (total, total));
    platform.outcomes(total).await;
    let published: BTreeSet<&String> = platform.events.keys().collect();
    assert_eq!(published, ids.keys().collect());
    for events in platform.events.values() {
        let event_ids: BTreeSet<&String> = events.iter().map(|(event, _)| &event.context().event_id).collect();
        assert_eq!(event_ids.len(), 1, "{events:?}");
        assert_eq!(events[0].0.context().labels["batch"], "night");
    }
    assert_eq!(platform.updates_per_connection_max(), 1, "no bank was asked twice");
    let again = night.records("published").len() - total;
    println!("{again} commands were published more than once");
    // Its queue is gone, and to run it again does nothing.
    let queues = platform
        .rabbit
        .ctl(&["list_queues", "-q", "--no-table-headers", "name"])
        .await;
    assert!(!queues.contains(&platform.topology.outcomes("")), "{queues}");
    let again = ended(night.send(&platform, &[])).await;
    assert_eq!(again.code, Some(0), "{}", again.err);
    assert_eq!(night.records("outcome").len(), total);
}

fn needs_user(after: After) -> Script {
    let user = UserDoes::Completes { after };
    Script::of(Behaviour::ImmediateWebForm { user })
}

#[tokio::test]
async fn a_night_says_who_is_waited_for_and_what_failed_and_its_exit_code_says_it_too() {
    let mut platform = Platform::start(all_good()).await;
    let _worker = platform.worker(&[]);
    let fails = Behaviour::Fails {
        after: After::millis(100),
        error_code: "BANK_SERVER_REJECTION".to_owned(),
        error_message: "Falsche PIN.".to_owned(),
    };
    platform.sandbox.script("anna", 2, Script::of(fails));
    platform.sandbox.script("anna", 3, needs_user(After::millis(3900)));
    let night = Night::new("user_id;bank_connection_id;lane\r\nanna;1;\r\nanna;2;interactive\r\nanna;3;\r\n");
    let first = ended(night.send(&platform, &["--timeout", "1600ms", "--rate", "20/s"])).await;
    assert_eq!(first.code, Some(3), "{}{}", first.out, first.err);
    assert!(
        first.err.contains("0 are not published and 1 wait for users"),
        "{}",
        first.err
    );
    let last = ended(night.send(&platform, &[])).await;
    assert_eq!(last.code, Some(4), "{}{}", last.out, last.err);
    assert!(
        last.out
            .starts_with("3 commands: 2 updated, 1 failed, 0 without an outcome"),
        "{}",
        last.out
    );
    let outcomes = night.records("outcome");
    let failed = outcomes
        .iter()
        .find(|outcome| outcome["outcome"] == "failed")
        .expect("one failed");
    assert_eq!(
        (&failed["line"], &failed["reason"]),
        (&Value::from(3), &Value::from("FAILURE_REASON_BANK_REJECTED"))
    );
    // Whose web form it is is not for the file.
    let text = fs::read_to_string(&night.results).expect("text");
    assert!(!text.contains("http") && !text.contains("Falsche"), "{text}");
    platform.outcomes(3).await;
}

#[tokio::test]
async fn a_bad_line_stops_the_start_before_anything_is_published() {
    let mut platform = Platform::start(all_good()).await;
    let _worker = platform.worker(&[]);
    let night = Night::new("user_id,bank_connection_id,access_token\nanna,1,\nanna,none,s3cret\nanna,3,\n,4,\n");
    let refused = ended(night.send(&platform, &[])).await;
    assert_eq!(refused.code, Some(1));
    for part in [
        "line 3: bank_connection_id: must be a whole number",
        "line 5: user_id: ",
        "2 of its lines",
        "Nothing was published",
    ] {
        assert!(refused.err.contains(part), "{part}: {}", refused.err);
    }
    assert!(!refused.err.contains("s3cret"), "{}", refused.err);
    assert_eq!(platform.sandbox.asked().tasks, 0);
    let skipped = ended(night.send(&platform, &["--skip-bad-lines"])).await;
    assert_eq!(skipped.code, Some(4), "{}{}", skipped.out, skipped.err);
    assert!(
        skipped
            .out
            .starts_with("2 commands: 2 updated, 0 failed, 0 without an outcome; 2 lines skipped"),
        "{}",
        skipped.out
    );
    platform.outcomes(2).await;
    assert_eq!(platform.sandbox.asked().tasks, 2);
}

#[tokio::test]
async fn another_input_and_a_second_run_at_once_are_refused() {
    let platform = Platform::start(all_good()).await;
    let night = Night::new("user_id,bank_connection_id\nanna,1\nanna,2\n");
    // No worker runs, so nothing comes of it.
    let mut first = night.send(&platform, &[]).spawn().expect("it starts");
    night.until_published(2).await;
    let second = ended(night.send(&platform, &[])).await;
    assert_eq!(second.code, Some(1));
    assert!(second.err.contains("another run uses it"), "{}", second.err);
    first.kill().await.expect("killed");
    fs::write(&night.input, "user_id,bank_connection_id\nanna,1\nanna,3\n").expect("written");
    let changed = ended(night.send(&platform, &[])).await;
    assert_eq!(changed.code, Some(1));
    assert!(
        changed.err.contains("the input has changed since its first run"),
        "{}",
        changed.err
    );
    let input = night.input.to_str().expect("text");
    let confused = ended(night.send(&platform, &["--results", input])).await;
    assert!(confused.err.contains("is no results file"), "{}", confused.err);
    assert!(
        fs::read_to_string(&night.input).expect("text").starts_with("user_id"),
        "it is as it was"
    );
}

#[tokio::test]
async fn standard_input_is_kept_until_the_night_is_over_also_when_a_signal_ends_it() {
    let mut platform = Platform::start(all_good()).await;
    let folder = TempDir::new().expect("a folder");
    let results = folder.path().join("results");
    let kept = folder.path().join("results.input");
    let path = results.to_str().expect("text");
    let arguments = ["send", "--from", "-", "--results", path];
    let mut first = platform.program(&arguments, &[]);
    let mut first = first.stdin(Stdio::piped()).spawn().expect("it starts");
    let mut stdin = first.stdin.take().expect("its input");
    let lines = "{\"user_id\":\"anna\",\"bank_connection_id\":1}\n\n{\"user_id\":\"anna\",\"bank_connection_id\":2,\"max_age\":\"4h\"}\n";
    stdin.write_all(lines.as_bytes()).await.expect("written");
    drop(stdin);
    let are_published = async {
        while records(&results, "published").len() < 2 {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, are_published)
        .await
        .expect("both are published in time");
    let pid = first.id().expect("it runs").to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .await
            .expect("kill")
            .success()
    );
    let stopped = said(first.wait_with_output().await.expect("its end"));
    assert_eq!(stopped.code, Some(3), "{}{}", stopped.out, stopped.err);
    assert!(stopped.err.contains("stopped by a signal"), "{}", stopped.err);
    use std::os::unix::fs::PermissionsExt as _;
    for file in [&results, &kept] {
        let mode = fs::metadata(file).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", file.display());
    }
    // The outcomes come while it does not run, and its queue keeps them.
    let worker: WorkerProcess = platform.worker(&[]);
    platform.outcomes(2).await;
    drop(worker);
    let last = ended(platform.program(&arguments, &[])).await;
    assert_eq!(last.code, Some(0), "{}{}", last.out, last.err);
    assert_eq!(
        (records(&results, "outcome").len(), records(&results, "published").len()),
        (2, 2)
    );
    assert!(!kept.exists(), "nothing of users is kept longer than it is needed");
    let over = ended(platform.program(&arguments, &[])).await;
    assert_eq!(over.code, Some(0), "{}", over.err);
}

#[tokio::test]
async fn a_broker_that_is_lost_in_the_middle_and_a_queue_that_is_gone_cost_nothing() {
    let rabbit: &'static RabbitMq = Box::leak(Box::new(RabbitMq::start().await));
    let platform = Platform::on(
        rabbit,
        SandboxConfig {
            default_script: Script::of(silent()),
            ..all_good()
        },
    )
    .await;
    let _worker = platform.worker(&[]);
    let lines = (1..=60).map(|n| format!("user-{n},{n}\n"));
    let night = Night::new(&lines.fold("user_id,bank_connection_id\n".to_owned(), |all, line| {
        all + line.as_str()
    }));
    let run = night.send(&platform, &["--spread", "9s"]).spawn().expect("it starts");
    night.until_published(20).await;
    rabbit.crash().await;
    sleep(Duration::from_secs(1)).await;
    rabbit.restart().await;
    night.until_published(40).await;
    // `rabbitmqctl` may take longer than the night.
    let run_id = night.records("begin")[0]["run"].as_str().expect("an id").to_owned();
    let queue = platform.topology.outcomes(&run_id);
    let connection = rabbit.connection().await;
    let channel = connection.create_channel().await.expect("a channel");
    let deleted = channel.queue_delete(queue.as_str().into(), QueueDeleteOptions::default());
    deleted.await.expect("deleted");
    let said = said(run.wait_with_output().await.expect("its end"));
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    assert!(
        said.err.contains("lost the broker") && said.err.contains("was gone"),
        "{}",
        said.err
    );
    assert_eq!(night.records("outcome").len(), 60);
    // A run that is killed then leaves it to the next one.
    assert_eq!(
        night.records("forgotten").len(),
        1,
        "that the queue was gone is written down"
    );
    assert_eq!(platform.updates_per_connection_max(), 1, "no bank was asked twice");
}

/// The queue belongs to the batch's own user, and goes by itself a day after its last use.
#[tokio::test]
async fn the_user_for_batches_is_all_that_a_night_needs() {
    let rabbit = rabbitmq::shared().await;
    let prefix = rabbitmq::prefix();
    let mut printed = Command::new(env!("CARGO_BIN_EXE_bankrefresh"));
    printed
        .args(["topology", "definitions"])
        .env_clear()
        .env("BANKREFRESH__AMQP__PREFIX", &prefix);
    let definitions = printed.output().await.expect("it runs").stdout;
    rabbit
        .ctl_with(&["import_definitions"], &String::from_utf8(definitions).expect("text"))
        .await;
    let user = format!("{prefix}-batch");
    rabbit.ctl(&["change_password", &user, "s3cret"]).await;
    let url = format!("amqp://{user}:s3cret@127.0.0.1:{}/%2f", rabbit.port());
    let platform = Platform::under(prefix.clone(), rabbit, false, all_good()).await;
    let night = Night::new("user_id,bank_connection_id\nanna,1\n");
    let settings = [
        ("BANKREFRESH__AMQP__URL", url.as_str()),
        ("BANKREFRESH__AMQP__DECLARE", "false"),
    ];
    let mut first = night.send(&platform, &[]).envs(settings).spawn().expect("it starts");
    night.until_published(1).await;
    let listed = rabbit
        .ctl(&["list_queues", "-q", "--no-table-headers", "name", "type", "arguments"])
        .await;
    let line = listed
        .lines()
        .find(|line| line.starts_with(&format!("{prefix}.outcomes.")))
        .expect("its queue");
    assert!(
        line.contains("quorum") && line.contains("{\"x-expires\",86400000}"),
        "{line}"
    );
    first.kill().await.expect("killed");
    let _worker = platform.worker(&[]);
    let last = ended({
        let mut command = night.send(&platform, &[]);
        command.envs(settings);
        command
    })
    .await;
    assert_eq!(last.code, Some(0), "{}{}", last.out, last.err);
}
