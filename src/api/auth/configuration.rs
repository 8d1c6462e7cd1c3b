//! Where people sign in.

use muster_proto::auth_v2::{
    GetConfigurationRequest, GetConfigurationResponse, OidcConfig, Permission,
    SetConfigurationRequest, SetConfigurationResponse,
};
use tokio::time::timeout_at;
use tonic::transport::Uri;
use tonic::{Code, Request, Status};

use super::AuthService;
use crate::actors::Call;
use crate::identity::{Configuration, ConfigurationError, sealed};
use crate::state::access::Need;

impl AuthService {
    pub(super) async fn configuration(
        &self,
        call: Call,
        _request: Request<GetConfigurationRequest>,
    ) -> Result<GetConfigurationResponse, Status> {
        let need = Need::Permission(Permission::ClusterAuthGetConfig);
        let (view, _) = self.view(&call, need).await?;
        let configuration = match view.auth().configuration() {
            Some(stored) => {
                let opened = Configuration::open(stored, self.data_key.as_ref());
                opened.map_err(not_readable)?.0
            }
            None => OidcConfig::default(),
        };
        Ok(GetConfigurationResponse { configuration: Some(configuration) })
    }

    pub(super) async fn configure(
        &self,
        call: Call,
        request: Request<SetConfigurationRequest>,
    ) -> Result<SetConfigurationResponse, Status> {
        let given = request.into_inner().configuration;
        let need = Need::Permission(Permission::ClusterAuthSetConfig);
        // Before an issuer is asked, so that only those who may are told of what answers there.
        self.view(&call, need).await?;
        let stored = match given {
            None => None,
            Some(given) => {
                check(&given)?;
                self.discover(&call, &given).await?;
                Some(sealed(given, self.data_key.as_ref()).map_err(not_readable)?)
            }
        };
        self.session.configure(call, stored).await?;
        Ok(SetConfigurationResponse {})
    }
}

impl AuthService {
    async fn discover(&self, call: &Call, given: &OidcConfig) -> Result<(), Status> {
        const WRONG: &str = "provided OIDC issuer does not implement OIDC protocol";
        let answer = timeout_at(call.deadline, self.sign_in.check(given)).await;
        let answer = answer.map_err(|_| {
            Status::unavailable(format!("{WRONG}: the issuer does not answer in time"))
        })?;
        answer.map_err(|error| {
            let code =
                if error.is_passing() { Code::Unavailable } else { Code::FailedPrecondition };
            Status::new(code, format!("{WRONG}: {error}"))
        })
    }
}

fn not_readable(error: ConfigurationError) -> Status {
    Status::failed_precondition(error.to_string())
}

fn check(given: &OidcConfig) -> Result<(), Status> {
    let refused = |text: String| Err(Status::invalid_argument(text));
    if let Err(reason) = check_url(&given.issuer) {
        return refused(format!("OIDC issuer must be a valid URL: {reason}"));
    }
    if !given.redirect_uri.is_empty()
        && let Err(reason) = check_url(&given.redirect_uri)
    {
        return refused(format!("OIDC redirect_uri must be a valid URL: {reason}"));
    }
    if given.client_id.is_empty() {
        return refused("OIDC configuration must have a non-empty client_id".to_owned());
    }
    let host = &given.user_accessible_issuer_host;
    if !host.is_empty() && host.parse::<Uri>().is_err() {
        return refused("user_accessible_issuer_host must be a valid URL or host".to_owned());
    }
    Ok(())
}

/// The text itself stays out of the reason: it is whatever the caller wrote.
fn check_url(text: &str) -> Result<(), &'static str> {
    let uri: Uri = text.parse().map_err(|_| "it cannot be parsed")?;
    match uri.scheme_str() {
        Some("http" | "https") if uri.host().is_some_and(|host| !host.is_empty()) => Ok(()),
        Some("http" | "https") => Err("it names no host"),
        _ => Err("it must begin with http:// or https://"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::configuration;

    #[test]
    fn each_part_is_checked() {
        assert!(check(&configuration()).is_ok());
        let wrong = |change: fn(&mut OidcConfig)| {
            let mut configuration = configuration();
            change(&mut configuration);
            check(&configuration).unwrap_err().message().to_owned()
        };
        assert!(wrong(|it| it.issuer.clear()).starts_with("OIDC issuer must be a valid URL: "));
        assert!(wrong(|it| it.issuer = "ftp://x".into()).starts_with("OIDC issuer must be"));
        assert!(
            wrong(|it| it.redirect_uri = "a b".into()).starts_with("OIDC redirect_uri must be")
        );
        assert_eq!(
            wrong(|it| it.client_id.clear()),
            "OIDC configuration must have a non-empty client_id"
        );
    }
}
