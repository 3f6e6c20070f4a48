//! The contract in Rust: messages, clients and servers generated from `proto/`, the checks of
//! requests generated from its comments, and the errors that every service answers with.

pub mod check;
pub mod descriptors;
pub mod outcome;
pub mod reason;
pub mod refusal;
pub mod request_id;
pub mod rule;

mod checks;

/// What the contract declares of each participant.
pub mod participants {
    use saga_api::v1::StepRole;
    use saga_api::{Action, Participant};

    include!(concat!(env!("OUT_DIR"), "/participants.rs"));
}

pub use check::Check;
pub use reason::Reason;
pub use refusal::{Refusal, UnreadableRefusal, Violation};
pub use request_id::RequestId;

/// The descriptors of the whole contract with their comments, as an encoded
/// `google.protobuf.FileDescriptorSet`: for reflection, and for tests that read the rules.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/commerce.fds"));

/// Declares `service::v1` with the generated code of the package `commerce.service.v1`.
macro_rules! packages {
    ($($(#[doc = $doc:literal])+ $service:ident = $package:literal $(+ $shared:path)?;)+) => {
        $($(#[doc = $doc])+
        pub mod $service {
            /// Version 1 of the package.
            #[allow(
                missing_docs,
                unreachable_pub,
                unused_qualifications,
                clippy::all,
                clippy::pedantic,
                clippy::restriction,
                reason = "generated"
            )]
            pub mod v1 {
                $(#[allow(unused_imports, reason = "generated")]
                pub use $shared::*;)?
                tonic::include_proto!($package);
            }
        })+
    };
}

packages! {
    /// `commerce.checkout.v1`: placing and cancelling orders.
    checkout = "commerce.checkout.v1";
    /// `commerce.coupon.v1`: coupons, their steps in sagas, their events.
    coupon = "commerce.coupon.v1";
    /// `commerce.events.v1`: the envelope of every event.
    events = "commerce.events.v1";
    /// `commerce.order.v1`: orders, their steps in sagas, their events.
    order = "commerce.order.v1";
    /// `commerce.product.v1`: products and stock, their steps in sagas, their events.
    product = "commerce.product.v1";
    /// `commerce.ranking.v1`: the best sellers.
    ranking = "commerce.ranking.v1";
    /// `commerce.saga.v1`: what all steps share, and the administration of sagas.
    saga = "commerce.saga.v1" + saga_api::v1;
    /// `commerce.wallet.v1`: wallets, their steps in sagas, their events.
    wallet = "commerce.wallet.v1";
}
