//! The cursor of a stream: a place in each of its sources, as one opaque text.

use crate::bytes::{self, Reader};
use crate::place::Place;
use api::Refusal;
use api::events::v1::EventSource;
use platform::page::{self, PageToken};
use std::collections::BTreeMap;

/// The call whose cursors these are.
const CALL: &str = "StreamEvents";
/// The form of the bytes, which begin with it.
const VERSION: u8 = 1;
/// The field that names a cursor.
pub(crate) const FIELD: &str = "cursor";

/// A place in the events of some sources. It belongs to that set of sources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cursor(BTreeMap<EventSource, Place>);

impl Cursor {
    pub(crate) fn new(places: impl IntoIterator<Item = (EventSource, Place)>) -> Self {
        Self(places.into_iter().collect())
    }

    /// The place that a token names; `None` for the empty one.
    ///
    /// # Errors
    /// `INVALID_FIELD` for a token that was not given out for these sources, in whatever order.
    pub(crate) fn read(sources: &[EventSource], token: &str) -> Result<Option<Self>, Refusal> {
        let invalid = || {
            Refusal::invalid_field(
                FIELD,
                "must be the `cursor` of an earlier response for these sources, or empty",
            )
        };
        let mut sources = sources.to_vec();
        sources.sort_unstable();
        let cursor: Option<Self> =
            PageToken::decode(CALL, &names(&sources), token).map_err(|_| invalid())?;
        match cursor {
            Some(cursor) if !cursor.0.keys().eq(&sources) => Err(invalid()),
            cursor => Ok(cursor),
        }
    }

    /// The token that leads here.
    pub(crate) fn token(&self) -> String {
        let sources: Vec<EventSource> = self.0.keys().copied().collect();
        PageToken::encode(CALL, &names(&sources), self)
    }

    /// The place in one source; `None` where the cursor is not of that source.
    pub(crate) fn place(&self, source: EventSource) -> Option<&Place> {
        self.0.get(&source)
    }

    pub(crate) fn place_mut(&mut self, source: EventSource) -> Option<&mut Place> {
        self.0.get_mut(&source)
    }
}

/// What a token is bound to.
fn names(sources: &[EventSource]) -> Vec<&'static str> {
    sources.iter().map(EventSource::as_str_name).collect()
}

/// The version, then each source and the place in it, in the order of the sources' numbers.
impl page::Cursor for Cursor {
    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        for (source, place) in &self.0 {
            bytes::put(&mut bytes, u64::from(i32::from(*source).unsigned_abs()));
            place.put(&mut bytes);
        }
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let [version] = reader.take()?;
        if version != VERSION {
            return None;
        }
        let mut places = BTreeMap::new();
        while !reader.is_empty() {
            let source = i32::try_from(reader.number()?).ok()?;
            places.insert(EventSource::try_from(source).ok()?, Place::read(&mut reader)?);
        }
        let cursor = Self(places);
        // There is one way to put a cursor: other bytes were not made here.
        (cursor.to_bytes() == bytes).then_some(cursor)
    }
}

#[cfg(test)]
mod tests;
