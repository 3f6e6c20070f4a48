use super::*;
use crate::place::Sent;
use api::Reason;
use events::feed::Extent;
use events::{PerShard, Shard};
use platform::page::Cursor as _;

const ALL: [EventSource; 4] =
    [EventSource::Wallet, EventSource::Product, EventSource::Coupon, EventSource::Order];
const ORDER: [EventSource; 1] = [EventSource::Order];
/// The largest position for which a cursor of all sources fits the contract: a shard with a million rows a second gets
/// there in 17 years.
const FURTHEST: i64 = (1 << 49) - 1;
const LARGEST_MARK: i64 = 1 << 32;
/// Events of one message.
const MOST_EVENTS: usize = 64;

fn shard(number: u8) -> Shard {
    Shard::new(number).unwrap()
}

fn beginning() -> Place {
    Place::oldest(&PerShard::default())
}

/// All messages up to a position of these shards were sent.
fn place(shards: impl IntoIterator<Item = Shard>, position: i64, mark: i64) -> Place {
    let mut place = beginning();
    for shard in shards {
        place.advance(Sent { shard, position, mark, events: 1, of: 1 });
    }
    place
}

/// The same, and of a next message all events but one.
fn begun(mut place: Place, position: i64, mark: i64) -> Place {
    let (events, of) = (MOST_EVENTS - 1, MOST_EVENTS);
    place.advance(Sent { shard: shard(15), position, mark, events, of });
    place
}

fn cursor(sources: &[EventSource], place: &Place) -> Cursor {
    Cursor::new(sources.iter().map(|source| (*source, *place)))
}

fn is_refused(sources: &[EventSource], token: &str) -> bool {
    match Cursor::read(sources, token) {
        Ok(_) => false,
        Err(refusal) => {
            assert_eq!(refusal.reason, Reason::InvalidField);
            assert_eq!(refusal.metadata.get("field").map(String::as_str), Some("cursor"));
            true
        }
    }
}

#[test]
fn a_token_leads_back_to_its_place_in_every_source() {
    let places = [
        beginning(),
        place([shard(0)], 1, 1),
        place(Shard::all(), i64::MAX, LARGEST_MARK),
        begun(beginning(), 1, 1),
        begun(place([shard(3), shard(15)], 1 << 52, 7), 1 << 53, LARGEST_MARK),
        Place::oldest(&PerShard::from_fn(|_| Extent { first: Some(500), last: 900 })),
    ];
    for place in places {
        let one = cursor(&ORDER, &place);
        assert_eq!(Cursor::read(&ORDER, &one.token()), Ok(Some(one)));
    }
    let all = Cursor::new(ALL.into_iter().zip(places));
    assert_eq!(Cursor::read(&ALL, &all.token()), Ok(Some(all.clone())));
    assert_eq!(
        ALL.map(|source| all.place(source).copied()),
        [0, 1, 2, 3].map(|at| Some(places[at]))
    );
    assert_eq!(Cursor::read(&ALL, ""), Ok(None));
}

#[test]
fn a_token_belongs_to_its_set_of_sources_in_whatever_order() {
    let (wallet, order) = (EventSource::Wallet, EventSource::Order);
    let both = cursor(&[order, wallet], &place(Shard::all(), 7, 9));
    let token = both.token();
    for sources in [[wallet, order], [order, wallet]] {
        assert_eq!(Cursor::read(&sources, &token), Ok(Some(both.clone())));
    }
    for sources in [&ORDER[..], &[wallet], &[wallet, EventSource::Coupon], &ALL] {
        assert!(is_refused(sources, &token), "{sources:?}");
    }
}

