//! What auth keeps as records, and back.

use std::sync::Arc;

use muster_proto::muster::log::v1::{
    BindingRecord, BindingRecords, LoginRecords, MembershipRecord, MembershipRecords,
    RevocationRecord, RevocationRecords, TokenRecord, TokenRecords, record::Kind,
};

use crate::state::auth::Auth;
use crate::state::auth::bindings::{self, Resource};
use crate::state::auth::groups::Source;
use crate::state::secret::Digest;
use crate::state::snapshot::{Chunks, LoadError, digest};
use crate::state::time::LogTime;

impl Auth {
    pub(in crate::state) fn records(&self) -> impl Iterator<Item = Kind> + Send + '_ {
        let configuration = self.configuration.as_deref().cloned().map(Kind::AuthConfiguration);
        let bindings = Chunks::of(self.binding_records())
            .map(|entries| Kind::Bindings(BindingRecords { entries }));
        let revocations = Chunks::of(self.revocation_records())
            .map(|revocations| Kind::Revocations(RevocationRecords { revocations }));
        let tokens =
            Chunks::of(self.token_records()).map(|tokens| Kind::Tokens(TokenRecords { tokens }));
        let memberships = Chunks::of(self.membership_records())
            .map(|memberships| Kind::Memberships(MembershipRecords { memberships }));
        let logins =
            Chunks::of(self.logins.records()).map(|logins| Kind::Logins(LoginRecords { logins }));
        let tokens = revocations.chain(tokens);
        configuration.into_iter().chain(bindings).chain(tokens).chain(memberships).chain(logins)
    }

    fn binding_records(&self) -> impl Iterator<Item = BindingRecord> {
        self.bindings.iter().flat_map(|(resource, binding)| {
            let own =
                BindingRecord { resource: Some(resource.on_wire()), ..BindingRecord::default() };
            let entries = binding.iter().map(|(principal, roles)| BindingRecord {
                resource: Some(resource.on_wire()),
                principal: principal.as_ref().to_owned(),
                roles: roles.iter().map(|role| role.name.to_owned()).collect(),
            });
            std::iter::once(own).chain(entries)
        })
    }

    fn token_records(&self) -> impl Iterator<Item = TokenRecord> {
        self.tokens.iter().map(|(digest, token)| TokenRecord {
            digest: digest.to_vec().into(),
            subject: token.subject.as_ref().to_owned(),
            expires_us: token.expires.0,
            issued_index: token.issued,
        })
    }

    fn revocation_records(&self) -> impl Iterator<Item = RevocationRecord> {
        self.tokens.revocations().iter().map(|(subject, it)| RevocationRecord {
            subject: subject.as_ref().to_owned(),
            before_index: it.before,
        })
    }

    fn membership_records(&self) -> impl Iterator<Item = MembershipRecord> {
        self.groups.iter().flat_map(|(principal, groups)| {
            let own = MembershipRecord {
                principal: principal.as_ref().to_owned(),
                ..MembershipRecord::default()
            };
            let memberships = groups.iter().map(|(group, source)| MembershipRecord {
                principal: principal.as_ref().to_owned(),
                group: group.as_ref().to_owned(),
                by_hand: source.by_hand,
                by_claim: source.by_claim,
            });
            std::iter::once(own).chain(memberships)
        })
    }

    pub(in crate::state) fn load_bindings(
        &mut self,
        records: BindingRecords,
    ) -> Result<(), LoadError> {
        for record in records.entries {
            let resource = record
                .resource
                .and_then(|resource| Resource::read(&resource).ok())
                .ok_or(LoadError::FieldDamaged("resource"))?;
            if record.principal.is_empty() {
                self.bindings.create(resource);
                continue;
            }
            let roles = bindings::read_roles(&record.roles, resource.kind())
                .map_err(|_| LoadError::FieldDamaged("roles"))?;
            self.bindings.set(&resource, &record.principal, roles);
        }
        Ok(())
    }

    pub(in crate::state) fn load_tokens(&mut self, records: TokenRecords) -> Result<(), LoadError> {
        for record in records.tokens {
            let digest = digest("digest", &record.digest)?;
            if self.tokens.last_digest().is_some_and(|last| *last >= digest) {
                return Err(LoadError::OrderWrong("tokens"));
            }
            let expires = LogTime(record.expires_us);
            self.tokens.insert(digest, &record.subject, expires, record.issued_index);
        }
        Ok(())
    }

    /// The marks come before the tokens, so that each token is counted as what it is.
    pub(in crate::state) fn load_revocations(
        &mut self,
        records: RevocationRecords,
    ) -> Result<(), LoadError> {
        for record in records.revocations {
            let last = self.tokens.revocations().last();
            let is_misplaced = last.is_some_and(|last| last.as_ref() >= record.subject.as_str());
            if is_misplaced || !self.tokens.is_empty() {
                return Err(LoadError::OrderWrong("revocations"));
            }
            self.tokens.load_revocation(&record.subject, record.before_index);
        }
        Ok(())
    }

    pub(in crate::state) fn load_memberships(&mut self, records: MembershipRecords) {
        for record in records.memberships {
            if record.group.is_empty() {
                self.groups.know(&record.principal);
            } else {
                let source = Source { by_hand: record.by_hand, by_claim: record.by_claim };
                self.groups.set(&record.principal, &record.group, source);
            }
        }
    }

    pub(in crate::state) fn load_logins(&mut self, records: LoginRecords) -> Result<(), LoadError> {
        for record in records.logins {
            let digest: Digest = digest("digest", &record.digest)?;
            let loaded = self.logins.load(digest, record);
            loaded.map_err(|_| LoadError::FieldDamaged("nonce_digest"))?;
        }
        Ok(())
    }

    pub(in crate::state) fn load_configuration(
        &mut self,
        configuration: muster_proto::muster::log::v1::OidcConfig,
    ) {
        self.configuration = Some(Arc::new(configuration));
    }
}
