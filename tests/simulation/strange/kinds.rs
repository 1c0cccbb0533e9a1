//! The kinds of strange acts, and how each is drawn.

use std::time::Duration;

use bankrefresh::sandbox::{
    After, BodyFault, Endpoint, Fault, FaultKind, Gateway, GatewayBody, Late, Odd, RetryAfter, Script,
};
use jiff::SignedDuration;

use super::places::{ANY, NUMBERS, ODD_NUMBERS, ODD_TIMES, OTHER_TYPES, Place, TIMES, WORDS};
use super::{Means, Strange};
use crate::commands::Is;
use crate::draw::Draw;
use crate::scenario::Scenario;

/// A kind, as it is counted, and what puts one act of it into the scenario.
pub(super) type Kind = (&'static str, fn(Stage<'_>));

pub(super) const KINDS: [Kind; 40] = [
    ("strange: a gateway's page", |stage| {
        stage.gateway(
            GatewayBody::Html,
            &[200, 400, 401, 403, 404, 405, 413, 431, 502, 503, 504],
        )
    }),
    ("strange: a gateway's empty answer", |stage| {
        stage.gateway(GatewayBody::Empty, &[200, 201, 400, 403, 404, 408, 500, 502])
    }),
    ("strange: a gateway's JSON", |stage| {
        stage.gateway(GatewayBody::Json, &[400, 401, 403, 404, 415, 422, 423, 500])
    }),
    ("strange: 204", |stage| stage.gateway(GatewayBody::Empty, &[204])),
    ("strange: a redirect", |stage| {
        stage.gateway(GatewayBody::Html, &[301, 302, 307])
    }),
    ("strange: a gateway's time-out after the work is done", |stage| {
        stage.time_out()
    }),
    ("strange: a body that is cut", |stage| {
        stage.body(&[BodyFault::Truncated { at: 0 }, BodyFault::Truncated { at: 40 }])
    }),
    ("strange: a body that breaks off", |stage| {
        stage.body(&[BodyFault::BreaksOff { at: 40 }])
    }),
    ("strange: a body that hangs", |stage| {
        stage.body(&[BodyFault::Hangs { at: 0 }, BodyFault::Hangs { at: 40 }])
    }),
    ("strange: a body that comes slowly", |stage| {
        stage.body(&[
            BodyFault::Drips {
                bytes: 1,
                every: SECOND,
            },
            BodyFault::Drips {
                bytes: 64,
                every: Duration::from_millis(20),
            },
        ])
    }),
    ("strange: a body that never ends", |stage| {
        stage.body(&[BodyFault::Endless])
    }),
    ("strange: another content type", |stage| {
        stage.body(&[BodyFault::ContentType("text/html".to_owned())])
    }),
    ("strange: UTF-16", |stage| stage.body(&[BodyFault::Utf16])),
    ("strange: Latin-1", |stage| stage.body(&[BodyFault::Latin1])),
    ("strange: a byte order mark", |stage| {
        stage.body(&[BodyFault::ByteOrderMark])
    }),
    ("strange: a member that is null", |stage| stage.odd(&ANY, &["null"])),
    ("strange: a member that is missing", |stage| stage.missing()),
    ("strange: a member of another type", |stage| {
        stage.odd(&ANY, &OTHER_TYPES)
    }),
    ("strange: an odd number", |stage| stage.odd(&NUMBERS, &ODD_NUMBERS)),
    ("strange: an odd time", |stage| stage.odd(&TIMES, &ODD_TIMES)),
    ("strange: a word that is new", |stage| {
        stage.odd(&WORDS, &[r#""ADDED_LATER""#])
    }),
    ("strange: late storage", |stage| stage.late()),
    ("strange: a task that vanishes", |stage| stage.vanishes(Endpoint::Task)),
    ("strange: a web form that vanishes", |stage| {
        stage.vanishes(Endpoint::WebForm)
    }),
    ("strange: a connection that vanishes", |stage| {
        stage.vanishes(Endpoint::BankConnection)
    }),
    ("strange: an account that vanishes", |stage| stage.account_vanishes()),
    ("strange: an old list of tasks", |stage| {
        stage.stale(Endpoint::Tasks, 30)
    }),
    ("strange: an old connection", |stage| {
        stage.stale(Endpoint::BankConnection, 10)
    }),
    ("strange: an old web form", |stage| stage.stale(Endpoint::WebForm, 8)),
    ("strange: 404 right after 201", |stage| stage.stale(Endpoint::Task, 8)),
    ("strange: 429 between two pages, in seconds", |mut stage| {
        let seconds = stage.draw.u32(1..=20);
        stage.paging(RetryAfter::Seconds(seconds));
    }),
    ("strange: 429 between two pages, as a date", |mut stage| {
        let date_in = stage.draw.u32(2..=20).cast_signed();
        stage.paging(RetryAfter::Date { date_in });
    }),
    ("strange: a token that dies before the work", |stage| {
        stage.token_dies(false)
    }),
    ("strange: a token that dies after the work", |stage| {
        stage.token_dies(true)
    }),
    ("strange: a user's calls fail for good", |stage| {
        stage.lasts(Victim::User, fails)
    }),
    ("strange: a user's calls hang for good", |stage| {
        stage.lasts(Victim::User, hangs)
    }),
    ("strange: a connection's calls fail for good", |stage| {
        stage.lasts(Victim::Connection, fails)
    }),
    ("strange: a connection's calls hang for good", |stage| {
        stage.lasts(Victim::Connection, hangs)
    }),
    ("strange: finAPI's clock is ahead", |stage| stage.clock(1)),
    ("strange: finAPI's clock is behind", |stage| stage.clock(-1)),
];

const SECOND: Duration = Duration::from_secs(1);

/// The endpoints whose calls are about one connection.
const OF_A_CONNECTION: [Endpoint; 6] = [
    Endpoint::StartUpdate,
    Endpoint::Task,
    Endpoint::WebForm,
    Endpoint::BankConnection,
    Endpoint::Accounts,
    Endpoint::Transactions,
];

/// Whose calls meet what lasts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Victim {
    User,
    Connection,
}

/// Where an act is put.
pub(super) struct Stage<'a> {
    draw: Draw,
    scenario: &'a mut Scenario,
    name: &'static str,
}

