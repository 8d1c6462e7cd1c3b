//! Rate limits. What is wrong is counted, what is right is not: see [`rules`] for the table, [`bucket`]
//! for the counting, [`guard`] for where every request passes.
//!
//! An attempt is refused before it is judged, right or wrong: a limit that let the right guess through
//! would be none. Whoever was right from the same address before goes on, except where just that
//! secret of just that cluster is being guessed from there. Each replica counts for itself.

mod bucket;
mod guard;
mod origin;
mod rules;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tonic::Status;

pub use bucket::Rate;
pub(super) use guard::{Guard, Origin};
pub use origin::{Network, Origins};
pub use rules::RateRules;

use super::retry;
use bucket::{Buckets, Known};
use rules::{Limit, ROWS};

/// The limits of one replica. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RateLimits(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    began: Instant,
    /// So that nobody can tell whose slots are whose.
    seed: (u64, u64),
    origins: Origins,
    /// In the order of [`ROWS`].
    buckets: [Option<Mutex<Buckets>>; ROWS.len()],
    /// Who was right before: heartbeats and tokens by their address.
    known: Mutex<Known>,
}

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// A right one: costs nothing, and its sender is known.
    Right,
    /// A wrong guess.
    Wrong,
    /// Nobody looked at it.
    Undecided,
}

/// A heartbeat under way. Dropped without a word it counts as wrong.
#[derive(Debug)]
pub(super) struct Attempt {
    limits: RateLimits,
    /// None for who is not limited.
    keys: Option<Keys>,
}

#[derive(Clone, Copy, Debug)]
struct Keys {
    pair: u64,
    id: u64,
    address: u64,
    /// Nothing was taken in advance.
    was_known: bool,
}

impl RateLimits {
    /// Limits by `rules`; `seed` is drawn anew at every start.
    pub fn new(rules: &RateRules, origins: Origins, seed: (u64, u64)) -> RateLimits {
        let buckets =
            ROWS.map(|row| rules.rate(row.limit).map(|rate| Mutex::new(Buckets::new(rate))));
        let known = Mutex::new(Known::new());
        RateLimits(Arc::new(Inner { began: Instant::now(), seed, origins, buckets, known }))
    }

    /// Whom to believe about where a request comes from.
    pub(super) fn origins(&self) -> &Origins {
        &self.0.origins
    }

    /// Asks leave for a heartbeat of the cluster `id`.
    ///
    /// # Errors
    /// `RESOURCE_EXHAUSTED` when too many were wrong: nothing was looked at.
    pub(super) fn heartbeat(&self, from: Option<IpAddr>, id: &str) -> Result<Attempt, Status> {
        let Some(site) = from.and_then(|from| self.site(from)) else {
            return Ok(Attempt { limits: self.clone(), keys: None });
        };
        let pair = self.key((Limit::HeartbeatSecret.name(), site, id));
        let was_known = lock(&self.0.known).has(pair);
        let keys = Keys { pair, id: self.key(id), address: self.key(site), was_known };
        if was_known {
            self.look(Limit::HeartbeatSecret, pair)?;
        } else {
            self.look(Limit::HeartbeatAddress, keys.address)?;
            // Taken before it is known whether it is wrong: else many at once would all pass.
            self.take(Limit::HeartbeatId, keys.id)?;
            if let Err(refused) = self.take(Limit::HeartbeatSecret, pair) {
                self.give_back(Limit::HeartbeatId, keys.id);
                return Err(refused);
            }
        }
        Ok(Attempt { limits: self.clone(), keys: Some(keys) })
    }

    /// Asks leave to look at somebody whom a provider sent back; `forwarded` are the values of
    /// `x-forwarded-for`.
    ///
    /// # Errors
    /// Whole seconds until there is room again.
    pub fn callback(&self, peer: IpAddr, forwarded: &[&str]) -> Result<(), u64> {
        let from = self.0.origins.behind(peer.to_canonical(), forwarded);
        let Some(site) = self.site(from) else { return Ok(()) };
        let address = self.key(site);
        let taken = self.with(Limit::Callback, |buckets, now| buckets.take(address, now));
        taken.unwrap_or(Ok(())).map_err(|wait| {
            count(Limit::Callback);
            retry::whole_seconds(Duration::from_micros(wait))
        })
    }

