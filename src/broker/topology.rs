//! Every exchange and queue, as data: RabbitMQ declares it, the broker in this process acts by it.

use std::time::Duration;

/// How often a message may come back from a worker that died before it ends in the dead-letter queue. Explicit, for its
/// default differs: none up to RabbitMQ 3.13, 20 from 4.0. Workers also die for other reasons: where each one dies every other
/// second, a try that takes a second meets that ten times in a row, but not twenty times.
pub const DELIVERY_LIMIT: u32 = 20;

/// How long a queue keeps what a lost node's consumers had, before others get it. Explicit, for RabbitMQ from 4.3 on waits for a minute by
/// default; older ones do not wait and do not know the argument. Long enough for a pause of the network to cost nothing.
pub const DISCONNECTED_TIMEOUT: Duration = Duration::from_secs(3);

/// How often a message that nobody works on may come back to its queue: as often as anybody reads it. Explicit, for without a
/// dead-letter exchange RabbitMQ 4 drops a message that came back 20 times, which is the default there; and a queue that has no
/// limit at all puts what comes back at its end.
pub const RETURNS_MAX: u32 = 1_000_000_000;

/// How many bytes of dead letters are kept; then the oldest go. An alert comes at half of it.
pub const DEAD_LETTERS_BYTES_MAX: u32 = 256 * 1024 * 1024;

/// How many bytes of orders are kept; then the oldest go. Orders are short, so these are some 80,000.
pub const CONTROL_BYTES_MAX: u32 = 16 * 1024 * 1024;

/// A stream drops whole segments, and never the last one.
pub const CONTROL_SEGMENT_BYTES: u32 = 2 * 1024 * 1024;

/// How many days an order is kept: a pause lasts 30 at most, and so does a refresh.
pub const CONTROL_DAYS: u32 = 31;

/// How long dead letters are kept. They may hold anything that is personal, and operators have weeks to handle them.
pub const DEAD_LETTERS_KEPT: Duration = Duration::from_secs(30 * DAY);

/// How many events that nobody has bound a queue for are kept; then the oldest go.
pub const UNROUTED_EVENTS_MAX: u32 = 100_000;

/// How many bytes of such events are kept; then the oldest go.
pub const UNROUTED_EVENTS_BYTES_MAX: u32 = 256 * 1024 * 1024;

/// How long such events are kept: until somebody who forgot to bind a queue has seen the alert and a weekend is over.
pub const UNROUTED_EVENTS_KEPT: Duration = Duration::from_secs(7 * DAY);

/// In seconds.
const DAY: u64 = 24 * 3600;

/// The delays a parked refresh can take, shortest first. Longer waits take the longest that fits, again and again.
pub const DELAYS: [(&str, Duration); 6] = [
    ("1s", Duration::from_secs(1)),
    ("5s", Duration::from_secs(5)),
    ("15s", Duration::from_secs(15)),
    ("1m", Duration::from_secs(60)),
    ("5m", Duration::from_secs(300)),
    ("30m", Duration::from_secs(1800)),
];

/// The names of everything, under one prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    prefix: String,
}

/// An exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// Its name.
    pub name: String,
    /// How it routes.
    pub kind: ExchangeKind,
    /// Where messages go that no queue is bound for.
    pub alternate: Option<String>,
}

/// How an exchange routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExchangeKind {
    /// By the whole key.
    Direct,
    /// By patterns of the key.
    Topic,
    /// To every queue bound.
    Fanout,
}

/// A durable queue: a quorum queue, or a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queue {
    /// Its name.
    pub name: String,
    /// The exchange and the keys it is bound with.
    pub bindings: Vec<Binding>,
    /// What it is for, and all that follows from that.
    pub role: Role,
}

/// What a queue is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// Workers take its messages. One that comes back more than [`DELIVERY_LIMIT`] times is dead-lettered, at least once.
    Work {
        /// Where it goes then.
        dead_letter: Binding,
    },
    /// Nobody takes its messages. Each stays for a time and is dead-lettered then, at least once.
    Delay {
        /// How long it stays.
        ttl: Duration,
        /// Where it goes then.
        dead_letter: Binding,
    },
    /// Operators go through its messages. Those that are too old go, and when there are too many, or their bodies have too many bytes, the
    /// oldest.
    Kept {
        /// How long it keeps a message.
        ttl: Duration,
        /// How many bytes it keeps.
        bytes_max: u32,
        /// How many messages it keeps, if their number is limited.
        length_max: Option<u32>,
    },
    /// A stream: whoever reads it does so from the beginning, and uses nothing up. The oldest messages go when there are too many bytes of
    /// them, or after so many days. A worker is of use without it, because a broker may have none.
    Stream {
        /// How many bytes it keeps.
        bytes_max: u32,
        /// The bytes of a segment, which are dropped together.
        segment_bytes: u32,
        /// How many days it keeps a message.
        days: u32,
    },
    /// One batch reads its messages. When their bodies have too many bytes, the oldest go.
    Batch {
        /// How long it stays when nobody reads it.
        expires: Duration,
        /// How many bytes it keeps.
        bytes_max: u32,
    },
}