impl<'a> Stage<'a> {
    pub(super) fn new(draw: Draw, scenario: &'a mut Scenario, name: &'static str) -> Self {
        Self { draw, scenario, name }
    }

    fn gateway(mut self, body: GatewayBody, statuses: &[u16]) {
        let status = self.draw.pick(statuses);
        let location = (300..400)
            .contains(&status)
            .then(|| "https://login.example/".to_owned());
        let gateway = Gateway {
            location,
            ..Gateway::new(status, body)
        };
        self.anywhere(FaultKind::Gateway(gateway));
    }

    fn time_out(mut self) {
        let gateway = Gateway {
            after_work: true,
            ..Gateway::new(504, GatewayBody::Html)
        };
        let at = self
            .draw
            .pick(&[Endpoint::StartUpdate, Endpoint::StartUpdate, Endpoint::Token]);
        self.for_a_while(Fault::at(at, FaultKind::Gateway(gateway)));
    }

    fn body(mut self, faults: &[BodyFault]) {
        let fault = self.draw.pick(faults);
        self.anywhere(FaultKind::Body(fault));
    }

    fn odd(mut self, places: &[Place], values: &[&str]) {
        let (at, place) = self.draw.pick(places);
        let odd = Odd::new(place, self.draw.pick(values));
        self.for_a_while(Fault::at(at, FaultKind::Odd(vec![odd])));
    }

    fn missing(mut self) {
        let (at, place) = self.draw.pick(&ANY);
        self.for_a_while(Fault::at(at, FaultKind::Odd(vec![Odd::missing(place)])));
    }

    /// The list of accounts lacks one, or the connection's own list does.
    fn account_vanishes(mut self) {
        let (at, place) = self.draw.pick(&[
            (Endpoint::Accounts, "/accounts/0"),
            (Endpoint::BankConnection, "/accountIds/0"),
        ]);
        self.for_a_while(Fault::at(at, FaultKind::Odd(vec![Odd::missing(place)])));
    }

    fn stale(mut self, at: Endpoint, longest: u32) {
        let by = After::secs(u64::from(self.draw.u32(2..=longest)));
        self.for_a_while(Fault::at(at, FaultKind::Stale { by }));
    }

    /// finAPI itself no longer knows it: for some calls, or for good.
    fn vanishes(mut self, at: Endpoint) {
        let (_, connection_id) = self.target();
        let fault = Fault {
            connection_id: Some(connection_id),
            first: self.draw.pick(&[None, Some(1), Some(2)]),
            ..Fault::at(at, FaultKind::status(404))
        };
        let from = self.begins();
        self.happens(from, None, Means::Fault(fault));
    }

    /// A connection with several pages, of which one is refused for load.
    fn paging(mut self, retry_after: RetryAfter) {
        let (_, connection_id) = self.target();
        let per_update = self.draw.u32(45..=90);
        self.rewrite(connection_id, |script| script.transactions.per_update = per_update);
        self.scenario.page_size = 20;
        // In one part: each part reads all pages again.
        self.scenario.policy.events.size_max = 512 * 1024;
        let fault = Fault {
            connection_id: Some(connection_id),
            skip: self.draw.u32(1..=3),
            first: Some(self.draw.u32(1..=2)),
            ..Fault::at(
                Endpoint::Transactions,
                FaultKind::Status {
                    status: 429,
                    code: None,
                    retry_after: Some(retry_after),
                },
            )
        };
        self.happens(Duration::ZERO, None, Means::Fault(fault));
    }

