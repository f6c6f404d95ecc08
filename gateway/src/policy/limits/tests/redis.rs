//! Limits that gateways share, against a real Redis: the one of `tests/with-servers`, or one of the test's own where it is to fail.

use std::time::{Duration, Instant};

use gateway_config::clock::new_id;
use prometheus::IntGauge;
use tokio_util::sync::CancellationToken;

use super::redis_server::RedisServer;
use super::*;

/// So long that only a Redis that is away is too late, on the busiest machine.
const PATIENT: Duration = Duration::from_secs(20);

/// One gateway's side.
struct Side {
    limiter: Limiter,
    store: SharedStore,
    up: IntGauge,
    without_store: IntCounter,
    stop: CancellationToken,
}

impl Side {
    async fn of(url: &str, prefix: &str, deadline: Duration) -> Self {
        let side = Self::away(url, prefix, deadline);
        tokio::spawn(side.store.clone().keep_connected(side.stop.clone()));
        eventually("the store is used", || side.store.is_up()).await;
        side
    }

    /// Nothing connects.
    fn away(url: &str, prefix: &str, deadline: Duration) -> Self {
        let up = IntGauge::new("up", "…").unwrap();
        let without_store = IntCounter::new("without_store", "…").unwrap();
        let store = SharedStore::with_prefix(url, deadline, up.clone(), prefix).unwrap();
        let limiter = Limiter::new(Some(store.clone()), without_store.clone());
        Self { limiter, store, up, without_store, stop: CancellationToken::new() }
    }

