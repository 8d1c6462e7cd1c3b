//! Messages that carry a secret show none of it in their debug form, so that nothing that prints a
//! message can give one away: no event, no panic, no failed assertion.

use std::fmt;

use crate::{auth_v2, enterprise_v2, identity_v2, license_v2, muster};

/// In place of a secret.
struct Hidden;

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// Each message with the fields that it shows and those that it hides. That all are named is checked
/// by taking the message apart; `SECRET` of `build.rs` names the same messages.
macro_rules! masked {
    ($($message:path { $($shown:ident),* } hides { $($hidden:ident),+ })*) => {$(
        impl fmt::Debug for $message {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let Self { $($shown,)* $($hidden: _,)+ } = self;
                f.debug_struct(stringify!($message))
                    $(.field(stringify!($shown), $shown))*
                    $(.field(stringify!($hidden), &Hidden))+
                    .finish()
            }
        }
    )*};
}

masked! {
    license_v2::ActivateRequest { expires } hides { activation_code }
    license_v2::GetActivationCodeResponse { state, info } hides { activation_code }
    license_v2::AddClusterRequest { id, address, user_address, cluster_deployment_id, enterprise_server } hides { secret }
    license_v2::AddClusterResponse {  } hides { secret }
    license_v2::UpdateClusterRequest { id, address, user_address, cluster_deployment_id } hides { secret }
    license_v2::HeartbeatRequest { id, version, auth_enabled, client_id } hides { secret }
    enterprise_v2::LicenseRecord { expires } hides { activation_code }
    enterprise_v2::EnterpriseConfig { license_server, id } hides { secret }
    enterprise_v2::ActivateRequest { license_server, id } hides { secret }
    enterprise_v2::GetStateResponse { state, info } hides { activation_code }
    enterprise_v2::GetActivationCodeResponse { state, info } hides { activation_code }
    identity_v2::IdpConnector { id, name, r#type, config_version } hides { json_config, config }
    identity_v2::OidcClient { id, redirect_uris, trusted_peers, name } hides { secret }
    auth_v2::ActivateRequest {  } hides { root_token }
    auth_v2::ActivateResponse {  } hides { pach_token }
    auth_v2::RotateRootTokenRequest {  } hides { root_token }
    auth_v2::RotateRootTokenResponse {  } hides { root_token }
    auth_v2::OidcConfig { issuer, client_id, redirect_uri, scopes, require_email_verified, localhost_issuer, user_accessible_issuer_host } hides { client_secret }
    auth_v2::TokenInfo { subject, expiration } hides { hashed_token }
    auth_v2::AuthenticateRequest {  } hides { oidc_state, id_token }
    auth_v2::AuthenticateResponse {  } hides { pach_token }
    auth_v2::SessionInfo { email, conversion_err } hides { nonce }
    auth_v2::GetOidcLoginResponse {  } hides { login_url, state }
    auth_v2::GetRobotTokenResponse {  } hides { token }
    auth_v2::RevokeAuthTokenRequest {  } hides { token }
    muster::log::v1::License { expires, customer, max_clusters, grace_days } hides { activation_code, activation_code_sealed }
    muster::v1::MintJoinTokenResponse { expires } hides { token }
    muster::v1::JoinRequest { name, peer_address, zone } hides { token }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_all_but_the_secret() {
        let request = license_v2::HeartbeatRequest {
            id: "c1".to_owned(),
            secret: "planted".to_owned(),
            ..license_v2::HeartbeatRequest::default()
        };
        let shown = format!("{request:?}");
        assert!(shown.contains("id: \"c1\"") && shown.contains("secret: (secret)"), "{shown}");
        assert!(!shown.contains("planted"), "{shown}");
    }

    #[test]
    fn a_message_around_one_hides_it_too() {
        let configuration =
            auth_v2::OidcConfig { client_secret: "planted".to_owned(), ..Default::default() };
        let shown = format!(
            "{:?}",
            auth_v2::SetConfigurationRequest { configuration: Some(configuration) }
        );
        assert!(!shown.contains("planted"), "{shown}");
    }
}
