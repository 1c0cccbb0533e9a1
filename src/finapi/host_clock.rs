//! finAPI's clocks, measured by the `Date` of its responses.
//!
//! A response that says 12:00:00 was made between 12:00:00 and 12:00:01 by its host's clock, and between its request and its arrival by ours.
//! So each response bounds how far the two are apart. What most of the last responses agree on is the estimate. A proxy that answers
//! with a time of its own now and then is in the minority, and a response that was kept by a cache says so.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{HeaderMap, StatusCode, header};
use jiff::fmt::rfc2822::DateTimeParser;
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::breaker::Host;
use crate::clock::Clock;
use crate::refresh::{ClockOffset, Clocks};

/// How many responses of a host count.
const SAMPLES_MAX: usize = 16;

/// How long a response counts: ten minutes.
const SAMPLE_AGE_MAX_NANOS: i64 = 600 * NANOS;

const NANOS: i64 = 1_000_000_000;

/// How many responses must agree before a clock may be far from ours.
const AGREE_MIN: usize = 3;

/// What is farther is far.
const FAR: SignedDuration = SignedDuration::from_secs(60);

/// Who is farther apart than this has no clock.
const APART_MAX: SignedDuration = SignedDuration::from_hours(24);

/// `Date` has whole seconds.
const DATE_UNIT: SignedDuration = SignedDuration::from_secs(1);

/// By so much our own clock may be set between two responses that are compared: a second.
const SET_MAX_NANOS: i64 = NANOS;

/// A moment, by the clock that people set and by the one that only runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    time: Timestamp,
    instant: Instant,
}

impl Moment {
    pub(super) fn time(self) -> Timestamp {
        self.time
    }

    /// At most 292 years. Back as well: the first response that came need not be the one of the first request.
    fn until(self, other: Self) -> Elapsed {
        let nanos = |since: Duration| i64::try_from(since.as_nanos()).unwrap_or(i64::MAX);
        let ran = match other.instant.checked_duration_since(self.instant) {
            Some(ran) => nanos(ran),
            None => -nanos(self.instant.duration_since(other.instant)),
        };
        let shown = other.time.duration_since(self.time).as_nanos();
        Elapsed {
            ran,
            shown: i64::try_from(shown).unwrap_or(i64::MAX),
        }
    }
}

/// A moment as nanoseconds since another one, by both clocks: each step of each refresh compares it with that of every sample.
#[derive(Clone, Copy, Debug, Default)]
struct Elapsed {
    shown: i64,
    ran: i64,
}

/// What one response says.
#[derive(Clone, Copy, Debug)]
struct Sample {
    /// When the request was sent.
    sent: Elapsed,
    offset: ClockOffset,
}

/// The clocks of finAPI's hosts.
#[derive(Debug, Default)]
pub(super) struct HostClocks {
    /// Ours.
    clock: Clock,
    access: Mutex<Samples>,
    web_form: Mutex<Samples>,
}

#[derive(Debug, Default)]
struct Samples {
    /// What moments are compared with: the one of the first response.
    origin: Option<Moment>,
    /// The newest first.
    all: VecDeque<Sample>,
}

