//! The contract between a saga engine and its participants in Rust, whatever they do: `commerce.saga.v1`, but for the
//! administration of sagas.

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
    tonic::include_proto!("commerce.saga.v1");
}

/// The descriptors of the contract with their comments and options, as an encoded `google.protobuf.FileDescriptorSet`.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/saga.fds"));

/// An action of a participant, as its method's options declare it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Action {
    /// Its full method, such as `commerce.wallet.v1.WalletParticipantService/DebitWallet`.
    pub method: &'static str,
    /// What it is to its saga.
    pub role: v1::StepRole,
    /// The reasons with which it may be rejected.
    pub rejections: &'static [&'static str],
}

impl Action {
    /// The method without its service, such as `DebitWallet`.
    pub fn name(&self) -> &'static str {
        self.method.rsplit('/').next().unwrap_or(self.method)
    }
}

/// What a participant's service declares of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Participant {
    /// Its name, such as `wallet`.
    pub name: &'static str,
    /// The full name of the service that has its actions.
    pub service: &'static str,
    /// Its actions.
    pub actions: &'static [Action],
}