    /// Of the connection that most commands are for, so that another update of it may follow.
    fn late(mut self) {
        let mut targets = self.targets();
        targets.sort();
        let most = targets
            .chunk_by(|one, other| one == other)
            .max_by_key(|same| same.len());
        let connection = most.map_or(1, |same| same[0].1);
        let late = Late {
            count: self.draw.u32(1..=4),
            after: After::secs(self.draw.pick(&[1, 2, 5, 180])),
        };
        self.rewrite(connection, |script| script.late = Some(late));
        self.happens(Duration::ZERO, None, Means::Late(connection));
    }

    /// At the next call of an endpoint or two, or some calls later.
    fn token_dies(mut self, after_work: bool) {
        let fault = Fault {
            skip: self.draw.u32(0..=3),
            first: Some(self.draw.u32(1..=2)),
            ..Fault::at(self.draw.pick(&Endpoint::ALL), FaultKind::TokenDies { after_work })
        };
        let from = self.begins();
        self.happens(from, None, Means::Fault(fault));
    }

    fn lasts(mut self, victim: Victim, how: fn(&mut Draw) -> FaultKind) {
        let (user, connection) = self.target();
        let endpoints: &[Endpoint] = match victim {
            Victim::User => &Endpoint::ALL,
            Victim::Connection => &OF_A_CONNECTION,
        };
        let at = self.draw.pick(endpoints);
        let fault = Fault {
            at: self.draw.chance(0.7).then_some(at),
            user_id: (victim == Victim::User).then_some(user),
            connection_id: (victim == Victim::Connection).then_some(connection),
            ..Fault::new(how(&mut self.draw))
        };
        let from = self.begins();
        self.happens(from, None, Means::Fault(fault));
    }

    fn clock(mut self, sign: i64) {
        let off = i64::from(self.draw.u32(2_500..=30_000)) * sign;
        // A web form ends by finAPI's clock.
        self.scenario.policy.limits.web_form_grace = 60 * SECOND;
        self.scenario.sandbox.start = Some(self.scenario.start + SignedDuration::from_millis(off));
        self.happens(Duration::ZERO, None, Means::Clock);
    }

    /// Everybody's calls meet it, or those of one user or one connection: of one endpoint, or of all.
    fn anywhere(mut self, kind: FaultKind) {
        let at = match self.draw.chance(0.2) {
            true => None,
            false => Some(self.draw.pick(&Endpoint::ALL)),
        };
        self.for_a_while(Fault { at, ..Fault::new(kind) });
    }

    /// From 10 seconds to 10 minutes.
    fn for_a_while(mut self, fault: Fault) {
        let (user, connection) = self.target();
        let of_connection = fault.at.is_some_and(|at| OF_A_CONNECTION.contains(&at));
        let fault = match self.draw.usize(0..=3) {
            0 => Fault {
                user_id: Some(user),
                ..fault
            },
            1 if of_connection => Fault {
                connection_id: Some(connection),
                ..fault
            },
            _ => fault,
        };
        let from = self.begins();
        let longest = self.draw.pick(&[10, 60, 600]);
        let lasts = 10 * SECOND + self.draw.up_to((longest - 10) * SECOND);
        self.happens(from, Some(from + lasts), Means::Fault(fault));
    }

    /// While commands come.
    fn begins(&mut self) -> Duration {
        let last = self.scenario.commands.iter().map(|command| command.at).max();
        self.draw.up_to(last.unwrap_or_default())
    }

    /// The user and the connection of one of the commands.
    fn target(&mut self) -> (String, i64) {
        let targets = self.targets();
        match targets.is_empty() {
            true => ("user-1".to_owned(), 1),
            false => self.draw.pick(&targets),
        }
    }

    fn targets(&self) -> Vec<(String, i64)> {
        let targets = self.scenario.commands.iter().filter_map(|command| match &command.is {
            Is::Valid(valid) => Some((valid.user_id.clone(), valid.bank_connection_id)),
            Is::Invalid | Is::Newer => None,
        });
        targets.collect()
    }

    fn rewrite(&mut self, connection: i64, change: impl FnOnce(&mut Script)) {
        let mut connections = self.scenario.sandbox.connections.iter_mut();
        if let Some(scripted) = connections.find(|scripted| scripted.connection_id == connection) {
            change(&mut scripted.script);
        }
    }

    fn happens(self, from: Duration, until: Option<Duration>, means: Means) {
        let name = self.name;
        self.scenario.strange.push(Strange {
            name,
            from,
            until,
            means,
        });
    }
}

fn fails(draw: &mut Draw) -> FaultKind {
    draw.pick(&[
        FaultKind::status(500),
        FaultKind::Gateway(Gateway::new(502, GatewayBody::Html)),
        FaultKind::Dropped,
    ])
}

fn hangs(draw: &mut Draw) -> FaultKind {
    draw.pick(&[
        FaultKind::Slow {
            by: After::secs(24 * 3600),
        },
        FaultKind::Body(BodyFault::Hangs { at: 10 }),
    ])
}
