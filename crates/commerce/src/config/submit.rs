//! What sagas that are submitted as data may call.

use std::collections::{BTreeMap, BTreeSet};

/// Stands for every caller: until callers have identities, the only one there is.
const ANYONE: &str = "anyone";
/// What the methods of the shop begin with, which nobody may submit: a refund by hand would mint money.
const SHOP: &str = "commerce.";

/// Participants beside the shop's own, as `NAME=http://HOST:PORT` with commas in between: the addresses by name. None where the
/// text is not of that form, or names one twice or one of the shop's.
pub fn participants(text: &str) -> Option<BTreeMap<String, String>> {
    let mut all = BTreeMap::new();
    for part in text.split(',') {
        let (name, url) = part.trim().split_once('=')?;
        let host = url.strip_prefix("http://")?;
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        let is_name = (1..=64).contains(&name.len()) && name.bytes().all(is_word);
        let is_ours = api::participants::ALL.iter().any(|participant| participant.name == name);
        let is_known = all.insert(name.to_owned(), url.to_owned()).is_some();
        if !is_name || is_ours || is_known || host.is_empty() || host.contains(char::is_whitespace)
        {
            return None;
        }
    }
    Some(all)
}

/// The methods that may be submitted, as `anyone:METHOD` with commas in between. None where the text is not of that form, or names
/// a method of the shop.
pub fn methods(text: &str) -> Option<BTreeSet<String>> {
    let method = |part: &str| {
        let (who, method) = part.trim().split_once(':')?;
        let (service, name) = method.split_once('/')?;
        let is_allowed = who == ANYONE && !method.starts_with(SHOP);
        (is_allowed && !service.is_empty() && !name.is_empty()).then(|| method.to_owned())
    };
    text.split(',').map(method).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn participants_have_names_of_their_own_and_addresses() {
        let read = participants("seat=http://seats:50052, hotel=http://[::1]:7").unwrap();
        let expected = [("hotel", "http://[::1]:7"), ("seat", "http://seats:50052")];
        let expected = expected.map(|(name, url)| (name.to_owned(), url.to_owned()));
        assert_eq!(read, expected.into());
        for bad in
            ["", "seat", "seat=seats:1", "=http://a:1", "a=http://", "a=http://b:1,a=http://c:1"]
        {
            assert_eq!(participants(bad), None, "{bad}");
        }
        assert_eq!(participants("wallet=http://mine:1"), None, "the shop's own stay the shop's");
    }

    #[test]
    fn no_step_of_the_shop_can_be_submitted() {
        let seat = "travel.v1.SeatParticipantService/ReserveSeat";
        assert_eq!(methods(&format!("anyone:{seat}")).unwrap(), [seat.to_owned()].into());
        for bad in [
            "",
            seat,
            "anyone:ReserveSeat",
            "kim:travel.v1.SeatParticipantService/ReserveSeat",
            "anyone:commerce.wallet.v1.WalletParticipantService/RefundWallet",
        ] {
            assert_eq!(methods(bad), None, "{bad}");
        }
    }
}
