//! What waits to go into one log entry.

use muster_proto::muster::log::v1::Beat;
use prost::Message as _;
use tokio::sync::oneshot;

/// Bytes of beats in one log entry: small enough that no entry delays a vote.
const BATCH_BYTES_MAX: usize = 1 << 20;

/// Beats in the order in which they came, each with whom to answer.
#[derive(Debug)]
pub(super) struct Gather<T> {
    waiting: Vec<(Beat, oneshot::Sender<T>)>,
    /// Beats that may wait at once.
    bound: usize,
    /// Beats in one batch.
    batch: usize,
}

impl<T> Gather<T> {
    /// Room for `bound` beats that wait and `batch` that go together.
    pub(super) fn new(bound: usize, batch: usize) -> Gather<T> {
        Gather { waiting: Vec::new(), bound, batch }
    }

    /// Keeps a beat; gives back whom to refuse when there is no room.
    pub(super) fn add(
        &mut self,
        beat: Beat,
        answer: oneshot::Sender<T>,
    ) -> Option<oneshot::Sender<T>> {
        if self.waiting.len() >= self.bound {
            return Some(answer);
        }
        self.waiting.push((beat, answer));
        None
    }

    /// Takes the oldest beats that fit one log entry; empty if none waits. Beats that nobody waits
    /// for any more are left out: their member will send another.
    pub(super) fn take(&mut self) -> (Vec<Beat>, Vec<oneshot::Sender<T>>) {
        self.waiting.retain(|(_, answer)| !answer.is_closed());
        let mut bytes = 0;
        let fitting = self
            .waiting
            .iter()
            .take(self.batch)
            .take_while(|(beat, _)| {
                bytes += beat.encoded_len();
                bytes <= BATCH_BYTES_MAX
            })
            .count();
        // One beat is far smaller than a batch, as its message was bounded; a first one that is not
        // goes alone, to be judged by the rules.
        let count = fitting.max(1).min(self.waiting.len());
        self.waiting.drain(..count).unzip()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beat(id: &str) -> Beat {
        Beat { id: id.into(), ..Beat::default() }
    }

    fn ids(beats: &[Beat]) -> Vec<&str> {
        beats.iter().map(|beat| beat.id.as_str()).collect()
    }

    #[test]
    fn beats_leave_in_the_order_in_which_they_came_and_as_many_as_fit() {
        let mut gather = Gather::<()>::new(10, 2);
        let mut heard = Vec::new();
        for id in ["a", "b", "c"] {
            let (answer, answered) = oneshot::channel();
            assert!(gather.add(beat(id), answer).is_none());
            heard.push(answered);
        }
        assert_eq!(ids(&gather.take().0), ["a", "b"]);
        assert_eq!(ids(&gather.take().0), ["c"]);
        assert!(gather.take().0.is_empty());
    }

    #[test]
    fn a_beat_beyond_the_bound_is_given_back() {
        let mut gather = Gather::<()>::new(1, 10);
        let (first, _heard) = oneshot::channel();
        let (second, _heard_too) = oneshot::channel();
        assert!(gather.add(beat("a"), first).is_none());
        assert!(gather.add(beat("b"), second).is_some());
    }

    #[test]
    fn a_beat_that_nobody_waits_for_is_left_out() {
        let mut gather = Gather::<()>::new(10, 10);
        let (gone, dropped) = oneshot::channel();
        let (here, _heard) = oneshot::channel();
        gather.add(beat("gone"), gone);
        gather.add(beat("here"), here);
        drop(dropped);
        assert_eq!(ids(&gather.take().0), ["here"]);
    }

    #[test]
    fn a_batch_is_bounded_in_bytes_too() {
        let mut gather = Gather::<()>::new(10, 10);
        let large = "x".repeat(BATCH_BYTES_MAX / 2);
        let mut heard = Vec::new();
        for _ in 0..3 {
            let (answer, answered) = oneshot::channel();
            gather.add(beat(&large), answer);
            heard.push(answered);
        }
        assert_eq!(gather.take().0.len(), 1);
        assert_eq!(gather.take().0.len(), 1);
    }
}
