//! Golden files: `tests/import/*.yaml` and beside each what it comes to. `UPDATE_GOLDEN=1` writes those anew. Whatever is read,
//! what comes out can be applied, and no secret comes out.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use gateway_config::document;
use gateway_config::model::{Configuration, Item, Problem};
use gateway_config::snapshot::{Snapshot, compile};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Imported, Options, convert};

const SECRET: &str = "never-to-be-seen-in-an-answer";

#[test]
fn every_document_comes_to_what_stands_beside_it() {
    let mut wrong = String::new();
    for (file, text) in examples() {
        let imported = imported(&text);
        let found = document::to_yaml(&serde_json::to_value(&imported).unwrap()).unwrap();
        assert!(!found.contains(SECRET), "{}", file.display());
        let golden = file.with_extension("golden.yaml");
        if std::fs::read_to_string(&golden).unwrap_or_default() == found {
            continue;
        }
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&golden, found).unwrap();
        } else {
            writeln!(wrong, "=== {}\n{found}", golden.display()).unwrap();
        }
    }
    assert!(wrong.is_empty(), "UPDATE_GOLDEN=1 takes what was found for right:\n{wrong}");
}

#[test]
fn every_example_can_be_applied_and_gives_the_same_each_time() {
    for (file, text) in examples() {
        let first = imported(&text);
        compiled(&first).unwrap_or_else(|problems| panic!("{}: {problems:?}", file.display()));
        assert_eq!(first.document, imported(&text).document, "{}", file.display());
    }
}

#[test]
fn what_is_no_such_document_is_refused_with_what_would_be() {
    for (foreign, words) in [
        (json!(null), "neither"),
        (json!([]), "neither"),
        (json!({}), "neither"),
        (json!({"openapi": "4.0.0"}), "3.1.x"),
        (json!({"openapi": "3.10.0"}), "3.1.x"),
        (json!({"_format_version": "4.0"}), "3.0"),
        (json!({"swagger": "2.0"}), "Swagger 2.0"),
    ] {
        let problems = convert(&foreign, &Options::default()).unwrap_err();
        assert!(problems[0].message.contains(words), "{foreign}: {problems:?}");
    }
    for version in [json!(3.0), json!(3), json!("3.0"), json!("2.1"), json!(1.1)] {
        convert(&json!({"_format_version": version}), &Options::default()).unwrap();
    }
}

#[test]
fn options_that_make_no_sense_are_refused_by_their_names() {
    let openapi = json!({"openapi": "3.1.0", "paths": {}});
    let refused = |foreign: &Value, query: &str| -> Vec<String> {
        let problems = convert(foreign, &options(query)).unwrap_err();
        problems.into_iter().map(|problem| problem.path).collect()
    };
    assert_eq!(refused(&openapi, ""), ["url"]);
    assert_eq!(refused(&openapi, "url=ftp://x"), ["url"]);
    assert_eq!(
        refused(&openapi, "url=http://x&pathPrefix=/{a}&host=a:80&serviceName=A_B&application=-"),
        ["serviceName", "application", "host", "pathPrefix"]
    );
    assert_eq!(refused(&json!({"_format_version": "3.0"}), "url=http://x&host=a"), ["host", "url"]);
}

#[test]
fn a_url_takes_the_servers_path_unless_it_has_one() {
    let openapi = json!({"openapi": "3.0.0", "servers": [{"url": "https://a.example.com/v2"}], "paths": {}});
    for (query, expected) in [
        ("", "https://a.example.com/v2"),
        ("url=http://b:8080", "http://b:8080/v2"),
        ("url=http://b:8080/", "http://b:8080/v2"),
        ("url=http://b:8080/v3", "http://b:8080/v3"),
    ] {
        let imported = convert(&openapi, &options(query)).unwrap();
        assert_eq!(imported.document["services"][0]["defaultUrl"], expected, "{query}");
    }
}

/// Who may use what, by the examples of groups.
#[test]
fn consumers_are_allowed_what_their_groups_allow_and_nothing_else() {
    let (_, text) = examples().into_iter().find(|(file, _)| file.ends_with("kong-groups.yaml")).unwrap();
    let document = imported(&text).document;
    let allowed: BTreeMap<&str, Vec<&str>> = document["applications"]
        .as_array()
        .unwrap()
        .iter()
        .map(|application| {
            let services = application["allowedServices"].as_array().unwrap().iter().map(|name| name.as_str().unwrap());
            (application["name"].as_str().unwrap(), services.collect())
        })
        .collect();
    let service_of = |route: &str| {
        let routes = document["routes"].as_array().unwrap();
        let route = routes.iter().find(|it| it["name"] == route).unwrap();
        route["target"]["service"].as_str().unwrap()
    };
    for (route, expected) in [
        ("everyone", ["ann", "bob", "eve"].as_slice()),
        ("payroll", &["ann"]),
        ("suggestions", &["ann", "eve"]),
        ("audit", &["ann"]),
        ("odd", &["ann"]),
    ] {
        let service = service_of(route);
        let may: Vec<&str> =
            allowed.iter().filter(|(_, services)| services.contains(&service)).map(|(name, _)| *name).collect();
        assert_eq!(may, expected, "{route} by {service}");
    }
}

