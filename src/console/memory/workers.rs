//! The workers that report, and those that stopped doing so lately.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

use super::minutes::Sample;
use crate::worker::{REPORT_INTERVAL, Report};

/// A worker that was quiet for longer is gone.
const QUIET_MAX: Duration = REPORT_INTERVAL.saturating_mul(3);

/// How long a worker that is gone is shown.
const SHOWN: Duration = Duration::from_secs(15 * 60);

/// The most workers that are remembered.
const WORKERS_MAX: usize = 500;

/// Every worker, by its id.
#[derive(Debug, Default)]
pub(in crate::console) struct Workers {
    all: BTreeMap<Uuid, Worker>,
    /// When a worker reported for which there was no room.
    left_out_at: Option<Timestamp>,
}

/// A worker.
#[derive(Clone, Debug)]
pub(in crate::console) struct Worker {
    pub(in crate::console) report: Report,
    pub(in crate::console) seen_at: Timestamp,
}

/// Whether a worker is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::console) enum Life {
    Works,
    /// It said that it was stopping.
    Stops,
    /// It has not reported for some time, and has not said why.
    Gone,
}

impl Worker {
    fn quiet(&self, now: Timestamp) -> Duration {
        now.duration_since(self.seen_at).try_into().unwrap_or_default()
    }

    pub(in crate::console) fn life(&self, now: Timestamp) -> Life {
        match (self.report.status.draining, self.quiet(now) > QUIET_MAX) {
            (true, _) => Life::Stops,
            (false, true) => Life::Gone,
            (false, false) => Life::Works,
        }
    }

    /// How many refreshes it has in flight.
    pub(in crate::console) fn in_flight(&self) -> u64 {
        let status = &self.report.status;
        let held: usize = status.held.values().map(|held| held.count).sum();
        let all = held + status.running + status.runnable + status.awaiting_token + status.publishing + status.backlog;
        all as u64
    }
}

impl Workers {
    pub(super) fn reported(&mut self, report: Report, now: Timestamp) {
        self.all.retain(|_, worker| worker.quiet(now) < SHOWN);
        if self.all.len() < WORKERS_MAX || self.all.contains_key(&report.worker) {
            self.all.insert(report.worker, Worker { report, seen_at: now });
        } else {
            self.left_out_at = Some(now);
        }
    }

    pub(in crate::console) fn all(&self) -> impl Iterator<Item = &Worker> {
        self.all.values()
    }

    /// Whether there are more than are remembered.
    pub(in crate::console) fn are_more(&self, now: Timestamp) -> bool {
        let quiet = self.left_out_at.map(|at| now.duration_since(at));
        quiet.is_some_and(|quiet| Duration::try_from(quiet).is_ok_and(|quiet| quiet <= QUIET_MAX))
    }

    /// Those that report.
    pub(in crate::console) fn living(&self, now: Timestamp) -> impl Iterator<Item = &Worker> {
        self.all.values().filter(move |worker| worker.quiet(now) <= QUIET_MAX)
    }

    /// The newest report of a worker that lives: what it says of queues holds for all.
    pub(in crate::console) fn newest(&self, now: Timestamp) -> Option<&Report> {
        let newest = self.living(now).max_by_key(|worker| worker.seen_at);
        newest.map(|worker| &worker.report)
    }

    /// How many messages wait in a queue.
    pub(in crate::console) fn depth(&self, queue: &str, now: Timestamp) -> Option<u32> {
        self.newest(now)?.queues.get(queue).copied()
    }

    pub(super) fn sample(&self, now: Timestamp) -> Sample {
        Sample {
            interactive: self.depth("commands.interactive", now),
            background: self.depth("commands.background", now),
            in_flight: self.living(now).map(Worker::in_flight).sum(),
            parked: self.depth("delay", now),
            calls: self
                .living(now)
                .map(|worker| worker.report.status.finapi_calls.running)
                .sum(),
            calls_limit: self
                .living(now)
                .map(|worker| worker.report.status.finapi_calls.limit)
                .sum(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_workers_than_there_is_room_for_are_said() {
        let at = |seconds| Timestamp::from_second(seconds).expect("a time");
        let mut workers = Workers::default();
        for number in 0..=WORKERS_MAX {
            assert!(!workers.are_more(at(100)));
            let worker = Uuid::from_u128(number as u128);
            workers.reported(
                Report {
                    worker,
                    ..Report::default()
                },
                at(100),
            );
        }
        assert_eq!(workers.all().count(), WORKERS_MAX);
        assert!(workers.are_more(at(100)));
        assert!(!workers.are_more(at(200)));
    }

    #[test]
    fn a_depth_that_nobody_knows_is_not_zero() {
        let now = Timestamp::UNIX_EPOCH;
        let mut workers = Workers::default();
        assert_eq!(workers.sample(now).interactive, None);
        let queues = [("commands.interactive".into(), 0)].into();
        workers.reported(
            Report {
                queues,
                ..Report::default()
            },
            now,
        );
        let sample = workers.sample(now);
        assert_eq!(
            (sample.interactive, sample.background, sample.parked),
            (Some(0), None, None)
        );
    }

    #[test]
    fn a_worker_that_is_quiet_is_gone_unless_it_said_so() {
        let at = |seconds| Timestamp::from_second(seconds).expect("a time");
        let mut workers = Workers::default();
        let mut stops = Report {
            worker: Uuid::from_u128(2),
            ..Report::default()
        };
        stops.status.draining = true;
        workers.reported(
            Report {
                worker: Uuid::from_u128(1),
                ..Report::default()
            },
            at(100),
        );
        workers.reported(stops, at(100));
        let lives = |workers: &Workers, now| workers.all().map(|worker| worker.life(now)).collect::<Vec<_>>();
        assert_eq!(lives(&workers, at(110)), [Life::Works, Life::Stops]);
        assert_eq!(lives(&workers, at(120)), [Life::Gone, Life::Stops]);
        assert_eq!(workers.living(at(120)).count(), 0);
        workers.reported(
            Report {
                worker: Uuid::from_u128(3),
                ..Report::default()
            },
            at(2000),
        );
        assert_eq!(lives(&workers, at(2000)), [Life::Works], "the others are forgotten");
    }
}
