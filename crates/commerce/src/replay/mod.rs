//! Replaying a file of baskets: every line one order, over real gRPC.
pub mod baskets;