impl HostClocks {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            clock,
            ..Self::default()
        }
    }

    pub(super) fn now(&self) -> Moment {
        Moment {
            time: self.clock.now(),
            instant: Instant::now(),
        }
    }

    /// Learns from a response. What is no success may come from something else than finAPI.
    pub(super) fn observe(&self, host: Host, sent: Moment, status: StatusCode, headers: &HeaderMap) {
        let date = Some(headers).filter(|headers| status.is_success() && !headers.contains_key(header::AGE));
        if let (Some(mut samples), Some(date)) = (self.of(host), date.and_then(date_of)) {
            samples.observe(sent, Instant::now(), date);
        }
    }

    /// The estimates of now.
    pub(super) fn estimate(&self) -> Clocks {
        let of = |host| self.of(host).and_then(|mut samples| samples.estimate(self.now()));
        Clocks {
            access: of(Host::Access),
            web_form: of(Host::WebForm),
        }
    }

    fn of(&self, host: Host) -> Option<MutexGuard<'_, Samples>> {
        let samples = match host {
            Host::Access => &self.access,
            Host::WebForm => &self.web_form,
            Host::Credentials => return None,
        };
        Some(samples.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Samples {
    fn observe(&mut self, sent: Moment, received: Instant, date: Timestamp) {
        let took = received.duration_since(sent.instant).try_into();
        let most = date.duration_since(sent.time).saturating_add(DATE_UNIT);
        let least = date
            .duration_since(sent.time)
            .saturating_sub(took.unwrap_or(SignedDuration::MAX));
        if least < -APART_MAX || most > APART_MAX {
            return;
        }
        let sent = self.origin.get_or_insert(sent).until(sent);
        self.all.truncate(SAMPLES_MAX - 1);
        self.all.push_front(Sample {
            sent,
            offset: ClockOffset { least, most },
        });
    }

    fn estimate(&mut self, now: Moment) -> Option<ClockOffset> {
        let now = self.origin?.until(now);
        self.all.retain(|sample| sample.counts(now));
        let (agree, offset) = self.agreed()?;
        if agree * 2 <= self.all.len() {
            return None;
        }
        if agree >= AGREE_MIN {
            return Some(offset);
        }
        // Few of them don't show that our own clock is wrong.
        let near = |bound: SignedDuration| bound.abs() <= FAR;
        (near(offset.least) && near(offset.most)).then(|| ClockOffset {
            least: offset.least.min(SignedDuration::ZERO),
            most: offset.most.max(SignedDuration::ZERO),
        })
    }

    /// What most of them agree on, and how many do. Each place where most agree begins with the lower bound of one of them.
    fn agreed(&self) -> Option<(usize, ClockOffset)> {
        let all = self
            .all
            .iter()
            .map(|sample| sample.offset)
            .reduce(|one, other| ClockOffset {
                least: one.least.max(other.least),
                most: one.most.min(other.most),
            })?;
        // Nearly always. Each step of each refresh asks, so this must cost little.
        if all.least <= all.most {
            return Some((self.all.len(), all));
        }
        let at = |place: SignedDuration| {
            let there = self.all.iter().map(|sample| sample.offset);
            let there = there.filter(move |offset| (offset.least..=offset.most).contains(&place));
            let most = there.clone().map(|offset| offset.most).min().unwrap_or(place);
            (there.count(), ClockOffset { least: place, most })
        };
        let places = self.all.iter().map(|sample| at(sample.offset.least));
        places.max_by_key(|(agree, _)| *agree)
    }
}

impl Sample {
    /// Whether it is young enough, and our clock was not set since.
    fn counts(&self, now: Elapsed) -> bool {
        let ran = now.ran.saturating_sub(self.sent.ran);
        let shown = now.shown.saturating_sub(self.sent.shown);
        ran <= SAMPLE_AGE_MAX_NANOS && shown.saturating_sub(ran).saturating_abs() <= SET_MAX_NANOS
    }
}

/// As HTTP writes it: `Mon, 08 Mar 2021 08:36:45 GMT`. More than one is none. The parser also reads dates of mails, which may lack the seconds
/// or have another zone; the length and the end leave those out.
fn date_of(headers: &HeaderMap) -> Option<Timestamp> {
    let mut dates = headers.get_all(header::DATE).iter();
    let date = dates.next()?.to_str().ok()?;
    if date.len() != "Mon, 08 Mar 2021 08:36:45 GMT".len() || !date.ends_with(" GMT") {
        return None;
    }
    let date = DateTimeParser::new().parse_timestamp(date).ok()?;
    dates.next().is_none().then_some(date)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn millis(millis: i64) -> SignedDuration {
        SignedDuration::from_millis(millis)
    }

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a timestamp")
    }

    /// Responses that took 200 ms each, from a clock that is ahead by `ahead`.
    struct World {
        samples: Samples,
        now: Moment,
    }

    impl World {
        fn new() -> Self {
            let now = Moment {
                time: at("2026-03-02T08:00:00.137Z"),
                instant: Instant::now(),
            };
            Self {
                samples: Samples::default(),
                now,
            }
        }

        fn pass(&mut self, time: Duration) -> &mut Self {
            self.now.instant += time;
            self.now.time += time;
            self
        }

        fn response(&mut self, ahead: SignedDuration) -> &mut Self {
            let sent = self.now;
            self.pass(Duration::from_millis(200));
            let date = sent.time + millis(100) + ahead;
            let date = Timestamp::from_second(date.as_second()).expect("a date");
            self.samples.observe(sent, self.now.instant, date);
            self.pass(Duration::from_millis(730))
        }

        fn estimate(&mut self) -> Option<ClockOffset> {
            self.samples.estimate(self.now)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_is_found_within_a_second_and_better_with_each_response() {
        for ahead in [0, -30_000, 2_400, 61, -700] {
            let mut world = World::new();
            for responses in 1..40 {
                let found = world.response(millis(ahead)).estimate().expect("an estimate");
                assert!(
                    found.least <= millis(ahead) && millis(ahead) <= found.most,
                    "{ahead}: {found:?}"
                );
                let wide = found.most - found.least;
                assert!(responses < 3 || wide <= millis(1200), "{ahead}: {wide:?}");
                assert!(responses < 16 || wide <= millis(400), "{ahead}: {wide:?}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_proxys_time_now_and_then_changes_nothing() {
        let mut world = World::new();
        for response in 0..60 {
            let proxy = response % 5 == 4;
            world.response(if proxy { millis(-3_600_000) } else { millis(0) });
            let found = world.estimate().expect("an estimate");
            assert!(
                found.least >= millis(-1200) && found.most <= millis(1200),
                "{response}: {found:?}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_response_does_not_show_that_our_clock_is_wrong_by_an_hour_and_three_do() {
        let mut world = World::new();
        let hour = millis(3_600_000);
        assert_eq!(world.response(hour).estimate(), None);
        assert_eq!(world.response(hour).estimate(), None);
        let found = world.response(hour).estimate().expect("an estimate");
        assert!(found.least <= hour && hour <= found.most, "{found:?}");
        assert_eq!(
            World::new().response(hour).response(-hour).estimate(),
            None,
            "they disagree"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn one_response_of_a_clock_that_is_off_leaves_room_for_ours() {
        let found = World::new().response(millis(-30_000)).estimate().expect("an estimate");
        assert!(
            found.least <= millis(-30_000) && found.most == SignedDuration::ZERO,
            "{found:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_absurd_or_old_is_no_measure_and_neither_is_what_came_before_our_clock_was_set() {
        let mut world = World::new();
        world.response(millis(0)).response(millis(0)).response(millis(0));
        let before = world.estimate();
        world.response(SignedDuration::from_hours(24 * 365 * 50));
        world.response(-SignedDuration::from_hours(24 * 365 * 50));
        assert_eq!(world.estimate(), before);
        assert_eq!(world.pass(11 * MINUTE).estimate(), None, "they are old");
        let mut world = World::new();
        world.response(millis(0)).response(millis(0)).response(millis(0));
        world.now.time += 5 * MINUTE;
        assert_eq!(world.estimate(), None, "our clock was set");
        let found = world
            .response(millis(-300_000))
            .response(millis(-300_000))
            .response(millis(-300_000));
        let found = found.estimate().expect("an estimate");
        assert!(found.most < millis(-298_000), "{found:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_response_that_took_long_counts_also_where_the_first_one_came_before_it() {
        let mut world = World::new();
        let slow = world.now;
        world
            .pass(Duration::from_secs(3))
            .response(millis(0))
            .response(millis(0));
        let date = Timestamp::from_second(slow.time.as_second()).expect("a date");
        world.samples.observe(slow, world.now.instant, date);
        world.estimate().expect("an estimate");
        assert_eq!(world.samples.all.len(), 3);
    }

    #[tokio::test]
    async fn what_most_agree_on_is_the_same_whether_or_not_all_do() {
        let sent = Elapsed::default();
        let mut random = fastrand::Rng::with_seed(3);
        let (mut all_agree, mut some_agree) = (0, 0);
        for _ in 0..2_000 {
            let count = random.usize(1..=SAMPLES_MAX);
            let sample = |_| {
                let least = millis(random.i64(0..500));
                let most = least + millis(random.i64(0..1_500));
                let offset = ClockOffset { least, most };
                Sample { sent, offset }
            };
            let samples = Samples {
                origin: None,
                all: (0..count).map(sample).collect(),
            };
            let (agree, offset) = samples.agreed().expect("there are some");
            let at = |place: SignedDuration| {
                let there = samples.all.iter().map(|sample| sample.offset);
                there
                    .filter(|offset| offset.least <= place && place <= offset.most)
                    .count()
            };
            let most = samples.all.iter().map(|sample| at(sample.offset.least)).max();
            assert_eq!((Some(agree), agree), (most, at(offset.least)));
            assert_eq!(agree, at(offset.most));
            *if agree == count {
                &mut all_agree
            } else {
                &mut some_agree
            } += 1;
        }
        assert!(all_agree > 200 && some_agree > 200, "{all_agree} and {some_agree}");
    }

    #[test]
    fn only_a_date_as_http_writes_it_is_one_and_only_of_a_success_that_no_cache_kept() {
        let headers = |dates: &[&'static str]| -> HeaderMap {
            dates
                .iter()
                .map(|date| (header::DATE, date.parse().expect("a value")))
                .collect()
        };
        let date = "Tue, 09 Mar 2021 08:36:15 GMT";
        assert_eq!(date_of(&headers(&[date])), Some(at("2021-03-09T08:36:15Z")));
        for none in [
            &["yesterday"][..],
            &["0"],
            &[""],
            &[date, date],
            &[],
            &["Tue, 31 Feb 2021 08:36:15 GMT"],
            &["Tue, 09 Mar 2021 08:36 GMT"],
            &["Tue, 09 Mar 2021 08:36:15 EST"],
        ] {
            assert_eq!(date_of(&headers(none)), None, "{none:?}");
        }
        let learns = |status: u16, headers: &HeaderMap| {
            let clock = Clock::starting_at(at("2021-03-09T08:36:15Z"));
            let clocks = HostClocks::new(clock);
            let status = StatusCode::from_u16(status).expect("a status");
            clocks.observe(Host::WebForm, clocks.now(), status, headers);
            assert_eq!(clocks.estimate().access, None);
            clocks.estimate().web_form.is_some()
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime");
        let _entered = runtime.enter();
        assert!(learns(200, &headers(&[date])));
        assert!(!learns(502, &headers(&[date])));
        let mut kept = headers(&[date]);
        kept.insert(header::AGE, "3".parse().expect("a value"));
        assert!(!learns(200, &kept));
    }
}
