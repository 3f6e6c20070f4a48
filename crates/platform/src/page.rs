//! Pages of lists: their size, and the opaque tokens that lead to the next one.
//!
//! A list reads one row more than the page holds ([`PageSize::rows_to_read`]), cuts it off
//! ([`PageSize::cut`]), and if there was one, gives out a token with the keys of the last row that
//! the page holds. The next page begins after those keys, whatever was added meanwhile.

use std::hash::{Hash, Hasher};

use api::{Reason, Refusal};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};

/// The page of a request that names no size.
const DEFAULT_SIZE: usize = 50;

/// The largest page.
const MAX_SIZE: usize = 200;

/// Bytes of digest before the cursor in a token.
const DIGEST_BYTES: usize = 8;

/// How many items a page holds, 1 to 200.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageSize(usize);

/// The tokens, bound to a call and its filters so that one from elsewhere is refused. They are no
/// secret and protect nothing.
#[derive(Clone, Copy, Debug)]
pub struct PageToken;

/// The keys of a row: where a page begins.
pub trait Cursor: Sized {
    /// As bytes.
    fn to_bytes(&self) -> Vec<u8>;

    /// From the bytes; `None` if they are of another kind of cursor.
    fn from_bytes(bytes: &[u8]) -> Option<Self>;
}

impl PageSize {
    /// The size that a request names: 50 for 0, and 200 for all above. Negative sizes are refused
    /// by the request's check.
    ///
    /// # Errors
    /// `INVALID_FIELD` of `page_size` if it is negative.
    pub fn try_from_request(size: i32) -> Result<Self, Refusal> {
        usize::try_from(size)
            .map(|_| Self::from_request(size))
            .map_err(|_| Refusal::invalid_field("page_size", "must be 0 or more"))
    }

    /// The size that a checked request names: 50 for 0, and 200 for all above.
    pub fn from_request(size: i32) -> Self {
        match usize::try_from(size).unwrap_or_default() {
            0 => Self(DEFAULT_SIZE),
            size => Self(size.min(MAX_SIZE)),
        }
    }

    /// The items that the page holds.
    pub const fn get(self) -> usize {
        self.0
    }

    /// The rows to read: one more, which tells whether there is a next page.
    pub const fn rows_to_read(self) -> usize {
        self.0 + 1
    }

    /// The page, cut from the rows that were read, and its last row if there is a next page.
    pub fn cut<T: Clone>(self, mut rows: Vec<T>) -> (Vec<T>, Option<T>) {
        let more = rows.len() > self.0;
        rows.truncate(self.0);
        let last = rows.last().filter(|_| more).cloned();
        (rows, last)
    }
}

impl PageToken {
    /// The token of the page after the row with these keys.
    pub fn encode(call: &str, filters: &impl Hash, cursor: &impl Cursor) -> String {
        let cursor = cursor.to_bytes();
        let mut token = digest(call, filters, &cursor).to_vec();
        token.extend_from_slice(&cursor);
        BASE64_URL_SAFE_NO_PAD.encode(token)
    }

    /// The keys that a token holds; `None` for the empty token of the first page.
    ///
    /// # Errors
    /// `INVALID_PAGE_TOKEN` if it was not given out for this call with these filters.
    pub fn decode<C: Cursor>(
        call: &str,
        filters: &impl Hash,
        token: &str,
    ) -> Result<Option<C>, Refusal> {
        if token.is_empty() {
            return Ok(None);
        }
        let refusal = || Refusal::new(Reason::InvalidPageToken).with("field", "page_token");
        let token = BASE64_URL_SAFE_NO_PAD.decode(token).map_err(|_| refusal())?;
        let (stamp, cursor) = token.split_at_checked(DIGEST_BYTES).ok_or_else(refusal)?;
        if stamp != digest(call, filters, cursor) {
            return Err(refusal());
        }
        C::from_bytes(cursor).map(Some).ok_or_else(refusal)
    }
}

impl Cursor for i64 {
    fn to_bytes(&self) -> Vec<u8> {
        self.to_be_bytes().to_vec()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self::from_be_bytes)
    }
}

impl Cursor for [u8; 16] {
    fn to_bytes(&self) -> Vec<u8> {
        self.to_vec()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok()
    }
}

/// Feeds what is hashed to SHA-256, so that all builds agree on a token.
struct Feed(Sha256);

impl Hasher for Feed {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        0
    }
}

fn digest(call: &str, filters: &impl Hash, cursor: &[u8]) -> [u8; DIGEST_BYTES] {
    let mut feed = Feed(Sha256::new());
    call.hash(&mut feed);
    filters.hash(&mut feed);
    feed.0.update(cursor);
    let mut stamp = [0; DIGEST_BYTES];
    for (to, from) in stamp.iter_mut().zip(feed.0.finalize()) {
        *to = from;
    }
    stamp
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_bounded() {
        for (asked, given) in [(0, 50), (1, 1), (200, 200), (201, 200), (i32::MAX, 200)] {
            assert_eq!(PageSize::from_request(asked).get(), given);
        }
        let refused = PageSize::try_from_request(-1).unwrap_err();
        assert_eq!(refused.reason, Reason::InvalidField);
    }

    #[test]
    fn a_page_knows_whether_another_follows() {
        let size = PageSize::from_request(2);
        assert_eq!(size.cut(vec![1, 2, 3]), (vec![1, 2], Some(2)));
        assert_eq!(size.cut(vec![1, 2]), (vec![1, 2], None));
    }

    #[test]
    fn a_token_is_good_for_its_call_and_filters_only() {
        let token = PageToken::encode("ListOrders", &(7, "x"), &42_i64);
        let decode = |call: &str, filters: (i32, &str), token: &str| {
            PageToken::decode::<i64>(call, &filters, token)
        };
        assert_eq!(decode("ListOrders", (7, "x"), &token), Ok(Some(42)));
        assert_eq!(decode("ListOrders", (7, "x"), ""), Ok(None));
        let refused = [
            decode("ListOrders", (8, "x"), &token),
            decode("ListCoupons", (7, "x"), &token),
            decode("ListOrders", (7, "x"), &token[2..]),
            decode("ListOrders", (7, "x"), "no token"),
            decode("ListOrders", (7, "x"), "한글"),
        ];
        for result in refused {
            assert_eq!(result.unwrap_err().reason, Reason::InvalidPageToken);
        }
        let other_kind = PageToken::decode::<[u8; 16]>("ListOrders", &(7, "x"), &token);
        assert_eq!(other_kind.unwrap_err().reason, Reason::InvalidPageToken);
    }
}
