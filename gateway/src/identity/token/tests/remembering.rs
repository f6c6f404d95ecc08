//! What is remembered, and what makes it forgotten.

use super::*;

const HS256: JwtAlgorithm = JwtAlgorithm::HS256;
const RS256: JwtAlgorithm = JwtAlgorithm::RS256;

#[tokio::test]
async fn a_verified_token_is_remembered_until_it_expires() {
    let world = World::with(vec![JwtIssuer { leeway_seconds: 10, ..with_secret() }]).await;
    let token = signer::sign(HS256, "any", &claims());
    let verified = world.learn(&token).await;
    let again = world.recalled(&token, seconds_later(309)).unwrap().unwrap();
    assert!(Arc::ptr_eq(&verified, &again));
    assert_eq!(verified.expires_at, Some(seconds_later(310)), "the leeway is part of its life");
    let expired = world.recalled(&token, seconds_later(310));
    assert_eq!(expired, Some(Err(Code::TokenExpired)));
    assert!(!world.remembers(&token[1..]));
}

/// Where each request brings another token, none is worth a place that another one needs.
#[tokio::test]
async fn a_token_by_a_secret_is_remembered_when_it_comes_again_and_one_by_a_key_pair_at_once() {
    let world = World::with(vec![with_secret()]).await;
    let token = signer::sign(HS256, "any", &claims());
    for is_known in [false, false, true] {
        assert_eq!(world.remembers(&token), is_known);
        world.judge(&token).await.unwrap();
    }
    let world = World::with(vec![with_pem(RS256, signer::public_pem(RS256))]).await;
    let token = signer::sign(RS256, "any", &claims());
    assert!(!world.remembers(&token));
    world.judge(&token).await.unwrap();
    assert!(world.remembers(&token));
}

#[tokio::test]
async fn any_change_of_the_issuer_forgets_its_tokens() {
    let edits: [fn(&mut JwtIssuer); 6] = [
        |it| it.audiences = vec!["api".to_owned()],
        |it| it.algorithms = vec![JwtAlgorithm::HS512],
        |it| it.leeway_seconds = 1,
        |it| it.claims.roles = "/groups".to_owned(),
        |it| it.secret = Some(SecretRef::File("other".to_owned())),
        |it| it.issuer = "https://moved.test".to_owned(),
    ];
    let token = signer::sign(HS256, "any", &claims());
    for edit in edits {
        let mut world = World::with(vec![with_secret()]).await;
        world.learn(&token).await;
        let mut changed = with_secret();
        edit(&mut changed);
        world.configure(vec![changed.clone()]);
        assert!(!world.remembers(&token), "{changed:?}");
    }
    let mut world = World::with(vec![with_secret()]).await;
    world.learn(&token).await;
    world.configure(vec![]);
    assert!(!world.remembers(&token));
    assert!(invalid(&world.judge(&token).await));
    // The same again, read from the store as a new row of the same content, is no change.
    world.configure(vec![with_secret()]);
    assert!(world.remembers(&token));
}

#[tokio::test]
async fn a_rotated_secret_forgets_what_the_old_one_signed() {
    let world = World::with(vec![with_secret()]).await;
    let token = signer::sign(HS256, "any", &claims());
    world.learn(&token).await;
    fs::write(world.directory.path().join("jwt"), "the next secret, which is just as long as it must be").unwrap();
    let refreshing = tokio::spawn(crate::identity::secrets::refresh_forever(world.secrets.clone()));
    // Asking for a file that nobody knows wakes the reader.
    world.secrets.resolve(&SecretRef::File("wake".to_owned()));
    while world.remembers(&token) {
        tokio::task::yield_now().await;
    }
    refreshing.abort();
    assert!(invalid(&world.judge(&token).await));
}

#[tokio::test]
async fn an_exact_repeat_of_a_forged_token_costs_no_second_look_at_its_signature() {
    let by_pem = || with_pem(RS256, signer::public_pem(RS256));
    let mut world = World::with(vec![by_pem()]).await;
    let good = signer::sign(RS256, "any", &claims());
    let forged = format!("{}.{}", good.rsplit_once('.').unwrap().0, signer::encode([7; 256]));
    assert!(invalid(&world.judge(&forged).await));
    assert_eq!(world.recalled(&forged, NOW), Some(Err(Code::CredentialsInvalid)));
    // Under another configuration it is looked at anew.
    world.configure(vec![JwtIssuer { leeway_seconds: 1, ..by_pem() }]);
    assert!(!world.remembers(&forged));
    world.judge(&good).await.unwrap();
}
