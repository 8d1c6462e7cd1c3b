//! How many requests of each kind may be under way, so that a storm of one starves no other.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;

use super::retry;

/// The lanes of one server. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Lanes {
    heartbeats: Lane,
    requests: Lane,
    operators: Lane,
    logins: Lane,
}

/// One bound.
#[derive(Clone, Debug)]
pub(super) struct Lane {
    name: &'static str,
    room: Arc<Semaphore>,
}

/// Held while a request is under way.
#[derive(Debug)]
pub(super) struct Entered {
    _permit: OwnedSemaphorePermit,
}

impl Default for Lanes {
    fn default() -> Lanes {
        Lanes {
            heartbeats: Lane::new("heartbeats", 32_768),
            requests: Lane::new("requests", 2048),
            operators: Lane::new("operators", 64),
            logins: Lane::new("logins", 1024),
        }
    }
}

impl Lanes {
    /// For heartbeats of members.
    pub(super) fn heartbeats(&self) -> Lane {
        self.heartbeats.clone()
    }

    /// For everything that administrators and users ask.
    pub(super) fn requests(&self) -> Lane {
        self.requests.clone()
    }

    /// For people who sign in: each waits for minutes, and may have no token yet.
    pub(super) fn logins(&self) -> Lane {
        self.logins.clone()
    }

    /// For what operators ask; has room when the others have not.
    pub(super) fn operators(&self) -> Lane {
        self.operators.clone()
    }
}

impl Lane {
    fn new(name: &'static str, room: usize) -> Lane {
        Lane { name, room: Arc::new(Semaphore::new(room)) }
    }

    /// Takes a place at once or not at all.
    ///
    /// # Errors
    /// `RESOURCE_EXHAUSTED` when all are taken: nothing was done.
    pub(super) fn enter(&self) -> Result<Entered, Status> {
        if let Ok(permit) = Arc::clone(&self.room).try_acquire_owned() {
            return Ok(Entered { _permit: permit });
        }
        metrics::counter!("muster_rate_limited_total", "lane" => self.name).increment(1);
        let text = "too many requests are under way: ask again later";
        Err(retry::exhausted(text, Duration::from_secs(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_lane_refuses_until_somebody_leaves() {
        let lane = Lane::new("test", 1);
        let first = lane.enter().unwrap();
        assert_eq!(lane.enter().unwrap_err().code(), tonic::Code::ResourceExhausted);
        drop(first);
        lane.enter().unwrap();
    }
}
