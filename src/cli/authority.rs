//! `muster license keygen`, `issue` and `inspect`: an organisation as its own license authority.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use prost_types::Timestamp;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, OffsetDateTime};

use super::go;
use super::output::{self, Failure};
use super::table::{or_dash, sheet};
use crate::activation::{
    self, CODE_BYTES_MAX, Claims, ISSUED_BITS, Inspection, TrustRoot, TrustRoots,
};
use crate::clock::{self, Clock, SystemClock};

/// Commands that need no server.
#[derive(Debug, Subcommand)]
pub(crate) enum Authority {
    /// Make a key pair: NAME.key signs activation codes, servers trust NAME.pub.
    Keygen(Keygen),
    /// Sign an activation code and print it.
    Issue(Issue),
    /// Tell what an activation code says and who signed it; with keys to trust, fails if a server
    /// that trusts them would not take it.
    Inspect(Inspect),
}

#[derive(Debug, Args)]
pub(crate) struct Keygen {
    /// The files to make are NAME.key and NAME.pub; neither may be there yet.
    #[arg(long, value_name = "NAME")]
    out: PathBuf,
    /// 2048, 3072, 4096 or 8192.
    #[arg(long, default_value_t = ISSUED_BITS)]
    bits: usize,
}

#[derive(Debug, Args)]
pub(crate) struct Issue {
    /// PEM file of the private key.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The end of the license: a date, or a time in RFC 3339.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    expires: OffsetDateTime,
    /// For whom the license is.
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    customer: String,
    /// How many clusters may be registered; unbounded if not given.
    #[arg(long, value_name = "COUNT")]
    max_clusters: Option<u64>,
    /// Days after the end in which people are warned rather than stopped.
    #[arg(long, value_name = "DAYS")]
    grace_days: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// File with the code; standard input if not given.
    file: Option<PathBuf>,
    /// PEM file of a key to trust; can be given several times.
    #[arg(long = "license-public-key", value_name = "FILE")]
    license_public_keys: Vec<PathBuf>,
    /// Do not trust Pachyderm's own key.
    #[arg(long)]
    no_default_license_key: bool,
}

impl Authority {
    pub(crate) fn run(self) -> Result<(), Failure> {
        match self {
            Authority::Keygen(command) => command.run(),
            Authority::Issue(command) => command.run(),
            Authority::Inspect(command) => command.run(),
        }
    }
}

impl Keygen {
    fn run(self) -> Result<(), Failure> {
        let file = |end: &str| {
            let mut name = self.out.clone().into_os_string();
            name.push(end);
            PathBuf::from(name)
        };
        let (private, public) = (file(".key"), file(".pub"));
        for path in [&private, &public] {
            if path.exists() {
                return Err(Failure::new(format!("{} is there already", path.display()))
                    .hint("another --out: a key is never overwritten"));
            }
        }
        let pair = activation::keygen(self.bits)
            .map_err(|error| Failure::new("cannot make a key pair").because(&error))?;
        create(&private, &pair.private, 0o600)?;
        create(&public, &pair.public, 0o644)?;
        output::note(&format!(
            "{private} signs activation codes: keep it secret.\n\
             {public} goes to every replica: muster serve --license-public-key {public}",
            private = private.display(),
            public = public.display(),
        ));
        Ok(())
    }
}

fn create(path: &Path, text: &str, mode: u32) -> Result<(), Failure> {
    let write = || {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
        let mut file = options.open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(|error: io::Error| {
        Failure::new(format!("cannot write {}", path.display())).because(&error)
    })
}

fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path)
        .map_err(|error| Failure::new(format!("cannot read {}", path.display())).because(&error))
}

impl Issue {
    fn run(self) -> Result<(), Failure> {
        let claims = Claims {
            expiry: to_message(self.expires),
            customer: self.customer,
            max_clusters: self.max_clusters,
            grace_days: self.grace_days,
        };
        let code = activation::issue(&read(&self.key)?, &claims).map_err(|error| {
            Failure::new("cannot sign the activation code")
                .because(&error)
                .hint("--key with the .key file that muster license keygen made")
        })?;
        output::data(&format!("{code}\n"))
    }
}

impl Inspect {
    fn run(self) -> Result<(), Failure> {
        let mut roots = Vec::new();
        for path in &self.license_public_keys {
            let root = TrustRoot::from_pem(&path.display().to_string(), &read(path)?);
            roots.push(root.map_err(|error| {
                Failure::new(format!("{} is no public key", path.display())).because(&error)
            })?);
        }
        if !self.no_default_license_key {
            let root = TrustRoot::pachyderm();
            roots.push(root.map_err(|error| Failure::new("cannot inspect").because(&error))?);
        }
        let code = self.code()?;
        let roots = TrustRoots::new(roots);
        let inspection = roots
            .inspect(code.trim())
            .map_err(|error| Failure::new("this is no activation code").because(&error))?;
        let now = clock::to_message(SystemClock.now());
        output::data(&describe(&inspection, &now))?;
        // Without a key of one's own this is a look, not a test.
        if self.license_public_keys.is_empty() {
            return Ok(());
        }
        roots.verify(code.trim(), &now).map(drop).map_err(|error| {
            Failure::new("a server with these keys would not take this code").because(&error)
        })
    }

