//! The metadata keys that travel beside requests and answers.

/// Trailer, `true` on an answer that an earlier call with the same request id got.
pub const IDEMPOTENCY_REPLAYED: &str = "idempotency-replayed";

/// The trace id, 1 to 64 of `[A-Za-z0-9_-]`: taken from the request, else made, and returned.
pub const X_TRACE_ID: &str = "x-trace-id";

/// The W3C trace context of the request.
pub const TRACEPARENT: &str = "traceparent";
