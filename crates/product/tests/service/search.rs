//! The list of products by a text in their names.

use crate::harness::{Shop, reason};
use api::Reason;
use api::product::v1::{ListProductsRequest, ListProductsResponse};
use db::Conn;
use diesel_async::SimpleAsyncConnection;
use tonic::Status;

/// Products in [`haystack`]: two pages of a search that look at all they may, and half a page.
const STRAWS: i64 = 25_000;
/// The places, from 0, of the products there whose names say needle: the first and the last that a page looks at, and some
/// between.
const NEEDLES: [i64; 5] = [10_000, 15_000, 19_999, 20_000, 24_999];

fn containing(text: &str) -> ListProductsRequest {
    ListProductsRequest { name_contains: text.to_owned(), ..ListProductsRequest::default() }
}

async fn list(shop: &Shop, request: ListProductsRequest) -> Result<ListProductsResponse, Status> {
    Ok(shop.public().list_products(request).await?.into_inner())
}

/// The ids of every page, from the first to the last.
async fn pages(shop: &Shop, mut request: ListProductsRequest) -> Vec<Vec<i64>> {
    let mut pages = Vec::new();
    loop {
        let page = list(shop, request.clone()).await.unwrap();
        pages.push(page.products.iter().map(|product| product.product_id).collect());
        if page.next_page_token.is_empty() {
            return pages;
        }
        request.page_token = page.next_page_token;
    }
}

/// The id of the product at a place in [`haystack`].
fn id(place: i64) -> i64 {
    1_000_000 - 8 * (place / 8) + place % 8
}

