//! Where people sign in.

use muster_proto::auth_v2::{
    GetConfigurationRequest, GetConfigurationResponse, OidcConfig, Permission,
    SetConfigurationRequest, SetConfigurationResponse,
};
use muster_proto::muster::log::v1 as log;
use tonic::transport::Uri;
use tonic::{Request, Status};

use super::AuthService;
use crate::actors::Call;
use crate::seal::DataKey;
use crate::state::access::Need;

/// What the envelope of the client secret opens for.
const PURPOSE: &str = "client_secret of the auth configuration";

impl AuthService {
    pub(super) async fn configuration(
        &self,
        call: Call,
        _request: Request<GetConfigurationRequest>,
    ) -> Result<GetConfigurationResponse, Status> {
        let need = Need::Permission(Permission::ClusterAuthGetConfig);
        let (view, _) = self.view(&call, need).await?;
        let configuration = match view.auth().configuration() {
            Some(stored) => opened(stored, self.data_key.as_ref())?,
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
        let sealed = given.map(|given| {
            check(&given)?;
            sealed(given, self.data_key.as_ref())
        });
        match sealed.transpose() {
            Ok(configuration) => {
                self.session.configure(call, configuration).await?;
            }
            Err(wrong) => {
                let need = Need::Permission(Permission::ClusterAuthSetConfig);
                return self.refuse(&call, need, wrong).await;
            }
        }
        Ok(SetConfigurationResponse {})
    }
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

fn sealed(given: OidcConfig, key: Option<&DataKey>) -> Result<log::OidcConfig, Status> {
    let client_secret_sealed = match (given.client_secret.as_str(), key) {
        ("", _) => Vec::new(),
        (secret, Some(key)) => {
            key.seal(PURPOSE, secret).map_err(|error| Status::internal(error.to_string()))?
        }
        (_, None) => {
            return Err(Status::failed_precondition(
                "a client secret is stored sealed only: give every replica the same --data-key-file",
            ));
        }
    };
    Ok(log::OidcConfig {
        issuer: given.issuer,
        client_id: given.client_id,
        client_secret_sealed: client_secret_sealed.into(),
        redirect_uri: given.redirect_uri,
        scopes: given.scopes,
        require_email_verified: given.require_email_verified,
        localhost_issuer: given.localhost_issuer,
        user_accessible_issuer_host: given.user_accessible_issuer_host,
    })
}

fn opened(stored: &log::OidcConfig, key: Option<&DataKey>) -> Result<OidcConfig, Status> {
    let client_secret = match (stored.client_secret_sealed.as_ref(), key) {
        ([], _) => String::new(),
        (sealed, Some(key)) => key.open(PURPOSE, sealed).map_err(|error| {
            Status::failed_precondition(format!("the client secret stays closed: {error}"))
        })?,
        (_, None) => {
            return Err(Status::failed_precondition(
                "the client secret stays closed: this replica has no --data-key-file",
            ));
        }
    };
    Ok(OidcConfig {
        issuer: stored.issuer.clone(),
        client_id: stored.client_id.clone(),
        client_secret,
        redirect_uri: stored.redirect_uri.clone(),
        scopes: stored.scopes.clone(),
        require_email_verified: stored.require_email_verified,
        localhost_issuer: stored.localhost_issuer,
        user_accessible_issuer_host: stored.user_accessible_issuer_host.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configuration() -> OidcConfig {
        OidcConfig {
            issuer: "http://pachd:1658/".to_owned(),
            client_id: "pachd".to_owned(),
            client_secret: "hush".to_owned(),
            redirect_uri: "http://localhost:30657/authorization-code/callback".to_owned(),
            scopes: vec!["openid".to_owned()],
            ..OidcConfig::default()
        }
    }

    #[test]
    fn what_is_stored_has_no_secret_in_clear_and_comes_back_whole() {
        let key = DataKey::from_text("0123456789abcdef0123456789abcdef");
        let stored = sealed(configuration(), key.as_ref()).unwrap();
        assert!(!format!("{stored:?}").contains("hush"));
        assert_eq!(opened(&stored, key.as_ref()).unwrap(), configuration());
        assert!(opened(&stored, None).is_err());
        assert!(sealed(configuration(), None).is_err());
    }

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