impl Role {
    /// How long a message stays before it is dead-lettered, or gone where there is no dead-lettering.
    #[must_use]
    pub fn ttl(&self) -> Option<Duration> {
        match self {
            Self::Delay { ttl, .. } | Self::Kept { ttl, .. } => Some(*ttl),
            Self::Work { .. } | Self::Stream { .. } | Self::Batch { .. } => None,
        }
    }

    /// How often a message may come back before it leaves the queue.
    #[must_use]
    pub fn delivery_limit(&self) -> Option<u32> {
        match self {
            Self::Work { .. } => Some(DELIVERY_LIMIT),
            Self::Delay { .. } | Self::Stream { .. } => None,
            Self::Kept { .. } | Self::Batch { .. } => Some(RETURNS_MAX),
        }
    }

    /// Where messages go that stayed too long or came back too often; at least once.
    #[must_use]
    pub fn dead_letter(&self) -> Option<&Binding> {
        match self {
            Self::Work { dead_letter } | Self::Delay { dead_letter, .. } => Some(dead_letter),
            Self::Kept { .. } | Self::Stream { .. } | Self::Batch { .. } => None,
        }
    }

    /// How many messages it keeps; then the oldest go.
    #[must_use]
    pub fn length_max(&self) -> Option<u32> {
        match self {
            Self::Kept { length_max, .. } => *length_max,
            Self::Work { .. } | Self::Delay { .. } | Self::Stream { .. } | Self::Batch { .. } => None,
        }
    }

    /// How many bytes its messages' bodies may have; then the oldest go.
    #[must_use]
    pub fn bytes_max(&self) -> Option<u32> {
        match self {
            Self::Kept { bytes_max, .. } | Self::Stream { bytes_max, .. } | Self::Batch { bytes_max, .. } => {
                Some(*bytes_max)
            }
            Self::Work { .. } | Self::Delay { .. } => None,
        }
    }
}

/// An exchange and a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The exchange's name.
    pub exchange: String,
    /// The binding or routing key.
    pub key: String,
}

