//! Checks of what gateways report of queues, and of tests that they are asked for.

use crate::clock::new_id;
use crate::model::{Id, Timestamp};
use crate::store::{QueueReport, QueueTest, QueueTestState, Result};

use super::Subject;

const DAY: i64 = 24 * 60 * 60 * 1_000_000;

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

pub(super) async fn a_gateway_reports_of_all_its_queues_and_of_no_others(subject: &dyn Subject) -> Result<()> {
    let store = subject.open().await;
    let (one, other, first) = (new_id(), new_id(), Id::new(new_id()));
    let report = |node, queue, now| QueueReport {
        node,
        queue,
        messages: Some(7),
        consumers: None,
        broker_up: true,
        spooled: 3,
        at: at(now),
    };
    // More than one statement of each size.
    let queues: Vec<_> = (0..122).map(|_| Id::new(new_id())).collect();
    let reports: Vec<_> = queues.iter().chain([&first]).map(|queue| report(one, *queue, 5)).collect();
    store.report_queues(one, &reports, at(5)).await?;
    let theirs = QueueReport { messages: None, consumers: Some(2), broker_up: false, ..report(other, first, 6) };
    store.report_queues(other, std::slice::from_ref(&theirs), at(6)).await?;
    assert_eq!(store.queue_reports(first).await?, [theirs.clone(), report(one, first, 5)]);
    for queue in &queues {
        assert_eq!(store.queue_reports(*queue).await?, [report(one, *queue, 5)]);
    }

    let again = QueueReport { messages: Some(8), ..report(one, first, 9) };
    store.report_queues(one, std::slice::from_ref(&again), at(9)).await?;
    assert_eq!(store.queue_reports(first).await?, [again, theirs.clone()]);
    assert_eq!(store.queue_reports(queues[0]).await?, [], "it is told of no more");
    store.report_queues(one, &[], at(6 + DAY)).await?;
    assert_eq!(store.queue_reports(first).await?, [theirs], "what another said stays for a day");
    store.report_queues(one, &[], at(7 + DAY)).await?;
    assert_eq!(store.queue_reports(first).await?, []);
    Ok(())
}

pub(super) async fn a_test_is_taken_by_one_gateway_and_its_outcome_reads_back(subject: &dyn Subject) -> Result<()> {
    let (store, node) = (subject.open().await, new_id());
    let data = Some(r#"{"a": "grüß\u0000"}"#.to_owned());
    let tests = [7, 8, 9].map(|asked| QueueTest {
        id: new_id(),
        queue: Id::new(new_id()),
        data: if asked == 8 { data.clone() } else { None },
        asked_at: at(asked),
    });
    for test in &tests {
        store.ask_queue_test(test).await?;
    }
    let [first, second, third] = tests;
    assert_eq!(store.open_queue_tests(at(8)).await?, [second.clone(), third.clone()]);
    assert_eq!(store.queue_test(second.id).await?, Some(QueueTestState::Waiting));
    assert!(store.take_queue_test(second.id, node, "t2").await?);
    assert!(!store.take_queue_test(second.id, new_id(), "t0").await?, "another has it");
    assert_eq!(store.open_queue_tests(at(8)).await?, std::slice::from_ref(&third));
    let task = "t2".to_owned();
    let taken = QueueTestState::Taken { node, task: task.clone() };
    assert_eq!(store.queue_test(second.id).await?, Some(taken));
    store.settle_queue_test(second.id, Ok(())).await?;
    let published = QueueTestState::Published { node, task };
    assert_eq!(store.queue_test(second.id).await?, Some(published.clone()));
    assert_eq!(store.withdraw_queue_test(second.id, at(10)).await?, Some(published));
    assert_eq!(store.queue_test(second.id).await?, None);

    assert!(store.take_queue_test(third.id, node, "t3").await?);
    store.settle_queue_test(third.id, Err("no\0".to_owned())).await?;
    let failed = QueueTestState::Failed { node, task: "t3".to_owned(), error: "no\u{fffd}".to_owned() };
    assert_eq!(store.queue_test(third.id).await?, Some(failed));
    assert_eq!(store.withdraw_queue_test(new_id(), at(8 + DAY)).await?, None);
    assert_eq!(store.queue_test(first.id).await?, None, "nobody has waited for it for long");
    assert!(!store.take_queue_test(first.id, node, "t1").await?);
    Ok(())
}
