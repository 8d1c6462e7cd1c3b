//! Where a context points, and whose certificates are trusted there.

use std::fs;
use std::io;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::config::Named;
use super::context::Context;
use crate::address::Address;
use crate::cli::environment::Environment;
use crate::cli::go;
use crate::cli::output::{self, Failure};
use crate::dial::Roots;

/// Where a context points.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) address: Address,
    pub(crate) roots: Roots,
}

/// Where the context points, the environment's word first.
pub(crate) fn target(named: &Named, environment: &Environment) -> Result<Target, Failure> {
    if let Some(text) = &environment.pachd_address {
        let address = parse("could not parse 'PACHD_ADDRESS'", text)?;
        let roots = match &environment.pach_ca_certs {
            None => Roots::System,
            Some(_) if !address.is_secured() => {
                return Err(Failure::pachctl(
                    "cannot set 'PACH_CA_CERTS' if 'PACHD_ADDRESS' is not using grpcs",
                ));
            }
            Some(paths) => {
                output::note(
                    "WARNING: 'PACH_CA_CERTS' is deprecated; store the certificates as server_cas \
                     of a context instead.",
                );
                Roots::Pem(read_certificates(paths)?)
            }
        };
        return Ok(Target { address, roots });
    }
    if environment.pach_ca_certs.is_some() {
        return Err(Failure::pachctl("cannot set 'PACH_CA_CERTS' without setting 'PACHD_ADDRESS'"));
    }
    of_context(named)
}

fn of_context(Named { name, context }: &Named) -> Result<Target, Failure> {
    if !context.pachd_address.is_empty() || !context.server_cas.is_empty() {
        let address =
            parse("could not parse the active context's pachd address", &context.pachd_address)?;
        return Ok(Target { roots: roots(context, &address)?, address });
    }
    if let Some(port) =
        context.port_forwarders.get("pachd").and_then(|port| (*port).try_into().ok())
    {
        let address = Address::Tcp { host: "localhost".to_owned(), port, secured: false };
        return Ok(Target { address, roots: Roots::System });
    }
    Err(Failure::pachctl(format!(
        "context {name:?} has no pachd_address, and Muster does not forward Kubernetes ports"
    ))
    .hint(format!("muster config update context {name} --pachd-address grpc://HOST:PORT")))
}

fn roots(context: &Context, address: &Address) -> Result<Roots, Failure> {
    if context.server_cas.is_empty() {
        return Ok(Roots::System);
    }
    if !address.is_secured() {
        return Err(Failure::pachctl("must set pachd_address to grpcs://... if server_cas is set"));
    }
    let pem = STANDARD.decode(&context.server_cas).map_err(|error| {
        let what = go::base64_error(&error);
        Failure::pachctl(format!("could not decode server CA certs in config: {what}"))
    })?;
    Ok(Roots::Pem(pem))
}

fn parse(prefix: &str, text: &str) -> Result<Address, Failure> {
    text.parse().map_err(|error| Failure::pachctl(format!("{prefix}: {error}")))
}

/// All certificates of the files and folders in a comma-separated list.
fn read_certificates(paths: &str) -> Result<Vec<u8>, Failure> {
    let mut pem = Vec::new();
    for path in paths.split(',').filter(|path| !path.is_empty()) {
        read_certificates_at(Path::new(path), &mut pem).map_err(|error| {
            Failure::pachctl(format!("could not read 'PACH_CA_CERTS' at {path:?}: {error}"))
        })?;
    }
    Ok(pem)
}

fn read_certificates_at(path: &Path, pem: &mut Vec<u8>) -> io::Result<()> {
    if !path.is_dir() {
        pem.extend(fs::read(path)?);
        pem.push(b'\n');
        return Ok(());
    }
    for entry in fs::read_dir(path)? {
        let path = entry?.path();
        if path.is_file() {
            pem.extend(fs::read(path)?);
            pem.push(b'\n');
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(context: Context, environment: &Environment) -> Result<Target, Failure> {
        target(&Named { name: "c".to_owned(), context }, environment)
    }

    fn reason(context: Context, environment: &Environment) -> Failure {
        of(context, environment).unwrap_err()
    }

    fn with(address: &str, server_cas: &str) -> Context {
        Context {
            pachd_address: address.to_owned(),
            server_cas: server_cas.to_owned(),
            ..Context::default()
        }
    }

    #[test]
    fn the_environments_address_wins() {
        let environment =
            Environment { pachd_address: Some("e:1".to_owned()), ..Environment::default() };
        let target = of(with("c:2", ""), &environment).unwrap();
        assert_eq!(target.address.to_string(), "grpc://e:1");
    }

    #[test]
    fn certificates_of_the_environment_need_its_address() {
        let mut environment =
            Environment { pach_ca_certs: Some("/no".to_owned()), ..Environment::default() };
        assert_eq!(
            reason(with("c:2", ""), &environment),
            Failure::pachctl("cannot set 'PACH_CA_CERTS' without setting 'PACHD_ADDRESS'")
        );
        environment.pachd_address = Some("e:1".to_owned());
        assert_eq!(
            reason(with("c:2", ""), &environment),
            Failure::pachctl("cannot set 'PACH_CA_CERTS' if 'PACHD_ADDRESS' is not using grpcs")
        );
    }

    #[test]
    fn the_contexts_certificates_replace_the_systems_and_need_tls() {
        let environment = Environment::default();
        let target = of(with("grpcs://c", "UEVN"), &environment).unwrap();
        assert_eq!(target.roots, Roots::Pem(b"PEM".to_vec()));
        assert_eq!(
            reason(with("c", "UEVN"), &environment),
            Failure::pachctl("must set pachd_address to grpcs://... if server_cas is set")
        );
        assert_eq!(
            reason(with("", "UEVN"), &environment),
            Failure::pachctl(
                "could not parse the active context's pachd address: no pachd address specified"
            )
        );
        assert!(of(with("grpcs://c", "!"), &environment).is_err());
    }

    #[test]
    fn a_forwarded_port_is_used_and_none_is_made() {
        let environment = Environment::default();
        let mut context = Context::default();
        assert!(of(context.clone(), &environment).is_err());
        context.port_forwarders.insert("pachd".to_owned(), 30_650);
        assert_eq!(
            of(context, &environment).unwrap().address.to_string(),
            "grpc://localhost:30650"
        );
    }
}
