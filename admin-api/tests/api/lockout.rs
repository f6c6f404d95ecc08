//! Who guesses passwords has to wait, and nobody else.

use futures::future::join_all;
use gateway_config::model::Action;

use crate::client::{Admin, Answer};
use crate::people::{PASSWORD, PASSWORD_PATH};

const ADA: &str = "ada@example.com";
const WRONG: &str = "wrong horse battery";

async fn fail(admin: &Admin, email: &str, address: &str) -> Answer {
    admin.try_login(email, WRONG).from(address).send().await
}

fn seconds(refused: &Answer) -> i64 {
    refused.header("retry-after").parse().unwrap()
}

async fn with_ada() -> Admin {
    let admin = Admin::start().await;
    admin.person(ADA, "admin").await;
    admin
}

#[tokio::test]
async fn after_five_failures_of_an_email_all_its_logins_wait_twice_as_long_each_time() {
    let admin = with_ada().await;
    for at in 0..5 {
        fail(&admin, ADA, &format!("192.0.2.{at}")).await.refused(401, "unauthorized");
    }
    let another = admin.another();
    let mut waits = Vec::new();
    for _ in 0..8 {
        // From everywhere, through every admin API, and with the right password, too.
        let refused = another.try_login(ADA, PASSWORD).from("192.0.2.99").send().await;
        waits.push(seconds(&refused.refused(429, "too_many_attempts")));
        admin.clock.advance_millis(waits.last().unwrap() * 1000 - 1);
        fail(&admin, ADA, "192.0.2.98").await.refused(429, "too_many_attempts");
        admin.clock.advance_millis(1);
        another.clock.advance_millis(waits.last().unwrap() * 1000);
        fail(&admin, ADA, "192.0.2.97").await.refused(401, "unauthorized");
    }
    assert_eq!(waits, [10, 20, 40, 80, 160, 320, 640, 900]);
    // What was refused unseen is no entry.
    assert_eq!(admin.audited(Action::AuthLoginFailed).await.len(), 13);
}

#[tokio::test]
async fn a_login_makes_the_failures_before_it_forgotten() {
    let admin = with_ada().await;
    for _ in 0..2 {
        for _ in 0..4 {
            fail(&admin, ADA, "192.0.2.1").await.refused(401, "unauthorized");
        }
        admin.try_login(ADA, PASSWORD).from("192.0.2.1").send().await.expect(200);
    }
    for _ in 0..5 {
        fail(&admin, ADA, "192.0.2.1").await.refused(401, "unauthorized");
    }
    fail(&admin, ADA, "192.0.2.1").await.refused(429, "too_many_attempts");
    admin.clock.advance_millis(60 * 60 * 1000 + 1);
    fail(&admin, ADA, "192.0.2.1").await.refused(401, "unauthorized");
    fail(&admin, ADA, "192.0.2.1").await.refused(401, "unauthorized");
}

#[tokio::test]
async fn after_twenty_failures_from_an_address_its_logins_wait_and_others_do_not() {
    let admin = with_ada().await;
    for at in 0..20 {
        // An IPv6 network belongs to one customer.
        fail(&admin, &format!("{at}@example.com"), &format!("2001:db8::{at}")).await.refused(401, "unauthorized");
    }
    let here = admin.try_login(ADA, PASSWORD).from("2001:db8::ffff").send().await;
    assert_eq!(seconds(&here.refused(429, "too_many_attempts")), 10);
    admin.try_login(ADA, PASSWORD).from("2001:db8:0:1::1").send().await.expect(200);
}

#[tokio::test]
async fn guesses_that_come_all_at_once_are_not_all_free() {
    let admin = with_ada().await;
    let guesses = (0..40).map(|at| admin.try_login(ADA, WRONG).from(&format!("192.0.2.{at}")).send());
    let answers = join_all(guesses).await;
    let looked_at = answers.iter().filter(|answer| answer.status == 401).count();
    assert!((5..=6).contains(&looked_at), "{looked_at} guesses were looked at");
    assert!(answers.iter().all(|answer| [401, 429].contains(&answer.status)));
}

#[tokio::test]
async fn the_current_password_can_not_be_guessed_either() {
    let admin = with_ada().await;
    let session = admin.login(ADA).await;
    let change = || {
        let body = serde_json::json!({"current": WRONG, "new": "another good password"});
        admin.post(PASSWORD_PATH).token(Some(&session.access)).json(body).send()
    };
    for _ in 0..5 {
        change().await.refused(422, "invalid");
    }
    change().await.refused(429, "too_many_attempts");
}
