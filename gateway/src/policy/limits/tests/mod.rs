//! The limiter as a whole.

mod redis;
mod redis_server;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use gateway_config::model::{LimitBy, OnStoreError};
use gateway_config::snapshot::{CompiledLimit, Counter, Who};
use http::HeaderMap;
use prometheus::IntCounter;

use super::{Limiter, Nanos, SharedStore, Verdict, tell};

const SECOND: u64 = 1_000_000_000;

fn limiter() -> Limiter {
    Limiter::new(None, IntCounter::new("without_store", "…").unwrap())
}

fn limit(id: u64, requests: u32, per_seconds: u32) -> CompiledLimit {
    CompiledLimit {
        id,
        name: format!("limit-{id}").into(),
        requests,
        per_seconds,
        burst: requests,
        by: LimitBy::Global,
        shared: false,
        on_store_error: OnStoreError::Local,
    }
}

fn all(limit: CompiledLimit) -> Counter {
    Counter { limit: Arc::new(limit), who: Who::All }
}

fn of_address(limit: &Arc<CompiledLimit>, number: u32) -> Counter {
    let address = IpAddr::V4(Ipv4Addr::from_bits(number));
    Counter { limit: limit.clone(), who: Who::Address(address) }
}

fn is_admitted(verdict: &Verdict) -> bool {
    verdict.refused.is_none()
}

fn admitted(limiter: &Limiter, counters: &[Counter], times: usize, now: u64) -> usize {
    (0..times).filter(|_| is_admitted(&limiter.count_here(counters, Nanos(now)))).count()
}

fn remaining(limiter: &Limiter, counter: &Counter, now: u64) -> u32 {
    limiter.standing(std::slice::from_ref(counter), Nanos(now))[0].remaining
}

#[test]
fn two_limits_stand_together_and_a_refusal_by_one_costs_nothing_in_the_other() {
    let limiter = limiter();
    let (second, minute) = (all(limit(1, 3, 1)), all(limit(2, 100, 60)));
    let both = [second.clone(), minute.clone()];
    assert_eq!(admitted(&limiter, &both, 50, 0), 3);
    assert_eq!(remaining(&limiter, &minute, 0), 97);

    let mut total = 3;
    for second in 1..120 {
        total += admitted(&limiter, &both, 50, second * SECOND);
    }
    // The hundred, and one more each 0.6 s; 3 a second is the narrower one only until the hundred are used up.
    assert_eq!(total, 100 + 119 * 100 / 60);
    let refused = limiter.count_here(&both, Nanos(119 * SECOND)).refused.expect("the minute's are used up");
    assert_eq!((&*refused.limit.name, refused.retry_after_seconds), ("limit-2", 1));
}

#[test]
fn callers_are_counted_apart() {
    let limiter = limiter();
    let limit = Arc::new(limit(1, 2, 1));
    for number in 0..100 {
        assert_eq!(admitted(&limiter, &[of_address(&limit, number)], 5, 0), 2);
    }
    assert_eq!(limiter.len(), 100);
}

#[test]
fn a_counter_that_is_named_twice_counts_once() {
    let limiter = limiter();
    let counter = all(limit(1, 4, 1));
    assert_eq!(admitted(&limiter, &[counter.clone(), counter.clone()], 10, 0), 4);
}

#[test]
fn what_was_counted_outlives_an_edit_of_the_limit() {
    let limiter = limiter();
    assert_eq!(admitted(&limiter, &[all(limit(1, 10, 60))], 4, 0), 4);
    assert_eq!(admitted(&limiter, &[all(limit(1, 5, 30))], 4, 0), 1);
    assert_eq!(admitted(&limiter, &[all(limit(1, 20, 60))], 40, 0), 15);
}

#[test]
fn asking_how_limits_stand_counts_nothing() {
    let limiter = limiter();
    let counter = all(limit(1, 2, 10));
    for _ in 0..5 {
        assert_eq!(remaining(&limiter, &counter, 0), 2);
    }
    assert_eq!(limiter.len(), 0);
    limiter.count_here(std::slice::from_ref(&counter), Nanos(0));
    assert_eq!(remaining(&limiter, &counter, 0), 1);
}

