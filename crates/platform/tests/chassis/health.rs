//! Health: what services say of themselves, and what clients are told.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use platform::{Health, Probe, health::LIVENESS, server::Settings};
use tokio_util::sync::CancellationToken;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::stub::{Gate, bind, to};

const SERVICE: &str = "commerce.ranking.v1.RankingService";
const OTHER: &str = "another.Service";

/// A server's health, and what a client is told of it.
struct Scene {
    health: Health,
    client: HealthClient<platform::Transport>,
}

impl Scene {
    async fn begin() -> Self {
        let server = bind(Settings::default(), Gate::new().stub().services()).await;
        let client = HealthClient::new(to(server.address("public").unwrap()));
        let health = server.health();
        tokio::spawn(server.serve(std::future::pending()));
        Self { health, client }
    }

    async fn is_serving(&mut self, service: &str) -> bool {
        let check = HealthCheckRequest { service: service.to_owned() };
        let answer = self.client.check(check).await.unwrap();
        answer.into_inner().status() == ServingStatus::Serving
    }

    async fn told<const N: usize>(&mut self, services: [&str; N]) -> [bool; N] {
        let mut told = [false; N];
        for (told, service) in told.iter_mut().zip(services) {
            *told = self.is_serving(service).await;
        }
        told
    }
}

fn refused() -> Result<(), String> {
    Err("not today".to_owned())
}

#[tokio::test]
async fn readiness_follows_what_each_service_says_and_liveness_does_not() {
    let mut scene = Scene::begin().await;
    let works = Arc::new(AtomicBool::new(true));
    let asked = Arc::clone(&works);
    let probe = Probe::new([SERVICE], move || {
        let works = asked.load(Ordering::SeqCst);
        async move { if works { Ok(()) } else { refused() } }
    });
    let probes: Arc<[Probe]> = [probe, Probe::new([OTHER], || async { Ok(()) })].into();
    for now in [true, false, true] {
        works.store(now, Ordering::SeqCst);
        scene.health.look(&probes).await;
        assert_eq!(scene.told(["", SERVICE, OTHER, LIVENESS]).await, [now, now, true, true]);
    }
}

#[tokio::test]
async fn a_service_that_does_not_answer_or_panics_is_not_ready_and_keeps_no_other_from_being_asked()
{
    let mut scene = Scene::begin().await;
    let probes = [
        Probe::new(["hangs"], std::future::pending),
        Probe::new(["panics"], || async { panic!("a defect") }),
        Probe::new([SERVICE], || async { Ok(()) }),
    ];
    scene.health.look(&probes.into()).await;
    assert_eq!(scene.told(["hangs", "panics", SERVICE]).await, [false, false, true]);
}

#[tokio::test]
async fn a_process_is_ready_without_what_stands_apart_but_not_with_nothing() {
    let mut scene = Scene::begin().await;
    let apart = || Probe::new([SERVICE], || async { refused() }).apart();
    let other = Probe::new([OTHER], || async { Ok(()) });
    scene.health.look(&[apart(), other].into()).await;
    assert_eq!(scene.told(["", SERVICE, OTHER]).await, [true, false, true]);
    let other = Probe::new([OTHER], || async { refused() }).apart();
    scene.health.look(&[apart(), other].into()).await;
    assert_eq!(scene.told(["", SERVICE, OTHER]).await, [false, false, false]);
}

#[tokio::test]
async fn services_are_asked_again_and_again_until_the_end() {
    let scene = Scene::begin().await;
    let asked = Arc::new(tokio::sync::Semaphore::new(0));
    let count = Arc::clone(&asked);
    let probe = Probe::new([SERVICE], move || {
        count.add_permits(1);
        async { Ok(()) }
    });
    let stop = CancellationToken::new();
    let watching = tokio::spawn(scene.health.watch([probe].into(), stop.clone()));
    asked.acquire_many(2).await.unwrap().forget();
    stop.cancel();
    watching.await.unwrap();
}
