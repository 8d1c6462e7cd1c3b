//! Which limits there are, and how an operator writes them.

use std::time::Duration;

use super::bucket::Rate;

/// What is limited. Wrong guesses are counted, not right answers: a fleet behind one address may beat
/// as often as it likes. Only calls without a token, and all calls of one principal, are counted as
/// such, and generously.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    /// Wrong secrets of one cluster from one address.
    HeartbeatSecret,
    /// Wrong secrets of one cluster from anywhere.
    HeartbeatId,
    /// Wrong heartbeats of any cluster from one address.
    HeartbeatAddress,
    /// Tokens that nobody has, from one address.
    Token,
    /// Sign-ins that failed, from one address.
    SignIn,
    /// Logins begun, from one address: each takes room until it ends.
    Login,
    /// People whom a provider sends back to the callback page, from one address.
    Callback,
    /// Calls without a token but heartbeats and questions after the health, from one address.
    Open,
    /// Questions after the health of this replica, from one address: a load balancer that gets no answer
    /// would take it away, so whatever else comes from its address does not count.
    Health,
    /// Calls of one principal.
    Principal,
}

/// One row of the table of limits.
pub(super) struct Row {
    pub(super) limit: Limit,
    /// In the configuration and in metrics.
    pub(super) name: &'static str,
    count: u32,
    seconds: u64,
}

const fn row(limit: Limit, name: &'static str, count: u32, seconds: u64) -> Row {
    Row { limit, name, count, seconds }
}

/// Every limit once, in the order of the enum, with what holds when nobody says anything.
pub(super) const ROWS: [Row; 10] = [
    row(Limit::HeartbeatSecret, "heartbeat-secret", 10, 300),
    row(Limit::HeartbeatId, "heartbeat-id", 100, 600),
    row(Limit::HeartbeatAddress, "heartbeat-address", 1000, 600),
    row(Limit::Token, "token", 300, 600),
    row(Limit::SignIn, "sign-in", 100, 600),
    // Ten thousand logins of ten minutes fit into the state.
    row(Limit::Login, "login", 600, 600),
    // Who began a login comes back once, and may reload the page.
    row(Limit::Callback, "callback", 1200, 600),
    row(Limit::Open, "open", 60_000, 60),
    row(Limit::Health, "health", 6000, 60),
    row(Limit::Principal, "principal", 60_000, 60),
];

/// The rate of each limit; none: not limited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateRules([Option<Rate>; ROWS.len()]);

impl Default for RateRules {
    fn default() -> RateRules {
        RateRules(
            ROWS.map(|row| Some(Rate { count: row.count, span: Duration::from_secs(row.seconds) })),
        )
    }
}

impl RateRules {
    /// No limit at all.
    pub fn off() -> RateRules {
        RateRules([None; ROWS.len()])
    }

    /// Sets the rate of the limit called `name`; none switches it off.
    ///
    /// # Errors
    /// When there is no such limit; the message lists all.
    pub fn set(&mut self, name: &str, rate: Option<Rate>) -> Result<(), String> {
        let found = ROWS.iter().zip(&mut self.0).find(|(row, _)| row.name == name);
        let Some((_, held)) = found else {
            let names: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
            return Err(format!("names no limit: there are {}", names.join(", ")));
        };
        *held = rate;
        Ok(())
    }

    pub(super) fn rate(&self, limit: Limit) -> Option<Rate> {
        self.0.get(limit as usize).copied().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_enum() {
        for (place, row) in ROWS.iter().enumerate() {
            assert_eq!(row.limit as usize, place, "{}", row.name);
        }
    }

    #[test]
    fn each_limit_can_be_set_and_switched_off_by_its_name() {
        let mut rules = RateRules::default();
        assert!(rules.rate(Limit::Login).is_some());
        rules.set("login", None).unwrap();
        assert_eq!(rules.rate(Limit::Login), None);
        let rate = Rate { count: 5, span: Duration::from_secs(1) };
        rules.set("token", Some(rate)).unwrap();
        assert_eq!(rules.rate(Limit::Token), Some(rate));
        assert!(rules.set("tokens", None).unwrap_err().contains("heartbeat-secret"));
        assert_eq!(RateRules::off().rate(Limit::Open), None);
    }
}
