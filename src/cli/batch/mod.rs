//! `bankrefresh send --from`: a night's work. The commands of a file, each followed to its outcome, over as many runs as it takes.

mod check;
mod fields;
mod input;
mod pace;
mod progress;
mod results;
mod source;
mod state;
mod work;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use self::check::Checked;
use self::pace::{Pace, Rate};
use self::progress::{Counts, Progress};
use self::results::{Begin, Record, Results};
use self::source::{Source, is_standard_input};
use self::state::Entries;
use self::work::{Stop, Work};
use super::Ended;
use super::send::{Lane, TIMED_OUT, humantime};
use crate::broker::topology::Topology;
use crate::broker::{Broker, Subscription, connected, rabbit};
use crate::config::Config;

/// The exit code when every command has its outcome and not all were updated.
const SOME_FAILED: u8 = 4;

/// How many events are on their way at a time.
const PREFETCH: u16 = 500;

/// The events that a batch follows.
const KEYS: [&str; 3] = ["transactions.updated", "user-action.required", "refresh.failed"];

#[derive(Debug, Parser)]
pub(super) struct BatchArgs {
    /// Publish the commands of a file (CSV with a header, or JSON lines; - is standard input) and follow each to its outcome
    #[arg(long, value_name = "FILE")]
    pub(super) from: Option<PathBuf>,
    /// Where to write what comes of each line. Run again with the same file, it continues [default: the input's name with
    /// .results.jsonl]
    #[arg(long, value_name = "FILE", requires = "from")]
    results: Option<PathBuf>,
    /// Publish the commands evenly over this time, for example 2h
    #[arg(long, value_name = "DURATION", value_parser = humantime, requires = "from", conflicts_with = "rate")]
    spread: Option<Duration>,
    /// Publish so many commands for each s, min or h, for example 5/s
    #[arg(long, value_name = "N/UNIT", value_parser = pace::rate, requires = "from")]
    rate: Option<Rate>,
    /// Leave out lines that are no commands, in place of not starting
    #[arg(long, requires = "from")]
    skip_bad_lines: bool,
    /// Publish again what has no outcome, with the same ids, because events may be lost
    #[arg(long, requires = "from")]
    republish: bool,
}

pub(super) async fn run(args: &BatchArgs, from: &Path, lane: Lane, timeout: Duration, config: &Config) -> Ended {
    super::log_warnings(&config.telemetry);
    let opened = args.open(from, lane, config)?;
    let Opened { begin, counts, .. } = &opened;
    if counts.done + counts.failed == begin.commands {
        source::forget_kept(from, opened.results.path());
        return Ok(summary(*counts, begin, &opened.results, &Stop::Over));
    }
    let Opened {
        mut results,
        begin,
        mut entries,
        source: Some(source),
        ..
    } = opened
    else {
        return Err("its lines are gone".into());
    };
    let topology = Topology::new(&config.amqp.prefix);
    let settings = config.amqp.named("send");
    let queue = topology.outcomes(&begin.run.to_string());
    if args.republish {
        forget(&mut entries, &mut results)?;
    }
    // Bound before the first command.
    declare(&settings, &topology, &queue, &mut entries, &mut results).await?;
    let subscription = Subscription::Queue {
        name: queue.clone(),
        prefetch: PREFETCH,
        paused: false,
    };
    let connect_timeout = settings.connect_timeout;
    // Not sooner: what ends it until here is the operating system, at once.
    let mut stops = super::worker::stops()?;
    let (rabbit, mut broker_events) = rabbit::connect(settings.clone(), topology.clone(), vec![subscription])?;
    connected(&mut broker_events, connect_timeout).await?;
    let mut work = Work {
        pace: Pace::new(args.spread, args.rate, entries.all.len()),
        progress: Progress::new(entries.all.len()),
        entries,
        results,
        file: source.file.try_clone()?,
        lane,
        timeout,
        topology,
        settings,
        queue,
        broker: Broker::Rabbit(rabbit),
    };
    let stop = work.run(&mut broker_events, &mut stops).await;
    work.progress.end();
    // Deliveries that nobody reads any more would keep the connection from closing.
    drop(broker_events);
    work.broker.close().await;
    let stop = stop?;
    let counts = work.entries.counts();
    if matches!(stop, Stop::Over) {
        // It would go by itself within a day.
        if let Err(error) = rabbit::delete_outcomes(&work.settings, &work.queue).await {
            tracing::warn!(%error, "could not delete the queue of this batch");
        }
        source.forget();
    }
    Ok(summary(counts, &begin, &work.results, &stop))
}

/// Declares the queue of events. Where there is none, what it had is lost, so what has no outcome is to be published again; that is written
/// down before there is one, because nobody knows it afterwards.
async fn declare(
    settings: &rabbit::Settings,
    topology: &Topology,
    queue: &str,
    entries: &mut Entries,
    results: &mut Results,
) -> Result<(), Box<dyn std::error::Error>> {
    if !rabbit::has_outcomes(settings, queue).await? {
        forget(entries, results)?;
    }
    Ok(rabbit::declare_outcomes(settings, queue, &topology.events(), &KEYS).await?)
}

fn forget(entries: &mut Entries, results: &mut Results) -> std::io::Result<()> {
    if entries.forget_published() {
        results.add([&Record::Forgotten])?;
        results.sync()?;
    }
    Ok(())
}

