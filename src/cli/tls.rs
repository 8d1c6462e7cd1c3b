//! `muster tls`: certificates without an authority of one's own at hand.
//!
//! Two authorities, because they vouch for different things: the peer CA says who *is* a replica and
//! thereby sees and writes everything; the API CA only lets clients recognise the server.

use std::fs;
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::ServerName;
use time::format_description::well_known::Iso8601;
use time::{Duration, OffsetDateTime};

use super::output::{self, Exit, Failure};
use crate::clock::{Clock, SystemClock};

const CA_LIFE: Duration = Duration::days(3650);
/// The longest that all common clients accept.
const CERTIFICATE_LIFE: Duration = Duration::days(825);
/// Clocks differ.
const CLOCK_SKEW: Duration = Duration::hours(1);

/// Certificates for replicas and their API.
#[derive(Debug, Subcommand)]
pub(super) enum Tls {
    /// Make a CA for replicas, a CA for the API, and each replica's certificates and keys.
    Init(Init),
}

/// What to make certificates for.
#[derive(Debug, Args)]
pub(super) struct Init {
    /// Folder to make; it must not hold anything yet.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// A replica by its name, and the hosts or IP addresses at which clients reach it.
    #[arg(long = "replica", value_name = "NAME[=HOST,…]", required = true, value_parser = parse_replica)]
    replicas: Vec<Replica>,
    /// A further host or IP address at which clients reach any replica, a balancer's for instance.
    #[arg(long = "client-host", value_name = "HOST", value_delimiter = ',', value_parser = parse_host)]
    client_hosts: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Replica {
    name: String,
    hosts: Vec<String>,
}

/// Runs `muster tls`.
pub(super) fn run(command: &Tls) -> Result<(), Failure> {
    let Tls::Init(init) = command;
    init.run()
}

impl Init {
    fn run(&self) -> Result<(), Failure> {
        let now = now();
        let refused = |what: &str| Failure::new(format!("cannot make certificates: {what}"));
        for (at, replica) in self.replicas.iter().enumerate() {
            if self.replicas.iter().skip(at + 1).any(|other| other.name == replica.name) {
                let what = format!("the replica {} is given twice", replica.name);
                return Err(refused(&what).exit(Exit::Usage));
            }
        }
        let out = &self.out;
        let taken = |error: &io::Error| {
            let what = format!("cannot make {}", out.display());
            let full = error.kind() == io::ErrorKind::DirectoryNotEmpty;
            let hint = "name a folder that is not there yet: nothing is ever overwritten";
            let failure = Failure::new(what).because(error);
            if full { failure.hint(hint) } else { failure }
        };
        let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        fs::create_dir_all(parent).map_err(|error| taken(&error))?;
        // All of it or nothing: made aside, then put in place in one step.
        let aside = tempfile::Builder::new().prefix(".muster-tls-").tempdir_in(parent);
        let aside = aside.map_err(|error| taken(&error))?;
        self.make(aside.path(), now).map_err(|error| match error {
            MakeError::Certificate(error) => refused(&error.to_string()),
            MakeError::Write(error) => taken(&error),
        })?;
        fs::rename(aside.path(), out).map_err(|error| taken(&error))?;
        // It has moved: there is nothing left to clean up.
        drop(aside.keep());
        self.report(now)
    }

