//! `/docs`: a page that needs nothing from anywhere else, under a policy that lets nothing else in.

use crate::client::Admin;

async fn page(admin: &Admin) -> String {
    admin.get("/docs").token(None).send().await.expect(200).text
}

/// What the page and its files ask for, as they write it.
fn references(text: &str) -> Vec<&str> {
    ["src=\"", "href=\"", "from './", "import('./"]
        .iter()
        .flat_map(|begin| text.split(*begin).skip(1).map(|rest| rest.split(['"', '\'']).next().unwrap_or_default()))
        .filter(|reference| !reference.is_empty() && !reference.starts_with('#'))
        .collect()
}

#[tokio::test]
async fn every_file_that_the_page_asks_for_is_served_with_its_type() {
    let admin = Admin::start().await;
    let mut wanted: Vec<String> = references(&page(&admin).await).into_iter().map(ToOwned::to_owned).collect();
    let mut seen = Vec::new();
    while let Some(reference) = wanted.pop() {
        let path = format!("/{reference}");
        if seen.contains(&path) {
            continue;
        }
        let file = admin.get(path.as_str()).token(None).send().await.expect(200);
        let media_type = match reference.rsplit('.').next() {
            Some("js") => "text/javascript; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            Some("svg") => "image/svg+xml",
            _ => "application/json",
        };
        assert_eq!(file.header("content-type"), media_type, "{path}");
        if media_type.starts_with("text/javascript") {
            wanted.extend(references(&file.text).into_iter().map(|it| format!("docs/{it}")));
        }
        seen.push(path);
    }
    assert_eq!(seen.len(), 8, "{seen:?}");
    admin.get("/docs/nothing.js").token(None).send().await.refused(404, "not_found");
}

#[tokio::test]
async fn the_policy_of_the_page_lets_in_nothing_but_its_own_files() {
    let admin = Admin::start().await;
    for path in ["/docs", "/docs/page.js", "/docs/page.css", "/docs/icon.svg"] {
        let answer = admin.get(path).token(None).send().await.expect(200);
        let policy = answer.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self';"), "{policy}");
        for part in ["frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'", "connect-src 'self'"] {
            assert!(policy.contains(part), "{policy}");
        }
        assert!(!policy.contains("unsafe") && !policy.contains("data:") && !policy.contains("http"), "{policy}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        for elsewhere in
            ["https://", "innerHTML", "insertAdjacentHTML", "eval(", "localStorage", "sessionStorage", "style=\""]
        {
            assert!(!answer.text.contains(elsewhere), "{path} has {elsewhere}");
        }
    }
    assert!(!page(&admin).await.contains("<style") && !page(&admin).await.contains("<script>"));
}

#[tokio::test]
async fn who_has_the_page_is_told_so() {
    let admin = Admin::start().await;
    for path in ["/docs", "/docs/page.js"] {
        let tag = admin.get(path).send().await.expect(200).header("etag").to_owned();
        let again = admin.get(path).header("if-none-match", &tag).send().await.expect(304);
        assert!(again.text.is_empty());
        admin.get(path).header("if-none-match", "\"other\"").send().await.expect(200);
    }
}
