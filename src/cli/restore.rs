//! `muster restore …`: a group that was restored, until somebody vouches for it.

use clap::{Args, Subcommand};
use muster_proto::muster::v1::{
    ConfirmRestoreRequest, RestoreOrigin, RestoreStatus, RestoreStatusRequest,
};
use serde_json::{Value, json};

use super::confirm;
use super::go;
use super::output::{self, Failure};
use super::pachctl::connect::{Invocation, Server};
use super::remote::{Format, Remote, refused};
use super::table::{sheet, table};

/// A group that was restored, until somebody vouches for it.
#[derive(Debug, Subcommand)]
pub(super) enum Restore {
    /// Say whether the group waits to be confirmed, and which clusters it met and did not know.
    Status(Remote),
    /// Vouch that the restored state misses nothing: clusters that it does not know are switched off
    /// from now on when they beat.
    Confirm(Confirm),
}

#[derive(Debug, Args)]
pub(super) struct Confirm {
    /// Confirm although clusters beat that are not known.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    remote: Remote,
}

pub(super) async fn run(command: Restore, invocation: &Invocation) -> Result<(), Failure> {
    match command {
        Restore::Status(remote) => {
            let server = remote.any(invocation).await?;
            let status = status(&server).await?;
            output::data(&match remote.output {
                Format::Table => tell(&status),
                Format::Json => format!("{:#}\n", status_json(&status)),
            })
        }
        Restore::Confirm(command) => command.run(invocation).await,
    }
}

async fn status(server: &Server) -> Result<RestoreStatus, Failure> {
    let answer = server.call(server.restore().status(RestoreStatusRequest {})).await;
    answer.map_err(|status| refused(server, "cannot get the status of the restore of", &status))
}

impl Confirm {
    async fn run(self, invocation: &Invocation) -> Result<(), Failure> {
        let server = self.remote.any(invocation).await?;
        let before = status(&server).await?;
        let strays = before.strays.len();
        if strays > 0 && !self.yes {
            output::note_raw(&tell(&before));
            let question = format!(
                "{strays} clusters beat that the restored state does not know; confirming switches them off."
            );
            confirm::typed(
                &question,
                "confirm",
                "muster restore status, then muster restore confirm --yes",
            )?;
        }
        let answer = server.call(server.restore().confirm(ConfirmRestoreRequest {})).await;
        answer.map_err(|status| refused(&server, "cannot confirm the restore of", &status))?;
        let was = before.quarantined;
        output::data(&match self.remote.output {
            Format::Table if was => "confirmed: the group vouches for its fleet again\n".to_owned(),
            Format::Table => "there was nothing to confirm\n".to_owned(),
            Format::Json => format!("{:#}\n", json!({ "quarantined": false, "was": was })),
        })
    }
}

fn origin(status: &RestoreStatus) -> &'static str {
    match status.origin() {
        RestoreOrigin::Unspecified => "-",
        RestoreOrigin::Snapshot => "a snapshot",
        RestoreOrigin::Survivor => "the survivor of a lost group",
    }
}

fn tell(status: &RestoreStatus) -> String {
    if !status.quarantined {
        return "not in quarantine: the group vouches for its fleet\n".to_owned();
    }
    let mut text = sheet(&[
        ("quarantine", "clusters that are not known are told to wait".to_owned()),
        ("restored from", origin(status).to_owned()),
        ("since", go::rfc3339_or_nil(status.since.as_ref())),
        ("unknown clusters", status.strays.len().to_string()),
        ("beats of others", status.untold_beats.to_string()),
    ]);
    if !status.strays.is_empty() {
        let rows: Vec<_> = status
            .strays
            .iter()
            .map(|stray| {
                let what = if stray.registered { "another secret" } else { "not registered" };
                let last = go::rfc3339_or_nil(stray.last_beat.as_ref());
                [stray.id.clone(), stray.beats.to_string(), last, what.to_owned()]
            })
            .collect();
        text.push_str(&table(["ID", "BEATS", "LAST", "WHY"], &rows));
    }
    text
}

fn status_json(status: &RestoreStatus) -> Value {
    let time =
        |time: Option<&prost_types::Timestamp>| time.map(|time| go::rfc3339_or_nil(Some(time)));
    let strays = status.strays.iter().map(|stray| {
        json!({
            "id": stray.id,
            "beats": stray.beats,
            "last_beat": time(stray.last_beat.as_ref()),
            "registered": stray.registered,
        })
    });
    json!({
        "quarantined": status.quarantined,
        "origin": status.origin().as_str_name().trim_start_matches("RESTORE_ORIGIN_").to_lowercase(),
        "since": time(status.since.as_ref()),
        "strays": strays.collect::<Vec<_>>(),
        "untold_beats": status.untold_beats,
    })
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use muster_proto::muster::v1::StrayCluster;
    use prost_types::Timestamp;

    use super::*;

    #[test]
    fn a_quarantine_names_whom_it_met() {
        let at = Some(Timestamp { seconds: 1_621_622_256, nanos: 0 });
        let stray = |id: &str, registered| StrayCluster {
            id: id.to_owned(),
            beats: 3,
            last_beat: at,
            registered,
        };
        let status = RestoreStatus {
            quarantined: true,
            origin: RestoreOrigin::Snapshot.into(),
            since: at,
            strays: vec![stray("payroll", false), stray("lab", true)],
            untold_beats: 0,
        };
        expect![[r#"
            quarantine:       clusters that are not known are told to wait
            restored from:    a snapshot
            since:            2021-05-21T18:37:36Z
            unknown clusters: 2
            beats of others:  0
            ID       BEATS  LAST                  WHY
            payroll  3      2021-05-21T18:37:36Z  not registered
            lab      3      2021-05-21T18:37:36Z  another secret
        "#]]
        .assert_eq(&tell(&status));
        assert_eq!(status_json(&status)["strays"][1]["registered"], true);
        assert_eq!(
            tell(&RestoreStatus::default()),
            "not in quarantine: the group vouches for its fleet\n"
        );
    }
}