    async fn admitted(&self, counters: &[Counter], times: usize) -> usize {
        let mut admitted = 0;
        for _ in 0..times {
            admitted += usize::from(is_admitted(&self.limiter.count(counters, Nanos(0)).await));
        }
        admitted
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn url() -> String {
    std::env::var("GATEHOUSE_TEST_REDIS")
        .expect("GATEHOUSE_TEST_REDIS names no Redis: run this as `tests/with-servers cargo nextest run -p gateway`")
}

fn prefix() -> String {
    format!("test:{}:", new_id())
}

async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < deadline, "it never came about that {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn shared(id: u64, requests: u32, per_seconds: u32) -> CompiledLimit {
    CompiledLimit { shared: true, ..limit(id, requests, per_seconds) }
}

fn choosing(on_store_error: OnStoreError) -> [Counter; 1] {
    [all(CompiledLimit { on_store_error, ..shared(1, 3, 3600) })]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_gateways_together_let_in_exactly_what_the_limit_says() {
    let (url, prefix) = (url(), prefix());
    let sides = [Side::of(&url, &prefix, PATIENT).await, Side::of(&url, &prefix, PATIENT).await];
    let sides = Arc::new(sides);
    let counters = Arc::new([all(shared(1, 250, 3600))]);
    let mut callers = Vec::new();
    for caller in 0..8 {
        let (sides, counters) = (sides.clone(), counters.clone());
        callers.push(tokio::spawn(async move { sides[caller % 2].admitted(&*counters, 100).await }));
    }
    let mut admitted = 0;
    for caller in callers {
        admitted += caller.await.unwrap();
    }
    assert_eq!(admitted, 250);
    assert_eq!(sides.iter().map(|side| side.without_store.get()).sum::<u64>(), 0);
}

#[tokio::test]
async fn a_refusal_anywhere_costs_nothing_anywhere() {
    let (url, prefix) = (url(), prefix());
    let side = Side::of(&url, &prefix, PATIENT).await;
    let (here, wide, narrow) = (all(limit(1, 10, 3600)), all(shared(2, 10, 3600)), all(shared(3, 2, 3600)));
    let three = [here.clone(), wide.clone(), narrow.clone()];
    assert_eq!(side.admitted(&three, 6).await, 2);
    let refused = side.limiter.count(&three, Nanos(0)).await.refused.expect("the narrow one is used up");
    assert_eq!(refused.limit.id, 3);
    assert_eq!(remaining(&side.limiter, &here, 0), 8);
    assert_eq!(side.admitted(std::slice::from_ref(&wide), 20).await, 8);
    // Now the other way about: refused here, the store is not even asked.
    assert_eq!(side.admitted(std::slice::from_ref(&here), 20).await, 8);
    let fresh = all(shared(4, 5, 3600));
    assert_eq!(side.admitted(&[here, fresh.clone()], 3).await, 0);
    assert_eq!(side.admitted(&[fresh], 9).await, 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_limited_here_and_there_is_exact_under_a_rush() {
    let (url, prefix) = (url(), prefix());
    let side = Arc::new(Side::of(&url, &prefix, PATIENT).await);
    let here = all(limit(1, 60, 3600));
    let there: Vec<Counter> = (0..4).map(|at| all(shared(2 + at, 20, 3600))).collect();
    let mut callers = Vec::new();
    for caller in 0..8 {
        let (side, counters) = (side.clone(), [here.clone(), there[caller / 2].clone()]);
        callers.push(tokio::spawn(async move { side.admitted(&counters, 40).await }));
    }
    let mut admitted = 0;
    for caller in callers {
        admitted += caller.await.unwrap();
    }
    // Places held for requests that the store then refused may have kept others out, but none of them stays held.
    assert_eq!(remaining(&side.limiter, &here, 0) as usize, 60 - admitted);
    let mut left = 0;
    for counter in &there {
        left += side.admitted(&[here.clone(), counter.clone()], 20).await;
    }
    assert_eq!(admitted + left, 60);
}

#[tokio::test]
async fn the_store_refills_as_the_limit_says_and_tells_how_it_stands() {
    let side = Side::of(&url(), &prefix(), PATIENT).await;
    let counters = [all(CompiledLimit { burst: 3, ..shared(1, 100, 3600) })];
    let first = side.limiter.count(&counters, Nanos(0)).await;
    assert_eq!((first.standings[0].remaining, first.standings[0].reset_seconds), (2, 36));
    assert_eq!(side.admitted(&counters, 5).await, 2);
    let refused = side.limiter.count(&counters, Nanos(0)).await.refused.expect("three are used up");
    assert!((30..=36).contains(&refused.retry_after_seconds), "{refused:?}");
    assert!((100..=108).contains(&refused.reset_seconds), "{refused:?}");
    // As many as were used stay used under new numbers, and a refill of 2,000 a second needs no wait worth the name.
    let edited = [all(CompiledLimit { burst: 6, ..shared(1, 200, 3600) })];
    assert_eq!(side.admitted(&edited, 5).await, 3);
    let quick = [all(shared(1, 2000, 1))];
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_admitted(&side.limiter.count(&quick, Nanos(0)).await) {
        assert!(Instant::now() < deadline, "it was never refilled");
    }
}

#[tokio::test]
async fn callers_are_told_apart_in_the_store() {
    let side = Side::of(&url(), &prefix(), PATIENT).await;
    let limit = Arc::new(shared(1, 1, 3600));
    let six = "2001:db8::".parse::<IpAddr>().unwrap();
    let callers = [
        Who::All,
        Who::Address(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        Who::Address(six),
        Who::Application("one".into()),
        Who::Application("two".into()),
        Who::Key(gateway_config::model::Id::new(new_id())),
        Who::Key(gateway_config::model::Id::new(new_id())),
        Who::Subject("one".into(), "a b".into()),
        Who::Subject("one".into(), "a".into()),
        Who::Subject("two".into(), "a".into()),
    ];
    for who in callers {
        let counters = [Counter { limit: limit.clone(), who }];
        assert_eq!(side.admitted(&counters, 3).await, 1, "{counters:?}");
    }
}

#[tokio::test]
async fn what_others_wrote_under_a_counters_name_is_overwritten() {
    let (url, prefix) = (url(), prefix());
    let side = Side::of(&url, &prefix, PATIENT).await;
    let mut connection = ::redis::Client::open(url).unwrap().get_multiplexed_async_connection().await.unwrap();
    let name = format!("{prefix}{:016x}:all", 1);
    let mut push = ::redis::cmd("RPUSH");
    push.arg(&name).arg("what").arg("ever").exec_async(&mut connection).await.unwrap();
    assert_eq!(side.admitted(&[all(shared(1, 3, 3600))], 5).await, 3);
    assert_eq!(side.without_store.get(), 0);
    let lasts: i64 = ::redis::cmd("PTTL").arg(&name).query_async(&mut connection).await.unwrap();
    assert!((3_500_000..=3_600_001).contains(&lasts), "{lasts}");
}

#[tokio::test]
async fn without_a_store_each_limit_does_as_it_chose() {
    for side in [None, Some(Side::away("redis://127.0.0.1:1", "", PATIENT))] {
        let plain = limiter();
        let limiter = side.as_ref().map_or(&plain, |side| &side.limiter);
        let mut counted = [0; 3];
        for (at, choice) in [OnStoreError::Local, OnStoreError::Allow, OnStoreError::Deny].into_iter().enumerate() {
            let mut counters = choosing(choice);
            Arc::make_mut(&mut counters[0].limit).id = at as u64;
            for _ in 0..8 {
                counted[at] += usize::from(is_admitted(&limiter.count(&counters, Nanos(0)).await));
            }
        }
        assert_eq!(counted, [3, 8, 0]);
        assert!(side.is_none_or(|side| side.without_store.get() == 24));
    }
}

#[tokio::test]
async fn a_denied_request_is_told_to_come_again_and_costs_nothing() {
    let limiter = limiter();
    let here = all(limit(7, 10, 60));
    let [denied] = choosing(OnStoreError::Deny);
    let verdict = limiter.count(&[here.clone(), denied], Nanos(0)).await;
    assert_eq!(headers(&verdict)["retry-after"], "1");
    assert_eq!(remaining(&limiter, &here, 0), 10);
}

#[tokio::test]
async fn a_redis_that_dies_is_not_waited_for_and_is_used_again_when_it_is_back() {
    let mut server = RedisServer::start();
    let side = Side::of(&server.url(), &prefix(), PATIENT).await;
    assert_eq!(side.up.get(), 1);
    let counters = choosing(OnStoreError::Local);
    assert_eq!(side.admitted(&counters, 2).await, 2);

    server.stop();
    let started = Instant::now();
    // It goes on from what Redis last said: one of three is left.
    assert_eq!(side.admitted(&counters, 20).await, 1);
    assert_eq!(side.admitted(&choosing(OnStoreError::Allow), 20).await, 20);
    assert_eq!(side.admitted(&choosing(OnStoreError::Deny), 20).await, 0);
    assert!(started.elapsed() < PATIENT, "a request waited for a dead Redis");
    assert_eq!(side.up.get(), 0);
    assert_eq!(side.without_store.get(), 60);

    server.start_again();
    eventually("the store is used again", || side.store.is_up()).await;
    assert_eq!(side.up.get(), 1);
    // A Redis that saves nothing begins anew.
    assert_eq!(side.admitted(&counters, 20).await, 3);
    assert_eq!(side.without_store.get(), 60);
}

#[tokio::test]
async fn a_redis_that_hangs_is_soon_not_asked_any_more() {
    let server = RedisServer::start();
    let side = Side::of(&server.url(), &prefix(), Duration::from_millis(10)).await;
    server.freeze();
    let here = all(limit(7, 100, 3600));
    let [shared] = choosing(OnStoreError::Local);
    let counters = [here.clone(), shared];
    // Each is decided without it, the first few after the deadline and then at once.
    let mut admitted = 0;
    while side.store.is_up() {
        admitted += side.admitted(&counters, 1).await;
    }
    assert_eq!(admitted + side.admitted(&counters, 100).await, 3);
    assert_eq!(remaining(&side.limiter, &here, 0), 97);
    server.thaw();
    eventually("the store is used again", || side.store.is_up()).await;
}

#[tokio::test]
async fn an_idle_gateway_notices_that_redis_is_away() {
    let mut server = RedisServer::start();
    let side = Side::of(&server.url(), &prefix(), PATIENT).await;
    server.stop();
    eventually("the gauge says so", || side.up.get() == 0).await;
    assert_eq!(side.without_store.get(), 0);
}

#[tokio::test]
async fn a_request_that_is_given_up_half_way_gives_its_places_back() {
    let server = RedisServer::start();
    let side = Side::of(&server.url(), &prefix(), PATIENT).await;
    server.freeze();
    let here = all(limit(7, 10, 3600));
    let [shared] = choosing(OnStoreError::Local);
    let counters = [here.clone(), shared];
    let mut counting = Box::pin(side.limiter.count(&counters, Nanos(0)));
    assert!(futures::poll!(&mut counting).is_pending());
    assert_eq!(remaining(&side.limiter, &here, 0), 9);
    drop(counting);
    assert_eq!(remaining(&side.limiter, &here, 0), 10);
    server.thaw();
}

#[test]
fn no_password_is_shown() {
    let up = IntGauge::new("up", "…").unwrap();
    let store = SharedStore::new("redis://:hunter2@127.0.0.1", PATIENT, up.clone()).unwrap();
    assert!(!format!("{store:?}").contains("hunter2"));
    let error = SharedStore::new("http://:hunter2@127.0.0.1", PATIENT, up).unwrap_err();
    assert!(!error.to_string().contains("hunter2"));
}
