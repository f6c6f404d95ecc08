//! The description of the admin API is valid, and the API keeps to it whatever it is sent: no 5xx, nothing undocumented (S10).

use std::collections::BTreeMap;

use e2e::fuzzer::program;
use e2e::stack::ADMIN_TOKEN;
use e2e::{Database, Exit, Fuzzer, Process, Stack, proof};
use serde_json::{Value, json};

const SERVICES: &str = "/admin/routing/services";
const APPLICATION: &str = "/admin/access/applications/{name}";

/// The collections whose examples are made first, each after those that its own names.
const COLLECTIONS: [(&str, &str, &str); 6] = [
    ("services", SERVICES, "serviceName"),
    ("issuers", "/admin/access/issuers", "name"),
    ("queues", "/admin/routing/queues", "name"),
    ("certificates", "/admin/edge/certificates", "name"),
    ("applications", "/admin/access/applications", "name"),
    ("routes", "/admin/routing/routes", "name"),
];

const DOOMED: &str = "doomed";
/// Whose members nobody writes over.
const HOLDER: &str = "holder";
/// Keys and tokens die of use: each is revoked, or rotated, once.
const SPARE: usize = 12;

/// A fleet that holds the examples of its own description, and as many things more as may be deleted.
struct Furnished {
    stack: Stack,
    description: Value,
    lists: BTreeMap<&'static str, Vec<String>>,
}

impl Furnished {
    async fn on(database: Database) -> Self {
        let stack = Stack::builder().database(database).start().await;
        let description = stack.admin().get("/openapi.json").await.expect_status(200).json();
        let mut furnished = Self { stack, description, lists: BTreeMap::new() };
        for (list, path, field) in COLLECTIONS {
            furnished.entity(list, path, field).await;
        }
        furnished.members().await;
        furnished.admins().await;
        let nodes = furnished.names("/admin/nodes", "id").await;
        furnished.lists.insert("nodes", nodes);
        furnished
    }

    /// The example of a request's body.
    fn example(&self, method: &str, path: &str) -> Value {
        let content = &self.description["paths"][path][method]["requestBody"]["content"]["application/json"];
        assert!(content["example"].is_object(), "{method} {path} has no example");
        content["example"].clone()
    }

    async fn post(&self, path: &str, body: &Value) -> Value {
        self.stack.admin().post(path, body).await.expect_status(201).json()
    }

    /// The example, and a copy of it that may be deleted.
    async fn entity(&mut self, list: &'static str, path: &str, field: &str) {
        let mut example = self.example("post", path);
        let made = self.post(path, &example).await;
        example[field] = json!(DOOMED);
        // Two of the same would be in each other's way.
        let (other, value) = match list {
            "routes" => ("path", json!("/doomed/{*rest}")),
            "issuers" => ("issuer", json!("https://doomed.example.com")),
            "certificates" => ("hosts", json!(["doomed.example.com"])),
            "applications" => ("jwtClients", json!([])),
            _ => ("isActive", json!(true)),
        };
        example[other] = value;
        self.post(path, &example).await;
        self.lists.insert(list, vec![made[field].as_str().unwrap().to_owned()]);
    }

    async fn members(&mut self) {
        let service = format!("{SERVICES}/{}", self.lists["services"][0]);
        let version = self.example("post", &format!("{SERVICES}/{{serviceName}}/versions"));
        self.post(&format!("{service}/versions"), &version).await;
        let mut holder = self.example("post", "/admin/access/applications");
        holder["name"] = json!(HOLDER);
        holder["jwtClients"] = json!([]);
        self.post("/admin/access/applications", &holder).await;
        let application = APPLICATION.replace("{name}", HOLDER);
        let key = self.example("post", &format!("{APPLICATION}/keys"));
        for number in 0..SPARE {
            self.post(&format!("{application}/keys"), &key).await;
            let entry = json!({"endpointPath": format!("/spare/{number}"), "allowedMethods": ["GET"]});
            self.post(&format!("{application}/whitelist"), &entry).await;
        }
        for (list, path, field) in [
            ("versions", format!("{service}/versions"), "version"),
            ("keys", format!("{application}/keys"), "id"),
            ("whitelist", format!("{application}/whitelist"), "id"),
        ] {
            let names = self.names(&path, field).await;
            self.lists.insert(list, names);
        }
    }

