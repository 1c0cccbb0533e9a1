//! The edge: an order becomes an [`Order`] or is refused, and every rule of `control.proto` is here.

use jiff::Timestamp;

use super::{Cancel, Order, PAUSE_MAX, Pause, Target, Whose};
use crate::id::RefreshId;
use crate::limits::{OPERATOR_CHARACTERS_MAX, PAUSE_REASON_CHARACTERS_MAX, apart_max};
use crate::plain::is_plain;
use crate::proto::{self, CancelRefresh, Lane, PauseRefreshes, PauseTarget, ResumeRefreshes, pause_target, timestamp};
use crate::refresh::later;

/// Why an order can't be followed: the field and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {allowed}")]
pub struct InvalidOrder {
    /// The field's name in `control.proto`.
    pub field: &'static str,
    /// What is allowed.
    pub allowed: &'static str,
}

fn invalid(field: &'static str, allowed: &'static str) -> InvalidOrder {
    InvalidOrder { field, allowed }
}

impl Order {
    /// Reads a pause.
    ///
    /// # Errors
    ///
    /// The first field that is not as `control.proto` says.
    pub fn pause(order: PauseRefreshes, now: Timestamp) -> Result<Self, InvalidOrder> {
        let since = moment("paused_at", order.paused_at, now)?;
        Ok(Self::Pause(Pause {
            target: target(order.target)?,
            since,
            until: order.until.map(|until| end(until, since)).transpose()?,
            by: operator(order.by)?,
            reason: reason(order.reason)?,
        }))
    }

    /// Reads a resume.
    ///
    /// # Errors
    ///
    /// As [`Self::pause`].
    pub fn resume(order: ResumeRefreshes, now: Timestamp) -> Result<Self, InvalidOrder> {
        operator(order.by)?;
        Ok(Self::Resume {
            target: target(order.target)?,
            at: moment("resumed_at", order.resumed_at, now)?,
        })
    }
}

impl Order {
    /// Reads a cancellation.
    ///
    /// # Errors
    ///
    /// As [`Self::pause`].
    pub fn cancel(order: CancelRefresh, now: Timestamp) -> Result<Self, InvalidOrder> {
        if !order.by.is_empty() {
            operator(order.by)?;
        }
        let user_id = order.user_id.parse();
        let user_id = user_id.map_err(|_| invalid("user_id", "must have 1 to 36 characters that can be printed"))?;
        let whose = match (order.command_id.as_str(), order.bank_connection_id) {
            ("", 0) => Whose::User(user_id),
            (command_id, 1..) => Whose::Refresh(RefreshId {
                command_id: command_id
                    .parse()
                    .map_err(|_| invalid("command_id", "must be a UUID with hyphens and small letters"))?,
                user_id,
                connection_id: order.bank_connection_id.into(),
            }),
            _ => {
                return Err(invalid(
                    "bank_connection_id",
                    "must be greater than zero, or 0 without command_id",
                ));
            }
        };
        let requested_at = moment("requested_at", order.requested_at, now)?;
        Ok(Self::Cancel(Cancel {
            whose,
            requested_at,
            since: requested_at.min(now),
        }))
    }
}

fn target(target: Option<PauseTarget>) -> Result<Target, InvalidOrder> {
    let wrong = |allowed| Err(invalid("target", allowed));
    match target.and_then(|target| target.target) {
        Some(pause_target::Target::Everything(true)) => Ok(Target::Everything),
        Some(pause_target::Target::Lane(lane)) => match Lane::try_from(lane) {
            Ok(Lane::Interactive) => Ok(Target::Lane { interactive: true }),
            Ok(Lane::Background) => Ok(Target::Lane { interactive: false }),
            Ok(Lane::Unspecified) | Err(_) => wrong("the lane must be interactive or background"),
        },
        Some(pause_target::Target::BankId(id)) if id > 0 => Ok(Target::Bank(id.into())),
        Some(pause_target::Target::BankId(_)) => wrong("the bank's id must be greater than zero"),
        Some(pause_target::Target::UserId(id)) => match id.parse() {
            Ok(id) => Ok(Target::User(id)),
            Err(_) => wrong("the user's id must have 1 to 36 characters that can be printed"),
        },
        Some(pause_target::Target::Everything(false)) | None => wrong("must be everything, a lane, a bank or a user"),
    }
}

fn moment(field: &'static str, at: Option<prost_types::Timestamp>, now: Timestamp) -> Result<Timestamp, InvalidOrder> {
    let at = at.as_ref().and_then(timestamp);
    at.filter(|at| *at <= later(now, apart_max()))
        .ok_or_else(|| invalid(field, "must be a time, at most 48 hours ahead"))
}

fn end(until: prost_types::Timestamp, since: Timestamp) -> Result<Timestamp, InvalidOrder> {
    let until = timestamp(&until).filter(|until| *until > since && *until <= later(since, PAUSE_MAX));
    until.ok_or_else(|| invalid("until", "must be after paused_at, and at most 30 days later"))
}

fn operator(by: String) -> Result<String, InvalidOrder> {
    let fits = (1..=OPERATOR_CHARACTERS_MAX).contains(&by.chars().count()) && by.chars().all(is_plain);
    fits.then_some(by)
        .ok_or_else(|| invalid("by", "must have 1 to 100 characters that can be printed"))
}

fn reason(reason: String) -> Result<String, InvalidOrder> {
    let fits = reason.chars().count() <= PAUSE_REASON_CHARACTERS_MAX && reason.chars().all(is_plain);
    fits.then_some(reason)
        .ok_or_else(|| invalid("reason", "at most 200 characters that can be printed"))
}

impl From<Target> for PauseTarget {
    fn from(target: Target) -> Self {
        let target = match target {
            Target::Everything => pause_target::Target::Everything(true),
            Target::Lane { interactive } => {
                let lane = if interactive {
                    Lane::Interactive
                } else {
                    Lane::Background
                };
                pause_target::Target::Lane(lane.into())
            }
            Target::Bank(id) => pause_target::Target::BankId(id.get()),
            Target::User(id) => pause_target::Target::UserId(id.to_string()),
        };
        Self { target: Some(target) }
    }
}

impl From<Pause> for PauseRefreshes {
    fn from(pause: Pause) -> Self {
        Self {
            target: Some(pause.target.into()),
            paused_at: Some(proto::from_timestamp(pause.since)),
            until: pause.until.map(proto::from_timestamp),
            by: pause.by,
            reason: pause.reason,
        }
    }
}
