//! The forgeries of RFC 8725 and some more. Each has a control: the same token without the trick passes.

use jsonwebtoken::crypto::rust_crypto::DEFAULT_PROVIDER;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};

use super::signer::{self, encode, message};
use super::web::Web;
use super::*;

/// The token with its signature replaced.
fn resigned(token: &str, signature: impl AsRef<[u8]>) -> String {
    format!("{}.{}", token.rsplit_once('.').unwrap().0, encode(signature))
}

async fn rsa_world() -> World {
    World::with(vec![with_pem(JwtAlgorithm::RS256, signer::RSA_PUBLIC)]).await
}

#[tokio::test]
async fn an_unsigned_token_is_refused_however_none_is_spelled() {
    for world in [rsa_world().await, World::with(vec![with_secret()]).await] {
        for none in ["none", "None", "NONE", "nOnE", "", " none"] {
            let message = message(&json!({"alg": none}), &claims());
            for signature in ["", "AAAA", &encode(signer::signature(JwtAlgorithm::RS256, &message))] {
                let token = format!("{message}.{signature}");
                assert!(invalid(&world.judge(&token).await), "{none} {signature}");
            }
        }
    }
}

#[tokio::test]
async fn a_public_key_is_no_secret() {
    let pem = signer::RSA_PUBLIC;
    let world = rsa_world().await;
    for secret in [pem, pem.trim_end(), &pem.replace('\n', "\r\n"), ""] {
        for algorithm in [JwtAlgorithm::HS256, JwtAlgorithm::HS384, JwtAlgorithm::HS512] {
            let message = message(&json!({"alg": signer::name(algorithm)}), &claims());
            let forged = format!("{message}.{}", encode(signer::hmac(algorithm, secret.as_bytes(), &message)));
            assert!(invalid(&world.judge(&forged).await), "{algorithm:?}");
        }
    }
    world.judge(&signer::sign(JwtAlgorithm::RS256, "any", &claims())).await.unwrap();
}

#[tokio::test]
async fn the_algorithm_is_the_issuers_choice_and_not_the_tokens() {
    // The header says what the issuer allows, the signature is of another kind, and the other way round.
    let claimed = message(&json!({"alg": "RS256"}), &claims());
    let world = rsa_world().await;
    for algorithm in [JwtAlgorithm::RS384, JwtAlgorithm::PS256, JwtAlgorithm::ES256, JwtAlgorithm::EdDSA] {
        let forged = format!("{claimed}.{}", encode(signer::signature(algorithm, &claimed)));
        assert!(invalid(&world.judge(&forged).await), "{algorithm:?}");
        assert!(invalid(&world.judge(&signer::sign(algorithm, "any", &claims())).await), "{algorithm:?}");
    }
    let ec = World::with(vec![with_pem(JwtAlgorithm::ES256, signer::P256_PUBLIC)]).await;
    assert!(invalid(&ec.judge(&signer::sign(JwtAlgorithm::RS256, "any", &claims())).await));
    let lied = message(&json!({"alg": "RS256"}), &claims());
    let forged = format!("{lied}.{}", encode(signer::es256(signer::P256, &lied)));
    assert!(invalid(&ec.judge(&forged).await));
    // A key of the one curve under the algorithm of the other.
    let mixed = World::with(vec![with_pem(JwtAlgorithm::ES384, signer::P256_PUBLIC)]).await;
    assert!(invalid(&mixed.judge(&signer::sign(JwtAlgorithm::ES256, "any", &claims())).await));
}

