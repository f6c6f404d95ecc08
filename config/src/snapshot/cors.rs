//! Cross-origin requests: what browsers are told, prepared once.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::problems::Problems;
use crate::model::Cors;

#[derive(Debug)]
pub struct CompiledCors {
    any_origin: bool,
    origins: Box<[Box<str>]>,
    credentials: bool,
    /// `None`: the methods that the route takes.
    methods: Option<HeaderValue>,
    /// `None`: those that the browser asks for.
    headers: Option<HeaderValue>,
    expose: Option<HeaderValue>,
    max_age: HeaderValue,
}

/// Headers of an answer.
pub type CorsHeaders = Vec<(HeaderName, HeaderValue)>;

impl CompiledCors {
    pub(super) fn compile(cors: &Cors, problems: &mut Problems) -> Self {
        let any_origin = cors.allow_origins.iter().any(|origin| origin == "*");
        if any_origin && cors.allow_credentials {
            problems.add(
                "allowOrigins",
                "* can't go with allowCredentials: any site could act as the user; name the origins",
            );
        }
        for (at, origin) in cors.allow_origins.iter().enumerate() {
            if origin != "*" && !is_origin(origin) {
                let message = format!("\"{origin}\" is not an origin like https://shop.example, or *");
                problems.add(&format!("allowOrigins/{at}"), message);
            }
        }
        let mut list = |field: &str, names: &[String]| {
            if names.is_empty() {
                return None;
            }
            let is_any = |name: &String| name == "*";
            if !names.iter().all(|name| is_any(name) || HeaderName::try_from(name).is_ok()) {
                problems.add(field, "holds something that is not a name");
            }
            // A literal * means nothing to browsers that send credentials: then what was asked for is named back.
            let means_nothing = cors.allow_credentials && names.iter().any(is_any);
            HeaderValue::try_from(names.join(", ")).ok().filter(|_| !means_nothing)
        };
        Self {
            any_origin,
            origins: cors.allow_origins.iter().map(|origin| origin.as_str().into()).collect(),
            credentials: cors.allow_credentials,
            methods: list("allowMethods", &cors.allow_methods),
            headers: list("allowHeaders", &cors.allow_headers),
            expose: list("exposeHeaders", &cors.expose_headers),
            max_age: HeaderValue::from(cors.max_age_seconds),
        }
    }

    /// What a preflight is answered. An origin that may not call gets no permission, which browsers take for a no.
    #[must_use]
    pub fn preflight(&self, request: &HeaderMap, route_methods: &str) -> CorsHeaders {
        let mut headers = self.origin(request);
        if headers.len() < 2 {
            return headers;
        }
        let methods = self.methods.clone().or_else(|| {
            let asked = request.get(header::ACCESS_CONTROL_REQUEST_METHOD).cloned();
            if route_methods.is_empty() { asked } else { HeaderValue::try_from(route_methods).ok() }
        });
        let asked = request.get(header::ACCESS_CONTROL_REQUEST_HEADERS);
        headers.extend(methods.map(|it| (header::ACCESS_CONTROL_ALLOW_METHODS, it)));
        headers.extend(self.headers.as_ref().or(asked).map(|it| (header::ACCESS_CONTROL_ALLOW_HEADERS, it.clone())));
        headers.push((header::ACCESS_CONTROL_MAX_AGE, self.max_age.clone()));
        headers
    }

    /// What goes with every other answer to a cross-origin request.
    #[must_use]
    pub fn response(&self, request: &HeaderMap) -> CorsHeaders {
        let mut headers = self.origin(request);
        if headers.len() > 1 {
            headers.extend(self.expose.clone().map(|it| (header::ACCESS_CONTROL_EXPOSE_HEADERS, it)));
        }
        headers
    }

    /// `Vary` first: caches must keep origins apart also where one is refused.
    fn origin(&self, request: &HeaderMap) -> CorsHeaders {
        let mut headers = vec![(header::VARY, HeaderValue::from_static("Origin"))];
        let Some(origin) = request.get(header::ORIGIN) else { return headers };
        let named = self.origins.iter().any(|it| it.as_bytes().eq_ignore_ascii_case(origin.as_bytes()));
        if !named && !self.any_origin {
            return headers;
        }
        let allowed = if named || self.credentials { origin.clone() } else { HeaderValue::from_static("*") };
        headers.push((header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed));
        if self.credentials {
            headers.push((header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true")));
        }
        headers
    }
}

/// `scheme://host[:port]`, or the `null` of sandboxed pages.
fn is_origin(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else { return text == "null" };
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"/?#@\\,".contains(&byte);
    !scheme.is_empty() && !rest.is_empty() && rest.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cors(value: serde_json::Value) -> CompiledCors {
        CompiledCors::compile(&serde_json::from_value(value).unwrap(), &mut Problems::default())
    }

    fn request(origin: &'static str) -> HeaderMap {
        HeaderMap::from_iter([
            (header::ORIGIN, HeaderValue::from_static(origin)),
            (header::ACCESS_CONTROL_REQUEST_METHOD, HeaderValue::from_static("PUT")),
            (header::ACCESS_CONTROL_REQUEST_HEADERS, HeaderValue::from_static("x-a")),
        ])
    }

    fn text(headers: &CorsHeaders) -> Vec<String> {
        headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect()
    }

    #[test]
    fn a_named_origin_is_told_what_it_may_do() {
        let cors = cors(serde_json::json!({
            "allowOrigins": ["https://shop.example"], "allowCredentials": true, "exposeHeaders": ["x-b"], "maxAgeSeconds": 5
        }));
        assert_eq!(
            text(&cors.preflight(&request("https://shop.example"), "GET, PUT")),
            [
                "vary: Origin",
                "access-control-allow-origin: https://shop.example",
                "access-control-allow-credentials: true",
                "access-control-allow-methods: GET, PUT",
                "access-control-allow-headers: x-a",
                "access-control-max-age: 5",
            ]
        );
        assert_eq!(
            text(&cors.response(&request("https://shop.example"))).last().unwrap(),
            "access-control-expose-headers: x-b"
        );
    }

    #[test]
    fn another_origin_gets_no_permission_and_caches_keep_it_apart() {
        let cors = cors(serde_json::json!({"allowOrigins": ["https://shop.example"]}));
        assert_eq!(text(&cors.preflight(&request("https://evil.example"), "")), ["vary: Origin"]);
        assert_eq!(text(&cors.response(&request("https://shop.example.evil"))), ["vary: Origin"]);
        assert_eq!(text(&cors.response(&HeaderMap::new())), ["vary: Origin"]);
    }

    #[test]
    fn any_site_can_not_be_given_the_users_credentials() {
        let mut problems = Problems::default();
        let value = serde_json::json!({"allowOrigins": ["*"], "allowCredentials": true});
        CompiledCors::compile(&serde_json::from_value(value).unwrap(), &mut problems);
        assert_eq!(problems.into_sorted().len(), 1);
    }
}