#[test]
fn a_token_of_another_call_and_one_that_was_changed_anywhere_are_refused() {
    let cursor = cursor(&ORDER, &begun(place([shard(1)], 5, 6), 6, 7));
    assert!(is_refused(&ORDER, &PageToken::encode("ListOrders", &names(&ORDER), &cursor)));
    let token = cursor.token();
    for index in 0..token.len() {
        let mut changed = token.clone().into_bytes();
        changed[index] = if changed[index] == b'A' { b'B' } else { b'A' };
        assert!(is_refused(&ORDER, &String::from_utf8(changed).unwrap()), "{index}");
    }
    let of_none = Cursor::new([]);
    assert!(is_refused(&ORDER, &PageToken::encode(CALL, &names(&ORDER), &of_none)));
    for garbage in ["A", "nonsense", "🦀", &token[1..], &token[..token.len() - 1]] {
        assert!(is_refused(&ORDER, garbage), "{garbage}");
    }
}

#[test]
fn what_does_not_decode_exactly_is_no_cursor() {
    let cursor = cursor(&ORDER, &begun(place([shard(1)], 5, 6), 6, 7));
    let bytes = cursor.to_bytes();
    assert_eq!(bytes, [1, 4, 2, 0, 2, 0, 5, 0, 0, 0, 5, 15, 0, 0, 0, 6, 63]);
    assert_eq!(Cursor::from_bytes(&bytes), Some(cursor));
    // A version alone is a cursor of no source, which is none of any request.
    for length in (0..bytes.len()).filter(|length| *length != 1) {
        assert_eq!(Cursor::from_bytes(&bytes[..length]), None, "{length} bytes");
    }
    let twice = [&bytes[..], &bytes[1..]].concat();
    let (order, wallet) = ([4, 0, 0, 0, 0, 255], [1, 0, 0, 0, 0, 255]);
    let unordered = [&[1], &order[..], &wallet[..]].concat();
    let ordered = [&[1], &wallet[..], &order[..]].concat();
    assert!(Cursor::from_bytes(&ordered).is_some());
    let wrong: [(&str, &[u8]); 13] = [
        ("more bytes", &[&bytes[..], &[0]].concat()),
        ("a source twice", &twice),
        ("sources out of order", &unordered),
        ("another version", &[2, 4, 0, 0, 0, 0, 255]),
        ("no such source", &[1, 5, 0, 0, 0, 0, 255]),
        ("a source beyond all numbers", &[1, 128, 128, 128, 128, 128, 1, 0, 0, 0, 0, 255]),
        ("a position of 0", &[1, 4, 2, 0, 0, 0, 0, 255]),
        ("a position in more bytes than it needs", &[1, 4, 2, 0, 0, 0, 133, 0, 255]),
        (
            "a position of more than 63 bits",
            &[1, 4, 2, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1, 255],
        ),
        ("a mark without a position", &[1, 4, 2, 0, 3, 0, 5, 0, 0, 0, 5, 255]),
        ("no such shard", &[1, 4, 0, 0, 0, 0, 16, 0, 0, 0, 6, 63]),
        ("a message that was begun with nothing", &[1, 4, 0, 0, 0, 0, 15, 0, 0, 0, 6, 0]),
        ("no end", &[1, 4, 0, 0, 0, 0, 15, 0, 0, 0, 6, 128]),
    ];
    for (what, bytes) in wrong {
        assert_eq!(Cursor::from_bytes(bytes), None, "{what}");
    }
}

#[test]
fn the_longest_token_of_all_sources_has_fewer_than_1024_characters() {
    let longest = begun(place(Shard::all(), FURTHEST, LARGEST_MARK), FURTHEST, LARGEST_MARK);
    assert_eq!(cursor(&ALL, &longest).token().len(), 1_010);
    // Whatever the positions, one of three sources fits.
    let longest = begun(place(Shard::all(), i64::MAX, LARGEST_MARK), i64::MAX, LARGEST_MARK);
    assert_eq!(cursor(&ALL[..3], &longest).token().len(), 888);
}

#[test]
fn a_token_is_as_long_as_what_was_sent_is_much() {
    let million = place(Shard::all(), 1_000_000, LARGEST_MARK);
    let lengths = [beginning(), place([shard(7)], 100, 1), million].map(|place| {
        let [one, all] =
            [&ORDER[..], &ALL[..]].map(|sources| cursor(sources, &place).token().len());
        (one, all)
    });
    assert_eq!(lengths, [(20, 44), (27, 71), (170, 642)]);
}
