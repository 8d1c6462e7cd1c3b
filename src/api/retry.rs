//! A refusal that says when to ask again.

use std::time::Duration;

use muster_proto::google::rpc::{RetryInfo, Status as Details};
use prost::Message as _;
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};

/// What kind of message the hint is.
const RETRY_INFO: &str = "type.googleapis.com/google.rpc.RetryInfo";
/// For who does not read details: whole seconds, as HTTP has it.
const RETRY_AFTER: &str = "retry-after";

/// `RESOURCE_EXHAUSTED` with a hint, in both ways that clients look for one.
pub(super) fn exhausted(text: &str, wait: Duration) -> Status {
    let hint = RetryInfo { retry_delay: prost_types::Duration::try_from(wait).ok() };
    let details = Details {
        code: Code::ResourceExhausted.into(),
        message: text.to_owned(),
        details: vec![prost_types::Any {
            type_url: RETRY_INFO.to_owned(),
            value: hint.encode_to_vec(),
        }],
    };
    let mut metadata = MetadataMap::new();
    metadata.insert(RETRY_AFTER, whole_seconds(wait).into());
    let details = details.encode_to_vec().into();
    Status::with_details_and_metadata(Code::ResourceExhausted, text, details, metadata)
}

/// At least 1.
pub(super) fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hint_is_in_the_details_and_in_the_metadata() {
        let status = exhausted("later", Duration::from_millis(2500));
        let details = Details::decode(status.details()).unwrap();
        assert_eq!((details.code, details.message.as_str()), (8, "later"));
        let hint = RetryInfo::decode(details.details[0].value.as_slice()).unwrap();
        let delay = hint.retry_delay.unwrap();
        assert_eq!((delay.seconds, delay.nanos), (2, 500_000_000));
        assert_eq!(status.metadata().get("retry-after").unwrap(), "3");
        assert_eq!(whole_seconds(Duration::ZERO), 1);
    }
}
