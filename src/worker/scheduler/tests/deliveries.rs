//! The broker's part of the scheduler's test: what it delivers, and what the messages hold.

use super::*;

impl World {
    pub(super) fn deliver(&mut self) {
        self.number += 1;
        let origin = self.origin();
        let subscription = origin as u32;
        // Tags of a subscription grow.
        let tag = Tag {
            generation: self.generation,
            subscription,
            number: self.number,
        };
        let redeliveries = match self.random.u8(..80) {
            0 => 3,
            chance => u32::from(chance % 4).saturating_sub(1),
        };
        let open = Open {
            sent: None,
            origin,
            redeliveries,
            received: self.now.since_start,
            progress: None,
            missing_requested_at: false,
            has_run: false,
            renewals: 0,
            has_failure: false,
        };
        let receipt = Receipt::new(tag, origin, redeliveries, self.now);
        if open.goes_to_quarantine() || self.random.u8(..20) == 0 {
            return self.deliver_unread(receipt, open);
        }
        self.deliver_refresh(receipt, open);
    }

    pub(super) fn origin(&mut self) -> Origin {
        match self.random.u8(..6) {
            0 => Origin::Interactive,
            1 | 2 => Origin::Background,
            // What the broker had sent just before the pause.
            5 if !self.quarantine_paused || self.random.u8(..4) == 0 => Origin::Quarantine,
            _ => Origin::Steps,
        }
    }

    pub(super) fn deliver_unread(&mut self, receipt: Receipt, open: Open) {
        let tag = receipt.tag();
        if open.goes_to_quarantine() {
            self.count("quarantined");
            self.forwarding.insert(tag);
            self.forwards();
        }
        self.open.insert(tag, open);
        self.scheduler.on_delivery(receipt, self.forward(), self.now);
        self.check_forwarded(tag);
    }

    pub(super) fn deliver_refresh(&mut self, receipt: Receipt, mut open: Open) {
        let tag = receipt.tag();
        let sent = self.take();
        let refresh = self.refresh(&sent);
        open.progress = Some(refresh.progress());
        open.missing_requested_at = sent.revision == 0 && self.random.u8(..20) == 0;
        let released_at = (open.redeliveries > 0).then_some(self.now.time);
        let arrival = self.arrival(&refresh, released_at);
        let content = match open.missing_requested_at {
            true => Content::MissingRequestedAt(refresh),
            false => Content::Refresh { refresh, released_at },
        };
        open.sent = Some(sent);
        self.open.insert(tag, open);
        self.scheduler.on_delivery(receipt, content, self.now);
        self.check_delivered(tag, arrival);
    }

    pub(super) fn forward(&self) -> Content {
        Content::Forward(Box::new(Forward {
            outgoing: Outgoing {
                exchange: String::new(),
                routing_key: String::new(),
                message: Message::default(),
            },
            fate: Fate::DeadLettered,
            reason: String::new(),
        }))
    }

    /// A message of the queue, or of a sender.
    pub(super) fn take(&mut self) -> Sent {
        if !self.queue.is_empty() && self.random.u8(..3) > 0 {
            let index = self.random.usize(..self.queue.len());
            return self.queue.swap_remove(index);
        }
        // New commands come, and old ones again.
        let command = self.number / 20 + self.random.u64(..20);
        if !self.finished.contains(&command) {
            self.unfinished.insert(command);
        }
        Sent {
            command,
            parts_published: 0,
            revision: 0,
        }
    }

    pub(super) fn refresh(&mut self, sent: &Sent) -> Box<Refresh> {
        let number = sent.command;
        let command = RefreshConnection {
            command_id: command_id(number),
            user_id: format!("user-{}", number % USERS),
            bank_connection_id: 1,
            ..RefreshConnection::default()
        };
        let envelope = Envelope {
            interactive: self.random.bool(),
            revision: sent.revision,
            ..Envelope::default()
        };
        let command = Command::parse(command).expect("a command");
        let mut refresh = Refresh::new(command, self.now.time, envelope, self.now.time);
        if sent.parts_published > 0 {
            refresh.phase = collecting(sent.parts_published);
        } else if self.random.bool() {
            let task = TaskRef {
                id: "task-1".parse().expect("an id"),
                created_at: self.now.time,
            };
            refresh.phase = Phase::Updating { task };
        }
        if self.random.u8(..4) == 0 {
            refresh.failures = 1;
        }
        self.delay(&mut refresh);
        Box::new(refresh)
    }

    pub(super) fn delay(&mut self, refresh: &mut Refresh) {
        let longest = *self.random.choice(&[0, 0, 1, 5, 40, 400]).expect("a time");
        let wait = Duration::from_millis(self.random.u64(0..=longest * 1000));
        refresh.due_at = later(self.now.time, wait);
    }
}