/// A shop with so many products that no page of a search looks at all of them. Eight are made at each instant, and the
/// products of a later instant have the smaller ids.
async fn haystack() -> Shop {
    let shop = Shop::start().await;
    let digit = |unit: u32| {
        let digits = (1..10).map(|digit| format!(" UNION ALL SELECT {}", digit * unit));
        format!("(SELECT 0 AS n{}) AS digit_{unit}", digits.collect::<String>())
    };
    let digits = [1, 10, 100, 1_000, 10_000].map(digit).join(" JOIN ");
    let needles = NEEDLES.map(|place| place.to_string()).join(", ");
    let fill = format!(
        "INSERT INTO product (id, name, price, stock, movements, version, created_at, updated_at) \
        SELECT 1000000 - 8 * (place DIV 8) + place % 8, \
        CONCAT(IF(place IN ({needles}), 'a Needle ', 'a straw '), place), 100, 1, 1, 1, \
        TIMESTAMP('2026-11-01') + INTERVAL (place DIV 8) SECOND, TIMESTAMP('2026-11-01') \
        FROM (SELECT digit_1.n + digit_10.n + digit_100.n + digit_1000.n + digit_10000.n AS place \
        FROM {digits}) AS places WHERE place < {STRAWS}"
    );
    let fill =
        async move |conn: &mut Conn| -> db::Result<()> { Ok(conn.batch_execute(&fill).await?) };
    shop.db.read(fill).await.unwrap();
    shop
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_is_found_anywhere_in_a_name_whatever_the_case_of_its_letters() {
    let shop = Shop::start().await;
    let names =
        ["Green TEA", "iced tea ", "Чай", "ΣΟΦΟΣ", "차 ☕ 세트", "🍵", "🍰", "ÉCLAIR", "eclair"];
    let mut made = Vec::new();
    for name in names {
        made.push(shop.named(name, 1).await);
    }
    for (text, expected) in [
        ("", &names[..]),
        ("tea", &names[..2]),
        ("n Te", &names[..1]),
        ("tea ", &names[1..2]),
        ("teas", &[]),
        ("чАЙ", &names[2..3]),
        ("σοφος", &names[3..4]),
        ("차 ☕", &names[4..5]),
        ("🍵", &names[5..6]),
        ("éclair", &names[7..8]),
        ("ECLAIR", &names[8..9]),
    ] {
        let found = list(&shop, containing(text)).await.unwrap();
        let found: Vec<_> = found.products.iter().map(|product| product.name.as_str()).collect();
        assert_eq!(found, expected, "{text:?}");
    }
    assert_eq!(pages(&shop, containing("")).await, [made]);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_letter_of_a_text_has_a_meaning_of_its_own() {
    let shop = Shop::start().await;
    let names = ["50% off", "a_b", r"a\b", "it's", "a\"b", "aXb", "50 off"];
    for name in names {
        shop.named(name, 1).await;
    }
    for (text, expected) in [
        ("%", "50% off"),
        ("_", "a_b"),
        ("A_B", "a_b"),
        (r"\", r"a\b"),
        (r"A\B", r"a\b"),
        ("'", "it's"),
        ("\"", "a\"b"),
    ] {
        let found = list(&shop, containing(text)).await.unwrap();
        let found: Vec<_> = found.products.iter().map(|product| product.name.as_str()).collect();
        assert_eq!(found, [expected], "{text:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_found_is_listed_oldest_first_page_by_page() {
    let shop = Shop::start().await;
    let other = shop.replica(None);
    let mut teas = Vec::new();
    for _ in 0..3 {
        teas.push(shop.named("green tea", 1).await);
        other.named("cake", 1).await;
        teas.push(other.named("Black Tea", 1).await);
    }
    teas.push(shop.named("tea", 1).await);
    assert!(!teas.is_sorted(), "each replica takes ids from a block of its own: {teas:?}");
    for (page_size, sizes) in [(2, &[2, 2, 2, 1][..]), (7, &[7][..]), (6, &[6, 1][..])] {
        let pages = pages(&other, ListProductsRequest { page_size, ..containing("tea") }).await;
        assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), sizes);
        assert_eq!(pages.concat(), teas);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_token_belongs_to_the_text_that_it_was_given_for() {
    let shop = Shop::start().await;
    for _ in 0..3 {
        shop.named("green tea", 1).await;
    }
    let token = async |text| {
        let request = ListProductsRequest { page_size: 1, ..containing(text) };
        list(&shop, request).await.unwrap().next_page_token
    };
    let tokens = [("", token("").await), ("tea", token("tea").await), ("TEA", token("TEA").await)];
    for (given_for, page_token) in &tokens {
        for (text, _) in &tokens {
            let request =
                ListProductsRequest { page_token: page_token.clone(), ..containing(text) };
            match list(&shop, request).await {
                Ok(page) => {
                    assert_eq!((text, page.products.len()), (given_for, 2));
                }
                Err(status) => {
                    assert_ne!(text, given_for);
                    assert_eq!(reason(&status), Reason::InvalidPageToken);
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_of_a_hundred_letters_is_looked_for_and_a_longer_one_is_refused() {
    let shop = Shop::start().await;
    let name = "차".repeat(200);
    let made = shop.named(&name, 1).await;
    assert_eq!(pages(&shop, containing(&"차".repeat(100))).await, [[made]]);
    let status = list(&shop, containing(&"차".repeat(101))).await.unwrap_err();
    assert_eq!(reason(&status), Reason::InvalidField);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_goes_on_over_pages_without_products_to_the_last_one() {
    let shop = haystack().await;
    let [first, second, third, fourth, fifth] = NEEDLES.map(id);
    let few = ListProductsRequest { page_size: 2, ..containing("nEEDLE") };
    let expected = [vec![], vec![first, second], vec![third, fourth], vec![fifth]];
    assert_eq!(pages(&shop, few).await, expected);
    // No page looks at more than it may, though there is room for all.
    let many = ListProductsRequest { page_size: 200, ..containing("nEEDLE") };
    let expected = [vec![], vec![first, second, third], vec![fourth, fifth]];
    assert_eq!(pages(&shop, many).await, expected);
    assert_eq!(pages(&shop, containing("pin")).await, [[0_i64; 0]; 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_that_finds_much_fills_its_pages_and_leaves_nothing_out() {
    let shop = haystack().await;
    let straws = ListProductsRequest { page_size: 200, ..containing("A STRAW 1") };
    let pages = pages(&shop, straws).await;
    let is_meant = |place: &i64| place.to_string().starts_with('1') && !NEEDLES.contains(place);
    let expected: Vec<i64> = (0..STRAWS).filter(is_meant).map(id).collect();
    assert_eq!(pages.concat(), expected);
}
