//! The second phase: faults heal inside a quorum and stay for ever outside of it. LIV-1: the quorum
//! elects a leader and every replica in it serves a fresh write and a fresh read. LIV-2: terms then
//! stand still. LIV-3: the quorum's replicas come to the same state.

use muster_cluster::core::Input;

use crate::agenda::{MILLIS, Micros, SECONDS};
use crate::invariants::{Violation, require};
use crate::life::ELECTION_TICKS;
use crate::network::{Place, Weather};
use crate::replica::hash_of;
use crate::world::{Event, World};

/// What becomes of a replica outside the quorum, for ever.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Dead,
    Paused,
    /// Nobody hears it.
    Mute,
    /// It hears nobody.
    Deaf,
    /// Its disk takes seconds for everything.
    Slow,
    /// Its disk never answers.
    Hung,
    /// Its disk has no room, not even for its log.
    Full,
}

impl World {
    pub(crate) fn survive(&mut self) -> Result<(), Violation> {
        self.heal_all()?;
        if self.plan.churn.every.is_some() {
            self.let_members_settle()?;
        } else {
            self.freeze_outside();
        }
        self.expect_service()?;
        self.expect_stable_terms()?;
        self.expect_same_state()
    }

    /// Longest time that a fault-free election may take before something is wrong, generously: many
    /// rounds of split votes.
    fn elections(&self, count: u64) -> Micros {
        2 * u64::from(ELECTION_TICKS) * self.plan.tick * count
    }

    fn heal_all(&mut self) -> Result<(), Violation> {
        self.healed = true;
        self.say(|| "everything heals".into());
        let one_way_lives = self.plan.weather.one_way_lives;
        self.network.weather = Weather { delay_max: 5 * MILLIS, one_way_lives, ..Weather::fine() };
        self.plan.disk.stall_permille = 0;
        self.plan.applier.slow_permille = 0;
        self.plan.snapshots.fail_permille = 0;
        self.plan.clients.think_max = self.plan.clients.think_max.min(50 * MILLIS);
        for from in self.places() {
            for to in self.places() {
                while self.network.is_cut(from, to) {
                    self.heal(from, to)?;
                }
            }
        }
        for place in self.places() {
            self.resume(place)?;
            if let Some(replica) = self.replicas.get_mut(place) {
                replica.mend();
                replica.crash_again = 0;
            }
            self.look(place);
            self.hang_no_more(place);
            self.start(place)?;
        }
        Ok(())
    }

    fn freeze_outside(&mut self) {
        let mut places: Vec<_> = self.places().collect();
        self.chance.faults.shuffle(&mut places);
        // Whose disk may be damaged is counted on no more, whether it has found out or not.
        let rotten = |place: &Place| self.replicas.get(*place).is_some_and(|it| it.rotten);
        places.sort_by_key(rotten);
        let sound = places.iter().filter(|place| !rotten(place)).count();
        let quorum = self.replicas.len() / 2 + 1;
        let size = if self.chance.faults.permille(300) { sound } else { quorum };
        let (core, outside) = places.split_at(size.min(places.len()));
        self.core = core.to_vec();
        self.say(|| format!("the quorum {core:?}"));
        for place in outside {
            let fates = [
                Fate::Dead,
                Fate::Paused,
                Fate::Mute,
                Fate::Deaf,
                Fate::Slow,
                Fate::Hung,
                Fate::Full,
            ];
            let fate = self.chance.faults.pick(&fates).unwrap_or(Fate::Dead);
            self.say(|| format!("{place} stays {fate:?}"));
            self.freeze(*place, fate);
        }
    }

