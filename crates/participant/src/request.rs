//! The identity of a client's request, and of its content.

use crate::{Name, RequestHash};
use prost::Message;
use sha2::{Digest, Sha256};

/// Whose request it is: the scope in which a request id is unique.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestKey {
    /// The client's UUID.
    pub request_id: [u8; 16],
    /// Whose it is, such as the user that the request names; empty where it names nobody.
    pub subject: Name,
    /// A number of the call, stable for ever and unique in its schema.
    pub method: i8,
}

/// A digest of a request's business fields.
///
/// `version` pins the encoding: it changes only when the same content would be encoded otherwise, so that a newer binary
/// recognises what an older one stored. Pass the message with its request id or step key cleared.
pub fn content_hash(version: u8, content: &impl Message) -> RequestHash {
    digest([&[version][..], &content.encode_to_vec()])
}

/// The digest of an action's content: its full method and its encoded payload. 64 bits of SHA-256, against mistakes, not
/// against malice: both contents come from the engine.
pub fn content_digest(method: &str, payload: &[u8]) -> RequestHash {
    digest([method.as_bytes(), &[0], payload])
}

fn digest<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> RequestHash {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update(part);
    }
    let mut hash = [0; 8];
    for (to, from) in hash.iter_mut().zip(digest.finalize()) {
        *to = from;
    }
    RequestHash(hash)
}