    fn code(&self) -> Result<String, Failure> {
        let limit = u64::try_from(CODE_BYTES_MAX).unwrap_or(u64::MAX).saturating_mul(2);
        let mut code = String::new();
        let (name, result) = if let Some(path) = &self.file {
            let file = File::open(path);
            let result = file.and_then(|file| file.take(limit).read_to_string(&mut code));
            (path.display().to_string(), result)
        } else {
            if io::stdin().is_terminal() {
                output::note("Reading the activation code from stdin.");
            }
            ("stdin".to_owned(), io::stdin().take(limit).read_to_string(&mut code))
        };
        result.map_err(|error| {
            Failure::new(format!("cannot read the activation code from {name}")).because(&error)
        })?;
        Ok(code)
    }
}

fn describe(inspection: &Inspection, now: &Timestamp) -> String {
    let signed_by = match &inspection.signed_by {
        Ok(name) => name.clone(),
        Err(error) => format!("nobody trusted ({error})"),
    };
    let mut lines = vec![("signed by", signed_by)];
    match &inspection.claims {
        Err(error) => lines.push(("claims", format!("unreadable ({error})"))),
        Ok(claims) => {
            let number =
                |count: Option<u64>| or_dash(&count.map_or(String::new(), |n| n.to_string()));
            lines.push(("expires", go::rfc3339_or_nil(Some(&claims.expiry))));
            lines.push(("state", if claims.is_expired(now) { "EXPIRED" } else { "ACTIVE" }.into()));
            lines.push(("customer", or_dash(&claims.customer)));
            lines.push(("max clusters", number(claims.max_clusters)));
            lines.push(("grace days", number(claims.grace_days.map(u64::from))));
        }
    }
    sheet(&lines)
}

fn parse_time(text: &str) -> Result<OffsetDateTime, String> {
    if let Ok(date) = Date::parse(text, format_description!("[year]-[month]-[day]")) {
        return Ok(date.midnight().assume_utc());
    }
    OffsetDateTime::parse(text, &Rfc3339)
        .map_err(|_| "must be like 2030-12-31 or 2030-12-31T23:59:59Z".to_owned())
}

fn to_message(time: OffsetDateTime) -> Timestamp {
    Timestamp {
        seconds: time.unix_timestamp(),
        nanos: i32::try_from(time.nanosecond()).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn a_code_tells_what_it_says_to_whoever_asks() {
        let pair = activation::keygen(2048).unwrap();
        let claims = Claims {
            expiry: to_message(parse_time("2030-12-31").unwrap()),
            customer: "Acme".to_owned(),
            max_clusters: Some(12),
            grace_days: None,
        };
        let code = activation::issue(&pair.private, &claims).unwrap();
        let now = to_message(parse_time("2030-12-31T00:00:01Z").unwrap());
        let trusting =
            TrustRoots::new(vec![TrustRoot::from_pem("authority.pub", &pair.public).unwrap()]);
        expect![[r#"
            signed by:    authority.pub
            expires:      2030-12-31T00:00:00Z
            state:        EXPIRED
            customer:     Acme
            max clusters: 12
            grace days:   -
        "#]]
        .assert_eq(&describe(&trusting.inspect(&code).unwrap(), &now));
        expect![[r#"
            signed by:    nobody trusted (invalid signature in activation code)
            expires:      2030-12-31T00:00:00Z
            state:        ACTIVE
            customer:     Acme
            max clusters: 12
            grace days:   -
        "#]]
        .assert_eq(&describe(&TrustRoots::default().inspect(&code).unwrap(), &claims.expiry));
    }

    #[test]
    fn keys_are_made_once_and_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let command = || Keygen { out: folder.path().join("authority"), bits: 2048 };
        command().run().unwrap();
        let private = fs::read(folder.path().join("authority.key")).unwrap();
        assert!(command().run().is_err());
        assert_eq!(fs::read(folder.path().join("authority.key")).unwrap(), private);
        assert!(folder.path().join("authority.pub").exists());
    }

    #[test]
    fn the_end_is_a_date_or_a_time() {
        assert_eq!(parse_time("2099-01-31T00:00:00Z"), parse_time("2099-01-31"));
        assert!(parse_time("soon").is_err());
    }
}
