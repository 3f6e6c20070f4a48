//! What each schema must say of itself, whatever is under way: every statement of an audit of one schema sees the same
//! instant, and a transaction changes all rows of a matter or none.

pub(crate) mod coupon;
pub(crate) mod journal;
pub(crate) mod order;
pub(crate) mod product;
pub(crate) mod wallet;
