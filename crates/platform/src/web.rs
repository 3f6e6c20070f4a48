//! gRPC-Web: calls from pages in a browser, over HTTP/1.1 and HTTP/2.
//!
//! The services do not know who calls them, so a page that anybody may have written must not reach them. A browser names the
//! page's origin with every call that the page makes, and the page cannot change that: a call from an origin that is not
//! allowed is refused before any of it runs. A call without an origin is not made by a page, and is a call like any other.
//!
//! From outside in, a call passes the check of its origin; CORS, which answers preflights and lets the page read answers; the
//! translation of gRPC-Web to gRPC; and the [`Chassis`](crate::Chassis), whose errors are translated as those of services are.

use std::{
    convert::Infallible,
    future::ready,
    pin::Pin,
    str::FromStr,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use api::{
    Reason, Refusal,
    outcome::{IDEMPOTENCY_REPLAYED, TRACEPARENT, X_TRACE_ID},
};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, ORIGIN},
};
use tonic::body::Body;
use tonic_web::GrpcWebLayer;
use tower::{Layer, Service, ServiceExt};
use tower_http::cors::{AllowOrigin, Cors, CorsLayer};

use crate::{
    CallContext,
    entry::{essence, http_error, shortened, text, unsupported},
};

/// How long a browser may remember the answer to a preflight: the most that Chromium does.
const PREFLIGHT_AGE: Duration = Duration::from_hours(2);

/// The content types of gRPC-Web with protobuf, in binary and in base64.
const CONTENT_TYPES: [&str; 4] = [
    "application/grpc-web",
    "application/grpc-web+proto",
    "application/grpc-web-text",
    "application/grpc-web-text+proto",
];

/// What pages may send: what the clients of gRPC-Web set by themselves, the deadline, the trace, and what a proxy in front may
/// ask for.
const ALLOWED_HEADERS: [HeaderName; 8] = [
    CONTENT_TYPE,
    AUTHORIZATION,
    HeaderName::from_static("x-grpc-web"),
    HeaderName::from_static("x-user-agent"),
    HeaderName::from_static("grpc-timeout"),
    HeaderName::from_static(X_TRACE_ID),
    HeaderName::from_static(TRACEPARENT),
    HeaderName::from_static("tracestate"),
];

/// What pages may read. An error that is decided before the first message has its status in the headers.
const EXPOSED_HEADERS: [HeaderName; 8] = [
    HeaderName::from_static("grpc-status"),
    HeaderName::from_static("grpc-message"),
    HeaderName::from_static("grpc-status-details-bin"),
    HeaderName::from_static("grpc-accept-encoding"),
    HeaderName::from_static("grpc-retry-pushback-ms"),
    HeaderName::from_static(IDEMPOTENCY_REPLAYED),
    HeaderName::from_static(X_TRACE_ID),
    HeaderName::from_static(TRACEPARENT),
];

/// Origins, separated by commas: `https://shop.example,http://localhost:3000`.
///
/// Each is written as browsers send it: `http` or `https`, a host in lower case, and the port unless it is the scheme's own.
/// There is no `*`: the services ask nobody who they are, and with it every page that an employee opens could call them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origins(Arc<[HeaderValue]>);

/// A text that is no list of [`Origins`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no origin as browsers send it, such as https://shop.example or http://localhost:3000"
)]
pub struct NotAnOrigin(String);

/// The layer that lets pages of some origins call what it is around.
#[derive(Clone, Debug)]
pub(crate) struct Web {
    origins: Origins,
    cors: CorsLayer,
}

/// Services that pages may call.
#[derive(Clone, Debug)]
pub(crate) struct Guarded<S> {
    origins: Origins,
    cors: Cors<Translated<S>>,
}

/// Services that speak gRPC and gRPC-Web over HTTP/2, and gRPC-Web over HTTP/1.
#[derive(Clone, Debug)]
pub(crate) struct Translated<S>(S);

type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

impl Origins {
    /// Whether every origin that the headers name is one of these. There is one at most, unless somebody cheats.
    fn allow(&self, headers: &HeaderMap) -> bool {
        headers.get_all(ORIGIN).iter().all(|origin| self.0.contains(origin))
    }
}

impl FromStr for Origins {
    type Err = NotAnOrigin;

    fn from_str(list: &str) -> Result<Self, NotAnOrigin> {
        let origin = |text: &str| {
            let value = is_origin(text).then(|| HeaderValue::from_str(text).ok()).flatten();
            value.ok_or_else(|| NotAnOrigin(text.to_owned()))
        };
        list.split(',').map(|text| origin(text.trim())).collect::<Result<_, _>>().map(Self)
    }
}

/// Whether a text is an origin exactly as a browser writes it.
fn is_origin(text: &str) -> bool {
    let Some((scheme, authority)) = text.split_once("://") else { return false };
    let own_port = match scheme {
        "http" => 80,
        "https" => 443,
        _ => return false,
    };
    let (host, port) = match authority.rsplit_once(':') {
        // The colons of an IPv6 address stand in brackets.
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let is_port = |port: &str| {
        let number = port.parse::<u16>().ok();
        number.is_some_and(|it| it > 0 && it != own_port && it.to_string() == port)
    };
    is_host(host) && port.is_none_or(is_port)
}

fn is_host(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let parsed = address.parse::<std::net::Ipv6Addr>();
        return parsed.is_ok_and(|it| it.to_string() == address);
    }
    let is_allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
    host.split('.').all(|label| !label.is_empty() && label.bytes().all(is_allowed))
}

