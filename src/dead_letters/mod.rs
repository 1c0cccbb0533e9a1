//! What operators see of dead letters and do with them. The command line tool and the console share all of it, so that both show the same and
//! act by the same rules.

#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod redact;
mod row;
mod visit;

pub use redact::{Hidden, whole};
pub use row::{Row, hash, is_about, refresh_of, replayed};
pub use visit::{Fates, Found, Route, Visit, VisitError, routes};
