//! The identity of a client's request, and of its content.

use crate::RequestHash;
use prost::Message;
use sha2::{Digest, Sha256};

/// Whose request it is: the scope in which a request id is unique.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestKey {
    /// The client's UUID.
    pub request_id: [u8; 16],
    /// The user named in the request; 0 where none is.
    pub user_id: i64,
    /// A number of the call, stable for ever and unique in its schema.
    pub method: i8,
}

/// A digest of a request's business fields.
///
/// `version` pins the encoding: it changes only when the same content would be encoded otherwise, so that a newer binary
/// recognises what an older one stored. Pass the message with its request id or step key cleared.
pub fn content_hash(version: u8, content: &impl Message) -> RequestHash {
    let mut digest = Sha256::new();
    digest.update([version]);
    digest.update(content.encode_to_vec());
    let mut hash = [0; 8];
    for (to, from) in hash.iter_mut().zip(digest.finalize()) {
        *to = from;
    }
    RequestHash(hash)
}
