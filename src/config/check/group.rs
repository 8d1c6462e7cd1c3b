//! How a replica finds its group, and the timers and snapshots that all of it should share.

use super::Check;
use crate::config::resolved::{Join, PeerTls, Seed, Snapshots, Timers};
use crate::config::values;

impl Check<'_> {
    pub(super) fn seeds(&mut self) -> Vec<Seed> {
        let mut seeds: Vec<Seed> = Vec::new();
        for text in self.settings.values("initial-cluster") {
            match values::named_address(text) {
                Err(what) => self.problem_with("initial-cluster", text, &what),
                Ok((name, address)) => {
                    let taken = |seed: &Seed| seed.name == name || seed.address == address;
                    if seeds.iter().any(taken) {
                        self.problem_with("initial-cluster", text, "is there twice");
                    }
                    seeds.push(Seed { name, address });
                }
            }
        }
        seeds
    }

    pub(super) fn join(&mut self) -> Option<Join> {
        self.text("join")?;
        let address = self.parsed("join");
        let token = self.secret("join-token", "join-token-file");
        let is_given =
            ["join-token", "join-token-file"].iter().any(|name| self.text(name).is_some());
        if !is_given {
            self.problem(
                "join-token-file",
                "is required with --join: muster replica token makes one",
            );
        }
        Some(Join { address: address?, ca: self.text("join-ca").map(Into::into), token: token? })
    }

    pub(super) fn peer_address(&mut self) -> Option<String> {
        let text = self.text("peer-address")?;
        match values::address(&text) {
            Ok(()) => Some(text),
            Err(what) => {
                self.problem_with("peer-address", &text, &what);
                None
            }
        }
    }

    pub(super) fn peer_tls(&mut self) -> Option<PeerTls> {
        let given = [self.text("peer-ca"), self.text("peer-cert"), self.text("peer-key")];
        match given {
            [Some(ca), Some(cert), Some(key)] => {
                Some(PeerTls { ca: ca.into(), cert: cert.into(), key: key.into() })
            }
            [None, None, None] => None,
            _ => {
                self.problem("peer-ca", "goes together with --peer-cert and --peer-key");
                None
            }
        }
    }

    pub(super) fn timers(&mut self) -> Option<Timers> {
        let tick = self.read("tick", values::span);
        let election_ticks = self.parsed("election-ticks");
        let heartbeat_ticks = self.parsed("heartbeat-ticks");
        let timers = Timers {
            tick: tick?,
            election_ticks: election_ticks?,
            heartbeat_ticks: heartbeat_ticks?,
        };
        if timers.tick.is_zero() {
            self.problem("tick", "must be longer than nothing");
        }
        if timers.heartbeat_ticks == 0 || timers.election_ticks < timers.heartbeat_ticks * 3 {
            self.problem(
                "election-ticks",
                "must be at least three times heartbeat-ticks, that at least 1",
            );
        }
        Some(timers)
    }

    pub(super) fn snapshots(&mut self) -> Option<Snapshots> {
        let (entries, bytes) = (self.parsed("snapshot-entries"), self.parsed("snapshot-bytes"));
        let snapshots = Snapshots { entries: entries?, bytes: bytes? };
        if snapshots.entries == 0 || snapshots.bytes == 0 {
            self.problem("snapshot-entries", "and snapshot-bytes must be at least 1");
        }
        Some(snapshots)
    }
}
