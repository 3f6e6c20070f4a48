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
