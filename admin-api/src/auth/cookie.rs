//! The panel's cookie: it stands for a session in a browser, where no script can read it.

use http::header::COOKIE;
use http::{HeaderMap, HeaderName, HeaderValue};

/// What a page repeats from the login's answer with every request that may change something.
pub(crate) const CSRF_HEADER: HeaderName = HeaderName::from_static("x-csrf-token");

pub(crate) const COOKIE_NAME: &str = "gatehouse_session";

/// Says whose page makes the request; scripts can't set it, and browsers always do.
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The values of our cookie, of which a browser sends one.
pub(crate) fn cookies(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(COOKIE).into_iter().filter_map(|line| line.to_str().ok());
    let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.filter(|(name, _)| *name == COOKIE_NAME).map(|(_, value)| value)
}

/// `Set-Cookie`; without a value it takes the cookie away.
pub(crate) fn set_cookie(value: Option<&str>, seconds: u64, is_secure: bool) -> Option<HeaderValue> {
    let (value, seconds) = value.map_or(("", 0), |value| (value, seconds));
    let secure = if is_secure { "; Secure" } else { "" };
    let line = format!("{COOKIE_NAME}={value}; Path=/admin; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}");
    HeaderValue::try_from(line).ok()
}

/// The page of a stranger makes the browser ask.
pub(crate) fn is_cross_site(headers: &HeaderMap) -> bool {
    headers.get(FETCH_SITE).is_some_and(|site| site != "same-origin" && site != "none")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_cookie_is_found_among_others() {
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, HeaderValue::from_static("a=b; gatehouse_session=x; xgatehouse_session=y"));
        headers.append(COOKIE, HeaderValue::from_static("broken; gatehouse_session=z=1"));
        headers.append(COOKIE, HeaderValue::from_bytes(b"\xff").unwrap());
        assert_eq!(cookies(&headers).collect::<Vec<_>>(), ["x", "z=1"]);
    }

    #[test]
    fn a_cookie_is_only_for_us_and_over_tls_for_tls_only() {
        let plain = set_cookie(Some("x"), 60, false).unwrap();
        assert_eq!(plain, "gatehouse_session=x; Path=/admin; HttpOnly; SameSite=Strict; Max-Age=60");
        assert!(set_cookie(Some("x"), 60, true).unwrap().to_str().unwrap().ends_with("; Secure"));
        let gone = set_cookie(None, 60, false).unwrap();
        assert_eq!(gone, "gatehouse_session=; Path=/admin; HttpOnly; SameSite=Strict; Max-Age=0");
    }
}
