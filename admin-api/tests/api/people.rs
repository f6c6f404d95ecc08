//! Admins for tests, and their logins.

use gateway_config::model::{Action, AuditEntry};
use serde_json::{Value, json};

use crate::client::{Admin, Answer, Call};

pub(crate) const LOGIN: &str = "/admin/auth/login";
pub(crate) const REFRESH: &str = "/admin/auth/refresh";
pub(crate) const LOGOUT: &str = "/admin/auth/logout";
pub(crate) const ME: &str = "/admin/auth/me";
pub(crate) const PASSWORD_PATH: &str = "/admin/auth/password";
pub(crate) const USERS: &str = "/admin/users";

pub(crate) const PASSWORD: &str = "correct horse battery";

/// What a login answered.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) access: String,
    pub(crate) refresh: String,
}

/// What a browser keeps of a login.
#[derive(Clone, Debug)]
pub(crate) struct Browser {
    pub(crate) cookie: String,
    pub(crate) csrf: String,
}

impl Session {
    pub(crate) fn of(answer: &Answer) -> Self {
        let text = |field: &str| answer.body[field].as_str().unwrap().to_owned();
        Self { access: text("accessToken"), refresh: text("refreshToken") }
    }
}

impl Browser {
    pub(crate) fn of(answer: &Answer) -> Self {
        let cookie = answer.header("set-cookie").split(';').next().unwrap().to_owned();
        Self { cookie, csrf: answer.body["csrfToken"].as_str().unwrap().to_owned() }
    }
}

impl Admin {
    /// Somebody with [`PASSWORD`]; answers their id.
    pub(crate) async fn person(&self, email: &str, role: &str) -> String {
        let person = json!({"email": email, "role": role, "password": PASSWORD});
        let made = self.post(USERS).json(person).send().await.expect(201);
        made.body["id"].as_str().unwrap().to_owned()
    }

    pub(crate) fn try_login(&self, email: &str, password: &str) -> Call<'_> {
        self.post(LOGIN).token(None).json(json!({"email": email, "password": password}))
    }

    pub(crate) async fn login(&self, email: &str) -> Session {
        Session::of(&self.try_login(email, PASSWORD).send().await.expect(200))
    }

    pub(crate) async fn browse(&self, email: &str) -> Browser {
        let body = json!({"email": email, "password": PASSWORD, "cookie": true});
        Browser::of(&self.post(LOGIN).token(None).json(body).send().await.expect(200))
    }

    pub(crate) fn refresh(&self, token: &str) -> Call<'_> {
        self.post(REFRESH).token(None).json(json!({"refreshToken": token}))
    }

    /// A call by cookie, without a CSRF token.
    pub(crate) fn by_cookie(&self, method: &'static str, path: &str, browser: &Browser) -> Call<'_> {
        self.call(method, path).token(None).header("cookie", &browser.cookie)
    }

    /// A personal token, made by its owner.
    pub(crate) async fn token_of(&self, session: &Session, body: Value) -> (String, String) {
        let made = self.post("/admin/users/me/tokens").token(Some(&session.access)).json(body).send().await.expect(201);
        (made.body["id"].as_str().unwrap().to_owned(), made.body["token"].as_str().unwrap().to_owned())
    }

    pub(crate) async fn audit(&self) -> Vec<AuditEntry> {
        let entries = self.store.audit_behind(0, 1000).await.unwrap();
        entries.into_iter().collect::<Result<_, _>>().unwrap()
    }

    pub(crate) async fn audited(&self, action: Action) -> Vec<AuditEntry> {
        self.audit().await.into_iter().filter(|entry| entry.action == action).collect()
    }
}
