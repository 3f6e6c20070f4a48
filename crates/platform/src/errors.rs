//! Makes every error carry exactly one `google.rpc.ErrorInfo`, and none a text that is not ours.
//!
//! Errors with details are the services' own and stay as they are. The others are tonic's, or
//! someone forgot: they get a reason by their code, and their text goes to the log only.

use std::{collections::HashMap, error::Error};

use api::{Reason, Refusal, outcome::IDEMPOTENCY_REPLAYED, refusal::DOMAIN};
use http::{HeaderMap, Response};
use http_body::Frame;
use http_body_util::BodyExt;
use tonic::{Code, Status, TimeoutExpired, body::Body, codegen::StdError};
use tonic_types::{ErrorDetails, StatusExt};

const GRPC_STATUS: &str = "grpc-status";
const GRPC_MESSAGE: &str = "grpc-message";
const GRPC_STATUS_DETAILS: &str = "grpc-status-details-bin";

/// What tonic says, with INTERNAL, of a request that it cannot read; the last of a body of gRPC-Web.
const UNREADABLE: [&str; 6] = [
    "failed to decode Protobuf message",
    "protocol error: received message with",
    "Missing request message",
    "Unexpected EOF decoding stream",
    "Error decompressing",
    "tonic-web: ",
];

/// What tonic says, with `OUT_OF_RANGE`, of a request that is too large, before its size and limit.
const TOO_LARGE: &str = "Error, decoded message length too large";

/// What tonic says, with `RESOURCE_EXHAUSTED`, of a compressed request that is too large, before its limit.
const TOO_LARGE_INSIDE: &str = "Error decompressing: size limit";

/// Where an error was found: in the headers, which are all of an error's response when a handler
/// or tonic refuses the request, or in the trailers, after the handler has answered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Headers,
    Trailers,
}

/// The response that says no.
pub(crate) fn response(refusal: impl Into<Status>) -> Response<Body> {
    refusal.into().into_http()
}

/// The code of a response, as far as its headers tell.
pub(crate) fn code(response: &Response<Body>) -> Code {
    let value = response.headers().get(GRPC_STATUS);
    value.map_or(Code::Ok, |value| Code::from_bytes(value.as_bytes()))
}

/// The response with its error, if it is one or becomes one, explained.
pub(crate) fn explained(mut response: Response<Body>) -> Response<Body> {
    if response.headers().contains_key(GRPC_STATUS) {
        explain(response.headers_mut(), Place::Headers);
        return response;
    }
    // It belongs in the trailers, and a unary handler of tonic's can only set headers.
    let mut mark = response.headers_mut().remove(IDEMPOTENCY_REPLAYED);
    response.map(|body| {
        Body::new(body.map_frame(move |frame| match frame.into_trailers() {
            Ok(mut trailers) => {
                if let Some(mark) = mark.take() {
                    trailers.insert(IDEMPOTENCY_REPLAYED, mark);
                }
                explain(&mut trailers, Place::Trailers);
                Frame::trailers(trailers)
            }
            Err(frame) => frame,
        }))
    })
}

