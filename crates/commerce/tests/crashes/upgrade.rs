//! From an older program to the one of today, under load.

use crate::apart::Apart;
use crate::crowd::Crowd;
use crate::goods::Goods;
use crate::promises::Promises;
use commerce::roles::Role;
use std::path::PathBuf;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an older program, named by OLD_COMMERCE"]
async fn a_schema_grows_and_the_program_is_replaced_role_by_role_under_load() {
    let old = std::env::var("OLD_COMMERCE").expect("OLD_COMMERCE names an older `commerce`");
    let mut shop = Apart::of(PathBuf::from(old), &[Role::Activity]).await;
    let mut goods = Goods::make(&shop.clients()).await;
    goods.new_campaign(&shop.clients()).await;
    let crowd = Crowd::gather(&shop.clients(), &goods, 11);
    crowd.answered(500).await;
    // The old program goes on over the new schemas.
    shop.migrate().await;
    crowd.answered(1_000).await;
    // Then both work side by side: a new orchestrator beside the old one, and one new role after the other.
    shop.upgrade();
    shop.join(Role::Orchestrator).await;
    // Who reads events first, for it must know all that the others write.
    let others = [Role::Wallet, Role::Product, Role::Order, Role::Coupon, Role::Orchestrator];
    for role in [Role::Ranking].into_iter().chain(others) {
        crowd.answered(500).await;
        shop.renew(role).await;
    }
    // Once nobody drops events that it has not had.
    shop.add(Role::Activity).await;
    crowd.answered(500).await;
    let asked = crowd.dismiss().await;
    let told = Promises::default().kept(&shop, asked).await;
    println!("{told}, all kept");
    shop.stop().await;
}
