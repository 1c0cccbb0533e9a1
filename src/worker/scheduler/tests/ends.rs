//! How runs, publications, requests for tokens and waits end in the scheduler's test.

use super::rules::SECOND;
use super::*;

impl World {
    pub(super) fn end_run(&mut self) {
        if self.running.is_empty() {
            return;
        }
        let index = self.random.usize(..self.running.len());
        let Run {
            id,
            tag,
            mut refresh,
            renewals,
            ..
        } = self.running.swap_remove(index);
        // What was to start a task when it ended.
        if let Phase::Locating { lookup, .. } = &mut refresh.phase
            && self.random.bool()
        {
            *lookup = Lookup::Start;
        }
        let (end, expected) = match self.random.u8(..10) {
            0..=4 => {
                self.delay(&mut refresh);
                let (due_at, woken_at) = (refresh.due_at, self.due_at_if_woken(&refresh));
                match self.random.bool() {
                    true => (RunEnd::Waits(refresh), Ended::Placed(woken_at)),
                    false => (RunEnd::Blocked(refresh), Ended::Placed(due_at)),
                }
            }
            5..=7 => {
                if self.random.u8(..4) == 0 {
                    refresh.phase = collecting(parts_published(&refresh) + 1);
                }
                (RunEnd::Publishes(Publication::Park(refresh, DECIDED)), Ended::Published)
            }
            8 => (RunEnd::NeedsToken(refresh, renewals), Ended::NeedsToken(renewals)),
            _ => {
                let due_at = refresh.due_at;
                (RunEnd::Stopped(refresh), Ended::Stopped(due_at))
            }
        };
        let before = self.before();
        self.scheduler.on_run_end(id, end, self.now);
        self.check_ended(tag, expected, &before);
    }

    /// When a refresh is due that may have been woken while it was busy.
    fn due_at_if_woken(&mut self, refresh: &Refresh) -> Timestamp {
        let is_woken = self.scheduler.woken.contains(refresh.command.refresh_id());
        let soon = later(self.now.time, SECOND);
        if !is_woken || refresh.failures > 0 || refresh.due_at <= soon {
            return refresh.due_at;
        }
        self.count("woken while busy");
        soon
    }

    pub(super) fn end_publication(&mut self) {
        if self.publishing.is_empty() {
            return;
        }
        let index = self.random.usize(..self.publishing.len());
        let (id, tag, publication, sent) = self.publishing.swap_remove(index);
        let (end, expected) = match (self.random.u8(..20), publication) {
            (0, Publication::Park(mut refresh, DECIDED)) => {
                self.delay(&mut refresh);
                let due_at = self.due_at_if_woken(&refresh);
                (PublishEnd::Continues(refresh), Ended::Placed(due_at))
            }
            (1, Publication::Park(mut refresh, DECIDED)) => {
                self.delay(&mut refresh);
                let due_at = refresh.due_at;
                (PublishEnd::Refused(refresh), Ended::Refused(due_at))
            }
            (2, publication) => (PublishEnd::Again(publication), Ended::Published),
            (3, _) => {
                let open = self.open.get(&tag).filter(|_| tag.generation == self.generation);
                self.queue.extend(open.and_then(|open| open.sent.clone()));
                (PublishEnd::Lost, Ended::Lost)
            }
            (4..=14, Publication::Park(refresh, DECIDED)) if sent.is_some() => {
                self.count("outcomes");
                self.unfinished.remove(&number_of(&refresh));
                self.finished.insert(number_of(&refresh));
                (PublishEnd::Done, Ended::Done)
            }
            _ => {
                self.queue.extend(sent);
                (PublishEnd::Done, Ended::Done)
            }
        };
        if self.forwarding.contains(&tag) {
            if !matches!(end, PublishEnd::Again(_)) || !self.owns(tag) {
                self.forwarding.remove(&tag);
            }
            self.forwards();
        }
        let before = self.before();
        self.scheduler.on_publish_end(id, end, self.now);
        self.check_ended(tag, expected, &before);
    }

    pub(super) fn fetched(&mut self) {
        let Some(user_id) = self.fetching.pop_first() else {
            return;
        };
        let fetched = match self.random.bool() {
            true => Ok(()),
            false => Err(Failure::new(FailureClass::Unavailable, "no token")),
        };
        let waiting = self.scheduler.awaiting_token.get(&user_id).into_iter().flatten();
        let waiting: Vec<(Tag, Timestamp)> = waiting.map(|job| (job.receipt.tag(), job.refresh.due_at)).collect();
        if waiting.len() > 1 {
            self.count("share a token");
        }
        let before = self.before();
        let has_failure = fetched.is_err();
        self.scheduler.on_token(&user_id, fetched, self.now);
        for (tag, due_at) in waiting {
            self.open.get_mut(&tag).expect("it is open").has_failure = has_failure;
            self.check_placed(tag, due_at, &before);
        }
    }

    pub(super) fn pass(&mut self) {
        let time = Duration::from_millis(self.random.u64(0..=4000));
        self.now.since_start += time;
        self.now.time = later(self.now.time, time);
        let before = self.waits();
        self.scheduler.on_due(self.now);
        self.check_due(&before);
        self.check_resumed();
        if self.now.since_start >= self.evicted_at + Duration::from_secs(15) {
            self.evicted_at = self.now.since_start;
            self.perform_actions();
            let waiting = self.waiting();
            self.scheduler.evict_overdue(self.now);
            self.check_evicted(&waiting);
        }
    }
}
