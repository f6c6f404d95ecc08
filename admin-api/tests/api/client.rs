//! A client of the admin API in process: `admin.put("/admin/…").json(value).send().await`. It looks up each answer in the
//! API's description, so that no test can pass with a status that is not documented.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use admin_api::{AdminToken, AppState, SessionSettings, router};
use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use gateway_config::api_key::Argon2Settings;
use gateway_config::clock::{ManualClock, new_id};
use gateway_config::master_key::MasterKey;
use gateway_config::model::{FORMAT_VERSION, Node, Timestamp};
use gateway_config::store::{self, Store};
use http::{HeaderMap, Request};
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt;

pub(crate) const TOKEN: &str = "a-token-of-more-than-32-characters";

pub(crate) const MASTER_KEY: &str = "a-master-key-of-more-than-32-characters";

pub(crate) fn master_key() -> MasterKey {
    MasterKey::of(MASTER_KEY).unwrap()
}

pub(crate) const SERVICES: &str = "/admin/routing/services";
pub(crate) const ROUTES: &str = "/admin/routing/routes";

/// An admin API over a database of its own. Its clock stands still until it is moved.
pub(crate) struct Admin {
    router: Router,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<ManualClock>,
    description: Value,
    dir: Option<TempDir>,
}

pub(crate) struct Call<'a> {
    admin: &'a Admin,
    method: &'static str,
    path: String,
    token: Option<String>,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    address: Option<IpAddr>,
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
    pub(crate) body: Value,
}

impl Admin {
    pub(crate) async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", dir.path().join("gateway.db").display());
        let store = store::open(&url).await.unwrap();
        store.migrate().await.unwrap();
        Self::over(store, Some(dir))
    }

    /// A further admin API of the same fleet, over the same database.
    pub(crate) fn another(&self) -> Self {
        Self::over(self.store.clone(), None)
    }

    pub(crate) fn over(store: Arc<dyn Store>, dir: Option<TempDir>) -> Self {
        Self::with_sessions(store, dir, SessionSettings::default())
    }

    pub(crate) fn with_sessions(store: Arc<dyn Store>, dir: Option<TempDir>, sessions: SessionSettings) -> Self {
        let clock = Arc::new(ManualClock::at(Timestamp::from_micros(1_795_000_000_000_000)));
        let token = AdminToken::new(TOKEN).unwrap();
        let argon2 = Argon2Settings { argon2_memory_kib: 8, argon2_iterations: 1, argon2_parallelism: 1 };
        let state = AppState::new(store.clone(), clock.clone(), Some(token), &master_key(), argon2);
        let state = state.with_sessions(sessions);
        let description = serde_json::from_str(&admin_api::document()).unwrap();
        Self { router: router(state), store, clock, description, dir }
    }

    /// With a service `auth` and a public route `auth` that leads to it: generation 2.
    pub(crate) async fn with_auth() -> Self {
        let admin = Self::start().await;
        let service = json!({"defaultUrl": "http://127.0.0.1:7200"});
        admin.put("/admin/routing/services/auth").json(service).send().await.expect(201);
        admin.put("/admin/routing/routes/auth").json(route("/auth/{*rest}", "auth")).send().await.expect(201);
        admin
    }

    /// Where its database lies.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.as_ref().unwrap().path()
    }

    pub(crate) fn get(&self, path: impl Into<String>) -> Call<'_> {
        self.call("GET", path)
    }

    pub(crate) fn put(&self, path: impl Into<String>) -> Call<'_> {
        self.call("PUT", path)
    }

    pub(crate) fn patch(&self, path: impl Into<String>) -> Call<'_> {
        self.call("PATCH", path)
    }

    pub(crate) fn post(&self, path: impl Into<String>) -> Call<'_> {
        self.call("POST", path)
    }

    pub(crate) fn delete(&self, path: impl Into<String>) -> Call<'_> {
        self.call("DELETE", path)
    }

    pub(crate) fn call(&self, method: &'static str, path: impl Into<String>) -> Call<'_> {
        let (path, token) = (path.into(), Some(TOKEN.to_owned()));
        Call { admin: self, method, path, token, headers: Vec::new(), body: Vec::new(), address: None }
    }

    /// A node that reported just now.
    pub(crate) async fn report(&self, generation: u64) -> Node {
        let node = Node {
            id: new_id(),
            version: "0.1.0".to_owned(),
            format: FORMAT_VERSION,
            address: "127.0.0.1:4200".to_owned(),
            generation,
            digest: String::new(),
            degraded: Vec::new(),
            last_seen: gateway_config::clock::Clock::now(&*self.clock),
            has_left: false,
        };
        self.store.report_node(&node).await.unwrap();
        node
    }

    /// The documented operations: path template, method, and what is said of it.
    pub(crate) fn operations(&self) -> impl Iterator<Item = (&str, &str, &Value)> {
        let paths = self.description["paths"].as_object().unwrap().iter();
        paths.flat_map(|(path, item)| {
            let methods = item.as_object().unwrap().iter();
            methods.map(move |(method, operation)| (path.as_str(), method.as_str(), operation))
        })
    }

    fn refuse_undocumented(&self, method: &str, path: &str, status: u16) {
        let path = path.split('?').next().unwrap();
        // Every GET answers HEAD as well, without saying so.
        let method = if method == "HEAD" { "GET" } else { method };
        let is_this = |template: &str| {
            let (parts, wanted) = (path.split('/'), template.split('/'));
            parts.clone().count() == wanted.clone().count()
                && parts.zip(wanted).all(|(part, wanted)| wanted.starts_with('{') || part == wanted)
        };
        let mut here = self.operations().filter(|(template, ..)| is_this(template)).peekable();
        if here.peek().is_none() {
            return;
        }
        let operation = here.find(|(_, other, _)| other.eq_ignore_ascii_case(method));
        let is_known = operation.is_some_and(|(_, _, it)| it["responses"].get(status.to_string()).is_some());
        let nobody_serves_it = operation.is_none() && matches!(status, 401 | 403 | 405);
        assert!(is_known || nobody_serves_it, "{method} {path} answered {status}, which is not documented");
    }
}

