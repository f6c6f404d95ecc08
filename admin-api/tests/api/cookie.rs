//! The panel's login by cookie, and requests that somebody else's page makes a browser send.

use admin_api::SessionSettings;
use futures::future::join_all;
use gateway_config::model::Action;
use serde_json::json;

use crate::client::{Admin, TOKEN};
use crate::people::{Browser, LOGIN, LOGOUT, ME, PASSWORD, REFRESH};

const MINUTE: i64 = 60_000;
const ADA: &str = "ada@example.com";
const SERVICE: &str = "/admin/routing/services/a";

async fn with_ada() -> Admin {
    let admin = Admin::start().await;
    admin.person(ADA, "operator").await;
    admin
}

#[tokio::test]
async fn a_login_by_cookie_shows_no_token_to_any_script() {
    let admin = with_ada().await;
    let body = json!({"email": ADA, "password": PASSWORD, "cookie": true});
    let answer = admin.post(LOGIN).token(None).json(body).send().await.expect(200);
    let (value, attributes) = answer.header("set-cookie").split_once("; ").unwrap();
    assert!(value.starts_with("gatehouse_session=gac_"), "{value}");
    assert_eq!(attributes, "Path=/admin; HttpOnly; SameSite=Strict; Max-Age=2592000");
    let mut fields: Vec<&String> = answer.body.as_object().unwrap().keys().collect();
    fields.sort_unstable();
    assert_eq!(fields, ["csrfToken", "expiresIn"]);
    let browser = Browser::of(&answer);
    let me = admin.by_cookie("GET", ME, &browser).send().await.expect(200);
    assert_eq!((&me.body["email"], &me.body["csrfToken"]), (&json!(ADA), &json!(browser.csrf)));
    assert_eq!(me.header("cache-control"), "no-store");
}

#[tokio::test]
async fn a_request_by_cookie_that_may_change_something_needs_the_csrf_token_of_its_session() {
    let admin = with_ada().await;
    let (mine, other) = (admin.browse(ADA).await, admin.browse(ADA).await);
    for method in ["PUT", "POST", "PATCH", "DELETE", "BREW"] {
        admin.by_cookie(method, SERVICE, &mine).json(json!({})).send().await.refused(403, "csrf");
    }
    for bad in ["", "x", other.csrf.as_str()] {
        let call = admin.by_cookie("PUT", SERVICE, &mine).header("x-csrf-token", bad);
        call.json(json!({})).send().await.refused(403, "csrf");
    }
    for path in [LOGOUT, REFRESH] {
        admin.by_cookie("POST", path, &mine).send().await.refused(403, "csrf");
    }
    admin.by_cookie("PUT", SERVICE, &mine).header("x-csrf-token", &mine.csrf).json(json!({})).send().await.expect(201);
    admin.by_cookie("GET", SERVICE, &mine).send().await.expect(200);
    admin.by_cookie("HEAD", SERVICE, &mine).send().await.expect(200);
}

#[tokio::test]
async fn an_authorization_header_goes_before_the_cookie() {
    let admin = with_ada().await;
    let browser = admin.browse(ADA).await;
    let both = |token| admin.put(SERVICE).token(Some(token)).header("cookie", &browser.cookie).json(json!({})).send();
    both(TOKEN).await.expect(201);
    both("wrong").await.refused(401, "unauthorized");
    let me = admin.get(ME).header("cookie", &browser.cookie).send().await.expect(200);
    assert_eq!(me.body["via"], "ADMIN_TOKEN");
}

#[tokio::test]
async fn a_cookie_is_renewed_and_the_one_before_is_good_for_a_moment_only() {
    let admin = with_ada().await;
    let first = admin.browse(ADA).await;
    let refresh =
        |browser: &Browser| admin.by_cookie("POST", REFRESH, browser).header("x-csrf-token", &browser.csrf).send();
    let me = |browser: &Browser| admin.by_cookie("GET", ME, browser).send();
    admin.clock.advance_millis(15 * MINUTE);
    me(&first).await.refused(401, "unauthorized");
    let answer = refresh(&first).await.expect(200);
    assert!(answer.body.get("accessToken").is_none() && answer.body.get("refreshToken").is_none());
    let second = Browser::of(&answer);
    assert_eq!(second.csrf, first.csrf, "other tabs go on with theirs");
    assert_ne!(second.cookie, first.cookie);
    assert!(answer.header("set-cookie").ends_with("Max-Age=2591100"));

    // Another tab was under way with the old one.
    admin.clock.advance_millis(29_999);
    me(&first).await.expect(200);
    let raced = refresh(&first).await.expect(200);
    assert!(raced.headers.get("set-cookie").is_none(), "nobody gets a new one for an old one");
    me(&second).await.expect(200);

    admin.clock.advance_millis(1);
    me(&first).await.refused(401, "unauthorized");
    me(&second).await.expect(200);
    refresh(&first).await.refused(401, "unauthorized");
    me(&second).await.refused(401, "unauthorized");
    assert_eq!(admin.audited(Action::AuthRefreshReused).await.len(), 1);
}