    fn make(&self, folder: &Path, now: OffsetDateTime) -> Result<(), MakeError> {
        let peers = authority("Muster peer CA", now)?;
        let api = authority("Muster API CA", now)?;
        for (name, ca) in [("peer-ca", &peers), ("api-ca", &api)] {
            write_public(&folder.join(format!("{name}.crt")), &ca.pem())?;
            write_secret(&folder.join(format!("{name}.key")), &ca.key().serialize_pem())?;
        }
        for replica in &self.replicas {
            let folder = folder.join(&replica.name);
            fs::create_dir(&folder)?;
            write_public(&folder.join("peer-ca.crt"), &peers.pem())?;
            write_public(&folder.join("api-ca.crt"), &api.pem())?;
            // Peers check the name; hosts are there for tools that check those.
            let peer_names = std::iter::once(&replica.name).chain(&replica.hosts);
            let peer_uses =
                [ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
            let api_names = self.api_names(replica);
            let api_uses = [ExtendedKeyUsagePurpose::ServerAuth];
            for (kind, names, uses, ca) in [
                ("peer", peer_names.cloned().collect(), &peer_uses[..], &peers),
                ("api", api_names, &api_uses[..], &api),
            ] {
                let (certificate, key) = certificate(&replica.name, names, uses, ca, now)?;
                write_public(&folder.join(format!("{kind}.crt")), &certificate)?;
                write_secret(&folder.join(format!("{kind}.key")), &key)?;
            }
        }
        Ok(())
    }

    fn api_names(&self, replica: &Replica) -> Vec<String> {
        let own = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
        let mut names = vec![replica.name.clone()];
        for name in replica.hosts.iter().chain(&self.client_hosts).chain(&own) {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
        names
    }

    fn report(&self, now: OffsetDateTime) -> Result<(), Failure> {
        let until = (now + CERTIFICATE_LIFE).date().format(&Iso8601::DATE).unwrap_or_default();
        let out = self.out.display();
        let serve = |Replica { name, .. }: &Replica| {
            format!(
                "{name}: muster serve --name {name} --peer-ca {out}/{name}/peer-ca.crt \
                 --peer-cert {out}/{name}/peer.crt --peer-key {out}/{name}/peer.key \
                 --tls-cert {out}/{name}/api.crt --tls-key {out}/{name}/api.key …\n"
            )
        };
        let text = format!(
            "made {out}, certificates valid until {until}\n{}\
             clients trust {out}/api-ca.crt; keep {out}/peer-ca.key and {out}/api-ca.key away from all hosts\n",
            self.replicas.iter().map(serve).collect::<String>()
        );
        output::data(&text)
    }
}

#[derive(Debug, thiserror::Error)]
enum MakeError {
    #[error(transparent)]
    Certificate(#[from] rcgen::Error),
    #[error(transparent)]
    Write(#[from] io::Error),
}

fn parse_replica(text: &str) -> Result<Replica, String> {
    let (name, hosts) = text.split_once('=').unwrap_or((text, ""));
    if !matches!(ServerName::try_from(name), Ok(ServerName::DnsName(_))) {
        return Err(format!(
            "{name:?} cannot name a replica in a certificate: use letters, digits and hyphens"
        ));
    }
    let hosts = hosts.split(',').filter(|host| !host.is_empty());
    let hosts = hosts.map(parse_host).collect::<Result<_, _>>()?;
    Ok(Replica { name: name.to_owned(), hosts })
}

fn parse_host(text: &str) -> Result<String, String> {
    let wildcard = text.strip_prefix("*.").unwrap_or(text);
    if text.parse::<IpAddr>().is_ok() || ServerName::try_from(wildcard).is_ok() {
        Ok(text.to_owned())
    } else {
        Err(format!("{text:?} is neither a host name nor an IP address (and takes no port)"))
    }
}

fn now() -> OffsetDateTime {
    let seconds = i64::try_from(SystemClock.now().0 / 1_000_000).unwrap_or_default();
    OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

fn named(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

fn authority(
    name: &str,
    now: OffsetDateTime,
) -> Result<CertifiedIssuer<'static, KeyPair>, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = now - CLOCK_SKEW;
    params.not_after = now + CA_LIFE;
    CertifiedIssuer::self_signed(params, KeyPair::generate()?)
}

/// A certificate and its key, both PEM.
fn certificate(
    name: &str,
    alternative_names: Vec<String>,
    uses: &[ExtendedKeyUsagePurpose],
    ca: &CertifiedIssuer<'static, KeyPair>,
    now: OffsetDateTime,
) -> Result<(String, String), rcgen::Error> {
    let mut params = CertificateParams::new(alternative_names)?;
    params.distinguished_name = named(name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = uses.to_vec();
    params.use_authority_key_identifier_extension = true;
    params.not_before = now - CLOCK_SKEW;
    params.not_after = now + CERTIFICATE_LIFE;
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, ca)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

fn write_public(path: &Path, text: &str) -> io::Result<()> {
    write(path, text, 0o644)
}

fn write_secret(path: &Path, text: &str) -> io::Result<()> {
    write(path, text, 0o600)
}

fn write(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use muster_cluster::net::PeerTls;

    use super::*;

    fn init(out: &Path, replicas: &[&str]) -> Init {
        Init {
            out: out.to_owned(),
            replicas: replicas.iter().map(|text| parse_replica(text).unwrap()).collect(),
            client_hosts: vec!["muster.example.com".to_owned()],
        }
    }

    #[test]
    fn what_is_made_can_be_used_and_keys_are_secret() {
        let root = tempfile::tempdir().unwrap();
        let out = root.path().join("deep").join("tls");
        init(&out, &["a=host-a,10.0.0.1", "b"]).run().unwrap();
        for name in ["a", "b"] {
            let folder = out.join(name);
            let peer = PeerTls::from_pem_files(
                &folder.join("peer-ca.crt"),
                &folder.join("peer.crt"),
                &folder.join("peer.key"),
            );
            peer.map(|_| ()).unwrap();
            let key = fs::metadata(folder.join("api.key")).unwrap();
            assert_eq!(key.permissions().mode() & 0o777, 0o600);
        }
        let key = fs::metadata(out.join("peer-ca.key")).unwrap();
        assert_eq!(key.permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(out.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn nothing_is_ever_overwritten() {
        let root = tempfile::tempdir().unwrap();
        let out = root.path().join("tls");
        init(&out, &["a"]).run().unwrap();
        let before = fs::read(out.join("peer-ca.key")).unwrap();
        init(&out, &["a"]).run().unwrap_err();
        assert_eq!(fs::read(out.join("peer-ca.key")).unwrap(), before);
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
    }

    #[test]
    fn odd_replicas_and_hosts_are_refused() {
        for text in ["", "a/b", "..", "a b", "a=host:80", "a=b c", "10.0.0.1", "../../etc"] {
            parse_replica(text).unwrap_err();
        }
        let replica = parse_replica("muster-0=muster-0.muster.svc,*.example.com,::1").unwrap();
        assert_eq!(replica.hosts.len(), 3);
        let root = tempfile::tempdir().unwrap();
        init(&root.path().join("tls"), &["a", "a"]).run().unwrap_err();
    }
}
