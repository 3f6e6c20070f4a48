//! Pages of lists: their size, and the opaque tokens that lead to the next one.
//!
//! A list reads one row more than the page holds ([`PageSize::rows_to_read`]), and cuts the page
//! from what it read ([`PageSize::cut`]). The token holds the keys of the page's last row; the next
//! page begins after those keys, whatever was added meanwhile.

mod place;

pub use place::Place;

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
    /// The size that a checked request names: 50 for 0, and 200 for all above. The check has
    /// refused negative ones.
    pub fn from_request(size: i32) -> Self {
        match usize::try_from(size).unwrap_or_default() {
            0 => Self(DEFAULT_SIZE),
            size => Self(size.min(MAX_SIZE)),
        }
    }

    /// The items that the page holds, 1 to 200.
    pub const fn get(self) -> usize {
        self.0
    }

    /// The rows to read: one more, which tells whether there is a next page.
    pub const fn rows_to_read(self) -> usize {
        self.0 + 1
    }

    /// The page, cut from the rows that were read, and the token of the next one, made from the
    /// last row of this; empty if there is no next one.
    pub fn cut<T>(self, mut rows: Vec<T>, token: impl FnOnce(&T) -> String) -> (Vec<T>, String) {
        let more = rows.len() > self.0;
        rows.truncate(self.0);
        let next = rows.last().filter(|_| more).map(token).unwrap_or_default();
        (rows, next)
    }
}

impl PageToken {
    /// The token of the page that begins after `cursor`, in this call with these filters.
    pub fn encode(call: &str, filters: &(impl Hash + ?Sized), cursor: &impl Cursor) -> String {
        let cursor = cursor.to_bytes();
        let mut bytes = digest(call, filters, &cursor).to_vec();
        bytes.extend(cursor);
        BASE64_URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Where the page of a token begins; `None` for the empty token of the first page.
    ///
    /// # Errors
    /// `INVALID_PAGE_TOKEN` if this call did not give it out for these filters.
    pub fn decode<C: Cursor>(
        call: &str,
        filters: &(impl Hash + ?Sized),
        token: &str,
    ) -> Result<Option<C>, Refusal> {
        if token.is_empty() {
            return Ok(None);
        }
        let cursor = || {
            let bytes = BASE64_URL_SAFE_NO_PAD.decode(token).ok()?;
            let (given, cursor) = bytes.split_first_chunk::<DIGEST_BYTES>()?;
            (*given == digest(call, filters, cursor)).then(|| C::from_bytes(cursor)).flatten()
        };
        let refusal = || Refusal::new(Reason::InvalidPageToken).with("field", "page_token");
        cursor().map(Some).ok_or_else(refusal)
    }
}

/// An id.
impl Cursor for i64 {
    fn to_bytes(&self) -> Vec<u8> {
        self.to_be_bytes().to_vec()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self::from_be_bytes)
    }
}

/// Numbers, such as a time in microseconds and an id.
impl<const N: usize> Cursor for [i64; N] {
    fn to_bytes(&self) -> Vec<u8> {
        self.iter().flat_map(|number| number.to_be_bytes()).collect()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (numbers, rest) = bytes.as_chunks::<8>();
        let numbers = rest.is_empty().then_some(numbers)?;
        <[[u8; 8]; N]>::try_from(numbers).ok().map(|numbers| numbers.map(i64::from_be_bytes))
    }
}

/// An id of bytes, such as a UUID.
impl<const N: usize> Cursor for [u8; N] {
    fn to_bytes(&self) -> Vec<u8> {
        self.to_vec()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok()
    }
}

/// Feeds `Hash` to a digest that is the same in every build. The standard hasher promises that for
/// one build only, and during an upgrade replicas of two builds get each other's tokens.
struct Sha(Sha256);

impl Hasher for Sha {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        u64::from_be_bytes(first_bytes(self.0.clone()))
    }
}

fn digest(call: &str, filters: &(impl Hash + ?Sized), cursor: &[u8]) -> [u8; DIGEST_BYTES] {
    let mut hasher = Sha(Sha256::new_with_prefix("page token 1"));
    (call, cursor).hash(&mut hasher);
    filters.hash(&mut hasher);
    first_bytes(hasher.0)
}

fn first_bytes(digest: Sha256) -> [u8; DIGEST_BYTES] {
    let digest: [u8; 32] = digest.finalize().into();
    std::array::from_fn(|index| digest.get(index).copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALL: &str = "ListOrders";

    fn refused<C: Cursor>(call: &str, filters: &impl Hash, token: &str) -> bool {
        match PageToken::decode::<C>(call, filters, token) {
            Ok(_) => false,
            Err(refusal) => refusal.reason == Reason::InvalidPageToken,
        }
    }

    #[test]
    fn a_token_leads_back_to_its_cursor() {
        for cursor in [[0, -1], [i64::MIN, i64::MAX]] {
            let token = PageToken::encode(CALL, &(7, "PAID"), &cursor);
            assert_eq!(PageToken::decode(CALL, &(7, "PAID"), &token), Ok(Some(cursor)));
        }
        let token = PageToken::encode(CALL, &(), &[9_u8; 16]);
        assert_eq!(PageToken::decode(CALL, &(), &token), Ok(Some([9_u8; 16])));
        assert_eq!(PageToken::decode::<[i64; 2]>(CALL, &(), ""), Ok(None));
    }

    #[test]
    fn a_token_of_another_call_other_filters_or_another_cursor_is_refused() {
        let token = PageToken::encode(CALL, &(7, "PAID"), &[1_i64, 2]);
        assert!(refused::<[i64; 2]>("ListCoupons", &(7, "PAID"), &token));
        assert!(refused::<[i64; 2]>(CALL, &(8, "PAID"), &token));
        assert!(refused::<[i64; 2]>(CALL, &(7, ""), &token));
        assert!(refused::<[i64; 1]>(CALL, &(7, "PAID"), &token));
    }

    #[test]
    fn a_token_that_was_changed_anywhere_is_refused() {
        let token = PageToken::encode(CALL, &7, &[1_i64]);
        for index in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[index] = if changed[index] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert!(refused::<[i64; 1]>(CALL, &7, &changed), "{changed}");
        }
        for garbage in ["A", "garbage", "🦀", &token[1..], &format!("{token}A")] {
            assert!(refused::<[i64; 1]>(CALL, &7, garbage), "{garbage}");
        }
    }

    #[test]
    fn a_page_is_50_by_default_and_200_at_most() {
        let sizes = [0, 1, 50, 200, 201, i32::MAX].map(|size| PageSize::from_request(size).get());
        assert_eq!(sizes, [50, 1, 50, 200, 200, 200]);
    }

    #[test]
    fn a_page_has_a_token_only_if_there_is_a_next_one() {
        let size = PageSize::from_request(2);
        let cut = |rows: &[i64]| size.cut(rows.to_vec(), |last| format!("after {last}"));
        assert_eq!(cut(&[5, 4, 3]), (vec![5, 4], "after 4".to_owned()));
        assert_eq!(cut(&[5, 4]), (vec![5, 4], String::new()));
        assert_eq!(cut(&[]), (vec![], String::new()));
        assert_eq!(size.rows_to_read(), 3);
    }
}
