//! The environment variables of pachctl and of member clusters, read once.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

/// What the environment says in the words of Pachyderm.
#[derive(Clone, Debug, Default)]
pub(crate) struct Environment {
    /// `PACH_CONFIG`: the config file.
    pub(crate) pach_config: Option<PathBuf>,
    /// `HOME`.
    pub(crate) home: Option<PathBuf>,
    /// `KUBECONFIG`: where `kubectl` has its contexts.
    pub(crate) kubeconfig: Option<OsString>,
    /// `PACH_CONTEXT`: overrides the active context.
    pub(crate) pach_context: Option<String>,
    /// `PACH_ENTERPRISE_CONTEXT`: overrides the active enterprise context.
    pub(crate) pach_enterprise_context: Option<String>,
    /// `PACHD_ADDRESS`: wins over every context's address.
    pub(crate) pachd_address: Option<String>,
    /// `PACH_CA_CERTS`: files or folders of PEM certificates, comma separated.
    pub(crate) pach_ca_certs: Option<String>,
    /// `PACHYDERM_IGNORE_VERSION_SKEW`: no version warnings.
    pub(crate) ignore_version_skew: bool,
    /// `PACHYDERM_IGNORE_PAUSED_MODE`: no note about a paused cluster.
    pub(crate) ignore_paused_mode: bool,
    /// `ENTERPRISE_MEMBER_CONFIG`: as what a member registers itself.
    pub(crate) enterprise_member_config: Option<String>,
    /// `ENTERPRISE_SERVER_TOKEN`: with what right. Secret.
    pub(crate) enterprise_server_token: Option<String>,
    /// `ENTERPRISE_SECRET`: what it proves itself with. Secret.
    pub(crate) enterprise_secret: Option<String>,
}

impl Environment {
    /// Reads the process's environment; an empty variable counts as unset, but for `PACH_CONFIG`.
    pub(crate) fn of_process() -> Self {
        let text = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        Environment {
            pach_config: env::var_os("PACH_CONFIG").map(PathBuf::from),
            home: env::var_os("HOME").filter(|home| !home.is_empty()).map(PathBuf::from),
            kubeconfig: env::var_os("KUBECONFIG").filter(|list| !list.is_empty()),
            pach_context: text("PACH_CONTEXT"),
            pach_enterprise_context: text("PACH_ENTERPRISE_CONTEXT"),
            pachd_address: text("PACHD_ADDRESS"),
            pach_ca_certs: text("PACH_CA_CERTS"),
            ignore_version_skew: text("PACHYDERM_IGNORE_VERSION_SKEW").is_some(),
            ignore_paused_mode: text("PACHYDERM_IGNORE_PAUSED_MODE").is_some(),
            enterprise_member_config: text("ENTERPRISE_MEMBER_CONFIG"),
            enterprise_server_token: text("ENTERPRISE_SERVER_TOKEN"),
            enterprise_secret: text("ENTERPRISE_SECRET"),
        }
    }
}