/// What the failure of the transport means to the one who called.
pub(crate) fn unreachable(error: &StdError) -> Refusal {
    let first: &(dyn Error + 'static) = error.as_ref();
    let chain = || std::iter::successors(Some(first), |it| (*it).source());
    let text = chain().map(ToString::to_string).collect::<Vec<_>>().join(": ");
    tracing::debug!(error = text, "call failed");
    let timed_out = chain().any(<dyn Error>::is::<TimeoutExpired>);
    Refusal::new(if timed_out { Reason::DeadlineExceeded } else { Reason::Unavailable })
}

fn explain(headers: &mut HeaderMap, place: Place) {
    if headers.get(GRPC_STATUS).is_none_or(|code| code == "0") {
        return;
    }
    let Some(status) = Status::from_header_map(headers) else { return };
    if status.code() == Code::Ok || status.get_details_error_info().is_some() {
        return;
    }
    let (code, text) = (status.code(), status.message());
    match code {
        Code::Internal | Code::Unknown | Code::DataLoss => {
            tracing::warn!(?code, text, "error without details");
        }
        _ => tracing::debug!(?code, text, "error without details"),
    }
    for name in [GRPC_STATUS, GRPC_MESSAGE, GRPC_STATUS_DETAILS] {
        headers.remove(name);
    }
    // The code goes in first, and our texts and details are always valid headers.
    drop(explanation(code, text, place).add_header(headers));
}

fn explanation(code: Code, text: &str, place: Place) -> Status {
    let unreadable = || UNREADABLE.iter().any(|start| text.starts_with(start));
    let refusal = match code {
        Code::Internal if place == Place::Headers && unreadable() => {
            Reason::MalformedRequest.into()
        }
        Code::OutOfRange if place == Place::Headers && text.starts_with(TOO_LARGE) => {
            Refusal::new(Reason::MessageTooLarge).with("maximum", last_number(text))
        }
        // Small as it came, and larger than the limit without its compression.
        Code::ResourceExhausted
            if place == Place::Headers && text.starts_with(TOO_LARGE_INSIDE) =>
        {
            Refusal::new(Reason::MessageTooLarge).with("maximum", last_number(text))
        }
        // tonic refuses to send a response that is too large.
        Code::OutOfRange if place == Place::Trailers => Reason::Internal.into(),
        Code::Internal => Reason::Internal.into(),
        Code::Unavailable => Reason::Unavailable.into(),
        Code::DeadlineExceeded => Reason::DeadlineExceeded.into(),
        Code::Cancelled => Reason::Cancelled.into(),
        Code::Unimplemented => Reason::Unimplemented.into(),
        Code::ResourceExhausted => Reason::Overloaded.into(),
        other => return nameless(other),
    };
    refusal.into()
}

/// An error whose code says all that is known: the reason is the code's own name.
fn nameless(code: Code) -> Status {
    let details = ErrorDetails::with_error_info(name(code), DOMAIN, HashMap::new());
    Status::with_error_details(code, code.description(), details)
}

/// The code's name in the protocol, such as `NOT_FOUND`.
fn name(code: Code) -> String {
    let camel = format!("{code:?}");
    let mut name = String::with_capacity(camel.len() + 2);
    for letter in camel.chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    name
}

fn last_number(text: &str) -> &str {
    let digits = |it: &&str| !it.is_empty() && it.bytes().all(|byte| byte.is_ascii_digit());
    text.split(' ').rfind(digits).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetail;

    use super::*;

    fn explained_status(code: Code, text: &str, place: Place) -> Status {
        let mut headers = HeaderMap::new();
        Status::new(code, text).add_header(&mut headers).unwrap();
        explain(&mut headers, place);
        Status::from_header_map(&headers).unwrap()
    }

    fn reason(status: &Status) -> String {
        let details = status.get_error_details_vec();
        let infos = details.iter().filter_map(|detail| match detail {
            ErrorDetail::ErrorInfo(info) => Some(info.reason.clone()),
            _ => None,
        });
        let infos: Vec<_> = infos.collect();
        assert_eq!(infos.len(), 1, "{status:?}");
        infos[0].clone()
    }

    #[test]
    fn every_code_without_details_gets_one_error_info_and_loses_its_text() {
        for number in 1..=16 {
            let code = Code::from_i32(number);
            let status = explained_status(code, "Duplicate entry '7' for key", Place::Headers);
            assert_eq!(status.code(), code);
            assert!(!status.message().contains("Duplicate"), "{}", status.message());
            assert!(!reason(&status).is_empty());
        }
        assert_eq!(
            reason(&explained_status(Code::NotFound, "service not registered", Place::Headers)),
            "NOT_FOUND"
        );
    }

    #[test]
    fn a_response_that_is_too_large_is_our_fault() {
        let text = "Error, encoded message length too large: found 9 bytes, the limit is: 4 bytes";
        let status = explained_status(Code::OutOfRange, text, Place::Trailers);
        assert_eq!((status.code(), reason(&status).as_str()), (Code::Internal, "INTERNAL"));
    }

    #[test]
    fn a_request_that_is_too_large_learns_the_limit() {
        let text = "Error, decoded message length too large: found 9 bytes, the limit is: 4 bytes";
        let status = explained_status(Code::OutOfRange, text, Place::Headers);
        let refusal = Refusal::from_status(&status).unwrap();
        assert_eq!(refusal, Refusal::new(Reason::MessageTooLarge).with("maximum", 4));
    }

    #[test]
    fn an_error_with_details_stays_as_it_is() {
        let mut before = HeaderMap::new();
        let refusal = Refusal::new(Reason::WalletNotFound).with("user_id", 7);
        Status::from(refusal).add_header(&mut before).unwrap();
        before.insert(IDEMPOTENCY_REPLAYED, "true".parse().unwrap());
        let mut after = before.clone();
        explain(&mut after, Place::Headers);
        assert_eq!(after, before);
    }
}
