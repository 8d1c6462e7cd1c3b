//! Contexts that are made of something else: of a Kubernetes context, or of an address.

use clap::Args;

use super::config::ConfigFile;
use super::context::{Context, IMPORTED};
use super::contexts::require_free;
use super::kube;
use crate::address::Address;
use crate::cli::environment::Environment;
use crate::cli::output::{self, Failure};

/// A Kubernetes context, and what it becomes.
#[derive(Debug, Args)]
pub(crate) struct ImportKube {
    /// Name of the new context.
    name: String,
    /// Replace a context of that name.
    #[arg(short, long)]
    overwrite: bool,
    /// Make it the active enterprise context, and an enterprise server.
    #[arg(short, long)]
    enterprise: bool,
    /// Kubernetes context; the current one if not given.
    #[arg(short, long, value_name = "CONTEXT")]
    kubernetes: Option<String>,
    /// Kubernetes namespace; the context's own if not given.
    #[arg(short, long, value_name = "NAMESPACE")]
    namespace: Option<String>,
}

/// Stores what a Kubernetes context says, as pachctl does. Such a context is reached by pachctl's
/// port-forward; Muster wants an address, and says so.
pub(super) fn import(
    asked: ImportKube,
    file: &mut ConfigFile,
    environment: &Environment,
) -> Result<(), Failure> {
    require_free(file, &asked.name, asked.overwrite)?;
    let found = kube::context(environment, asked.kubernetes.as_deref())?;
    let context = Context {
        source: IMPORTED,
        cluster_name: found.cluster,
        auth_info: found.user,
        namespace: asked.namespace.unwrap_or(found.namespace),
        enterprise_server: asked.enterprise,
        ..Context::default()
    };
    file.remove_context(&asked.name);
    file.set_context(&asked.name, &context);
    if asked.enterprise {
        file.set_active_enterprise_context(&asked.name);
    } else {
        file.set_active_context(&asked.name);
    }
    output::note(&format!(
        "pachctl reaches this context by a port-forward; muster needs an address: \
         muster config update context {} --pachd-address HOST:PORT",
        asked.name
    ));
    Ok(())
}

/// A context for an address, in one step.
#[derive(Debug, Args)]
pub(crate) struct Connect {
    /// `[grpc://|grpcs://]HOST[:PORT]` of the server.
    address: String,
    /// Name of the context; the address as given if not given.
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    alias: String,
}

/// Makes the context of an address the active one, and makes it first if there is none.
pub(crate) fn connect(asked: &Connect, environment: &Environment) -> Result<(), Failure> {
    let mut file = ConfigFile::load(environment)?;
    let address: Address =
        asked.address.parse().map_err(|error| Failure::pachctl(format!("{error}")))?;
    let name = if asked.alias.is_empty() { &asked.address } else { &asked.alias };
    let mut told = String::new();
    if file.context(name).is_none() {
        let context = Context { pachd_address: address.to_string(), ..Context::default() };
        file.set_context(name, &context);
        told = format!("New context '{name}' created, will connect to Pachyderm at {address}\n");
    }
    file.set_active_context(name);
    file.save()?;
    output::data(&format!("{told}Context '{name}' set as active\n"))
}
