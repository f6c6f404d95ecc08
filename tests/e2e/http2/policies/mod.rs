//! Every policy on every transport: what is refused to a plain request is refused in the same words to whoever says `Upgrade`, opens
//! a WebSocket, speaks HTTP/2 or gRPC, in plain text or over TLS, and nothing of it reaches a backend.

mod fleet;
mod transport;

use e2e::Request;

use fleet::Fleet;
use transport::Transport;

/// What is asked, and how it is refused.
struct Case {
    path: &'static str,
    headers: Vec<(&'static str, String)>,
    body: Option<&'static str>,
    status: u16,
    code: &'static str,
    /// gRPC only posts, and its messages are not screened.
    spares_grpc: bool,
}

fn case(path: &'static str, status: u16, code: &'static str) -> Case {
    Case { path, headers: Vec::new(), body: None, status, code, spares_grpc: false }
}

impl Case {
    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    fn key(self, key: &str) -> Self {
        self.with("X-API-Key", key)
    }

    fn bearer(self, token: &str) -> Self {
        self.with("Authorization", format!("Bearer {token}"))
    }

    fn body(mut self, body: &'static str) -> Self {
        self.body = Some(body);
        self
    }

    fn but_grpc(self) -> Self {
        Self { spares_grpc: true, ..self }
    }

    fn request(&self, transport: Transport) -> Request {
        let mut request = transport.request(self.path);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        match self.body {
            Some(body) => request.body(body),
            None => request,
        }
    }
}

/// `#` in a path: the place of the transport's own service.
fn cases(fleet: &Fleet) -> Vec<Case> {
    let key = &fleet.keys.good;
    vec![
        case("/#/closed", 401, "credentials_missing"),
        case("/#/closed", 401, "credentials_invalid").key("gk_wrong"),
        case("/#/closed", 401, "credentials_invalid").key(&fleet.keys.mistyped),
        case("/#/closed", 401, "credentials_invalid").key(&fleet.keys.revoked),
        case("/#/closed", 401, "key_expired").key(&fleet.keys.expired),
        case("/#/closed", 401, "credentials_invalid").bearer(&fleet.tokens.forged),
        case("/#/closed", 401, "credentials_invalid").bearer(&fleet.tokens.unsigned),
        case("/#/closed", 401, "token_expired").bearer(&fleet.tokens.expired),
        case("/#/closed", 401, "credentials_invalid").key(key).bearer(&fleet.tokens.forged),
        case("/#/open", 401, "credentials_invalid").key("gk_wrong"),
        case("/#/closed", 403, "application_inactive").key(&fleet.keys.inactive),
        case("/#/closed", 403, "service_not_allowed").key(&fleet.keys.stranger),
        case("/#/closed", 403, "endpoint_not_allowed").key(&fleet.keys.narrow),
        case("/#/open/../closed", 403, "endpoint_not_allowed").key(&fleet.keys.narrow),
        case("/#/role", 403, "role_missing").bearer(&fleet.tokens.good),
        case("/#/scope", 403, "scope_missing").bearer(&fleet.tokens.good),
        case("/#/role", 403, "role_missing").bearer(&fleet.tokens.good).with("X_Gateway_Roles", "root"),
        case("/#/address", 403, "ip_denied"),
        case("/#/address", 403, "ip_denied").with("X-Forwarded-For", "10.0.0.1"),
        case("/#/limited", 429, "rate_limited"),
        case("/#/small", 413, "body_too_large").body("more than ten bytes"),
        case("/#/screened?id=1%27%20OR%20%271%27%3D%271", 400, "unsafe_input"),
        case("/#/screened", 400, "unsafe_input").body("{\"a\": \"<script>alert(1)</script>\"}").but_grpc(),
        case("/#/delete", 405, "method_not_allowed").key(key),
        case("/#/away", 503, "service_inactive").key(key),
        case("/#/resting", 503, "maintenance").key(key),
        case("/#/versions/v9", 404, "unknown_version").key(key),
        case("/nowhere", 404, "route_not_found").key(key),
        case("/tasks/none", 404, "task_not_found").but_grpc(),
        case("/.well-known/gateway/me", 401, "credentials_missing").but_grpc(),
        case("/#/open/%2f", 400, "bad_request"),
        case("/#/open/..%5cclosed", 400, "bad_request"),
    ]
}

async fn refused_everywhere(fleet: &Fleet, cases: &[Case]) {
    let mut wrong = Vec::new();
    for case in cases {
        for transport in Transport::ALL.into_iter().filter(|it| !it.is_grpc() || !case.spares_grpc) {
            let seen = fleet.ask(transport, &case.request(transport)).await;
            if seen != (case.status, Some(case.code.to_owned())) {
                let Case { path, headers, status, code, .. } = case;
                wrong.push(format!("{transport:?} {path} {headers:?}: {seen:?} instead of {status} {code}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn no_policy_is_slipped_by_on_any_transport() {
    let fleet = Fleet::start().await;
    refused_everywhere(&fleet, &cases(&fleet)).await;
    assert_eq!(fleet.arrived(), Vec::<String>::new(), "nothing of it reached a backend");

    // The same requests, with what they lack.
    for transport in Transport::ALL {
        let request = transport.request("/#/closed");
        for good in [
            request.clone().api_key(&fleet.keys.good),
            request.header("Authorization", &format!("Bearer {}", fleet.tokens.good)),
            transport.request("/#/open"),
            transport.request("/#/screened?id=7"),
        ] {
            let seen = fleet.ask(transport, &good).await;
            assert_eq!(seen, (transport.success(), None), "{transport:?} {good:?}");
        }
    }
    assert_eq!(fleet.arrived().len(), 4 * Transport::ALL.len());
}

#[tokio::test]
async fn nobody_speaks_in_the_gateways_name_on_any_transport() {
    let fleet = Fleet::start().await;
    for transport in Transport::ALL {
        let mut request = transport.request("/#/closed").api_key(&fleet.keys.good);
        for name in ["X-Gateway-Application", "X_Gateway_Subject", "X-Gateway_Roles", "x_gateway_identity"] {
            request = request.header(name, "canary");
        }
        for name in ["X-Forwarded-For", "X_Forwarded_Host", "X-Real-IP", "X_Request_Id", "Forwarded"] {
            request = request.header(name, "canary,");
        }
        assert_eq!(fleet.ask(transport, &request).await.0, transport.success(), "{transport:?}");
        let seen = fleet.last_seen(transport);
        assert!(!seen.iter().any(|(_, value)| value.contains("canary")), "{transport:?}: {seen:?}");
        assert!(!seen.iter().any(|(_, value)| *value == fleet.keys.good), "{transport:?}: {seen:?}");
        let told = |name: &str| seen.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, it)| it.as_str());
        assert_eq!(told("x-gateway-application"), Some("shop"), "{transport:?}");
        assert_eq!(told("x-forwarded-for"), Some("127.0.0.1"), "{transport:?}");
        assert!(told("x-gateway-identity").is_some(), "{transport:?}");
    }
}
