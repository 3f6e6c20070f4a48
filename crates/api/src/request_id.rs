//! The client's id of one attempt at a mutating call.

use std::fmt;

use uuid::Uuid;

use crate::{
    Reason, Refusal,
    check::{NOT_A_UUID, parse_uuid},
};

/// A request id: the same id with the same content is the same request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(Uuid);

impl RequestId {
    /// Reads the field `request_id`, a hyphenated UUID in either case.
    ///
    /// # Errors
    /// `REQUEST_ID_REQUIRED` if it is empty, `INVALID_FIELD` if it is no UUID, or the nil or the max one.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        if text.is_empty() {
            return Err(Refusal::new(Reason::RequestIdRequired).with("field", "request_id"));
        }
        let invalid = || Refusal::invalid_field("request_id", NOT_A_UUID);
        parse_uuid(text).map(Self).ok_or_else(invalid)
    }

    /// The id as the 16 bytes that are stored.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl From<Uuid> for RequestId {
    fn from(uuid: Uuid) -> Self {
        Self(uuid)
    }
}

impl From<RequestId> for Uuid {
    fn from(id: RequestId) -> Self {
        id.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_case_is_the_same_id() {
        let lower = RequestId::parse("0b6c8f52-6c1e-4a52-9a0b-52c1c7f0a9d1").unwrap();
        let upper = RequestId::parse("0B6C8F52-6C1E-4A52-9A0B-52C1C7F0A9D1").unwrap();
        assert_eq!(lower, upper);
        assert_eq!(upper.to_string(), "0b6c8f52-6c1e-4a52-9a0b-52c1c7f0a9d1");
    }

    #[test]
    fn an_empty_one_is_missing_and_another_form_is_invalid() {
        let reason = |text: &str| RequestId::parse(text).unwrap_err().reason;
        assert_eq!(reason(""), Reason::RequestIdRequired);
        for text in [
            "1",
            "0b6c8f526c1e4a529a0b52c1c7f0a9d1",
            "0b6c8f52-6c1e-4a52-9a0b-52c1c7f0a9dz",
            "00000000-0000-0000-0000-000000000000",
            "FFFFFFFF-ffff-ffff-ffff-ffffffffffff",
        ] {
            assert_eq!(reason(text), Reason::InvalidField, "{text}");
        }
    }
}