impl Web {
    pub(crate) fn new(origins: Origins) -> Self {
        let cors = CorsLayer::new()
            .allow_origin(AllowOrigin::list(origins.0.iter().cloned()))
            .allow_methods([Method::POST])
            .allow_headers(ALLOWED_HEADERS)
            .expose_headers(EXPOSED_HEADERS)
            .max_age(PREFLIGHT_AGE);
        Self { origins, cors }
    }
}

impl<S> Layer<S> for Web {
    type Service = Guarded<S>;

    fn layer(&self, service: S) -> Guarded<S> {
        let (origins, cors) = (self.origins.clone(), self.cors.layer(Translated(service)));
        Guarded { origins, cors }
    }
}

impl<S> Service<Request<Body>> for Guarded<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.cors.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Answer {
        if !self.origins.allow(request.headers()) {
            let origin = text(request.headers(), &ORIGIN).unwrap_or("unreadable");
            tracing::debug!(origin, "a page of an origin that is not allowed was refused");
            let refusal = Refusal::new(Reason::OriginNotAllowed).with("origin", shortened(origin));
            return refused(&request, http_error(StatusCode::FORBIDDEN, refusal));
        }
        if request.headers().contains_key(ORIGIN) {
            Box::pin(self.cors.call(request))
        } else {
            self.cors.get_mut().call(request)
        }
    }
}

impl<S> Service<Request<Body>> for Translated<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Answer {
        // What is no POST is refused by the chassis, whichever its content type.
        if request.method() == Method::POST {
            let sent = text(request.headers(), &CONTENT_TYPE);
            if let Some(content_type) = sent.and_then(grpc_web) {
                spell(request.headers_mut(), content_type);
                return Box::pin(GrpcWebLayer::new().layer(self.0.clone()).oneshot(request));
            }
            // HTTP/1 has no trailers that a browser could read, and no other client needs it.
            if request.version() < Version::HTTP_2 {
                let response = unsupported(sent.unwrap_or("none"));
                return refused(&request, response);
            }
        }
        Box::pin(self.0.call(request))
    }
}

/// The content type of gRPC-Web that this one is, whatever its case and its parameters.
fn grpc_web(content_type: &str) -> Option<&'static str> {
    CONTENT_TYPES.into_iter().find(|it| essence(content_type).eq_ignore_ascii_case(it))
}

/// Writes the content types as the translation reads them. Answers are in the encoding of the request, unless the client
/// accepts another.
fn spell(headers: &mut HeaderMap, content_type: &'static str) {
    let accepted = text(headers, &ACCEPT).and_then(grpc_web).unwrap_or(content_type);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(ACCEPT, HeaderValue::from_static(accepted));
}

/// A refusal of a call that does not reach the chassis: it has its trace all the same.
fn refused(request: &Request<Body>, mut response: Response<Body>) -> Answer {
    CallContext::read(request.headers()).answer(response.headers_mut());
    Box::pin(ready(Ok(response)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_read_as_browsers_write_them() {
        let list = "https://shop.example, http://localhost:3000,http://[::1]:8080,http://10.0.0.7";
        let origins: Origins = list.parse().unwrap();
        let allows = |origin: &'static str| {
            origins.allow(&HeaderMap::from_iter([(ORIGIN, HeaderValue::from_static(origin))]))
        };
        for origin in list.split(',').map(str::trim) {
            assert!(allows(String::leak(origin.to_owned())), "{origin}");
        }
        for other in [
            "http://shop.example",
            "https://shop.example:8443",
            "https://SHOP.example",
            "https://shop.example.evil.example",
            "https://evil.example/https://shop.example",
            "http://localhost",
            "null",
            "",
        ] {
            assert!(!allows(other), "{other}");
        }
        assert!(origins.allow(&HeaderMap::new()), "no page");
        let [mine, foreign] = ["http://localhost:3000", "http://evil.example"];
        let two = [mine, foreign].map(|it| (ORIGIN, HeaderValue::from_static(it)));
        let mut headers = HeaderMap::new();
        for (name, value) in two {
            headers.append(name, value);
        }
        assert!(!origins.allow(&headers), "one of two is foreign");
    }

    #[test]
    fn what_no_browser_sends_is_no_origin() {
        for text in [
            "",
            "*",
            "null",
            "shop.example",
            "//shop.example",
            "https://",
            "https://*.shop.example",
            "https://shop.example/",
            "https://shop.example/page",
            "https://shop.example:443",
            "http://shop.example:80",
            "http://shop.example:0",
            "http://shop.example:080",
            "http://shop.example:65536",
            "http://shop.example:",
            "http://:3000",
            "https://Shop.example",
            "HTTPS://shop.example",
            "https://me@shop.example",
            "https://shop..example",
            "https://shöp.example",
            "https://shop.example https://other.example",
            "http://[::1",
            "http://[0:0::1]:1",
            "ftp://shop.example",
            "https://shop.example,",
            "https://shop.example,,http://localhost:1",
        ] {
            assert!(text.parse::<Origins>().is_err(), "{text}");
        }
    }

    #[test]
    fn content_types_of_grpc_web_are_read_in_any_case_and_with_parameters() {
        for (sent, read) in [
            ("application/grpc-web", Some(CONTENT_TYPES[0])),
            ("application/grpc-web+proto", Some(CONTENT_TYPES[1])),
            ("Application/gRPC-Web-Text; charset=utf-8", Some(CONTENT_TYPES[2])),
            ("application/grpc-web-text+proto", Some(CONTENT_TYPES[3])),
            ("application/grpc-web+json", None),
            ("application/grpc", None),
            ("application/grpc+proto", None),
            ("application/connect+proto", None),
            ("text/plain;application/grpc-web", None),
        ] {
            assert_eq!(grpc_web(sent), read, "{sent}");
        }
    }
}