#[tokio::test]
async fn two_tabs_that_renew_at_once_both_stay() {
    let admin = with_ada().await;
    let browser = admin.browse(ADA).await;
    let refresh = || admin.by_cookie("POST", REFRESH, &browser).header("x-csrf-token", &browser.csrf).send();
    let answers = join_all([refresh(), refresh()]).await;
    assert!(answers.iter().all(|answer| answer.status == 200));
    let new: Vec<Browser> =
        answers.iter().filter(|answer| answer.headers.contains_key("set-cookie")).map(Browser::of).collect();
    assert_eq!(new.len(), 1);
    admin.by_cookie("GET", ME, &new[0]).send().await.expect(200);
}

#[tokio::test]
async fn a_logout_by_cookie_takes_the_cookie_away() {
    let admin = with_ada().await;
    let browser = admin.browse(ADA).await;
    admin.clock.advance_millis(20 * MINUTE);
    let call = admin.by_cookie("POST", LOGOUT, &browser).header("x-csrf-token", &browser.csrf);
    let gone = call.send().await.expect(204);
    assert!(
        gone.header("set-cookie").starts_with("gatehouse_session=; ")
            && gone.header("set-cookie").contains("Max-Age=0")
    );
    let refresh = admin.by_cookie("POST", REFRESH, &browser).header("x-csrf-token", &browser.csrf);
    refresh.send().await.refused(401, "unauthorized");
}

#[tokio::test]
async fn over_https_the_cookie_is_for_https_only() {
    let admin = with_ada().await;
    let trusting = |secure_cookies| SessionSettings {
        trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()],
        secure_cookies,
        ..SessionSettings::default()
    };
    let login = |behind: Admin, address: &'static str| async move {
        let body = json!({"email": ADA, "password": PASSWORD, "cookie": true});
        let call = behind.post(LOGIN).token(None).json(body).from(address);
        let answer = call.header("x-forwarded-proto", "https").send().await.expect(200);
        answer.header("set-cookie").ends_with("; Secure")
    };
    let behind = |secure| Admin::with_sessions(admin.store.clone(), None, trusting(secure));
    assert!(login(behind(false), "10.1.1.1").await);
    assert!(!login(behind(false), "192.0.2.1").await, "anybody may write such a header");
    assert!(login(behind(true), "192.0.2.1").await);
}

#[tokio::test]
async fn the_page_of_a_stranger_can_not_log_a_browser_in() {
    let admin = with_ada().await;
    let body = json!({"email": ADA, "password": PASSWORD, "cookie": true});
    let from = |site| admin.post(LOGIN).token(None).header("sec-fetch-site", site).json(body.clone()).send();
    from("cross-site").await.refused(403, "csrf");
    from("same-site").await.refused(403, "csrf");
    from("same-origin").await.expect(200);
}

#[tokio::test]
async fn a_forged_or_foreign_cookie_is_401() {
    let admin = with_ada().await;
    let (browser, session) = (admin.browse(ADA).await, admin.login(ADA).await);
    let (start, last) = browser.cookie.split_at(browser.cookie.len() - 1);
    let forged = format!("{start}{}", if last == "0" { "1" } else { "0" });
    let of = |text: &str| format!("gatehouse_session={text}");
    for cookie in [forged, of(&session.refresh), of(&session.access), of(TOKEN), of("")] {
        admin.get(ME).token(None).header("cookie", &cookie).send().await.refused(401, "unauthorized");
    }
    let value = browser.cookie.strip_prefix("gatehouse_session=").unwrap();
    admin.get(ME).token(Some(value)).send().await.refused(401, "unauthorized");
    admin.refresh(value).send().await.refused(401, "unauthorized");
}