    /// What counts as one address, unless it is never limited.
    fn site(&self, from: IpAddr) -> Option<u128> {
        (!self.0.origins.is_unlimited(from)).then(|| origin::site(from))
    }

    fn key(&self, about: impl Hash) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.0.seed.hash(&mut hasher);
        about.hash(&mut hasher);
        hasher.finish()
    }

    fn take(&self, limit: Limit, key: u64) -> Result<(), Status> {
        self.with(limit, |buckets, now| buckets.take(key, now))
            .unwrap_or(Ok(()))
            .map_err(refused(limit))
    }

    fn look(&self, limit: Limit, key: u64) -> Result<(), Status> {
        self.with(limit, |buckets, now| buckets.look(key, now))
            .unwrap_or(Ok(()))
            .map_err(refused(limit))
    }

    fn charge(&self, limit: Limit, key: u64) {
        self.with(limit, |buckets, now| buckets.charge(key, now));
    }

    fn give_back(&self, limit: Limit, key: u64) {
        self.with(limit, |buckets, _| buckets.give_back(key));
    }

    fn with<T>(&self, limit: Limit, change: impl FnOnce(&mut Buckets, u64) -> T) -> Option<T> {
        let buckets = self.0.buckets.get(limit as usize)?.as_ref()?;
        let now = u64::try_from(self.0.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        Some(change(&mut lock(buckets), now))
    }
}

impl Attempt {
    /// Says what became of it.
    pub(super) fn end(self, outcome: Outcome) {
        let (limits, Some(keys)) = (&self.limits, self.keys) else { return };
        if outcome != Outcome::Wrong && !keys.was_known {
            limits.give_back(Limit::HeartbeatId, keys.id);
            limits.give_back(Limit::HeartbeatSecret, keys.pair);
        }
        match outcome {
            Outcome::Right => lock(&limits.0.known).remember(keys.pair),
            Outcome::Undecided => {}
            Outcome::Wrong => {
                lock(&limits.0.known).forget(keys.pair);
                limits.charge(Limit::HeartbeatAddress, keys.address);
                if keys.was_known {
                    limits.charge(Limit::HeartbeatId, keys.id);
                    limits.charge(Limit::HeartbeatSecret, keys.pair);
                }
            }
        }
    }
}

impl Limit {
    fn name(self) -> &'static str {
        ROWS.get(self as usize).map_or("", |row| row.name)
    }

    fn text(self) -> &'static str {
        match self {
            Limit::HeartbeatSecret | Limit::HeartbeatId | Limit::HeartbeatAddress => {
                "too many heartbeats were wrong"
            }
            Limit::Token => "too many requests came with a token that nobody has",
            Limit::SignIn => "too many sign-ins failed",
            Limit::Login => "too many logins were begun",
            Limit::Callback => "too many people came back from their provider",
            Limit::Open => "too many requests came without a token",
            Limit::Health => "too many requests asked for the health of this replica",
            Limit::Principal => "too many requests came from this principal",
        }
    }
}

/// The answer to one that has to wait so many microseconds. Its text is none that clients match.
fn refused(limit: Limit) -> impl Fn(u64) -> Status {
    move |wait| {
        count(limit);
        let wait = Duration::from_micros(wait);
        let seconds = retry::whole_seconds(wait);
        retry::exhausted(&format!("{}: ask again in {seconds} s", limit.text()), wait)
    }
}

