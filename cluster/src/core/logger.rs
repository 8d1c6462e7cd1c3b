//! What raft has to say, said through `tracing`.

use slog::{Drain, Level, Never, OwnedKVList, Record};

struct ToTracing;

impl Drain for ToTracing {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, _values: &OwnedKVList) -> Result<(), Never> {
        match record.level() {
            Level::Critical | Level::Error => tracing::error!(target: "raft", "{}", record.msg()),
            Level::Warning => tracing::warn!(target: "raft", "{}", record.msg()),
            // What raft calls information is detail to an operator.
            Level::Info => tracing::debug!(target: "raft", "{}", record.msg()),
            Level::Debug | Level::Trace => {}
        }
        Ok(())
    }
}

pub(super) fn logger() -> slog::Logger {
    slog::Logger::root(ToTracing, slog::o!())
}
