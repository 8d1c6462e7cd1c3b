//! Polling with a deadline: the only way in which a test waits.

use std::future::Future;
use std::time::{Duration, Instant};

/// Long enough for a busy machine with two cores; a test that waits this long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);
const STEP: Duration = Duration::from_millis(20);

/// Waits until `probe` gives a value.
pub(crate) fn until<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain for: {what}");
        std::thread::sleep(STEP);
    }
}

/// Waits until the answer of `probe` is `Ok`; the last error is told when it never is.
pub(crate) async fn until_ok<T, E, F>(what: &str, mut probe: impl FnMut() -> F) -> T
where
    E: std::fmt::Display,
    F: Future<Output = Result<T, E>>,
{
    let deadline = Instant::now() + PATIENCE;
    loop {
        match probe().await {
            Ok(found) => return found,
            Err(error) => assert!(
                Instant::now() < deadline,
                "waited {PATIENCE:?} in vain for: {what}; last error: {error}"
            ),
        }
        tokio::time::sleep(STEP).await;
    }
}
