//! What a round makes of answers, without a database.

use gateway_config::model::{Configuration, Destination, Id, Queue};
use gateway_config::snapshot::compile;
use gateway_config::store::ClaimedMessage;

use super::*;

const AT: Timestamp = Timestamp::from_micros(1_795_000_000_000_000);

fn snapshot() -> Snapshot {
    let destination = Destination { deliver_to: Some("http://worker/".to_owned()), ..Destination::default() };
    let queue = Queue { id: Id::new(new_id()), name: "q".to_owned(), destination, ..Queue::default() };
    let queues = [("q".to_owned(), Arc::new(queue))].into();
    compile(&Configuration { queues, ..Configuration::default() }, 1).unwrap()
}

/// With so many messages of the queue, none of them pushed.
fn round_of(snapshot: &Snapshot, count: i64) -> Round {
    let mut round = Round::new(Instant::now());
    round.answered(Done::Looked(Ok(vec!["q".to_owned(), "unknown".to_owned()])), Some(snapshot), AT);
    assert_eq!(round.lanes.len(), 1);
    let lane = round.lanes.get_mut("q").unwrap();
    let (queue, ask) = (lane.queue.clone(), lane.ask(Instant::now()).unwrap());
    let message = |number: i64| ClaimedMessage {
        number,
        id: number.to_string(),
        queue: "q".to_owned(),
        event: String::new(),
        attempts: 1,
        accepted_at: AT,
        last_error: None,
    };
    let claim = Claim { messages: (0..count).map(message).collect(), slots: 8, is_drained: true };
    let until = Timestamp::from_micros(AT.micros() + 1000);
    round.answered(Done::Claimed { queue, ask, until, outcome: Ok(claim) }, Some(snapshot), AT);
    round
}

fn push_one(round: &mut Round) -> i64 {
    let lane = round.lanes.get_mut("q").unwrap();
    let (queue, number) = (lane.queue.clone(), lane.next().unwrap().number);
    round.pushed(Ok((queue, number, Settlement::Done)), Instant::now());
    number
}

fn written(round: &mut Round, outcome: Result<(), StoreError>) {
    let settled = std::mem::take(&mut round.settled);
    round.is_writing = true;
    round.answered(Done::Written { settled, left: Vec::new(), outcome }, None, AT);
}

fn refused() -> StoreError {
    StoreError::Refused("away".to_owned())
}

#[test]
fn while_nothing_can_be_written_nothing_is_pushed_and_what_is_known_is_kept() {
    let snapshot = snapshot();
    let mut round = round_of(&snapshot, 2);
    let number = push_one(&mut round);
    assert!(round.may_push() && round.may_write(Instant::now()));
    written(&mut round, Err(refused()));
    assert!(!round.may_push());
    assert!(!round.may_write(Instant::now()), "not at once again");
    assert_eq!(round.settled, [(number, Settlement::Done)]);
    assert_eq!(round.claimed.len(), 2);
    assert!(round.may_write(Instant::now() + LOOK));
    written(&mut round, Ok(()));
    assert!(round.may_push());
    assert_eq!(round.claimed.len(), 1);
}

#[test]
fn a_database_that_was_away_with_nothing_to_write_is_found_again_by_a_look() {
    let snapshot = snapshot();
    let mut round = Round::new(Instant::now());
    written(&mut round, Err(refused()));
    assert!(!round.may_push());
    round.answered(Done::Looked(Ok(Vec::new())), Some(&snapshot), AT);
    assert!(round.may_push());
}

#[test]
fn no_more_is_pushed_than_may_come_twice_after_a_kill() {
    let snapshot = snapshot();
    let mut round = round_of(&snapshot, 1);
    for number in 0..MOST_UNWRITTEN {
        assert!(round.may_push());
        round.settle(i64::try_from(number).unwrap(), Settlement::Done, Instant::now());
    }
    assert!(!round.may_push());
}

#[test]
fn what_somebody_else_has_by_now_is_not_pushed() {
    let snapshot = snapshot();
    let mut round = round_of(&snapshot, 3);
    let later = Timestamp::from_micros(AT.micros() + 5000);
    round.answered(Done::Extended { asked: vec![0, 1, 2], until: later, outcome: Ok(vec![0, 2]) }, None, AT);
    assert_eq!([push_one(&mut round), push_one(&mut round)], [0, 2]);
    assert!(round.lanes.get_mut("q").unwrap().next().is_none());
    assert!(round.claimed.values().all(|claimed| claimed.is_held(Timestamp::from_micros(AT.micros() + 4999))));
    assert!(!round.claimed.values().any(|claimed| claimed.is_held(later)));
}

#[test]
fn what_a_claim_brings_while_the_gateway_drains_is_given_back() {
    let snapshot = snapshot();
    let mut round = Round::new(Instant::now());
    round.answered(Done::Looked(Ok(vec!["q".to_owned()])), Some(&snapshot), AT);
    let lane = round.lanes.get_mut("q").unwrap();
    let (queue, ask) = (lane.queue.clone(), lane.ask(Instant::now()).unwrap());
    round.drain(Instant::now(), AT);
    assert!(!round.is_over(), "a claim is under way");
    let mut claim = Claim { slots: 1, ..Claim::default() };
    claim.messages.extend(round_of(&snapshot, 1).lanes.get_mut("q").unwrap().next());
    let outcome = Ok(claim);
    round.answered(Done::Claimed { queue, ask, until: AT, outcome }, Some(&snapshot), AT);
    assert_eq!(round.settled, [(0, Settlement::GiveBack { at: AT })]);
}

#[test]
fn a_queue_that_is_not_delivered_any_more_is_given_back() {
    let snapshot = snapshot();
    let mut round = round_of(&snapshot, 2);
    let empty = compile(&Configuration::default(), 2).unwrap();
    round.answered(Done::Looked(Ok(Vec::new())), Some(&empty), AT);
    assert_eq!(round.settled.len(), 2);
}
