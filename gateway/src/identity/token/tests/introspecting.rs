//! Opaque tokens: who is asked, with what credentials, how often, and what an answer is worth.

use super::web::Web;
use super::*;

fn introspecting(name: &str, web: &Web) -> JwtIssuer {
    JwtIssuer {
        name: name.to_owned(),
        issuer: format!("https://{name}.test"),
        introspection_url: Some(web.url.clone()),
        client_id: Some("gate:way".to_owned()),
        client_secret: Some(secret_file()),
        ..JwtIssuer::default()
    }
}

#[tokio::test]
async fn an_opaque_token_is_asked_for_once_and_then_remembered() {
    let web = Web::start(json!({"active": true, "sub": "u1", "client_id": "shop", "scope": "read"})).await;
    let world = World::with(vec![introspecting("a", &web)]).await;
    let token = world.judge("0paque+/token=").await.unwrap();
    assert_eq!((token.subject.as_deref(), token.client.as_deref()), (Some("u1"), Some("shop")));
    assert_eq!((&*token.issuer, token.expires_at), ("a", None));
    let request = web.last();
    assert!(request.starts_with("POST /it "), "{request}");
    assert!(request.ends_with("token=0paque%2B%2Ftoken%3D&token_type_hint=access_token"), "{request}");
    let client = "gate%3Away:a+secret+that+is+long+enough%2C+even+for+the+sixty-four+bytes+of+HS512";
    let expected = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, client);
    assert!(request.contains(&format!("authorization: Basic {expected}\r\n")), "{request}");

    world.judge_at("0paque+/token=", seconds_later(59)).await.unwrap();
    assert_eq!(web.hits(), 1);
    world.judge_at("0paque+/token=", seconds_later(60)).await.unwrap();
    assert_eq!(web.hits(), 2);
}

#[tokio::test]
async fn an_answer_is_never_believed_for_longer_than_the_token_lives() {
    let exp = NOW.micros() / 1_000_000 + 10;
    let web = Web::start(json!({"active": true, "exp": exp})).await;
    let world = World::with(vec![introspecting("a", &web)]).await;
    assert_eq!(world.judge("opaque").await.unwrap().expires_at, Some(seconds_later(10)));
    world.judge_at("opaque", seconds_later(9)).await.unwrap();
    assert_eq!(web.hits(), 1);
    assert_eq!(world.judge_at("opaque", seconds_later(10)).await, Err(Code::TokenExpired));
    assert_eq!(web.hits(), 2);
}

#[tokio::test]
async fn a_token_that_nobody_knows_is_asked_for_again_after_five_seconds() {
    let web = Web::start(json!({"active": false, "sub": "u1"})).await;
    let mut world = World::with(vec![introspecting("a", &web)]).await;
    assert!(invalid(&world.judge("opaque").await));
    assert!(invalid(&world.judge_at("opaque", seconds_later(4)).await));
    assert_eq!(web.hits(), 1);
    web.answer(200, json!({"active": true}));
    world.judge_at("opaque", seconds_later(5)).await.unwrap();
    // A change of the configuration may have brought whoever knows it.
    web.answer(200, json!({"active": false}));
    assert!(invalid(&world.judge("other").await));
    web.answer(200, json!({"active": true}));
    assert!(invalid(&world.judge("other").await));
    world.configure(vec![introspecting("a", &web), JwtIssuer { name: "b".to_owned(), ..with_secret() }]);
    world.judge("other").await.unwrap();
}

#[tokio::test]
async fn issuers_are_asked_in_the_order_of_their_names_until_one_knows_the_token() {
    let no = json!({"active": false});
    let (first, second, third) =
        (Web::start(&no).await, Web::start(json!({"active": true})).await, Web::start(&no).await);
    let issuers = vec![introspecting("c", &third), introspecting("a", &first), introspecting("b", &second)];
    let world = World::with(issuers).await;
    assert_eq!(&*world.judge("opaque").await.unwrap().issuer, "b");
    assert_eq!((first.hits(), second.hits(), third.hits()), (1, 1, 0));
}

