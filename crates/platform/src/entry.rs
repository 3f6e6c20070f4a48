//! What is refused before anything of it runs: what is no gRPC, headers that are too large, encodings that nobody reads.

use api::{Reason, Refusal};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode,
    header::{ALLOW, CONTENT_TYPE},
};
use tonic::body::Body;

use crate::errors;

/// The most that the headers of a call may have, as HTTP/2 counts it: 64 KiB. More, up to what the connection bears, is
/// answered `HEADERS_TOO_LARGE`.
pub(crate) const MAX_HEADER_BYTES: usize = 65_536;

/// What HTTP/2 counts for each header beside its name and its value.
const HEADER_OVERHEAD: usize = 32;

const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");

/// The encodings of messages that every service reads. What services send is never compressed.
const ENCODINGS: [&str; 2] = ["gzip", "identity"];
const ACCEPTED: &str = "gzip,identity";

/// The protobuf that services speak is the default of the first.
const CONTENT_TYPES: [&str; 2] = ["application/grpc", "application/grpc+proto"];

/// The answer to a request that no service may see; `None` for all others.
pub(crate) fn refused(request: &Request<Body>) -> Option<Response<Body>> {
    let headers = request.headers();
    if request.method() != Method::POST {
        let mut response = http_error(StatusCode::METHOD_NOT_ALLOWED, Reason::MalformedRequest);
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        return Some(response);
    }
    let content_type = text(headers, &CONTENT_TYPE).unwrap_or("none");
    if !is_grpc(content_type) {
        return Some(unsupported(content_type));
    }
    if size(request) > MAX_HEADER_BYTES {
        let refusal = Refusal::new(Reason::HeadersTooLarge).with("maximum", MAX_HEADER_BYTES);
        return Some(errors::response(refusal));
    }
    let encoding = match headers.get(GRPC_ENCODING) {
        Some(encoding) => encoding.to_str().unwrap_or("unreadable"),
        None => return None,
    };
    if ENCODINGS.contains(&encoding) {
        return None;
    }
    let refusal = Refusal::new(Reason::EncodingNotSupported)
        .with("encoding", shortened(encoding))
        .with("accepted", ACCEPTED);
    let mut response = errors::response(refusal);
    response.headers_mut().insert(GRPC_ACCEPT_ENCODING, HeaderValue::from_static(ACCEPTED));
    Some(response)
}

/// The answer to a request of a content type that is not read.
pub(crate) fn unsupported(content_type: &str) -> Response<Body> {
    let refusal = Refusal::new(Reason::ContentTypeNotSupported);
    let refusal = refusal.with("content_type", shortened(content_type));
    http_error(StatusCode::UNSUPPORTED_MEDIA_TYPE, refusal)
}

/// For callers who speak HTTP and no gRPC: the status says so too.
pub(crate) fn http_error(status: StatusCode, refusal: impl Into<Refusal>) -> Response<Body> {
    let mut response = errors::response(refusal.into());
    *response.status_mut() = status;
    response
}

fn is_grpc(content_type: &str) -> bool {
    CONTENT_TYPES.iter().any(|it| essence(content_type).eq_ignore_ascii_case(it))
}

/// A content type without its parameters.
pub(crate) fn essence(content_type: &str) -> &str {
    content_type.split_once(';').map_or(content_type, |(essence, _)| essence).trim()
}

fn size(request: &Request<Body>) -> usize {
    let line = request.uri().path().len();
    let each = |(name, value): (&HeaderName, &HeaderValue)| {
        name.as_str().len().saturating_add(value.len()).saturating_add(HEADER_OVERHEAD)
    };
    request.headers().iter().map(each).fold(line, usize::saturating_add)
}

pub(crate) fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// An error must fit the headers that common clients accept.
pub(crate) fn shortened(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_grpc_with_protobuf_is_let_in() {
        for good in ["application/grpc", "application/grpc+proto", "Application/gRPC; charset=x"] {
            assert!(is_grpc(good), "{good}");
        }
        for bad in ["", "none", "application/json", "application/grpc+json", "application/grpc-web"]
        {
            assert!(!is_grpc(bad), "{bad}");
        }
    }
}