#[test]
fn a_small_document_does_not_unfold_into_a_huge_one() {
    let routes: Vec<Value> = (0..60_000).map(|_| json!({"paths": ["/"]})).collect();
    let flood = json!({"_format_version": "3.0", "services": [{"name": "a", "url": "http://a", "routes": routes}]});
    let problems = convert(&flood, &Options::default()).unwrap_err();
    assert!(problems[0].message.contains("50000"), "{problems:?}");
    let many = |word: &str| {
        (0..2000)
            .map(|at| {
                json!({"username": at.to_string(), "name": format!("{word}{at}"), "url": "http://a",
        "routes": [{"paths": [format!("/{at}")]}]})
            })
            .collect::<Vec<_>>()
    };
    let flood = json!({"_format_version": "3.0", "services": many("s"), "consumers": many("c"), "plugins": [{"name": "key-auth"}]});
    assert_eq!(convert(&flood, &Options::default()).unwrap_err()[0].path, "consumers");
}

#[test]
fn many_routes_that_match_alike_are_told_apart_and_all_kept() {
    let routes: Vec<Value> =
        (0..3000).map(|at| json!({"name": format!("r{at}"), "paths": ["/"], "regex_priority": at % 3})).collect();
    let document = json!({"_format_version": "3.0", "services": [{"name": "a", "url": "http://a", "routes": routes}]});
    let imported = convert(&document, &Options::default()).unwrap();
    assert_eq!(imported.document["routes"].as_array().unwrap().len(), 3000);
    compiled(&imported).unwrap();
}

fn examples() -> Vec<(PathBuf, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/import");
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let mut files: Vec<PathBuf> = files.filter(|file| !file.display().to_string().contains(".golden.")).collect();
    files.sort();
    assert!(files.len() >= 8, "examples are missing");
    files.into_iter().map(|file| (file.clone(), std::fs::read_to_string(file).unwrap())).collect()
}

fn imported(text: &str) -> Imported {
    convert(&document::parse(text).unwrap(), &options_of(text)).unwrap()
}

/// They stand in the first line, as in the query.
fn options_of(text: &str) -> Options {
    options(text.lines().next().and_then(|line| line.strip_prefix("# import: ")).unwrap_or_default())
}

fn options(query: &str) -> Options {
    let given: BTreeMap<&str, &str> = query.split('&').filter_map(|pair| pair.split_once('=')).collect();
    let text = |name: &str| given.get(name).map(|text| (*text).to_owned());
    Options {
        service_name: text("serviceName"),
        application: text("application"),
        path_prefix: text("pathPrefix"),
        host: text("host"),
        url: text("url"),
    }
}

fn compiled(imported: &Imported) -> Result<Snapshot, Vec<Problem>> {
    let mut configuration = Configuration::default();
    for proposal in document::proposals(&imported.document).unwrap() {
        configuration.put(Item::from_json(proposal.kind, proposal.value).map_err(|problem| vec![problem])?);
    }
    compile(&configuration, 1)
}

/// Any JSON, in which the words that we look for are frequent.
fn anything(words: &'static [&'static str]) -> impl Strategy<Value = Value> {
    let text = prop_oneof![3 => prop::sample::select(words).prop_map(str::to_owned), 1 => ".{0,12}"];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((text.clone(), inner), 0..6)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// The example with one value somewhere in it replaced.
fn disturbed(mut example: Value, mut at: usize, value: Value) -> Value {
    fn replace(node: &mut Value, at: &mut usize, value: &mut Option<Value>) {
        if *at == 0 {
            if let Some(value) = value.take() {
                *node = value;
            }
            return;
        }
        *at -= 1;
        match node {
            Value::Array(members) => members.iter_mut().for_each(|it| replace(it, at, value)),
            Value::Object(fields) => fields.values_mut().for_each(|it| replace(it, at, value)),
            _ => {}
        }
    }
    replace(&mut example, &mut at, &mut Some(value));
    example
}

const WORDS: &[&str] = &[
    "paths",
    "/a",
    "/a/{b}",
    "get",
    "post",
    "security",
    "servers",
    "url",
    "http://a",
    "$ref",
    "#/paths",
    "services",
    "routes",
    "plugins",
    "name",
    "config",
    "key-auth",
    "acl",
    "allow",
    "consumers",
    "username",
    "upstreams",
    "targets",
    "target",
    "weight",
    "hosts",
    "*.a",
    "methods",
    "GET",
    "~/a/(?<b>[^/]+)$",
    "rate-limiting",
    "second",
    "cors",
    "origins",
    "*",
    "ip-restriction",
    "request-termination",
    "status_code",
    "jwt_secrets",
    "key",
    "algorithm",
    "HS256",
    "acls",
    "group",
    "host",
    "protocol",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn anything_at_all_is_answered_and_what_comes_out_can_be_applied(
        mut foreign in anything(WORDS), is_kong in any::<bool>()
    ) {
        if let Some(fields) = foreign.as_object_mut() {
            let (name, version) = if is_kong { ("_format_version", "3.0") } else { ("openapi", "3.1.0") };
            fields.insert(name.to_owned(), json!(version));
        }
        let options = if is_kong { Options::default() } else { options("url=http://a") };
        if let Ok(imported) = convert(&foreign, &options) {
            prop_assert!(compiled(&imported).is_ok());
        }
    }

    #[test]
    fn an_example_with_a_hole_in_it_is_answered_and_what_comes_out_can_be_applied(
        example in 0_usize..8, at in 0_usize..400, value in anything(WORDS)
    ) {
        static EXAMPLES: LazyLock<Vec<(Value, Options)>> = LazyLock::new(|| {
            examples().iter().map(|(_, text)| (document::parse(text).unwrap(), options_of(text))).collect()
        });
        let (foreign, options) = &EXAMPLES[example];
        let foreign = disturbed(foreign.clone(), at, value);
        if let Ok(imported) = convert(&foreign, options) {
            prop_assert!(compiled(&imported).is_ok());
        }
    }
}