#[tokio::test]
async fn those_who_wait_for_the_same_token_share_one_call() {
    let web = Web::start(json!({"active": true})).await;
    let world = Arc::new(World::with(vec![introspecting("a", &web)]).await);
    web.pause();
    let asking: Vec<_> = (0..20)
        .map(|_| {
            let world = world.clone();
            tokio::spawn(async move { world.judge("opaque").await })
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
async fn an_issuer_that_does_not_answer_refuses_is_left_alone_for_a_second_and_named() {
    let web = Web::start("").await;
    let world = World::with(vec![introspecting("a", &web)]).await;
    let answers = [
        (500, "{}"),
        (401, r#"{"active":true}"#),
        (302, ""),
        (200, "not JSON"),
        (200, "[]"),
        (200, "{}"),
        (200, r#"{"active":"true"}"#),
        (200, r#"{"active":1}"#),
        (200, r#"{"active":false,"active":true}"#),
    ];
    for (at, (status, body)) in (0..).zip(answers) {
        web.answer(status, body);
        let hits = web.hits();
        let moment = seconds_later(10 * at);
        assert!(invalid(&world.judge_at(&format!("opaque-{at}"), moment).await), "{body}");
        assert_eq!(world.tokens.troubles(), ["issuer \"a\": it does not answer introspection"]);
        assert!(invalid(&world.judge_at("another", moment).await));
        assert_eq!(web.hits(), hits + 1, "{body}");
    }
    // Nobody said that it is bad, so it is not remembered as such.
    web.answer(200, json!({"active": true}));
    world.judge_at("opaque-0", seconds_later(1000)).await.unwrap();
    assert!(world.tokens.troubles().is_empty());
}

#[tokio::test]
async fn without_its_client_secret_nobody_is_asked() {
    let web = Web::start(json!({"active": true})).await;
    let missing = Some(SecretRef::Env("GATEWAY_SECRET_THAT_NOBODY_SET".to_owned()));
    let world = World::with(vec![JwtIssuer { client_secret: missing, ..introspecting("a", &web) }]).await;
    assert!(invalid(&world.judge("opaque").await));
    assert_eq!(web.hits(), 0);
}

#[tokio::test]
async fn what_the_answer_says_of_issuer_and_audience_must_fit() {
    let web = Web::start("").await;
    let issuer = JwtIssuer { audiences: vec!["api".to_owned()], ..introspecting("a", &web) };
    let world = World::with(vec![issuer]).await;
    for (at, (answer, is_good)) in [
        (json!({"active": true, "iss": "https://a.test", "aud": ["x", "api"]}), true),
        (json!({"active": true, "iss": "https://b.test"}), false),
        (json!({"active": true, "aud": "x"}), false),
        (json!({"active": true, "exp": "never"}), false),
        (json!({"active": true, "nbf": NOW.micros() / 1_000_000 + 1}), false),
    ]
    .into_iter()
    .enumerate()
    {
        web.answer(200, &answer);
        assert_eq!(world.judge(&format!("opaque-{at}")).await.is_ok(), is_good, "{answer}");
    }
}

#[tokio::test]
async fn a_jwt_of_an_issuer_without_keys_is_introspected_there_and_nowhere_else() {
    let (web, other) = (Web::start(json!({"active": true})).await, Web::start(json!({"active": true})).await);
    let mine = JwtIssuer { issuer: ISS.to_owned(), ..introspecting("b", &web) };
    let world = World::with(vec![introspecting("a", &other), mine]).await;
    let token = signer::sign(JwtAlgorithm::RS256, "any", &claims());
    assert_eq!(&*world.judge(&token).await.unwrap().issuer, "b");
    // With keys, the keys decide.
    let keyed = JwtIssuer { introspection_url: Some(web.url.clone()), ..with_secret() };
    let world = World::with(vec![introspecting("a", &other), keyed]).await;
    assert!(invalid(&world.judge(&token).await));
    assert_eq!((web.hits(), other.hits()), (1, 0));
}
