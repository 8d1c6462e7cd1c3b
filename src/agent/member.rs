//! The member itself: its record in memory and on disk, and every change of it.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use muster_proto::enterprise_v2::{LicenseRecord, State};
use prost_types::Timestamp;
use tokio::sync::{Mutex, Notify};
use tonic::Status;
use tracing::{error, info, warn};

use super::heartbeat::{self, DIAL_LIMIT};
use super::record::{Record, RecordError, RecordFile, Tie};
use crate::clock::{self, Clock};
use crate::dial::Roots;

/// How long somebody waits at the other end for a license server that does not answer.
const ASKED_DIAL_LIMIT: Duration = Duration::from_secs(10);

/// What the license server says, word for word, when a member must switch itself off.
const NOT_VALID: &str = "cluster ID or secret is not valid";

/// A cluster as the license server knows it.
#[derive(Debug)]
pub(super) struct Member {
    file: RecordFile,
    record: ArcSwap<Record>,
    /// Held while the record changes, so that changes come one after the other.
    changing: Mutex<()>,
    /// Rung when the tie changes, so that the heartbeats follow.
    pub(super) retied: Notify,
    clock: Arc<dyn Clock>,
    roots: Roots,
    version: String,
}

/// What a heartbeat came to.
#[derive(Debug)]
pub(super) enum Beat {
    /// There is no license server to send one to.
    Untied,
    /// Answered; the license is the server's newest.
    Answered,
    /// The license server does not know the id or the secret: the member is switched off.
    Refused,
    /// Anything else; nothing changed.
    Failed(Status),
}

impl Member {
    pub(super) fn new(
        file: RecordFile,
        record: Record,
        clock: Arc<dyn Clock>,
        roots: Roots,
        version: String,
    ) -> Self {
        Member {
            file,
            record: ArcSwap::from_pointee(record),
            changing: Mutex::new(()),
            retied: Notify::new(),
            clock,
            roots,
            version,
        }
    }

    /// What is known at this moment.
    pub(super) fn record(&self) -> Arc<Record> {
        self.record.load_full()
    }

    pub(super) fn now(&self) -> Timestamp {
        clock::to_message(self.clock.now())
    }

    pub(super) fn state(&self) -> State {
        self.record.load().state(&self.now())
    }

    /// Ties the member to a license server that has answered its heartbeat; else nothing changes.
    pub(super) async fn tie(&self, tie: Tie) -> Result<(), Status> {
        let license = self.ask(&tie, ASKED_DIAL_LIMIT).await?;
        let now = self.clock.now().0;
        info!(id = %tie.id, license_server = %tie.license_server, "tied to a license server");
        self.change(move |record| {
            record.tie = Some(tie);
            record.beaten(license, now);
            true
        })
        .await?;
        self.retied.notify_one();
        Ok(())
    }

    /// Ends the tie, if there is one.
    pub(super) async fn untie(&self) -> Result<(), Status> {
        self.change(|record| {
            record.untied();
            true
        })
        .await?;
        info!("not tied to any license server any more");
        self.retied.notify_one();
        Ok(())
    }

    /// Sends one heartbeat because somebody asked for it.
    pub(super) async fn beat_now(&self) -> Result<Beat, Status> {
        self.beat_within(ASKED_DIAL_LIMIT).await
    }

    /// Sends one heartbeat because it is due.
    pub(super) async fn beat(&self) -> Result<Beat, Status> {
        self.beat_within(DIAL_LIMIT).await
    }

    /// Sends one heartbeat and does what its answer says.
    async fn beat_within(&self, dial_limit: Duration) -> Result<Beat, Status> {
        let Some(tie) = self.record.load().tie.clone() else { return Ok(Beat::Untied) };
        let answer = self.ask(&tie, dial_limit).await;
        let now = self.clock.now().0;
        // What an old tie's server says means nothing to a member that was tied anew meanwhile.
        let is_current = move |record: &Record| record.tie.as_ref() == Some(&tie);
        match answer {
            Ok(license) => {
                self.change(move |record| {
                    let is_current = is_current(record);
                    if is_current {
                        record.beaten(license, now);
                    }
                    is_current
                })
                .await?;
                Ok(Beat::Answered)
            }
            Err(status) if status.message().contains(NOT_VALID) => {
                error!(reason = status.message(), "the license server refused this cluster");
                self.change(move |record| {
                    let is_current = is_current(record);
                    if is_current {
                        record.refused();
                    }
                    is_current
                })
                .await?;
                Ok(Beat::Refused)
            }
            Err(status) => {
                warn!(reason = status.message(), "heartbeat failed; the license stays as it was");
                Ok(Beat::Failed(status))
            }
        }
    }

    async fn ask(&self, tie: &Tie, limit: Duration) -> Result<Option<LicenseRecord>, Status> {
        heartbeat::send(tie, &self.version, &self.roots, limit).await
    }

    /// Changes the record if `change` says that it did, on disk first.
    async fn change(&self, change: impl FnOnce(&mut Record) -> bool) -> Result<(), Status> {
        let _turn = self.changing.lock().await;
        let mut record = Record::clone(&self.record.load());
        if !change(&mut record) {
            return Ok(());
        }
        self.keep(record).await.map_err(|error| {
            error!(%error, "the record could not be kept");
            Status::internal(error.to_string())
        })
    }

    async fn keep(&self, record: Record) -> Result<(), RecordError> {
        let (file, copy) = (self.file.clone(), record.clone());
        let written = tokio::task::spawn_blocking(move || file.write(&copy)).await;
        // A task that did not end is a process that is ending.
        written.unwrap_or(Ok(()))?;
        self.record.store(Arc::new(record));
        Ok(())
    }
}
