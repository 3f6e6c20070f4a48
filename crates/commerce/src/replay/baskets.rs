//! Baskets from a file, byte for byte, and what follows from them alone: prices, owners and request ids.

use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Users whose baskets they are: 1 to this.
pub const USERS: i64 = 1_000;
/// Most products in an order.
const MAX_PRODUCTS: usize = 100;
/// Most characters in a product's name.
const MAX_NAME: usize = 200;
/// Won of the cheapest product.
const LEAST_PRICE: i64 = 500;
/// Prices go up in steps of this many won …
const PRICE_STEP: i64 = 10;
/// … of which there are this many, the lowest included.
const PRICE_STEPS: u64 = 2_001;

/// A file of baskets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Baskets {
    /// SHA-256 of the file.
    digest: [u8; 32],
    /// The products' names, each once, in the order in which the file first names them.
    pub names: Vec<String>,
    /// The baskets, in the file's order.
    pub baskets: Vec<Basket>,
}

/// A line of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Basket {
    /// Its number in the file, from 1.
    pub line: u64,
    /// Its products, as places in [`Baskets::names`], in order, and how often the line names each.
    pub products: Vec<(usize, i32)>,
}

/// Why a file is no file of baskets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct Unreadable {
    /// The line, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub what: &'static str,
}

impl Baskets {
    /// Reads baskets: a line each, names separated by commas, every other byte part of a name. A line ends with LF or
    /// CRLF; an empty one is no basket.
    ///
    /// # Errors
    /// [`Unreadable`] for a name that is empty, over 200 characters or no UTF-8, and for a basket of more than 100 products.
    pub fn parse(file: &[u8]) -> Result<Self, Unreadable> {
        let mut names = Vec::new();
        let mut places = BTreeMap::new();
        let mut baskets = Vec::new();
        for (line, bytes) in (1..).zip(file.split(|byte| *byte == b'\n')) {
            let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
            if bytes.is_empty() {
                continue;
            }
            let refuse = |what| Unreadable { line, what };
            let mut products: Vec<(usize, i32)> = Vec::new();
            for name in bytes.split(|byte| *byte == b',') {
                let name = std::str::from_utf8(name).map_err(|_| refuse("a name is no UTF-8"))?;
                if name.is_empty() {
                    return Err(refuse("a name is empty"));
                }
                if name.chars().count() > MAX_NAME {
                    return Err(refuse("a name is longer than 200 characters"));
                }
                let place = *places.entry(name).or_insert_with(|| {
                    names.push(name.to_owned());
                    names.len() - 1
                });
                match products.iter_mut().find(|(known, _)| *known == place) {
                    Some((_, quantity)) => *quantity += 1,
                    None => products.push((place, 1)),
                }
            }
            if products.len() > MAX_PRODUCTS {
                return Err(refuse("a basket holds more than 100 products"));
            }
            baskets.push(Basket { line, products });
        }
        Ok(Self { digest: Sha256::digest(file).into(), names, baskets })
    }

    /// Units of each product that all baskets hold, by place.
    pub fn units(&self) -> Vec<i32> {
        let mut units = vec![0; self.names.len()];
        for (place, quantity) in self.baskets.iter().flat_map(|basket| &basket.products) {
            if let Some(units) = units.get_mut(*place) {
                *units += quantity;
            }
        }
        units
    }

    /// What each user's baskets cost together, given the products' prices by place.
    pub fn needs(&self, prices: &[i64]) -> BTreeMap<i64, i64> {
        let mut needs = BTreeMap::new();
        for basket in &self.baskets {
            let price = |(place, quantity): &(usize, i32)| {
                prices.get(*place).copied().unwrap_or_default() * i64::from(*quantity)
            };
            let cost: i64 = basket.products.iter().map(price).sum();
            *needs.entry(basket.user()).or_default() += cost;
        }
        needs
    }

    /// The request id of a basket's order: of the file's content and the line, so that the same line of the same file
    /// is the same request for ever.
    pub fn order_id(&self, basket: &Basket) -> String {
        request_id("order", &[&self.digest, &basket.line.to_be_bytes()])
    }

    /// The request id of a step of the preparation that belongs to this file.
    pub fn setup_id(&self, what: &str, parts: &[&[u8]]) -> String {
        let mut all: Vec<&[u8]> = vec![&self.digest];
        all.extend_from_slice(parts);
        request_id(what, &all)
    }
}