#[test]
fn many_threads_are_let_in_exactly_as_often_as_one() {
    const THREADS: usize = 8;
    const TRIES: u64 = 4000;
    let limiter = limiter();
    // All threads meet in the wide limit; each pair also in a narrow one, and in the opposite order.
    let wide = all(limit(1, 900, 3600));
    let narrow: Vec<Counter> = (0..4).map(|at| all(limit(2 + at, 250, 3600))).collect();
    let admitted: Vec<AtomicUsize> = (0..4).map(|_| AtomicUsize::new(0)).collect();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (limiter, wide, narrow, admitted) = (&limiter, &wide, &narrow, &admitted);
            scope.spawn(move || {
                let mut counters = [wide.clone(), narrow[thread / 2].clone()];
                counters.rotate_left(thread % 2);
                for _ in 0..TRIES {
                    if is_admitted(&limiter.count_here(&counters, Nanos(0))) {
                        admitted[thread / 2].fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let admitted: Vec<usize> = admitted.iter().map(|count| count.load(Ordering::Relaxed)).collect();
    assert_eq!(admitted.iter().sum::<usize>(), 900);
    for (counter, admitted) in narrow.iter().zip(admitted) {
        assert_eq!(remaining(&limiter, counter, 0) as usize, 250 - admitted, "refused elsewhere, yet counted here");
    }
}

#[test]
fn threads_whose_clocks_run_side_by_side_get_no_more_than_the_rate() {
    let limiter = limiter();
    let counter = [all(limit(1, 1000, 1))];
    let admitted = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let (limiter, counter, admitted) = (&limiter, &counter, &admitted);
            scope.spawn(move || {
                // Two seconds of a request each 0.5 ms by this thread's clock.
                for step in 0..4000 {
                    let now = Nanos(step * 500_000 + thread * 1000);
                    admitted.fetch_add(usize::from(is_admitted(&limiter.count_here(counter, now))), Ordering::Relaxed);
                }
            });
        }
    });
    assert!(admitted.into_inner() <= 3000, "1000 at once and 1000 in each of two seconds");
}

#[test]
fn memory_is_bounded_and_a_caller_who_is_refused_stays_refused_through_a_flood() {
    let limiter = Limiter::with_capacity(6400, None, IntCounter::new("without_store", "…").unwrap());
    let hour = Arc::new(limit(1, 10, 3600));
    let refused = [of_address(&hour, u32::MAX)];
    assert_eq!(admitted(&limiter, &refused, 20, 0), 10);
    for number in 0..50_000 {
        limiter.count_here(&[of_address(&hour, number)], Nanos(0));
    }
    assert!(limiter.len() <= 6400, "{}", limiter.len());
    assert_eq!(admitted(&limiter, &refused, 5, 0), 0);
}

#[test]
fn what_is_full_again_makes_room() {
    let limiter = limiter();
    let second = Arc::new(limit(1, 10, 1));
    for number in 0..100_000_u32 {
        // A new caller each millisecond; each is full again after 100 ms.
        limiter.count_here(&[of_address(&second, number)], Nanos(u64::from(number) * 1_000_000));
    }
    assert!(limiter.len() < 5000, "{}", limiter.len());
    limiter.sweep(Nanos(200 * SECOND));
    assert_eq!(limiter.len(), 0);
}

fn headers(verdict: &Verdict) -> HeaderMap {
    let mut headers = Vec::new();
    tell(verdict, &mut headers);
    headers.into_iter().collect()
}

#[test]
fn clients_are_told_how_all_limits_stand_and_how_the_tightest_does() {
    let limiter = limiter();
    let both = [all(limit(1, 3, 1)), all(limit(2, 100, 60))];
    let headers = headers(&limiter.count_here(&both, Nanos(0)));
    assert_eq!(headers["ratelimit-policy"], r#""limit-1";q=3;w=1, "limit-2";q=100;w=60"#);
    assert_eq!(headers["ratelimit"], r#""limit-1";r=2;t=1, "limit-2";r=99;t=1"#);
    assert_eq!(headers["x-ratelimit-limit"], "3");
    assert_eq!(headers["x-ratelimit-remaining"], "2");
    assert_eq!(headers["x-ratelimit-reset"], "1");
    assert_eq!(headers.get("retry-after"), None);
}

#[test]
fn a_refused_client_is_told_when_to_come_again() {
    let limiter = limiter();
    let both = [all(limit(1, 2, 1)), all(limit(2, 2, 60))];
    assert_eq!(admitted(&limiter, &both, 3, 0), 2);
    let headers = headers(&limiter.count_here(&both, Nanos(SECOND)));
    assert_eq!(headers["retry-after"], "29");
    assert_eq!(headers["x-ratelimit-limit"], "2");
    assert_eq!(headers["x-ratelimit-remaining"], "0");
    assert_eq!(headers["x-ratelimit-reset"], "59");
    assert_eq!(headers["ratelimit"], r#""limit-1";r=2;t=0, "limit-2";r=0;t=59"#);
}

#[test]
fn a_request_without_limits_brings_no_headers() {
    assert!(headers(&limiter().count_here(&[], Nanos(0))).is_empty());
}

#[test]
fn both_groups_of_a_request_are_told_together() {
    let limiter = limiter();
    let early = limiter.count_here(&[all(limit(1, 5, 1))], Nanos(0));
    let later = limiter.count_here(&[all(limit(2, 1, 10))], Nanos(0));
    let headers = headers(&early.and(later));
    assert_eq!(headers["ratelimit"], r#""limit-1";r=4;t=1, "limit-2";r=0;t=10"#);
    assert_eq!(headers["x-ratelimit-limit"], "1");
}
