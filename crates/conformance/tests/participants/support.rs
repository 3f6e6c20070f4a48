//! The participant in memory over gRPC, and the files of the tests.

use crate::seats::{CONTRACT, Fault, Seats};
use participant::{ActionServer, ActionService, SagaParticipants, Steps};
use saga_api::Participant;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tonic::transport::Server;

struct SeatActions;

impl ActionService for SeatActions {
    const CONTRACT: Participant = CONTRACT;
}

/// Serves the participant until the guard is dropped.
pub(crate) async fn serve(fault: Fault) -> (SocketAddr, DropGuard) {
    let seats: Arc<dyn Steps> = Arc::new(Seats::new(fault));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let descriptors = descriptors();
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(&descriptors)
        .build_v1()
        .unwrap();
    let saga = SagaParticipants::new([Arc::clone(&seats)], 1_000, TaskTracker::new()).server();
    let server = Server::builder()
        .add_service(saga)
        .add_service(ActionServer::<SeatActions>::new(seats))
        .add_service(reflection);
    let cancel = CancellationToken::new();
    let ended = cancel.clone();
    tokio::spawn(async move {
        let incoming = TcpListenerStream::new(listener);
        server.serve_with_incoming_shutdown(incoming, ended.cancelled()).await.unwrap();
    });
    (address, cancel.drop_guard())
}

fn descriptors() -> Vec<u8> {
    let includes = [repository().join("proto"), examples().join("proto")];
    let mut compiler = protox::Compiler::new(includes).unwrap();
    compiler.include_imports(true);
    let files = ["travel/v1/seat_participant_service.proto", "commerce/saga/v1/participant.proto"];
    compiler.open_files(files).unwrap();
    compiler.encode_file_descriptor_set()
}

/// The payloads for the participant "seat", in every language.
pub(crate) fn payloads() -> conformance::Payloads {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/participants/seat.json");
    conformance::Payloads::read(&file).unwrap()
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The participants in other languages.
pub(crate) fn examples() -> PathBuf {
    repository().join("crates/participant/examples")
}
