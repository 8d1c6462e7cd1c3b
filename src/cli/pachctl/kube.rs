//! The contexts of `kubectl`'s config files, as far as `config import-kube` needs them.

use std::fs;
use std::io;
use std::path::PathBuf;

use serde::Deserialize;

use crate::cli::environment::Environment;
use crate::cli::output::Failure;

/// The largest kubeconfig that is read, in bytes.
const BYTES_MAX: u64 = 16 << 20;

/// What a Kubernetes context consists of; empty where the file says nothing.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub(super) struct KubeContext {
    pub(super) cluster: String,
    pub(super) user: String,
    pub(super) namespace: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct KubeConfig {
    current_context: Option<String>,
    contexts: Option<Vec<Entry>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    name: String,
    context: KubeContext,
}

/// The context called `name`, or the current one. The files of `KUBECONFIG` are read in their order, and
/// the first that says something counts; without the variable `~/.kube/config` is read.
///
/// # Errors
/// When there is no such context, or a file cannot be read.
pub(super) fn context(
    environment: &Environment,
    name: Option<&str>,
) -> Result<KubeContext, Failure> {
    let configs: Vec<KubeConfig> = files(environment).iter().map(read).collect::<Result<_, _>>()?;
    let current = configs
        .iter()
        .filter_map(|config| config.current_context.as_deref())
        .find(|name| !name.is_empty());
    let name = name.or(current).unwrap_or_default();
    configs
        .iter()
        .flat_map(|config| config.contexts.iter().flatten())
        .find(|entry| entry.name == name)
        .map(|entry| entry.context.clone())
        .ok_or_else(|| {
            let failure = Failure::pachctl(format!("kubernetes context does not exist: {name}"));
            failure.hint("kubectl config get-contexts lists them; --kubernetes NAME chooses one")
        })
}

fn files(environment: &Environment) -> Vec<PathBuf> {
    match &environment.kubeconfig {
        Some(list) => {
            std::env::split_paths(list).filter(|path| !path.as_os_str().is_empty()).collect()
        }
        None => environment.home.iter().map(|home| home.join(".kube").join("config")).collect(),
    }
}

/// A file that is not there says nothing.
fn read(path: &PathBuf) -> Result<KubeConfig, Failure> {
    let failed = |reason: String| {
        let path = path.display();
        Failure::pachctl(format!("could not read the kubernetes config at {path}: {reason}"))
    };
    let size = match fs::metadata(path) {
        Ok(found) => found.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(KubeConfig::default()),
        Err(error) => return Err(failed(error.to_string())),
    };
    if size > BYTES_MAX {
        return Err(failed(format!("it is larger than {BYTES_MAX} bytes")));
    }
    let text = fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    if text.trim().is_empty() {
        return Ok(KubeConfig::default());
    }
    serde_saphyr::from_str(&text).map_err(|error| failed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = "
apiVersion: v1
kind: Config
preferences: {}
current-context: \"\"
contexts:
- name: dev
  context: {cluster: dev-cluster, user: dev-user}
";
    const SECOND: &str = "
current-context: prod
clusters:
- cluster: {certificate-authority-data: AAAA, server: https://1.2.3.4}
  name: prod-cluster
contexts:
- context:
    cluster: prod-cluster
    namespace: pachyderm
    user: admin
  name: prod
- context: {cluster: another, user: u}
  name: dev
users: null
";

    fn environment(texts: &[&str]) -> (tempfile::TempDir, Environment) {
        let folder = tempfile::tempdir().unwrap();
        let paths: Vec<PathBuf> = texts
            .iter()
            .enumerate()
            .map(|(number, text)| {
                let path = folder.path().join(number.to_string());
                fs::write(&path, text).unwrap();
                path
            })
            .collect();
        let kubeconfig = Some(std::env::join_paths(paths).unwrap());
        (folder, Environment { kubeconfig, ..Environment::default() })
    }

    #[test]
    fn the_current_context_or_the_one_named_is_found_and_the_first_file_counts() {
        let (_folder, environment) = environment(&[FIRST, SECOND]);
        let prod = context(&environment, None).unwrap();
        assert_eq!(prod.cluster, "prod-cluster");
        assert_eq!((prod.user.as_str(), prod.namespace.as_str()), ("admin", "pachyderm"));
        assert_eq!(context(&environment, Some("dev")).unwrap().cluster, "dev-cluster");
        assert_eq!(
            context(&environment, Some("zz")).unwrap_err(),
            Failure::pachctl("kubernetes context does not exist: zz")
                .hint("kubectl config get-contexts lists them; --kubernetes NAME chooses one")
        );
    }

    #[test]
    fn without_any_file_there_is_no_context_and_a_broken_one_is_named() {
        let nothing = Environment::default();
        assert!(context(&nothing, None).is_err());
        let (_folder, broken) = environment(&["contexts: [", SECOND]);
        assert!(format!("{:?}", context(&broken, None).unwrap_err()).contains("kubernetes config"));
    }
}
