//! The descriptors of the contract: whole, for tools, or as far as some services need them, for reflection.

use std::collections::{BTreeMap, BTreeSet};

use prost::{Message, bytes::Bytes};
use prost_types::FileDescriptorProto;

use crate::FILE_DESCRIPTOR_SET;

/// What describes the details of errors, so that tools can print them.
const ERROR_DETAILS: &[u8] = tonic_types::pb::FILE_DESCRIPTOR_SET;

/// The message types of all events: no call names them, because they travel as `google.protobuf.Any`.
const EVENTS: &str = "/events.proto";

/// A `google.protobuf.FileDescriptorSet` whose files are not decoded: `prost_types` knows no options of others, and would
/// lose them.
#[derive(Clone, PartialEq, Message)]
struct RawSet {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    file: Vec<Bytes>,
}

/// The files of the contract and of the details of its errors.
struct Files {
    /// In an order in which each follows those that it imports.
    all: Vec<(FileDescriptorProto, Bytes)>,
}

impl Files {
    fn read() -> Result<Self, prost::DecodeError> {
        let mut all = Vec::new();
        let mut names = BTreeSet::new();
        for set in [FILE_DESCRIPTOR_SET, ERROR_DETAILS] {
            for raw in RawSet::decode(set)?.file {
                let file = FileDescriptorProto::decode(raw.clone())?;
                if names.insert(file.name().to_owned()) {
                    all.push((file, raw));
                }
            }
        }
        Ok(Self { all })
    }

    /// The files that `is_root` chooses and those that they import, encoded.
    fn with_imports(&self, is_root: impl Fn(&FileDescriptorProto) -> bool) -> Vec<u8> {
        let by_name: BTreeMap<&str, &FileDescriptorProto> =
            self.all.iter().map(|(file, _)| (file.name(), file)).collect();
        let roots = self.all.iter().filter(|(file, _)| is_root(file));
        let mut wanted: Vec<&str> = roots.map(|(file, _)| file.name()).collect();
        let mut reached = BTreeSet::new();
        while let Some(name) = wanted.pop() {
            if reached.insert(name) {
                let imports = by_name.get(name).into_iter().flat_map(|file| &file.dependency);
                wanted.extend(imports.map(String::as_str));
            }
        }
        let file = self.all.iter().filter(|(file, _)| reached.contains(file.name()));
        RawSet { file: file.map(|(_, raw)| raw.clone()).collect() }.encode_to_vec()
    }
}

/// The whole contract and the details of its errors (`google.rpc`), as an encoded
/// `google.protobuf.FileDescriptorSet`.
///
/// # Errors
/// None that a build of this crate can cause: the descriptors are compiled in.
pub fn all() -> Result<Vec<u8>, prost::DecodeError> {
    Ok(Files::read()?.with_imports(|_| true))
}

/// What describes these services, by their full names, and nothing else of the contract: their files, what those import,
/// and the details of errors. With a service of events, the events too.
///
/// # Errors
/// See [`all`].
pub fn of_services(names: &[&str]) -> Result<Vec<u8>, prost::DecodeError> {
    let offers = |file: &FileDescriptorProto| {
        let mut services = file.service.iter();
        services.any(|it| names.contains(&format!("{}.{}", file.package(), it.name()).as_str()))
    };
    let has_events = names.contains(&crate::events::v1::event_service_server::SERVICE_NAME);
    Files::read().map(|files| {
        files.with_imports(|file| {
            file.package() == "google.rpc"
                || offers(file)
                || (has_events && file.name().ends_with(EVENTS))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost_reflect::DescriptorPool;

    fn pool(set: &[u8]) -> DescriptorPool {
        DescriptorPool::decode(set).unwrap()
    }

    #[test]
    fn the_whole_set_describes_the_details_of_errors_and_keeps_the_options_of_steps() {
        let pool = pool(&all().unwrap());
        assert!(pool.get_message_by_name("google.rpc.ErrorInfo").is_some());
        let wallet =
            pool.get_service_by_name("commerce.wallet.v1.WalletParticipantService").unwrap();
        let debit = wallet.methods().find(|method| method.name() == "DebitWallet").unwrap();
        let step = pool.get_extension_by_name("commerce.saga.v1.step").unwrap();
        assert!(debit.options().has_extension(&step));
    }

    #[test]
    fn a_service_is_described_without_the_calls_of_others() {
        let pool = pool(&of_services(&["commerce.product.v1.ProductService"]).unwrap());
        let services: Vec<_> = pool.services().map(|it| it.full_name().to_owned()).collect();
        assert_eq!(services, ["commerce.product.v1.ProductService"]);
        assert!(pool.get_message_by_name("google.rpc.PreconditionFailure").is_some());
        assert!(pool.get_message_by_name("commerce.product.v1.StockReserved").is_none());
    }

    #[test]
    fn events_are_described_beside_their_service() {
        let pool = pool(&of_services(&["commerce.events.v1.EventService"]).unwrap());
        assert!(pool.get_message_by_name("commerce.order.v1.OrderConfirmed").is_some());
        assert_eq!(pool.services().count(), 2, "OrderService is in a file that an event imports");
    }
}