impl Basket {
    /// Whose basket it is: the user line mod 1,000, and user 1,000 where that is 0.
    pub fn user(&self) -> i64 {
        let users = USERS.cast_unsigned();
        match self.line % users {
            0 => USERS,
            user => user.cast_signed(),
        }
    }
}

/// The price of a product that nobody priced: from its name, 500 to 20,500 won in steps of 10.
pub fn price(name: &str) -> i64 {
    let digest: [u8; 32] = Sha256::digest(name).into();
    let steps = u64::from_be_bytes(first(&digest)) % PRICE_STEPS;
    LEAST_PRICE + PRICE_STEP * steps.cast_signed()
}

/// A UUID that is a digest of what is asked for.
pub fn request_id(what: &str, parts: &[&[u8]]) -> String {
    let mut digest = Sha256::new_with_prefix("commerce replay 1\0");
    for part in [what.as_bytes()].iter().chain(parts) {
        // The length keeps parts from running into each other.
        digest.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        digest.update(part);
    }
    let digest: [u8; 32] = digest.finalize().into();
    uuid::Builder::from_custom_bytes(first(&digest)).into_uuid().to_string()
}

fn first<const N: usize>(digest: &[u8; 32]) -> [u8; N] {
    const { assert!(N <= 32) };
    let mut bytes = [0; N];
    for (to, from) in bytes.iter_mut().zip(digest) {
        *to = *from;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_kept_byte_for_byte() {
        let read =
            Baskets::parse("cream cheese ,meat spreads\r\n\n a \tb,우유\n".as_bytes()).unwrap();
        assert_eq!(read.names, ["cream cheese ", "meat spreads", " a \tb", "우유"]);
        let lines: Vec<_> = read.baskets.iter().map(|basket| basket.line).collect();
        assert_eq!(lines, [1, 3]);
    }

    #[test]
    fn names_that_differ_in_one_space_are_two_products() {
        let read = Baskets::parse(b"milk,milk ,milk\nmilk ").unwrap();
        assert_eq!(read.names, ["milk", "milk "]);
        assert_eq!(read.baskets[0].products, [(0, 2), (1, 1)]);
        assert_eq!(read.units(), [2, 2]);
    }

    #[test]
    fn what_is_no_basket_is_refused_with_its_line() {
        let long = "x".repeat(201);
        let many = (0..101).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
        for bad in [b"a,,b".as_slice(), b",", b"\xff", long.as_bytes(), many.as_bytes()] {
            let file = [b"fine\n", bad].concat();
            assert_eq!(Baskets::parse(&file).unwrap_err().line, 2, "{bad:?}");
        }
    }

    #[test]
    fn basket_n_belongs_to_user_n_mod_1000_and_every_thousandth_to_user_1000() {
        let owner = |line| Basket { line, products: Vec::new() }.user();
        assert_eq!([1, 999, 1_000, 1_001, 2_000].map(owner), [1, 999, 1_000, 1, 1_000]);
    }

    #[test]
    fn each_users_needs_are_the_sum_of_his_baskets() {
        let read = Baskets::parse(b"a,b\nb,b\n").unwrap();
        assert_eq!(read.needs(&[10, 7]), BTreeMap::from([(1, 17), (2, 14)]));
    }

    #[test]
    fn request_ids_follow_the_files_content_and_the_line() {
        let file = Baskets::parse(b"a\na\n").unwrap();
        let other = Baskets::parse(b"a\na").unwrap();
        let ids = [
            file.order_id(&file.baskets[0]),
            file.order_id(&file.baskets[1]),
            other.order_id(&other.baskets[0]),
            file.setup_id("stock", &[b"ab", b"c"]),
            file.setup_id("stock", &[b"a", b"bc"]),
        ];
        assert_eq!(BTreeSet::from(ids.clone()).len(), ids.len());
        assert_eq!(file.order_id(&file.baskets[0]), ids[0]);
        // Written down, because a new version of the program must finish what an old one began.
        assert_eq!(ids[0], "f323b689-b3be-8a9d-a8c0-d5f700277e18");
    }

    #[test]
    fn prices_follow_the_name_and_stay_in_bounds() {
        assert_eq!(price("whole milk"), price("whole milk"));
        let prices: BTreeSet<_> = (0..5_000).map(|n| price(&n.to_string())).collect();
        assert!(prices.len() > 1_000, "{}", prices.len());
        assert!(prices.iter().all(|won| (500..=20_500).contains(won) && won % 10 == 0));
    }
}
