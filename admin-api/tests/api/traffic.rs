//! Samples of traffic, as they are listed.

use gateway_config::clock::{Clock, new_id};
use gateway_config::model::{Id, Sample, SampledCaller, SampledOutcome, SampledRequest, Timestamp};
use serde_json::{Value, json};

use crate::client::{Admin, Answer};

const SECOND: i64 = 1_000_000;

/// What a gateway wrote so many seconds ago of `GET /orders/…` by the application shop, which was answered 200.
pub(crate) async fn order(admin: &Admin, seconds_ago: i64) -> Sample {
    Sample {
        id: new_id(),
        at: Timestamp::from_micros(admin.clock.now().micros() - seconds_ago * SECOND),
        node: new_id(),
        weight: 1,
        generation: admin.store.head().await.unwrap().generation,
        request: SampledRequest {
            method: "GET".to_owned(),
            host: "a.com".to_owned(),
            path: "/orders/{id}".to_owned(),
            address: Some([10, 0, 0, 1].into()),
            ..SampledRequest::default()
        },
        caller: SampledCaller::Verified {
            application: Some("shop".to_owned()),
            key: Some(Id::new(new_id())),
            token: None,
        },
        outcome: SampledOutcome {
            route: Some("orders".to_owned()),
            application: Some("shop".to_owned()),
            service: Some("auth".to_owned()),
            status: 200,
            ..SampledOutcome::default()
        },
    }
}

pub(crate) async fn write(admin: &Admin, samples: &[Sample]) {
    admin.store.record_traffic(new_id(), samples, Timestamp::default()).await.unwrap();
}

async fn list(admin: &Admin, query: &str) -> Answer {
    admin.get(format!("/admin/traffic{query}")).send().await
}

#[tokio::test]
async fn samples_are_listed_the_newest_first_page_by_page() {
    let admin = Admin::start().await;
    let mut samples = Vec::new();
    for ago in [70, 10, 10, 40] {
        samples.push(order(&admin, ago).await);
    }
    write(&admin, &samples).await;
    samples.sort_by_key(|sample| std::cmp::Reverse((sample.at, sample.id)));
    let expected: Vec<Value> = samples.iter().map(|sample| json!(sample)).collect();
    assert_eq!(list(&admin, "").await.expect(200).body, json!({"items": expected, "nextCursor": null}));

    let (mut seen, mut query) = (Vec::new(), "?limit=1".to_owned());
    loop {
        let page = list(&admin, &query).await.expect(200);
        seen.extend(page.body["items"].as_array().unwrap().iter().cloned());
        let Some(cursor) = page.body["nextCursor"].as_str() else { break };
        query = format!("?limit=1&cursor={cursor}");
    }
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn samples_are_found_by_route_application_status_code_and_time() {
    let admin = Admin::start().await;
    let (mut first, mut second, third) = (order(&admin, 30).await, order(&admin, 20).await, order(&admin, 10).await);
    first.outcome.route = Some("other".to_owned());
    second.caller = SampledCaller::Anonymous;
    second.outcome = SampledOutcome { status: 403, code: Some("ip_denied".to_owned()), ..SampledOutcome::default() };
    write(&admin, &[first.clone(), second.clone(), third.clone()]).await;
    let since = Timestamp::from_micros(second.at.micros());
    for (query, expected) in [
        ("?route=other".to_owned(), vec![&first]),
        ("?application=shop".to_owned(), vec![&third, &first]),
        ("?application=shop&route=orders".to_owned(), vec![&third]),
        ("?status=403".to_owned(), vec![&second]),
        ("?code=ip_denied".to_owned(), vec![&second]),
        (format!("?since={since}"), vec![&third, &second]),
    ] {
        let expected: Vec<Value> = expected.into_iter().map(|sample| json!(sample)).collect();
        assert_eq!(list(&admin, &query).await.expect(200).body["items"], json!(expected), "{query}");
    }
}

#[tokio::test]
async fn what_is_older_than_a_quarter_of_an_hour_is_not_shown() {
    let admin = Admin::start().await;
    write(&admin, &[order(&admin, 15 * 60 + 1).await]).await;
    for query in ["", "?since=2020-01-01T00:00:00Z"] {
        assert_eq!(list(&admin, query).await.expect(200).body["items"], json!([]));
    }
}

#[tokio::test]
async fn parameters_that_mean_nothing_are_refused_with_their_names() {
    let admin = Admin::start().await;
    for (query, name) in [
        ("?q=x", "q"),
        ("?rout=x", "rout"),
        ("?limit=0", "limit"),
        ("?status=x", "status"),
        ("?status=600", "status"),
        ("?code=nope", "code"),
        ("?since=yesterday", "since"),
        ("?route=%00", "route"),
        ("?cursor=zz", "cursor"),
        ("?cursor=3131", "cursor"),
    ] {
        assert_eq!(list(&admin, query).await.refused(422, "invalid").problems(), [name], "{query}");
    }
    admin.get("/admin/traffic").token(None).send().await.refused(401, "unauthorized");
}
