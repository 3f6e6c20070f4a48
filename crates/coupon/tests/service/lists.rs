//! The lists: campaigns, and the coupons of a user.

use crate::harness::{Shop, list, order, reason, restore, ten_percent};
use api::Reason;
use api::coupon::v1::{
    CancelPolicy, CreateCouponRequest, IssuedCouponState, ListCouponsRequest,
    ListIssuedCouponsRequest, ListIssuedCouponsResponse,
};
use tonic::Status;
use uuid::Uuid;

impl Shop {
    async fn page(
        &self,
        request: &ListIssuedCouponsRequest,
    ) -> Result<ListIssuedCouponsResponse, Status> {
        let page = self.public().list_issued_coupons(request.clone()).await?;
        Ok(page.into_inner())
    }

    /// The ids of the coupons that a list has, page by page.
    async fn pages(&self, mut request: ListIssuedCouponsRequest) -> Vec<Vec<i64>> {
        let mut pages = Vec::new();
        loop {
            let page = self.page(&request).await.unwrap();
            pages.push(page.issued_coupons.iter().map(|it| it.issued_coupon_id).collect());
            if page.next_page_token.is_empty() {
                return pages;
            }
            assert!(pages.len() < 100, "pages without end: {pages:?}");
            request.page_token = page.next_page_token;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_two_replicas_make_in_turn_is_listed_newest_first() {
    let shop = Shop::start().await;
    let other = shop.replica();
    let (mut campaigns, mut held) = (Vec::new(), Vec::new());
    for maker in [&shop, &other, &shop, &other, &shop] {
        let coupon = maker.campaign(1).await;
        campaigns.insert(0, coupon);
        held.insert(0, maker.issue(1, coupon).await.unwrap().issued_coupon_id);
    }
    for ids in [&campaigns, &held] {
        assert!(!ids.iter().rev().is_sorted(), "ids come from a block of each replica: {ids:?}");
    }
    let mut request = ListCouponsRequest { page_size: 2, page_token: String::new() };
    let mut mine = list(1, 2);
    let (mut listed, mut listed_of_mine) = (Vec::new(), Vec::new());
    for reader in [&shop, &other, &shop] {
        let page = reader.public().list_coupons(request.clone()).await.unwrap().into_inner();
        listed.extend(page.coupons.iter().map(|it| it.coupon_id));
        request.page_token = page.next_page_token;
        let page = reader.public().list_issued_coupons(mine.clone()).await.unwrap().into_inner();
        listed_of_mine.extend(page.issued_coupons.iter().map(|it| it.issued_coupon_id));
        mine.page_token = page.next_page_token;
        // What is new meanwhile is on no later page.
        reader.campaign(1).await;
    }
    assert_eq!((listed, listed_of_mine), (campaigns, held));
    assert_eq!((request.page_token, mine.page_token), (String::new(), String::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn campaigns_and_a_users_coupons_are_listed_newest_first_page_by_page() {
    let shop = Shop::start().await;
    let (mut campaigns, mut held) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        let coupon = shop.campaign(2).await;
        campaigns.insert(0, coupon);
        held.insert(0, shop.issue(1, coupon).await.unwrap().issued_coupon_id);
        shop.issue(2, coupon).await.unwrap();
    }

    let mut request = ListCouponsRequest { page_size: 2, page_token: String::new() };
    let mut pages = Vec::new();
    loop {
        let page = shop.public().list_coupons(request.clone()).await.unwrap().into_inner();
        pages.push(page.coupons.iter().map(|it| it.coupon_id).collect::<Vec<_>>());
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 1]);
    assert_eq!(pages.concat(), campaigns);

    let pages = shop.pages(list(1, 2)).await;
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 1]);
    assert_eq!(pages.concat(), held);
    let page_token = shop.page(&list(1, 2)).await.unwrap().next_page_token;
    let others = ListIssuedCouponsRequest { page_token, ..list(2, 2) };
    assert_eq!(reason(&shop.page(&others).await.unwrap_err()), Reason::InvalidPageToken);
    let nobody = shop.page(&list(999, 2)).await.unwrap();
    assert_eq!(nobody, ListIssuedCouponsResponse::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_users_coupons_of_one_state_are_listed_newest_first_across_pages() {
    let shop = Shop::start().await;
    let mut held = Vec::new();
    for number in 0..9 {
        let cancel_policy = CancelPolicy::Forfeit.into();
        let terms = CreateCouponRequest { cancel_policy, ..ten_percent() };
        let coupon = shop.create(terms).await.coupon_id;
        let id = shop.issue(1, coupon).await.unwrap().issued_coupon_id;
        shop.issue(2, coupon).await.unwrap();
        held.insert(0, id);
        if number % 3 > 0 {
            shop.redeem(&order(number, 1, coupon)).await.done();
        }
        if number % 3 > 1 {
            shop.restore(Uuid::now_v7(), &restore(number, coupon, id)).await.unwrap().done();
        }
    }
    let of = |remainder: usize| -> Vec<i64> {
        let newest = held.iter().rev().skip(remainder).step_by(3).rev();
        newest.copied().collect()
    };
    let states = [
        (IssuedCouponState::Active, of(0)),
        (IssuedCouponState::Used, of(1)),
        (IssuedCouponState::Forfeited, of(2)),
        (IssuedCouponState::Unspecified, held.clone()),
    ];
    for (state, expected) in states {
        let request = ListIssuedCouponsRequest { state: state.into(), ..list(1, 2) };
        let pages = shop.pages(request).await;
        assert!(pages.iter().all(|page| page.len() <= 2), "{state:?}: {pages:?}");
        assert_eq!(pages.concat(), expected, "{state:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_token_belongs_to_the_state_that_was_listed() {
    let shop = Shop::start().await;
    for _ in 0..3 {
        let coupon = shop.campaign(1).await;
        shop.issue(1, coupon).await.unwrap();
    }
    let state = IssuedCouponState::Active.into();
    let active = ListIssuedCouponsRequest { state, ..list(1, 1) };
    let page_token = shop.page(&active).await.unwrap().next_page_token;
    assert_ne!(page_token, "");
    for state in [IssuedCouponState::Unspecified, IssuedCouponState::Used] {
        let page_token = page_token.clone();
        let other = ListIssuedCouponsRequest { state: state.into(), page_token, ..list(1, 1) };
        assert_eq!(reason(&shop.page(&other).await.unwrap_err()), Reason::InvalidPageToken);
    }
    let unknown = ListIssuedCouponsRequest { state: 99, ..list(1, 1) };
    assert_eq!(reason(&shop.page(&unknown).await.unwrap_err()), Reason::InvalidField);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_one_state_ends_after_10_000_coupons_and_the_next_one_goes_on() {
    let shop = Shop::start().await;
    let coupon = shop.campaign(1).await;
    let first = shop.issue(1, coupon).await.unwrap().issued_coupon_id;
    // Each is a second older than the one before.
    for doubling in 0..15 {
        let more = 1 << doubling;
        shop.run(&format!(
            "INSERT INTO issued_coupon (id, coupon_id, user_id, sequence, state, version, issued_at, \
                valid_from, valid_until) \
            SELECT id + {more}, coupon_id + {more}, user_id, sequence, state, version, \
                issued_at - INTERVAL {more} SECOND, valid_from, valid_until FROM issued_coupon"
        ))
        .await;
    }
    let used: Vec<i64> = [9_999, 10_000, 32_767].map(|place| first + place).into();
    let ids = used.iter().map(i64::to_string).collect::<Vec<_>>().join(", ");
    let sql = format!("UPDATE issued_coupon SET state = 2, order_id = 1 WHERE id IN ({ids})");
    shop.run(&sql).await;
    for page_size in [1, 50] {
        let state = IssuedCouponState::Used.into();
        let request = ListIssuedCouponsRequest { state, ..list(1, page_size) };
        let expected = [vec![used[0]], vec![used[1]], vec![], vec![used[2]]];
        assert_eq!(shop.pages(request).await, expected);
    }
    let all = shop.page(&list(1, 200)).await.unwrap().issued_coupons;
    let ids: Vec<_> = all.iter().map(|it| it.issued_coupon_id).collect();
    assert_eq!(ids, (first..first + 200).collect::<Vec<_>>(), "of any state a page is full");
}

#[tokio::test(flavor = "multi_thread")]
async fn coupons_of_one_instant_are_each_listed_once_where_a_page_ends_within_it() {
    let shop = Shop::start().await;
    let coupon = shop.campaign(1).await;
    let first = shop.issue(1, coupon).await.unwrap().issued_coupon_id;
    for doubling in 0..14 {
        let more = 1 << doubling;
        shop.run(&format!(
            "INSERT INTO issued_coupon (id, coupon_id, user_id, sequence, state, version, issued_at, \
                valid_from, valid_until) \
            SELECT id + {more}, coupon_id + {more}, user_id, sequence, state, version, issued_at, \
                valid_from, valid_until FROM issued_coupon"
        ))
        .await;
    }
    // A page looks at the first 10,000, which end within the instant.
    let used: Vec<i64> = [16_383, 6_384, 6_383, 0].map(|place| first + place).into();
    let ids = used.iter().map(i64::to_string).collect::<Vec<_>>().join(", ");
    let sql = format!("UPDATE issued_coupon SET state = 2, order_id = 1 WHERE id IN ({ids})");
    shop.run(&sql).await;
    for page_size in [1, 3, 50] {
        let state = IssuedCouponState::Used.into();
        let pages = shop.pages(ListIssuedCouponsRequest { state, ..list(1, page_size) }).await;
        assert_eq!(pages.concat(), used, "{page_size}");
    }
}