impl Call<'_> {
    pub(crate) fn json(self, value: Value) -> Self {
        self.body("application/json", value.to_string())
    }

    pub(crate) fn body(mut self, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self.header("content-type", content_type)
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn token(mut self, token: Option<&str>) -> Self {
        self.token = token.map(ToOwned::to_owned);
        self
    }

    /// The other end of the connection.
    pub(crate) fn from(mut self, address: &str) -> Self {
        self.address = Some(address.parse().unwrap());
        self
    }

    pub(crate) async fn send(self) -> Answer {
        let mut request = Request::builder().method(self.method).uri(&self.path);
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let mut request = request.body(Body::from(self.body)).unwrap();
        if let Some(address) = self.address {
            request.extensions_mut().insert(ConnectInfo(SocketAddr::from((address, 1))));
        }
        let response = self.admin.router.clone().oneshot(request).await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        self.admin.refuse_undocumented(self.method, &self.path, status);
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Answer { status, headers, text, body }
    }
}

impl Answer {
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }

    /// An error of this status and code.
    #[track_caller]
    pub(crate) fn refused(self, status: u16, code: &str) -> Self {
        let answer = self.expect(status);
        assert_eq!(answer.body["code"], code, "{}", answer.text);
        answer
    }

    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).unwrap_or_else(|| panic!("no {name} in {:?}", self.headers));
        value.to_str().unwrap()
    }

    #[track_caller]
    pub(crate) fn generation(&self) -> u64 {
        self.header("x-config-generation").parse().unwrap()
    }

    /// The paths of the problems.
    #[track_caller]
    pub(crate) fn problems(&self) -> Vec<&str> {
        let problems = self.body["problems"].as_array().unwrap_or_else(|| panic!("no problems in {}", self.text));
        problems.iter().map(|problem| problem["path"].as_str().unwrap()).collect()
    }

    /// The names of a list's items.
    pub(crate) fn names(&self, field: &str) -> Vec<&str> {
        self.body["items"].as_array().unwrap().iter().map(|item| item[field].as_str().unwrap()).collect()
    }
}

/// A public route.
pub(crate) fn route(path: &str, service: &str) -> Value {
    json!({"path": path, "target": {"service": service}, "access": {"anyOf": ["public"]}})
}
