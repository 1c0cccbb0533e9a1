//! Streams: each client reads one from its beginning, and uses nothing up.

use super::session::Session;
use super::state::State;
use super::watch::What;
use crate::broker::{BrokerEvent, Message, Subscription};

impl State {
    /// Hands all that streams have to a client that has just connected.
    pub(super) fn read_streams(&mut self, client: u64) {
        for (index, stream) in self.clients.get(&client).map(streams).unwrap_or_default() {
            for message in self.peek(&stream) {
                self.hand_over_of_stream(client, index, &stream, &message);
            }
            if let Some(session) = self.clients.get(&client) {
                session.notify(BrokerEvent::CaughtUp { stream });
            }
        }
    }

    /// Hands a new message of a stream to all that read it.
    pub(super) fn hand_on(&mut self, stream: &str, message: &Message) {
        let reading = |(client, session): (&u64, &Session)| {
            let own = streams(session).into_iter().find(|(_, name)| name == stream);
            own.filter(|_| session.up).map(|(index, _)| (*client, index))
        };
        let readers: Vec<(u64, usize)> = self.clients.iter().filter_map(reading).collect();
        for (client, index) in readers {
            self.hand_over_of_stream(client, index, stream, message);
        }
    }

    fn hand_over_of_stream(&mut self, client: u64, index: usize, stream: &str, message: &Message) {
        self.watch.see(|| What::Handed {
            client,
            queue: stream.to_owned(),
            redeliveries: 0,
            message: message.clone(),
        });
        if let Some(session) = self.clients.get_mut(&client) {
            session.hand_over(index, (0, 0, message.clone()));
        }
    }
}

/// The streams that a client reads, by the index of the subscription.
fn streams(session: &Session) -> Vec<(usize, String)> {
    let all = session.subscriptions.iter().enumerate();
    let streams = all.filter_map(|(index, consuming)| match &consuming.subscription {
        Subscription::Stream { name } => Some((index, name.clone())),
        Subscription::Queue { .. } | Subscription::Ephemeral { .. } => None,
    });
    streams.collect()
}
