//! Key sets: fetched when they are needed and no more often, and what they may be used for.

use super::signer::{self, p256_jwk, rsa_jwk};
use super::web::Web;
use super::*;

const RS256: JwtAlgorithm = JwtAlgorithm::RS256;

fn key_set(keys: &[Value]) -> Value {
    json!({"keys": keys})
}

/// Every token is another one, so that none is remembered.
fn fresh(algorithm: JwtAlgorithm, kid: &str, number: usize) -> String {
    let mut claims = claims();
    claims["jti"] = json!(number);
    signer::sign(algorithm, kid, &claims)
}

#[tokio::test]
async fn a_key_set_is_fetched_once_for_all_who_wait() {
    let web = Web::start(key_set(&[rsa_jwk(signer::RSA, "a")])).await;
    let world = Arc::new(World::with(vec![with_jwks(&[RS256], &web.url)]).await);
    web.pause();
    let asking: Vec<_> = (0..20)
        .map(|number| {
            let world = world.clone();
            tokio::spawn(async move { world.judge(&fresh(RS256, "a", number)).await })
        })
        .collect();
    while web.hits() == 0 {
        tokio::task::yield_now().await;
    }
    web.resume();
    for one in asking {
        one.await.unwrap().unwrap();
    }
    assert_eq!(web.hits(), 1);
}

#[tokio::test]
async fn an_unknown_key_name_fetches_at_most_once_in_thirty_seconds() {
    let web = Web::start(key_set(&[rsa_jwk(signer::RSA, "old")])).await;
    let world = World::with(vec![with_jwks(&[RS256], &web.url)]).await;
    world.judge(&fresh(RS256, "old", 0)).await.unwrap();
    for number in 0..50 {
        let forged = fresh(RS256, &format!("invented-{number}"), number);
        assert!(invalid(&world.judge_at(&forged, seconds_later(29)).await));
    }
    assert_eq!(web.hits(), 1);

    // The issuer turns its key over.
    web.answer(200, key_set(&[rsa_jwk(signer::RSA, "old"), p256_jwk("other"), rsa_jwk(signer::RSA, "new")]));
    let rotated = fresh(RS256, "new", 1);
    assert!(invalid(&world.judge_at(&rotated, seconds_later(29)).await));
    world.judge_at(&rotated, seconds_later(30)).await.unwrap();
    assert_eq!(web.hits(), 2);
}

