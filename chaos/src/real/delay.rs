//! The packets of one replica, handed to this program by the kernel: lost, held back and thereby
//! reordered, from a seed. This is `netem` for kernels without it.

#[cfg(target_os = "linux")]
use std::collections::BTreeMap;
#[cfg(target_os = "linux")]
use std::io::ErrorKind;
#[cfg(target_os = "linux")]
use std::time::{Duration, Instant};

use super::DelayArgs;
#[cfg(target_os = "linux")]
use crate::chance::Chance;

/// How long to sleep when nothing is to do.
#[cfg(target_os = "linux")]
const IDLE: Duration = Duration::from_micros(300);
/// Packets that may be held at once; the kernel drops what is more.
#[cfg(target_os = "linux")]
const HELD_MAX: u32 = 8192;

/// Judges packets until it is killed.
#[cfg(target_os = "linux")]
pub(super) fn serve(args: &DelayArgs) -> std::io::Result<()> {
    let mut queue = nfq::Queue::open()?;
    queue.bind(args.queue)?;
    queue.set_queue_max_len(args.queue, HELD_MAX)?;
    queue.set_nonblocking(true);
    let mut chance = Chance::stream(args.seed, "packets");
    let mut held: BTreeMap<(Instant, u64), nfq::Message> = BTreeMap::new();
    let mut number = 0;
    loop {
        let mut idle = true;
        match queue.recv() {
            Ok(mut message) => {
                idle = false;
                number += 1;
                if chance.permille(args.lost_permille) {
                    message.set_verdict(nfq::Verdict::Drop);
                    queue.verdict(message)?;
                } else {
                    let wait = args.delay_ms * 1000 + chance.below(args.spread_ms * 1000 + 1);
                    held.insert((Instant::now() + Duration::from_micros(wait), number), message);
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        while held.first_key_value().is_some_and(|((due, _), _)| *due <= Instant::now()) {
            if let Some((_, message)) = held.pop_first() {
                queue.verdict(message)?;
            }
        }
        if idle {
            std::thread::sleep(IDLE);
        }
    }
}

/// Only Linux hands packets to programs.
#[cfg(not(target_os = "linux"))]
pub(super) fn serve(_args: &DelayArgs) -> std::io::Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
}