fn count(limit: Limit) {
    metrics::counter!("muster_rate_limited_total", "lane" => limit.name()).increment(1);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What a panic left behind is a count that is off by one.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "192.0.2.1";
    const OTHER: &str = "192.0.2.2";

    fn limits() -> RateLimits {
        RateLimits::new(&RateRules::default(), Origins::default(), (1, 2))
    }

    fn beat(limits: &RateLimits, from: &str, id: &str, outcome: Outcome) -> bool {
        let attempt = limits.heartbeat(Some(from.parse().unwrap()), id);
        attempt.map(|attempt| attempt.end(outcome)).is_ok()
    }

    fn passed(times: usize, mut attempt: impl FnMut(usize) -> bool) -> usize {
        (0..times).filter(|number| attempt(*number)).count()
    }

    #[test]
    fn the_secret_of_one_cluster_is_guessed_ten_times_from_one_address() {
        let limits = limits();
        assert_eq!(passed(50, |_| beat(&limits, ONE, "a", Outcome::Wrong)), 10);
        assert!(beat(&limits, ONE, "b", Outcome::Right), "another cluster behind the same address");
        assert!(beat(&limits, OTHER, "a", Outcome::Right), "the cluster from where it really is");
    }

    #[test]
    fn a_fleet_behind_one_address_beats_as_often_as_it_likes() {
        let limits = limits();
        let all = passed(20_000, |n| beat(&limits, ONE, &format!("c-{n}"), Outcome::Right));
        assert_eq!(all, 20_000);
        // A leader change: nobody is answered, all come again at once.
        let all = passed(20_000, |n| beat(&limits, ONE, &format!("c-{n}"), Outcome::Undecided));
        assert_eq!(all, 20_000);
        assert_eq!(passed(1000, |_| beat(&limits, ONE, "c-1", Outcome::Right)), 1000);
    }

    #[test]
    fn a_fleet_that_starts_at_once_is_not_limited_before_any_is_answered() {
        let limits = limits();
        let from = Some(ONE.parse().unwrap());
        let all: Vec<_> = (0..5000).map(|n| limits.heartbeat(from, &format!("c-{n}"))).collect();
        assert!(all.iter().all(Result::is_ok));
    }

    #[test]
    fn many_wrong_clusters_of_one_address_stop_strangers_but_not_who_was_right_before() {
        let limits = limits();
        assert!(beat(&limits, ONE, "good", Outcome::Right));
        let wrong = passed(3000, |n| beat(&limits, ONE, &format!("x-{n}"), Outcome::Wrong));
        assert!((1000..1100).contains(&wrong), "{wrong}");
        assert!(!beat(&limits, ONE, "new", Outcome::Right));
        assert!(beat(&limits, ONE, "good", Outcome::Right));
        assert!(beat(&limits, OTHER, "new", Outcome::Right));
    }

    #[test]
    fn guessing_one_cluster_from_everywhere_ends_too_but_not_for_the_cluster_itself() {
        let limits = limits();
        assert!(beat(&limits, ONE, "a", Outcome::Right));
        let from = |n: usize| format!("10.{}.{}.1", n / 250, n % 250);
        let wrong = passed(1000, |n| beat(&limits, &from(n), "a", Outcome::Wrong));
        assert!((100..110).contains(&wrong), "{wrong}");
        assert!(beat(&limits, ONE, "a", Outcome::Right));
    }

    #[test]
    fn many_guesses_at_once_do_not_pass_together() {
        let limits = limits();
        let from = Some(ONE.parse().unwrap());
        let under_way: Vec<_> = (0..50).map(|_| limits.heartbeat(from, "a")).collect();
        assert_eq!(under_way.iter().filter(|attempt| attempt.is_ok()).count(), 10);
    }

    #[test]
    fn this_machine_is_not_limited_and_nobody_is_when_limits_are_off() {
        let strict = limits();
        assert_eq!(passed(50, |_| beat(&strict, "127.0.0.1", "a", Outcome::Wrong)), 50);
        let off = RateLimits::new(&RateRules::off(), Origins::default(), (1, 2));
        assert_eq!(passed(50, |_| beat(&off, ONE, "a", Outcome::Wrong)), 50);
    }

    #[test]
    fn a_refusal_tells_when_to_ask_again_and_matches_nothing_that_clients_look_for() {
        let limits = limits();
        passed(10, |_| beat(&limits, ONE, "a", Outcome::Wrong));
        let refused = limits.heartbeat(Some(ONE.parse().unwrap()), "a").unwrap_err();
        assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
        assert_eq!(refused.message(), "too many heartbeats were wrong: ask again in 30 s");
        for row in ROWS {
            assert!(!row.limit.text().contains("not valid"), "{}", row.name);
        }
    }
}