#[tokio::test]
async fn keys_are_kept_when_a_fetch_fails() {
    let web = Web::start(key_set(&[rsa_jwk(signer::RSA, "a")])).await;
    let world = World::with(vec![with_jwks(&[RS256], &web.url)]).await;
    world.tokens.tend(&world.snapshot, NOW).await;
    assert!(world.tokens.troubles().is_empty());
    let answers = [(500, "{}"), (302, ""), (200, "not JSON"), (200, "[]"), (200, r#"{"keys":7}"#)];
    for (at, (status, body)) in (1..).zip(answers) {
        web.answer(status, body);
        let later = seconds_later(1000 * at);
        world.tokens.tend(&world.snapshot, later).await;
        assert_eq!(web.hits(), usize::try_from(at).unwrap() + 1);
        assert_eq!(world.tokens.troubles().len(), 1, "{body}");
        world.judge(&fresh(RS256, "a", usize::try_from(at).unwrap())).await.unwrap();
    }
    web.answer(200, key_set(&[rsa_jwk(signer::RSA, "a")]));
    world.tokens.tend(&world.snapshot, seconds_later(10_000)).await;
    assert!(world.tokens.troubles().is_empty());
}

#[tokio::test]
async fn an_issuer_that_was_away_is_asked_again_soon() {
    let web = Web::start("").await;
    web.answer(503, "");
    let world = World::with(vec![with_jwks(&[RS256], &web.url)]).await;
    let token = fresh(RS256, "a", 0);
    assert!(invalid(&world.judge(&token).await));
    web.answer(200, key_set(&[rsa_jwk(signer::RSA, "a")]));
    assert!(invalid(&world.judge_at(&token, seconds_later(4)).await));
    world.judge_at(&token, seconds_later(5)).await.unwrap();
    assert_eq!(web.hits(), 2);
}

#[tokio::test]
async fn key_sets_are_fetched_before_they_are_needed_and_every_ten_minutes() {
    let web = Web::start(key_set(&[rsa_jwk(signer::RSA, "a")])).await;
    let world = World::with(vec![with_jwks(&[RS256], &web.url)]).await;
    for (seconds, hits) in [(0, 1), (1, 1), (599, 1), (600, 2), (601, 2)] {
        world.tokens.tend(&world.snapshot, seconds_later(seconds)).await;
        assert_eq!(web.hits(), hits, "{seconds}");
    }
}

#[tokio::test]
async fn what_a_withdrawn_key_signed_is_forgotten_and_the_rest_is_not() {
    let web = Web::start(key_set(&[rsa_jwk(signer::RSA, "gone"), p256_jwk("stays")])).await;
    let world = World::with(vec![with_jwks(&[RS256, JwtAlgorithm::ES256], &web.url)]).await;
    let (gone, stays) = (fresh(RS256, "gone", 0), fresh(JwtAlgorithm::ES256, "stays", 0));
    world.judge(&gone).await.unwrap();
    world.judge(&stays).await.unwrap();
    assert!(world.remembers(&gone) && world.remembers(&stays));
    web.answer(200, key_set(&[p256_jwk("stays")]));
    world.tokens.tend(&world.snapshot, seconds_later(600)).await;
    assert!(!world.remembers(&gone) && world.remembers(&stays));
    assert!(invalid(&world.judge(&gone).await));
    // Another key under the old name is another key.
    web.answer(200, key_set(&[rsa_jwk(signer::RSA_OTHER, "gone")]));
    world.tokens.tend(&world.snapshot, seconds_later(1200)).await;
    assert!(invalid(&world.judge(&gone).await));
    assert!(!world.remembers(&stays));
}

#[tokio::test]
async fn a_token_without_a_key_name_passes_if_exactly_one_key_can_be_meant() {
    let nameless = |number: usize| {
        let mut claims = claims();
        claims["jti"] = json!(number);
        signer::sign_with(RS256, &json!({"alg": "RS256"}), &claims)
    };
    let web = Web::start(key_set(&[rsa_jwk(signer::RSA, "a"), p256_jwk("b"), signer::ed25519_jwk("c")])).await;
    let world = World::with(vec![with_jwks(&[RS256, JwtAlgorithm::ES256], &web.url)]).await;
    world.judge(&nameless(0)).await.unwrap();
    web.answer(200, key_set(&[rsa_jwk(signer::RSA, "a"), rsa_jwk(signer::RSA_OTHER, "d")]));
    world.tokens.tend(&world.snapshot, seconds_later(600)).await;
    assert!(invalid(&world.judge(&nameless(1)).await));
    world.judge(&fresh(RS256, "a", 0)).await.unwrap();
}

#[tokio::test]
async fn keys_are_used_for_what_they_are_published_for() {
    let with = |name: &str, value: Value| {
        let mut key = rsa_jwk(signer::RSA, "a");
        key[name] = value;
        key
    };
    let secret = json!({"kty": "oct", "kid": "a", "k": signer::encode(signer::SECRET)});
    let broken = json!({"kty": "EC", "crv": "P-256", "kid": "a", "x": "AAAA", "y": "AAAA"});
    for bad in [
        with("use", json!("enc")),
        with("key_ops", json!(["encrypt"])),
        with("key_ops", json!([])),
        with("alg", json!("RS512")),
        with("alg", json!("RSA-OAEP")),
        with("kty", json!("oct")),
        with("kty", json!("EC")),
        with("n", json!("AAAA")),
        with("kid", json!("A")),
        with("kid", json!(1)),
        secret,
        broken,
        json!("key"),
        json!(null),
    ] {
        let web = Web::start(key_set(std::slice::from_ref(&bad))).await;
        let world = World::with(vec![with_jwks(&[RS256], &web.url)]).await;
        assert!(invalid(&world.judge(&fresh(RS256, "a", 0)).await), "{bad}");
    }
    for good in [
        with("use", json!("sig")),
        with("key_ops", json!(["verify"])),
        with("alg", json!("RS256")),
        with("x5c", json!(["MIIB"])),
    ] {
        // Among others that mean nothing to us.
        let set = key_set(&[json!({"kty": "AKP", "kid": "a"}), p256_jwk("a"), good.clone(), good.clone()]);
        let web = Web::start(set).await;
        let world = World::with(vec![with_jwks(&[RS256], &web.url)]).await;
        world.judge(&fresh(RS256, "a", 0)).await.unwrap_or_else(|code| panic!("{code}: {good}"));
    }
}

#[tokio::test]
async fn a_change_of_the_issuer_keeps_its_key_set_and_another_url_does_not() {
    let web = Web::start(key_set(&[rsa_jwk(signer::RSA, "a")])).await;
    let mut world = World::with(vec![with_jwks(&[RS256], &web.url)]).await;
    let token = fresh(RS256, "a", 0);
    world.judge(&token).await.unwrap();
    world.configure(vec![JwtIssuer { leeway_seconds: 9, ..with_jwks(&[RS256], &web.url) }]);
    assert!(!world.remembers(&token));
    world.judge(&token).await.unwrap();
    assert_eq!(web.hits(), 1);
    let other = Web::start(key_set(&[rsa_jwk(signer::RSA_OTHER, "a")])).await;
    world.configure(vec![with_jwks(&[RS256], &other.url)]);
    assert!(invalid(&world.judge(&token).await));
    assert_eq!((web.hits(), other.hits()), (1, 1));
}