#[tokio::test]
async fn keys_and_addresses_in_the_header_are_never_used() {
    let theirs = signer::rsa_jwk(signer::RSA_OTHER, "theirs");
    let attacker = Web::start(json!({"keys": [theirs]})).await;
    let ours = Web::start(json!({"keys": [signer::rsa_jwk(signer::RSA, "ours")]})).await;
    let world = World::with(vec![with_jwks(&[JwtAlgorithm::RS256], &ours.url)]).await;
    world.judge(&signer::sign(JwtAlgorithm::RS256, "ours", &claims())).await.unwrap();
    for header in [
        json!({"alg": "RS256", "kid": "ours", "jwk": theirs}),
        json!({"alg": "RS256", "kid": "theirs", "jku": attacker.url}),
        json!({"alg": "RS256", "jku": attacker.url, "x5u": attacker.url}),
        json!({"alg": "RS256", "kid": attacker.url}),
        json!({"alg": "RS256", "kid": "../../../../dev/null"}),
        json!({"alg": "RS256", "kid": "' UNION SELECT 'x"}),
        json!({"alg": "RS256", "x5c": ["MIIB"], "jwk": theirs}),
    ] {
        let message = message(&header, &claims());
        let forged = format!("{message}.{}", encode(signer::rsa(JwtAlgorithm::RS256, signer::RSA_OTHER, &message)));
        assert!(invalid(&world.judge(&forged).await), "{header}");
    }
    assert_eq!(attacker.hits(), 0);
    // They are ignored, not a reason to refuse: some issuers put their chain there.
    let mut chained = claims();
    chained["sub"] = json!("chained");
    let header = json!({"alg": "RS256", "kid": "ours", "jku": attacker.url, "x5c": ["MIIB"]});
    world.judge(&signer::sign_with(JwtAlgorithm::RS256, &header, &chained)).await.unwrap();
    assert_eq!(attacker.hits(), 0);
}

#[tokio::test]
async fn headers_that_demand_extensions_are_refused_with_a_good_signature_too() {
    let world = World::with(vec![with_secret()]).await;
    for (name, value) in [
        ("crit", json!(["exp"])),
        ("crit", json!([])),
        ("crit", json!(["b64"])),
        ("b64", json!(false)),
        ("cty", json!("JWT")),
        ("typ", json!("JWE")),
    ] {
        let mut header = json!({"alg": "HS256"});
        header[name] = value;
        assert!(invalid(&world.judge(&signer::sign_with(JwtAlgorithm::HS256, &header, &claims())).await), "{header}");
    }
    let header = json!({"alg": "HS256", "typ": "at+jwt", "x-unknown": {"a": 1}});
    world.judge(&signer::sign_with(JwtAlgorithm::HS256, &header, &claims())).await.unwrap();
}

