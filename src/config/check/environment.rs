//! What Pachyderm's own variables ask for. What they hold is in no message: it is secret.

use super::Check;
use crate::config::auth_config::AuthConfig;
use crate::config::resolved::PachydermEnvironment;
use crate::config::roles;

impl Check<'_> {
    pub(super) fn environment(&mut self) -> PachydermEnvironment {
        let license_key = self.settings.pachyderm.get("LICENSE_KEY").cloned();
        let enterprise_secret = self.settings.pachyderm.get("ENTERPRISE_SECRET").cloned();
        if license_key.is_some() != enterprise_secret.is_some() {
            self.problems.push(
                "LICENSE_KEY and ENTERPRISE_SECRET go together: set both variables or none"
                    .to_owned(),
            );
        }
        let mut environment = PachydermEnvironment {
            license_key,
            enterprise_secret,
            without_effect: self.settings.without_effect.clone(),
            ..Default::default()
        };
        if self.activate_auth() {
            environment.root_token = self.settings.pachyderm.get("AUTH_ROOT_TOKEN").cloned();
            environment.cluster_roles = self.cluster_roles();
            environment.auth_config = self.auth_config();
        }
        environment
    }

    pub(super) fn auth_config(&mut self) -> Option<AuthConfig> {
        let given = self.pachyderm("AUTH_CONFIG")?;
        let read = AuthConfig::read(&given, self.pachyderm("AUTH_CLIENT_SECRET"));
        if read.is_none() {
            // What the variable holds is nobody's business.
            let what = "AUTH_CONFIG is no YAML of an OIDC configuration";
            self.problems.push(what.to_owned());
        }
        read
    }

    pub(super) fn activate_auth(&mut self) -> bool {
        let given = self.pachyderm("ACTIVATE_AUTH").unwrap_or_default();
        let on = ["1", "t", "T", "true", "TRUE", "True"].contains(&given.as_str());
        let off = ["", "0", "f", "F", "false", "FALSE", "False"].contains(&given.as_str());
        if !on && !off {
            self.problems.push("ACTIVATE_AUTH is neither true nor false".to_owned());
        }
        on
    }

    pub(super) fn cluster_roles(&mut self) -> Option<Vec<(String, Vec<String>)>> {
        let given = self.pachyderm("AUTH_CLUSTER_RBAC")?;
        let read = roles::read(&given);
        if read.is_none() {
            // What the variable holds is nobody's business.
            let what = "AUTH_CLUSTER_RBAC is no map from principals to lists of roles";
            self.problems.push(what.to_owned());
        }
        read
    }
}