fn summary(counts: Counts, begin: &Begin, results: &Results, stop: &Stop) -> ExitCode {
    let Counts {
        commands,
        done,
        waiting,
        failed,
        published,
    } = counts;
    let path = results.path().display();
    let skipped = begin.skipped;
    let left = commands - done - failed;
    println!(
        "{commands} commands: {done} updated, {failed} failed, {left} without an outcome; {skipped} lines skipped"
    );
    println!("results: {path}");
    let why = match stop {
        Stop::Over => {
            let all_good = failed == 0 && skipped == 0;
            return ExitCode::from(if all_good { 0 } else { SOME_FAILED });
        }
        Stop::Signal => "stopped by a signal".to_owned(),
        Stop::Quiet(timeout) => format!("nothing happened for {timeout:?}"),
    };
    let unpublished = commands - published;
    eprintln!("{why}: {unpublished} are not published and {waiting} wait for users; the same command again continues");
    ExitCode::from(TIMED_OUT)
}

const CHANGED: &str =
    "it belongs to another input, or the input has changed since its first run; name another results file (--results)";

/// Whether a results file is about this input and these options, which change the commands.
fn same(begin: &Begin, checked: &Checked, lane: Lane, config: &Config) -> Result<(), String> {
    if begin.input_sha256 != checked.sha256 {
        return Err(CHANGED.to_owned());
    }
    if begin.commands != checked.lines.len() || begin.skipped != checked.bad_count {
        return Err(
            "another release began it, which read the input in another way; finish it with that release".to_owned(),
        );
    }
    if begin.lane != lane.name() {
        return Err(format!("its commands go to the lane {}; say --lane {0}", begin.lane));
    }
    if begin.prefix != config.amqp.prefix {
        return Err(format!(
            "its commands go to the broker's names with the prefix {:?}",
            begin.prefix
        ));
    }
    Ok(())
}

/// A batch that may begin or continue.
struct Opened {
    results: Results,
    begin: Begin,
    entries: Entries,
    /// None if it is over and its lines are gone.
    source: Option<Source>,
    counts: Counts,
}

impl Opened {
    fn over(results: Results, begin: Begin, counts: Counts) -> Self {
        Self {
            results,
            begin,
            entries: Entries::default(),
            source: None,
            counts,
        }
    }
}

impl BatchArgs {
    /// Opens the input and the results file, checks both, and writes down what begins.
    fn open(&self, from: &Path, lane: Lane, config: &Config) -> Result<Opened, Box<dyn std::error::Error>> {
        let path = self.results_path(from)?;
        let of_results = |what: String| format!("{}: {what}", path.display());
        let (mut results, records) = Results::open(&path)?;
        let begun = match records.first() {
            Some(Record::Begin(begin)) => Some(begin.clone()),
            _ => None,
        };
        let begun_with = begun.as_ref().map(|begin| begin.input_sha256.as_str());
        let counts = results::over(&records);
        if let Some(begin) = &begun
            && is_standard_input(from)
            && counts.done + counts.failed == begin.commands
        {
            // Its lines are not kept any more.
            source::is_same(&begin.input_sha256).map_err(of_results)?;
            let begin = begin.clone();
            return Ok(Opened::over(results, begin, counts));
        }
        let source = Source::open(from, &path, begun_with).map_err(of_results)?;
        let checked = check::check(&source.file).map_err(|error| format!("{}: {error}", source.name))?;
        let begin = match begun {
            Some(begin) => {
                same(&begin, &checked, lane, config).map_err(of_results)?;
                begin
            }
            None => {
                let begin = self
                    .begin(&checked, &source, lane, config)
                    .inspect_err(|_| source.forget())?;
                results.add([&Record::Begin(begin.clone())])?;
                results.sync()?;
                begin
            }
        };
        let mut entries = Entries::new(checked);
        for record in records.iter().skip(1) {
            entries.apply(record).map_err(of_results)?;
        }
        let counts = entries.counts();
        if !records.is_empty() {
            eprintln!("continuing {}: {counts}", path.display());
        }
        Ok(Opened {
            results,
            begin,
            entries,
            source: Some(source),
            counts,
        })
    }

    fn results_path(&self, from: &Path) -> Result<PathBuf, String> {
        match &self.results {
            Some(path) => Ok(path.clone()),
            None if is_standard_input(from) => Err("--from - needs --results FILE".to_owned()),
            None => Ok(with_ending(from, ".results.jsonl")),
        }
    }

    /// What a new results file begins with, if all lines are good or bad ones are to be skipped.
    fn begin(&self, checked: &Checked, input: &Source, lane: Lane, config: &Config) -> Result<Begin, String> {
        let (bad, good) = (checked.bad_count, checked.lines.len());
        for line in &checked.bad {
            eprintln!("{}: {line}", input.name);
        }
        if bad > checked.bad.len() {
            eprintln!("{}: and {} more lines", input.name, bad - checked.bad.len());
        }
        let why = match (bad, good) {
            (0, 1..) => None,
            (_, 0) => Some("it has no command".to_owned()),
            (1.., _) if !self.skip_bad_lines => Some(format!(
                "{bad} of its lines are no commands; --skip-bad-lines leaves them out"
            )),
            _ => None,
        };
        match why {
            None => Ok(Begin::new(&checked.sha256, good, bad, lane.name(), &config.amqp.prefix)),
            Some(why) => Err(format!("{}: {why}. Nothing was published", input.name)),
        }
    }
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}