#[tokio::test]
async fn a_key_that_stands_twice_is_refused_with_a_good_signature_too() {
    let world = World::with(vec![with_secret()]).await;
    let good = claims().to_string();
    let open = good.trim_end_matches('}');
    for (header, claims) in [
        (r#"{"alg":"HS256"}"#.to_owned(), format!(r#"{open},"sub":"admin"}}"#)),
        (r#"{"alg":"HS256"}"#.to_owned(), format!(r#"{open},"x":{{"a":1,"a":2}}}}"#)),
        (r#"{"alg":"HS256","alg":"HS256"}"#.to_owned(), good.clone()),
        (r#"{"alg":"HS256"}"#.to_owned(), format!("{good}{{}}")),
        (r#"{"alg":"HS256"}"#.to_owned(), format!("[{good}]")),
        (r#"{"alg":"HS256"}"#.to_owned(), format!("\u{feff}{good}")),
    ] {
        let message = format!("{}.{}", encode(&header), encode(&claims));
        let token = format!("{message}.{}", encode(signer::signature(JwtAlgorithm::HS256, &message)));
        assert!(invalid(&world.judge(&token).await), "{header} {claims}");
    }
}

#[tokio::test]
async fn a_signature_of_another_form_is_no_signature() {
    let world = World::with(vec![with_pem(JwtAlgorithm::ES256, signer::P256_PUBLIC)]).await;
    let good = signer::sign(JwtAlgorithm::ES256, "any", &claims());
    let message = good.rsplit_once('.').unwrap().0;
    let raw = signer::es256(signer::P256, message);
    // CVE-2022-21449: r = s = 0 fits every message where nobody looks.
    let mut forged = vec![vec![0; 64], vec![0; 96], vec![0xff; 64], vec![], vec![0]];
    forged.push(signer::es256_as_der(signer::P256, message));
    forged.push([&raw[..32], &[0; 32]].concat());
    forged.push([&[0; 32], &raw[32..]].concat());
    forged.push([&raw[32..], &raw[..32]].concat());
    forged.push(raw[..63].to_vec());
    forged.push([&raw[..], &[0]].concat());
    forged.push([&[0], &raw[..]].concat());
    for signature in forged {
        assert!(invalid(&world.judge(&resigned(&good, &signature)).await), "{signature:?}");
    }
    world.judge(&good).await.unwrap();
    world.judge(&resigned(&good, &raw)).await.unwrap();

    let rsa = rsa_world().await;
    let good = signer::sign(JwtAlgorithm::RS256, "any", &claims());
    for signature in [vec![0; 256], vec![1; 256], vec![0xff; 256], vec![0; 255], vec![0; 512]] {
        assert!(invalid(&rsa.judge(&resigned(&good, &signature)).await));
    }
    let ed = World::with(vec![with_pem(JwtAlgorithm::EdDSA, signer::ED25519_PUBLIC)]).await;
    let good = signer::sign(JwtAlgorithm::EdDSA, "any", &claims());
    for signature in [vec![0; 64], vec![0xff; 64], vec![0; 63], vec![0; 65]] {
        assert!(invalid(&ed.judge(&resigned(&good, &signature)).await));
    }
}

#[tokio::test]
async fn a_token_with_one_change_anywhere_is_refused() {
    let world = World::with(vec![with_secret()]).await;
    let good = signer::sign(JwtAlgorithm::HS256, "any", &claims());
    world.judge(&good).await.unwrap();
    for at in 0..good.len() {
        let mut changed = good.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        // The last character of a part carries bits that mean nothing; they must be zero, and then it is another text.
        assert!(invalid(&world.judge(&changed).await), "{at}: {changed}");
        assert!(invalid(&world.judge(&good[..at]).await), "cut at {at}");
    }
    for bad in [
        format!("{good}."),
        format!(".{good}"),
        format!("{good}.e30"),
        format!("{good}="),
        format!("{good}A"),
        format!("{good} "),
        format!(" {good}"),
        format!("{good}\n"),
        format!("{good}\u{e4}"),
        good.replacen('.', "..", 1),
        format!("{good}.{good}"),
        format!("{good},{good}"),
        "a".repeat(1024 * 1024),
        format!("{}.{}.{}", "a".repeat(512 * 1024), "b".repeat(512 * 1024), "c"),
        "..".to_owned(),
        ".".to_owned(),
        String::new(),
    ] {
        assert!(invalid(&world.judge(&bad).await), "{bad:.80}");
    }
    world.judge(&good).await.unwrap();
}

#[tokio::test]
async fn an_encrypted_token_is_refused() {
    let world = World::with(vec![with_secret()]).await;
    let header = encode(json!({"alg": "dir", "enc": "A256GCM"}).to_string());
    assert!(invalid(&world.judge(&format!("{header}..AAAA.AAAA.AAAA")).await));
}

#[tokio::test]
async fn a_weak_rsa_key_verifies_nothing() {
    let message = message(&json!({"alg": "RS256", "kid": "weak"}), &claims());
    let key = EncodingKey::from_rsa_pem(signer::RSA_WEAK.as_bytes()).unwrap();
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::RS256).unwrap();
    let public = DecodingKey::from_rsa_pem(signer::RSA_WEAK_PUBLIC.as_bytes()).unwrap();
    let is_good = jsonwebtoken::crypto::verify(&signature, message.as_bytes(), &public, Algorithm::RS256);
    assert!(is_good.unwrap(), "only its size speaks against it");
    let token = format!("{message}.{signature}");
    let pem = World::with(vec![with_pem(JwtAlgorithm::RS256, signer::RSA_WEAK_PUBLIC)]).await;
    assert!(invalid(&pem.judge(&token).await));

    let der = DEFAULT_PROVIDER.key_utils.rsa_pub_components_from_public_key;
    let (n, e) = der(public.try_get_as_bytes().unwrap()).unwrap();
    let jwk = json!({"kty": "RSA", "kid": "weak", "n": encode(&n), "e": encode(&e)});
    let padded = json!({"kty": "RSA", "kid": "weak", "n": encode([vec![0; 128], n].concat()), "e": encode(&e)});
    let web = Web::start(json!({"keys": [jwk, padded]})).await;
    let published = World::with(vec![with_jwks(&[JwtAlgorithm::RS256], &web.url)]).await;
    assert!(invalid(&published.judge(&token).await));
}
