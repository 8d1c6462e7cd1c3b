//! Whom the API serves: under which certificate, for how long, and how often they may be wrong.

use std::time::Duration;

use super::Check;
use crate::api::{Network, Origins, RateRules};
use crate::config::resolved::ApiTls;
use crate::config::settings::Origin;
use crate::config::values;

/// The longest that a login may last; the state holds the same bound.
const LOGIN_LIFETIME_MAX: Duration = Duration::from_mins(10);

impl Check<'_> {
    pub(super) fn login_lifetime(&mut self) -> Option<Duration> {
        let span = self.read("login-lifetime", values::span)?;
        if span < Duration::from_secs(1) || span > LOGIN_LIFETIME_MAX {
            self.problem("login-lifetime", "must be from 1s to 10m");
        }
        Some(span)
    }

    pub(super) fn session_lifetime(&mut self) -> Option<Duration> {
        let span = self.read("session-duration", values::span)?;
        let minutes = self.pachyderm("SESSION_DURATION_MINUTES");
        let (Some(minutes), Origin::Default) = (minutes, self.settings.origin("session-duration"))
        else {
            if span < Duration::from_secs(1) {
                self.problem("session-duration", "must be at least 1s");
            }
            return Some(span);
        };
        let minutes = minutes.parse::<u32>().ok().filter(|minutes| *minutes > 0);
        if minutes.is_none() {
            let what = "SESSION_DURATION_MINUTES is no number of minutes";
            self.problems.push(what.to_owned());
        }
        Some(Duration::from_mins(u64::from(minutes?)))
    }

    pub(super) fn rate_rules(&mut self) -> RateRules {
        if self.switch("no-rate-limits") {
            return RateRules::off();
        }
        let mut rules = RateRules::default();
        for text in self.settings.values("rate-limit") {
            let set = values::rate(text).and_then(|(name, rate)| rules.set(name, rate));
            if let Err(what) = set {
                self.problem_with("rate-limit", text, &what);
            }
        }
        rules
    }

    pub(super) fn origins(&mut self) -> Origins {
        Origins {
            proxies: self.networks("trusted-proxy"),
            unlimited: self.networks("unlimited-address"),
            limit_loopback: self.switch("limit-loopback"),
        }
    }

    pub(super) fn networks(&mut self, name: &str) -> Vec<Network> {
        let mut networks = Vec::new();
        for text in self.settings.values(name) {
            match text.parse() {
                Ok(network) => networks.push(network),
                Err(what) => self.problem_with(name, text, what),
            }
        }
        networks
    }

    pub(super) fn api_tls(&mut self) -> Option<ApiTls> {
        match (self.text("tls-cert"), self.text("tls-key")) {
            (Some(cert), Some(key)) => Some(ApiTls { cert: cert.into(), key: key.into() }),
            (None, None) => None,
            _ => {
                self.problem("tls-cert", "goes together with --tls-key");
                None
            }
        }
    }
}
