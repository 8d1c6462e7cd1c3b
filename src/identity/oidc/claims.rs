//! A person out of checked claims.

use muster_proto::auth_v2::OidcConfig;
use serde_json::Value;

use super::error::OidcError;
use super::types::{IdTokenClaims, UserInfo};

/// Somebody who signed in.
#[derive(Clone, PartialEq, Eq)]
pub struct Person {
    /// The address, unchanged: what this server knows people by.
    pub email: String,
    /// The groups that the provider named; none if it said nothing of groups.
    pub groups: Option<Vec<String>>,
    /// When the provider's word ends, in seconds since the Unix epoch.
    pub expires: u64,
}

impl std::fmt::Debug for Person {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Person")
    }
}

/// What is still to be asked for: a provider may put next to nothing into its ID tokens.
pub(super) fn is_thin(claims: &IdTokenClaims, configuration: &OidcConfig) -> bool {
    let asked_for_groups = configuration.scopes.iter().any(|scope| scope == "groups");
    claims.email().is_none() || asked_for_groups && groups_of(claims).is_none()
}

fn groups_of(claims: &IdTokenClaims) -> Option<&Value> {
    claims.additional_claims().groups.as_ref()
}

/// The person of an ID token and, where it says too little, of the provider's answer about the
/// person.
pub(super) fn person(
    claims: &IdTokenClaims,
    info: Option<&UserInfo>,
    configuration: &OidcConfig,
) -> Result<Person, OidcError> {
    // An address and whether it was checked belong together, so both are of one source.
    let (email, verified) = match (claims.email(), info) {
        (None, Some(info)) => (info.email(), info.email_verified()),
        (email, _) => (email, claims.email_verified()),
    };
    let email = email.map(|email| email.as_str()).filter(|email| !email.is_empty());
    let email = email.ok_or(OidcError::Claims("there is no e-mail address"))?;
    if configuration.require_email_verified && verified != Some(true) {
        return Err(OidcError::EmailUnverified);
    }
    let groups = match (groups_of(claims), info) {
        (None, Some(info)) => info.additional_claims().groups.as_ref(),
        (groups, _) => groups,
    };
    let expires = u64::try_from(claims.expiration().timestamp()).unwrap_or(0);
    Ok(Person {
        email: email.to_owned(),
        groups: groups.map(names).transpose()?.flatten(),
        expires,
    })
}

/// A list of names, or one name; none for null.
fn names(claim: &Value) -> Result<Option<Vec<String>>, OidcError> {
    const WRONG: OidcError = OidcError::Claims("groups is no list of names");
    let name = |value: &Value| value.as_str().map(str::to_owned).ok_or(WRONG);
    let mut names = match claim {
        Value::Null => return Ok(None),
        Value::Array(values) => values.iter().map(name).collect::<Result<Vec<String>, _>>()?,
        one => vec![name(one)?],
    };
    names.retain(|name| !name.is_empty());
    Ok(Some(names))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::identity::oidc::fetch::FetchError;

    fn claims(more: &Value) -> IdTokenClaims {
        let mut all = json!({"iss": "https://i", "sub": "s", "aud": ["a"], "exp": 100, "iat": 1});
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(all).unwrap()
    }

    fn info(more: &Value) -> UserInfo {
        let mut all = json!({"sub": "s"});
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        UserInfo::from_json::<FetchError>(all.to_string().as_bytes(), None).unwrap()
    }

    fn strict() -> OidcConfig {
        OidcConfig { require_email_verified: true, ..OidcConfig::default() }
    }

    #[test]
    fn an_address_keeps_its_case_and_must_be_there() {
        let found = person(&claims(&json!({"email": "A@b.C"})), None, &OidcConfig::default());
        let found = found.unwrap();
        assert_eq!((found.email.as_str(), found.groups, found.expires), ("A@b.C", None, 100));
        for none in [json!({}), json!({"email": ""})] {
            let error = person(&claims(&none), None, &OidcConfig::default()).unwrap_err();
            assert!(matches!(error, OidcError::Claims(_)), "{error}");
        }
    }

    #[test]
    fn an_address_that_must_be_checked_is_not_when_nobody_says_so() {
        for unsaid in [json!({"email": "a"}), json!({"email": "a", "email_verified": false})] {
            let error = person(&claims(&unsaid), None, &strict()).unwrap_err();
            assert!(matches!(error, OidcError::EmailUnverified), "{error}");
        }
        for said in [json!(true), json!("true")] {
            person(&claims(&json!({"email": "a", "email_verified": said})), None, &strict())
                .unwrap();
        }
    }

    #[test]
    fn a_checked_address_of_one_source_does_not_vouch_for_the_other() {
        let token = claims(&json!({"email": "mine", "email_verified": false}));
        let info = info(&json!({"email": "other", "email_verified": true}));
        person(&token, Some(&info), &strict()).unwrap_err();
        let token = claims(&json!({"email_verified": false}));
        assert_eq!(person(&token, Some(&info), &strict()).unwrap().email, "other");
    }

    #[test]
    fn groups_are_names_or_one_name_or_unsaid() {
        let groups = |said: Value| {
            let token = claims(&json!({"email": "a", "groups": said}));
            person(&token, None, &OidcConfig::default()).map(|it| it.groups)
        };
        assert_eq!(groups(json!(["a", "", "b"])).unwrap(), Some(vec!["a".into(), "b".into()]));
        assert_eq!(groups(json!("one")).unwrap(), Some(vec!["one".into()]));
        assert_eq!(groups(json!([])).unwrap(), Some(Vec::new()));
        assert_eq!(groups(Value::Null).unwrap(), None);
        for wrong in [json!({}), json!([1]), json!(true)] {
            groups(wrong).unwrap_err();
        }
    }

    #[test]
    fn a_token_without_an_address_or_groups_asked_for_is_thin() {
        let plain = OidcConfig::default();
        let asks = OidcConfig { scopes: vec!["groups".to_owned()], ..OidcConfig::default() };
        assert!(is_thin(&claims(&json!({})), &plain));
        assert!(!is_thin(&claims(&json!({"email": "a"})), &plain));
        assert!(is_thin(&claims(&json!({"email": "a"})), &asks));
        assert!(!is_thin(&claims(&json!({"email": "a", "groups": []})), &asks));
    }
}
