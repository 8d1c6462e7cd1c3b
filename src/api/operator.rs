//! Who may look after the replicas.

use std::sync::Arc;

use muster_proto::auth_v2::Permission;
use tonic::Status;

use crate::actors::{Call, CallError, Reader};
use crate::clock::Clock;
use crate::state::access::Need;
use crate::state::{LogTime, State};

/// Judges operators.
#[derive(Clone)]
pub(super) struct Operators {
    pub(super) reader: Reader,
    pub(super) clock: Arc<dyn Clock>,
}

impl Operators {
    /// Who may look is judged by the state of this replica alone: an operator must see something when
    /// nothing else works.
    pub(super) fn may_look(&self, call: &Call) -> Result<(), Status> {
        self.judge(&self.reader.local(), call, Permission::ClusterDebugDump)
    }

    /// Who may act is judged by the state that the group agrees on, which knows of every token that was
    /// revoked; and it takes what only an administrator has.
    pub(super) async fn may_act(&self, call: &Call) -> Result<(), Status> {
        let view = self.reader.current(call.deadline).await?;
        self.judge(&view, call, Permission::ClusterEnterprisePause)
    }

    fn judge(&self, view: &State, call: &Call, permission: Permission) -> Result<(), Status> {
        let need = Need::PermissionIfOn(permission);
        let judged = view.require(Some(&call.caller), need, LogTime(self.clock.now().0));
        Ok(judged.map_err(CallError::Rejected)?)
    }
}
