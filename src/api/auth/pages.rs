//! Extracts that are too large for one message. Pachyderm's request has no field for pages, so that a
//! client that knows of them asks in the metadata, and every other gets all or a clear no.

use muster_proto::auth_v2::{ExtractAuthTokensResponse, TokenInfo};
use prost::Message as _;
use tonic::metadata::MetadataMap;
use tonic::{Response, Status};

use super::super::server::MESSAGE_BYTES_MAX;
use crate::state::auth::principal;
use crate::state::auth::tokens::{Token, Tokens};
use crate::state::secret::Digest;

/// Turns pages on: the most tokens of one.
const PAGE_SIZE: &str = "muster-page-size";
/// Where the next page begins, as the page before said.
const PAGE_TOKEN: &str = "muster-page-token";
/// In the answer, when there is more.
const NEXT_PAGE_TOKEN: &str = "muster-next-page-token";

/// The tokens of robots, all or a page of them.
pub(super) fn extract(
    tokens: &Tokens,
    metadata: &MetadataMap,
) -> Result<Response<ExtractAuthTokensResponse>, Status> {
    let size = page_size(metadata)?;
    let after = after(metadata)?;
    let after =
        after.as_ref().map(|(subject, issued, digest)| (subject.as_str(), *issued, *digest));
    let (page, next) = page(tokens.of_prefix_after(principal::ROBOT, after), size)?;
    let mut response = Response::new(ExtractAuthTokensResponse { tokens: page });
    if let Some(next) = next.and_then(|next| next.parse().ok()) {
        response.metadata_mut().insert(NEXT_PAGE_TOKEN, next);
    }
    Ok(response)
}

/// All that come, or the first `size` of them and where the rest begins.
fn page<'a>(
    tokens: impl Iterator<Item = (&'a Digest, &'a Token)>,
    size: Option<usize>,
) -> Result<(Vec<TokenInfo>, Option<String>), Status> {
    let mut all = tokens.peekable();
    let mut page = Vec::new();
    let mut bytes = 0;
    while let Some((digest, token)) = all.next() {
        let info = on_wire(digest, token);
        let len = info.encoded_len();
        bytes += 1 + prost::length_delimiter_len(len) + len;
        if bytes > MESSAGE_BYTES_MAX {
            return Err(Status::resource_exhausted(format!(
                "there are too many tokens for one message: ask for pages with the metadata {PAGE_SIZE}, \
                 and go on with {PAGE_TOKEN} as {NEXT_PAGE_TOKEN} of each answer says"
            )));
        }
        page.push(info);
        if size.is_some_and(|size| page.len() >= size) {
            let next = all.peek().map(|_| page_token(digest, token));
            return Ok((page, next));
        }
    }
    Ok((page, None))
}

fn on_wire(digest: &Digest, token: &Token) -> TokenInfo {
    TokenInfo {
        subject: token.subject.to_string(),
        expiration: token.expires.on_wire(),
        hashed_token: hex::encode(digest),
    }
}

fn page_size(metadata: &MetadataMap) -> Result<Option<usize>, Status> {
    let Some(value) = metadata.get(PAGE_SIZE) else { return Ok(None) };
    let size = value.to_str().ok().and_then(|text| text.parse().ok()).filter(|size| *size > 0);
    size.map(Some)
        .ok_or_else(|| Status::invalid_argument(format!("{PAGE_SIZE} is no number above 0")))
}

/// The place behind a token, also when that one is gone: its digest, where it was issued, and its subject
/// in hexadecimal.
fn page_token(digest: &Digest, token: &Token) -> String {
    let issued = hex::encode(token.issued.to_be_bytes());
    format!("{}{issued}{}", hex::encode(digest), hex::encode(token.subject.as_bytes()))
}

fn after(metadata: &MetadataMap) -> Result<Option<(String, u64, Digest)>, Status> {
    let Some(value) = metadata.get(PAGE_TOKEN).filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    let read = || {
        let bytes = hex::decode(value.as_bytes()).ok()?;
        let (digest, rest) = bytes.split_first_chunk()?;
        let (issued, subject) = rest.split_first_chunk()?;
        let subject = String::from_utf8(subject.to_vec()).ok()?;
        Some((subject, u64::from_be_bytes(*issued), *digest))
    };
    let wrong = || Status::invalid_argument(format!("{PAGE_TOKEN} is none that an answer gave"));
    read().map(Some).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::LogTime;

    #[test]
    fn a_page_token_names_a_place_and_nonsense_none() {
        let metadata = |value: &str| {
            let mut metadata = MetadataMap::new();
            metadata.insert(PAGE_TOKEN, value.parse().unwrap());
            metadata
        };
        let token = Token { subject: "robot:ä".into(), expires: LogTime::NEVER, issued: 5 };
        let text = page_token(&[7; 32], &token);
        assert_eq!(after(&metadata(&text)).unwrap(), Some(("robot:ä".to_owned(), 5, [7; 32])));
        assert_eq!(after(&metadata("")).unwrap(), None);
        for bad in ["zz", "abcd", &"ab".repeat(39), &"ff".repeat(41)] {
            assert!(after(&metadata(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn more_than_one_message_can_carry_is_refused_with_the_way_out() {
        let subject = format!("robot:{}", "x".repeat(1000));
        let token = Token { subject: subject.into(), expires: LogTime::NEVER, issued: 5 };
        let many = |count: usize| std::iter::repeat_n((&[7; 32], &token), count);
        let (fitting, next) = page(many(19_000), None).unwrap();
        assert_eq!((fitting.len(), next), (19_000, None));
        let message = ExtractAuthTokensResponse { tokens: fitting };
        assert!(message.encoded_len() <= MESSAGE_BYTES_MAX);
        let refused = page(many(20_000), None).unwrap_err();
        assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
        assert!(refused.message().contains(PAGE_SIZE), "{refused:?}");
        let (first, next) = page(many(20_000), Some(10_000)).unwrap();
        assert_eq!(first.len(), 10_000);
        assert!(next.is_some());
    }

    #[test]
    fn a_page_has_at_least_one_token() {
        let mut metadata = MetadataMap::new();
        assert_eq!(page_size(&metadata).unwrap(), None);
        metadata.insert(PAGE_SIZE, "0".parse().unwrap());
        assert!(page_size(&metadata).is_err());
    }
}