    fn freeze(&mut self, place: Place, fate: Fate) {
        match fate {
            Fate::Dead => self.crash(place),
            Fate::Paused => self.pause(place),
            Fate::Mute => {
                for peer in self.places().filter(|peer| *peer != place) {
                    self.cut(place, peer);
                }
            }
            Fate::Deaf => {
                for peer in self.places().filter(|peer| *peer != place) {
                    self.cut(peer, place);
                }
            }
            Fate::Slow => {
                if let Some(replica) = self.replicas.get_mut(place) {
                    replica.slow = true;
                }
            }
            Fate::Hung => {
                if let Some(replica) = self.replicas.get_mut(place) {
                    replica.stalled_until = Micros::MAX / 2;
                }
            }
            Fate::Full => self.fill(place, 0),
        }
    }

    fn expect_service(&mut self) -> Result<(), Violation> {
        let slack = 2 * self.plan.clients.patience + self.plan.disk.stall_max + 10 * SECONDS;
        let by = self.now() + self.elections(20) + slack;
        let step = self.elections(1);
        while self.now() < by {
            self.run_until(self.now() + step)?;
            if self.all_served() {
                return Ok(());
            }
        }
        require(false, "LIV-1", || {
            format!("after {} s replicas {:?} served {:?}", by / SECONDS, self.core, self.served)
        })
    }

    fn all_served(&self) -> bool {
        self.core.iter().all(|place| {
            self.served.get(*place).is_some_and(|(writes, reads)| *writes > 0 && *reads > 0)
        })
    }

    fn highest_term(&self) -> u64 {
        let terms = self
            .core
            .iter()
            .filter_map(|place| Some(self.replicas.get(*place)?.process.as_ref()?.leadership.term));
        terms.max().unwrap_or(0)
    }

    fn expect_stable_terms(&mut self) -> Result<(), Violation> {
        // Terms may still rise while a frozen leader outside is found out.
        self.run_until(self.now() + self.elections(3))?;
        let before = self.highest_term();
        self.run_until(self.now() + self.elections(5))?;
        let after = self.highest_term();
        require(after <= before + 1, "LIV-2", || {
            format!("without any new fault the term rose from {before} to {after}")
        })
    }

    fn expect_same_state(&mut self) -> Result<(), Violation> {
        // Clients fall silent; what is under way comes to its end.
        self.quiet = true;
        let slack = self.elections(4) + 2 * self.plan.clients.patience + 5 * SECONDS;
        self.run_until(self.now() + slack)?;
        let last = self.checks.agreement.last_index();
        for place in self.core.clone() {
            let Some(replica) = self.replicas.get(place) else { continue };
            let Some(process) = &replica.process else { continue };
            let applied = process.applied;
            require(applied == last, "LIV-3", || {
                format!("replica {place} has applied up to {applied} of {last}")
            })?;
            let hash = process.state_hash();
            self.checks.sameness.state(place, applied, hash)?;
        }
        self.expect_backups()
    }

    /// What an operator saves now is restored into the very state.
    fn expect_backups(&mut self) -> Result<(), Violation> {
        for place in self.core.clone() {
            self.step(place, Input::SaveSnapshot { ticket: 1 })?;
        }
        let takes = self.plan.snapshots.write_max + self.plan.applier.batch_max * 2 + SECONDS;
        self.run_until(self.now() + takes)?;
        for place in self.core.clone() {
            let Some(replica) = self.replicas.get(place) else { continue };
            let Some(process) = &replica.process else { continue };
            let restored = crate::applier::load_snapshot(&process.snapshots, process.applied);
            let restored = restored.map(|state| hash_of(state.picture().records()));
            require(
                restored.as_ref().is_ok_and(|it| *it == process.state_hash()),
                "OPS-1",
                || format!("a snapshot of replica {place} is restored as {restored:?}"),
            )?;
        }
        Ok(())
    }

    /// Whether clients may begin anything.
    pub(crate) fn clients_rest(&mut self, client: usize) -> bool {
        if self.quiet {
            return true;
        }
        if self.healed && self.core.is_empty() {
            self.agenda.after(MILLIS, Event::Think(client));
            return true;
        }
        false
    }
}