    async fn admins(&mut self) {
        let mut admin = self.example("post", "/admin/users");
        let made = self.post("/admin/users", &admin).await;
        let id = made["id"].as_str().unwrap().to_owned();
        admin["email"] = json!("doomed@example.com");
        let doomed = self.post("/admin/users", &admin).await;
        admin["email"] = json!("holder@example.com");
        let holder = self.post("/admin/users", &admin).await["id"].as_str().unwrap().to_owned();
        let token = self.example("post", "/admin/users/{id}/tokens");
        for _ in 0..SPARE {
            self.post(&format!("/admin/users/{holder}/tokens"), &token).await;
        }
        let tokens = self.names(&format!("/admin/users/{holder}/tokens"), "id").await;
        self.lists.insert("tokens", tokens);
        self.lists.insert("admins", vec![id]);
        self.lists.insert("holders", vec![HOLDER.to_owned()]);
        self.lists.insert("owners", vec![holder]);
        self.lists.insert("doomed", vec![DOOMED.to_owned(), doomed["id"].as_str().unwrap().to_owned()]);
    }

    async fn names(&self, path: &str, field: &str) -> Vec<String> {
        let list = self.stack.admin().get(path).await.expect_status(200).json();
        let items = list["items"].as_array().unwrap().iter();
        items.map(|item| item[field].as_str().unwrap().to_owned()).collect()
    }

    async fn fuzz(&self, arguments: &[(&str, &str)]) {
        let generation = self.stack.database().number("SELECT generation FROM config_head").await.to_string();
        let mut fuzzer = Fuzzer::new(self.stack.admin().address());
        fuzzer = fuzzer.environment("ADMIN_TOKEN", ADMIN_TOKEN).environment("GENERATION", &generation);
        for (name, values) in &self.lists {
            fuzzer = fuzzer.list(name, values);
        }
        for (name, value) in arguments {
            fuzzer = fuzzer.argument(name, value);
        }
        fuzzer.run().await;
    }

    /// What the API counted itself: no fault, and nearly everything was also done rather than refused, or it would prove little.
    async fn assert_reached(&self) {
        let metrics = self.stack.admin().get("/metrics").await.expect_status(200).text();
        let count = |labels: &[&str]| e2e::stack::metric(&metrics, "gatehouse_admin_requests_total", labels);
        for status in ["status=\"500\"", "status=\"503\""] {
            assert_eq!(count(&[status]), None, "{metrics}");
        }
        let mut operations = 0;
        let mut refused = Vec::new();
        for (path, item) in self.description["paths"].as_object().unwrap() {
            for method in item.as_object().unwrap().keys().map(|method| method.to_uppercase()) {
                let this = [format!("operation=\"{path}\""), format!("method=\"{method}\"")];
                let done = |status: &str| count(&[&this[0], &this[1], &format!("status=\"{status}\"")]).is_some();
                assert!(count(&[&this[0], &this[1]]).is_some(), "{method} {path} was never asked");
                operations += 1;
                if !["200", "201", "202", "204"].into_iter().any(done) {
                    refused.push(format!("{method} {path}"));
                }
            }
        }
        assert!(refused.len() * 8 < operations, "these were never done: {refused:#?}\n{metrics}");
    }

    /// Whatever was written, the gateway took it and lives.
    async fn assert_the_fleet_lives(&self) {
        let lines = self.stack.admin().process().lines();
        let panicked = lines.iter().find(|line| line.text.contains("panicked"));
        assert!(panicked.is_none(), "{panicked:?}");
        self.stack.gateway(0).ops("/livez").await.expect_status(200);
        self.stack.admin().get("/readyz").await.expect_status(200);
    }
}

#[tokio::test]
async fn the_description_is_valid_openapi_and_its_examples_fit_their_schemas() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("openapi.json");
    std::fs::write(&path, admin_api::document()).unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/check.py");
    let mut command = program("python");
    command.arg(script).arg(&path);
    let process = Process::start("the validator", command);
    let exit = process.wait_exit().await;
    assert_eq!(exit, Exit::Code(0), "{}", process.output());
}

#[tokio::test]
async fn nothing_that_the_description_allows_or_forbids_is_answered_otherwise_than_it_says() {
    let furnished = Furnished::on(Database::sqlite()).await;
    let examples = proof::count(12, 300).to_string();
    furnished.fuzz(&[("--phases", "examples,fuzzing,stateful"), ("--max-examples", &examples)]).await;
    furnished.assert_reached().await;
    furnished.assert_the_fleet_lives().await;
}

/// Every value at the edge of a schema; of bodies, which are large, only with the full counts.
#[tokio::test]
async fn nothing_at_the_edges_of_the_description_is_answered_otherwise_than_it_says() {
    let furnished = Furnished::on(Database::postgres().await).await;
    let without_bodies = [("--phases", "coverage"), ("--include-method", "GET"), ("--include-method", "DELETE")];
    let edges = proof::count(without_bodies.len(), 1);
    furnished.fuzz(&without_bodies[..edges]).await;
    furnished.assert_the_fleet_lives().await;
}
