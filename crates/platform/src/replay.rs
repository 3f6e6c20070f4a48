//! The mark on an answer that an earlier call with the same request id got.

use api::{Refusal, outcome::IDEMPOTENCY_REPLAYED};
use tonic::{Response, Status, metadata::MetadataMap, metadata::MetadataValue};

/// Marks an answer as that of an earlier call, in its trailers.
pub fn replayed<T>(mut response: Response<T>) -> Response<T> {
    mark(response.metadata_mut());
    response
}

/// The error of an earlier call, marked as such in its trailers.
pub fn replayed_refusal(refusal: Refusal) -> Status {
    let mut status = Status::from(refusal);
    mark(status.metadata_mut());
    status
}

fn mark(metadata: &mut MetadataMap) {
    metadata.insert(IDEMPOTENCY_REPLAYED, MetadataValue::from_static("true"));
}
