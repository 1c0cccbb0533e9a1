//! Which queues a message goes to.

use std::collections::{BTreeMap, BTreeSet};

use crate::broker::topology::{Binding, Exchange, ExchangeKind, Topology};

/// The exchanges and what is bound to them.
#[derive(Debug)]
pub(super) struct Routes {
    exchanges: BTreeMap<String, Bound>,
}

#[derive(Debug)]
struct Bound {
    exchange: Exchange,
    /// Keys and queues, in the order they were bound.
    queues: Vec<(String, String)>,
}

impl Routes {
    pub(super) fn new(topology: &Topology) -> Self {
        let exchanges = topology.exchanges().into_iter().map(|exchange| {
            let name = exchange.name.clone();
            let queues = Vec::new();
            (name, Bound { exchange, queues })
        });
        let mut routes = Self {
            exchanges: exchanges.collect(),
        };
        for queue in topology.queues() {
            for Binding { exchange, key } in &queue.bindings {
                routes.bind(exchange, key, &queue.name);
            }
        }
        routes
    }

    pub(super) fn bind(&mut self, exchange: &str, key: &str, queue: &str) {
        if let Some(bound) = self.exchanges.get_mut(exchange) {
            bound.queues.push((key.to_owned(), queue.to_owned()));
        }
    }

    pub(super) fn unbind(&mut self, queue: &str) {
        for bound in self.exchanges.values_mut() {
            bound.queues.retain(|(_, name)| name != queue);
        }
    }

    /// The queues for a key, each once; those of the alternate exchange if there are none.
    pub(super) fn queues(&self, exchange: &str, key: &str) -> BTreeSet<String> {
        let mut tried = BTreeSet::new();
        let mut next = Some(exchange);
        while let Some(bound) = next.and_then(|name| self.exchanges.get(name)) {
            let queues = bound.matching(key);
            // Alternates may form a circle.
            if !queues.is_empty() || !tried.insert(&bound.exchange.name) {
                return queues;
            }
            next = bound.exchange.alternate.as_deref();
        }
        BTreeSet::new()
    }
}

impl Bound {
    fn matching(&self, key: &str) -> BTreeSet<String> {
        let matches = |pattern: &str| match self.exchange.kind {
            ExchangeKind::Direct => pattern == key,
            ExchangeKind::Topic => topic_matches(pattern, key),
            ExchangeKind::Fanout => true,
        };
        let queues = self.queues.iter().filter(|(pattern, _)| matches(pattern));
        queues.map(|(_, queue)| queue.clone()).collect()
    }
}

/// `*` stands for one word of the key, `#` for any number of them.
fn topic_matches(pattern: &str, key: &str) -> bool {
    let pattern: Vec<_> = pattern.split('.').collect();
    let key: Vec<_> = if key.is_empty() {
        Vec::new()
    } else {
        key.split('.').collect()
    };
    words_match(&pattern, &key)
}

fn words_match(pattern: &[&str], key: &[&str]) -> bool {
    match (pattern.split_first(), key.split_first()) {
        (None, None) => true,
        (Some((&"#", rest)), None) => words_match(rest, key),
        (Some((&"#", rest)), Some((_, tail))) => words_match(rest, key) || words_match(pattern, tail),
        (Some((word, rest)), Some((head, tail))) => (*word == "*" || word == head) && words_match(rest, tail),
        (None, Some(_)) | (Some(_), None) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_match_word_by_word() {
        for (pattern, key, expected) in [
            ("a.b", "a.b", true),
            ("a.b", "a.c", false),
            ("a.*", "a.b", true),
            ("a.*", "a", false),
            ("a.*", "a.b.c", false),
            ("*.b", "a.b", true),
            ("#", "", true),
            ("#", "a.b", true),
            ("a.#", "a", true),
            ("a.#", "a.b.c", true),
            ("#.c", "a.b.c", true),
            ("a.#.c", "a.c", true),
            ("a.#.c", "a.b.d", false),
        ] {
            assert_eq!(topic_matches(pattern, key), expected, "{pattern} {key}");
        }
    }

    #[test]
    fn the_alternate_exchange_takes_what_nobody_else_does() {
        let topology = Topology::new("t");
        let mut routes = Routes::new(&topology);
        let unrouted = BTreeSet::from([topology.unrouted_events()]);
        assert_eq!(routes.queues(&topology.events(), "refresh.failed"), unrouted);

        routes.bind(&topology.events(), "refresh.*", "mine");
        routes.bind(&topology.events(), "#", "mine");
        let mine = BTreeSet::from(["mine".to_owned()]);
        assert_eq!(routes.queues(&topology.events(), "refresh.failed"), mine);
        assert!(routes.queues("missing", "key").is_empty());
        assert!(routes.queues(&topology.wake(), "").is_empty());
    }
}
