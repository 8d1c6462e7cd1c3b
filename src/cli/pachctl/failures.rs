//! Failed calls in pachctl's two styles, with what to do next for a person at a terminal.

use tonic::{Code, Status};

use crate::cli::go;
use crate::cli::output::Failure;

/// The failure with its code: `rpc error: code = Unknown desc = …`.
pub(crate) fn raw(status: &Status) -> Failure {
    with_hint(Failure::pachctl(go::rpc_error(status)), status)
}

/// The failure's message alone.
pub(crate) fn scrubbed(status: &Status) -> Failure {
    with_hint(Failure::pachctl(status.message()), status)
}

fn with_hint(failure: Failure, status: &Status) -> Failure {
    match hint(status) {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

fn hint(status: &Status) -> Option<&'static str> {
    let text = status.message();
    let by_text = [
        (
            "cluster ID is not unique",
            "muster license list-clusters shows it; update-cluster changes it, delete-cluster removes it",
        ),
        ("enterprise license is not valid", "muster license activate"),
        ("cluster does not have enterprise features enabled", "muster enterprise register"),
        (
            "disabled when the license key is configured via environment",
            "change the server's LICENSE_KEY instead",
        ),
    ];
    if let Some((_, hint)) = by_text.iter().find(|(part, _)| text.contains(part)) {
        return Some(hint);
    }
    match status.code() {
        Code::Unavailable => Some("muster replica status; then again"),
        Code::DeadlineExceeded => {
            Some("look whether it was done before doing it again; --rpc-timeout gives more time")
        }
        Code::Unauthenticated => Some("put a token into the context: session_token"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_styles_differ_by_the_code() {
        let status = Status::unknown("no id provided for cluster");
        assert_eq!(
            raw(&status),
            Failure::pachctl("rpc error: code = Unknown desc = no id provided for cluster")
        );
        assert_eq!(scrubbed(&status), Failure::pachctl("no id provided for cluster"));
    }
}