impl Topology {
    /// The topology under a prefix.
    #[must_use]
    pub fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
        }
    }

    fn name(&self, rest: &str) -> String {
        format!("{}.{rest}", self.prefix)
    }

    /// The exchange for commands: keys `interactive` and `background`.
    #[must_use]
    pub fn commands(&self) -> String {
        self.name("commands")
    }

    /// The queue of commands that a user waits for.
    #[must_use]
    pub fn interactive(&self) -> String {
        self.name("commands.interactive")
    }

    /// The queue of commands that nobody waits for.
    #[must_use]
    pub fn background(&self) -> String {
        self.name("commands.background")
    }

    /// Whether a queue is one of the two that senders publish to.
    #[must_use]
    pub fn is_lane(&self, queue: &str) -> bool {
        [self.interactive(), self.background()].iter().any(|lane| lane == queue)
    }

    /// The exchange and the queue for refreshes that are ready to continue.
    #[must_use]
    pub fn steps(&self) -> String {
        self.name("steps")
    }

    /// The queue of messages that came back too often, to be tried apart, and the key for them at the steps exchange.
    /// It also takes [`Topology::unrouted_steps`].
    #[must_use]
    pub fn quarantine(&self) -> String {
        self.name("quarantine")
    }

    /// The exchange for messages that find no way at the steps exchange.
    #[must_use]
    pub fn unrouted_steps(&self) -> String {
        self.name("steps.unrouted")
    }

    /// The exchange for parked refreshes: the keys are the names in [`DELAYS`].
    #[must_use]
    pub fn delay(&self) -> String {
        self.name("delay")
    }

    /// The queue for one of [`DELAYS`].
    #[must_use]
    pub fn delay_queue(&self, delay: &str) -> String {
        self.name(&format!("delay.{delay}"))
    }

    /// The exchange for events.
    #[must_use]
    pub fn events(&self) -> String {
        self.name("events")
    }

    /// The exchange and the queue for events that nobody has bound.
    #[must_use]
    pub fn unrouted_events(&self) -> String {
        self.name("events.unrouted")
    }

    /// The exchange and the queue for commands that can't be understood.
    #[must_use]
    pub fn dead_letters(&self) -> String {
        self.name("dead-letters")
    }

    /// The exchange of what all workers are to hear: wake-ups (whoever holds the refresh polls now), and what finAPI said of passwords.
    #[must_use]
    pub fn wake(&self) -> String {
        self.name("wake")
    }

    /// The exchange of what workers say of themselves, for whoever looks on. Nobody has to.
    #[must_use]
    pub fn status(&self) -> String {
        self.name("status")
    }

    /// The exchange and the stream of orders: what operators, and platforms that may, want of all workers.
    #[must_use]
    pub fn control(&self) -> String {
        self.name("control")
    }

    /// Whether a worker is of use without an exchange or a queue.
    #[must_use]
    pub fn is_optional(&self, name: &str) -> bool {
        name == self.control()
    }

    /// The queue of a batch's events, by the batch's id. Declared by whoever sends the batch.
    #[must_use]
    pub fn outcomes(&self, batch: &str) -> String {
        self.name(&format!("outcomes.{batch}"))
    }

    /// The name of the broker's user for one part of the platform.
    #[must_use]
    pub fn user(&self, part: &str) -> String {
        format!("{}-{part}", self.prefix)
    }

    /// Every exchange, each after those it names.
    #[must_use]
    pub fn exchanges(&self) -> Vec<Exchange> {
        let exchange = |name, kind, alternate| Exchange { name, kind, alternate };
        vec![
            exchange(self.dead_letters(), ExchangeKind::Fanout, None),
            exchange(self.unrouted_events(), ExchangeKind::Fanout, None),
            exchange(self.commands(), ExchangeKind::Direct, None),
            // An expired message that finds no way blocks its delay queue, so there is always one, and one that leads to a
            // worker: a broker that starts delivers what has expired before all of its bindings are back.
            exchange(self.unrouted_steps(), ExchangeKind::Fanout, None),
            exchange(self.steps(), ExchangeKind::Direct, Some(self.unrouted_steps())),
            exchange(self.delay(), ExchangeKind::Direct, None),
            exchange(self.events(), ExchangeKind::Topic, Some(self.unrouted_events())),
            exchange(self.wake(), ExchangeKind::Fanout, None),
            exchange(self.status(), ExchangeKind::Fanout, None),
            exchange(self.control(), ExchangeKind::Fanout, None),
        ]
    }

    /// Every queue, those that messages are dead-lettered to before those they come from.
    #[must_use]
    pub fn queues(&self) -> Vec<Queue> {
        let bound = |exchange: String, key: &str| {
            vec![Binding {
                exchange,
                key: key.to_owned(),
            }]
        };
        let queue = |name, bindings, role| Queue { name, bindings, role };
        let work = |name, bindings| {
            let dead_letter = Binding {
                exchange: self.dead_letters(),
                key: String::new(),
            };
            queue(name, bindings, Role::Work { dead_letter })
        };
        let unrouted = Role::Kept {
            ttl: UNROUTED_EVENTS_KEPT,
            bytes_max: UNROUTED_EVENTS_BYTES_MAX,
            length_max: Some(UNROUTED_EVENTS_MAX),
        };
        let kept = Role::Kept {
            ttl: DEAD_LETTERS_KEPT,
            bytes_max: DEAD_LETTERS_BYTES_MAX,
            length_max: None,
        };
        let mut queues = vec![
            queue(self.dead_letters(), bound(self.dead_letters(), ""), kept),
            queue(self.unrouted_events(), bound(self.unrouted_events(), ""), unrouted),
            work(self.interactive(), bound(self.commands(), "interactive")),
            work(self.background(), bound(self.commands(), "background")),
            work(self.steps(), bound(self.steps(), &self.steps())),
            work(
                self.quarantine(),
                [
                    bound(self.steps(), &self.quarantine()),
                    bound(self.unrouted_steps(), ""),
                ]
                .concat(),
            ),
        ];
        queues.extend(DELAYS.iter().map(|(delay, ttl)| {
            let dead_letter = Binding {
                exchange: self.steps(),
                key: self.steps(),
            };
            let role = Role::Delay { ttl: *ttl, dead_letter };
            queue(self.delay_queue(delay), bound(self.delay(), delay), role)
        }));
        let stream = Role::Stream {
            bytes_max: CONTROL_BYTES_MAX,
            segment_bytes: CONTROL_SEGMENT_BYTES,
            days: CONTROL_DAYS,
        };
        queues.push(queue(self.control(), bound(self.control(), ""), stream));
        queues
    }
}
