//! How a replica stops: because it was asked to, or because going on would break a promise.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Mutex, PoisonError},
};

use tokio::sync::oneshot;

use crate::group::StartError;

/// The exit code of a replica that its group removed: a supervisor that starts it again will see the
/// same, until somebody empties its data folder and lets it join anew.
pub const REMOVED: u8 = 79;

/// Why a replica stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// For the process: 0 asked for, 70 the disk or this program failed, 71 damaged data, and
    /// [`REMOVED`].
    pub exit_code: u8,
    /// For people.
    pub reason: String,
}

impl Ended {
    /// It was asked to.
    pub(crate) fn asked() -> Self {
        Self { exit_code: 0, reason: "it was asked to".to_owned() }
    }
}

/// Tells once.
pub(crate) struct Ending {
    tell: Mutex<Option<oneshot::Sender<Ended>>>,
}

impl Ending {
    pub(crate) fn new() -> (Self, oneshot::Receiver<Ended>) {
        let (tell, told) = oneshot::channel();
        (Self { tell: Mutex::new(Some(tell)) }, told)
    }

    /// Whether this was the first reason.
    pub(crate) fn tell(&self, ended: Ended) -> bool {
        let tell = self.tell.lock().unwrap_or_else(PoisonError::into_inner).take();
        tell.is_some_and(|tell| {
            let _nobody = tell.send(ended);
            true
        })
    }
}

/// Runs the whole of a thread; what it returns is why the replica must stop, if it must.
pub(super) fn guarded(
    name: &str,
    thread: impl FnOnce() -> Result<(), StartError>,
) -> Option<Ended> {
    match catch_unwind(AssertUnwindSafe(thread)) {
        Ok(Ok(())) => None,
        Ok(Err(error)) => {
            Some(Ended { exit_code: error.exit_code(), reason: format!("{name}: {error}") })
        }
        Err(panic) => Some(Ended {
            exit_code: 70,
            reason: format!("{name}: it panicked: {}", words(panic.as_ref())),
        }),
    }
}

fn words(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("without a word")
}
