//! A running fleet: one admin API and some gateways over one database, on free ports.

use std::net::SocketAddr;
use std::sync::Mutex;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::client::{Answer, Connection, Failure, Request};
use crate::database::Database;
use crate::entity::Entity;
use crate::eventually::eventually;
use crate::postgres::free_port;
use crate::process::{Exit, Process, Signal};

/// The token of the admin API in every test.
pub const ADMIN_TOKEN: &str = "test-admin-token-0123456789abcdef0123";
/// The fleet's master key in every test.
pub const MASTER_KEY: &str = "test-master-key-0123456789abcdef01234";
const ANY_PORT: &str = "127.0.0.1:0";

/// The fleet. Its parts stop before its database goes.
#[derive(Debug)]
pub struct Stack {
    gateways: Vec<Gateway>,
    admin: Admin,
    database: Database,
    settings: Vec<(String, String)>,
}

/// The making of a [`Stack`].
#[derive(Debug, Default)]
pub struct StackBuilder {
    database: Option<Database>,
    gateways: Option<usize>,
    settings: Vec<(String, String)>,
}

impl StackBuilder {
    /// Instead of the usual one.
    pub fn database(mut self, database: Database) -> Self {
        self.database = Some(database);
        self
    }

    /// Instead of one.
    pub fn gateways(mut self, count: usize) -> Self {
        self.gateways = Some(count);
        self
    }

    /// An environment variable for every gateway.
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts the admin API, which makes the tables, then the gateways; ready when all are.
    pub async fn start(self) -> Stack {
        let database = match self.database {
            Some(database) => database,
            None => Database::usual().await,
        };
        let admin = Admin::start(&database).await;
        let mut stack = Stack { gateways: Vec::new(), admin, database, settings: self.settings };
        for _ in 0..self.gateways.unwrap_or(1) {
            stack.add_gateway().await;
        }
        stack
    }
}

impl Stack {
    pub fn builder() -> StackBuilder {
        StackBuilder::default()
    }

    /// One gateway on the usual database.
    pub async fn start() -> Self {
        Self::builder().start().await
    }

    pub fn admin(&self) -> &Admin {
        &self.admin
    }

    pub fn admin_mut(&mut self) -> &mut Admin {
        &mut self.admin
    }

    pub fn database(&self) -> &Database {
        &self.database
    }

    /// The n-th gateway, counted from 0.
    pub fn gateway(&self, number: usize) -> &Gateway {
        self.gateways.get(number).unwrap_or_else(|| panic!("there is no gateway {number}"))
    }

    pub fn gateway_mut(&mut self, number: usize) -> &mut Gateway {
        self.gateways.get_mut(number).unwrap_or_else(|| panic!("there is no gateway {number}"))
    }

    pub fn gateways(&self) -> &[Gateway] {
        &self.gateways
    }

    /// Starts one more gateway and waits until it is ready; tells its number.
    pub async fn add_gateway(&mut self) -> usize {
        let number = self.gateways.len();
        let mut gateway = Gateway::new(number, &self.database, &self.settings);
        gateway.start_again().await;
        gateway.wait_ready().await;
        self.gateways.push(gateway);
        number
    }

    /// Writes the entities one after the other, each served by every gateway before the next is written.
    pub async fn put(&self, entities: &[Entity]) {
        for entity in entities {
            let answer = self.admin.put(&format!("{}?wait=10s", entity.path()), &entity.json()).await;
            assert!(answer.status == 200 || answer.status == 201, "{}: {answer}", entity.path());
        }
    }
}

impl Stack {
    /// A new key of the application, served by every gateway: what the admin API answered, which shows it this once.
    pub async fn issue_key(&self, application: &str, body: Value) -> Value {
        let path = format!("/admin/access/applications/{application}/keys?wait=10s");
        self.admin.post(&path, &body).await.expect_status(201).json()
    }

    /// The text of such a key.
    pub async fn key_of(&self, application: &str) -> String {
        let made = self.issue_key(application, json!({"name": "test"})).await;
        made["key"].as_str().unwrap_or_else(|| panic!("no key in {made}")).to_owned()
    }
}

// === impl Admin ===

/// The admin API and a thin client to it. Its answers are whole and unjudged: the test looks at status, headers and JSON.
#[derive(Debug)]
pub struct Admin {
    process: Process,
    address: SocketAddr,
    database: Database,
    data: TempDir,
}

impl Admin {
    async fn start(database: &Database) -> Self {
        let data = TempDir::with_prefix("gatehouse-admin-").expect("a temporary folder can be made");
        let (process, address) = Self::launch(database, &data, ANY_PORT).await;
        let admin = Self { process, address, database: database.clone(), data };
        eventually("the admin API to be ready", async || admin.try_get("/readyz").await?.with_status(200)).await;
        admin
    }

    async fn launch(database: &Database, data: &TempDir, listen: &str) -> (Process, SocketAddr) {
        let arguments = words(&["admin-api", "serve", "--listen", listen, "--database-url", &database.url()]);
        let environment = [
            ("ADMIN_TOKEN", ADMIN_TOKEN.to_owned()),
            ("DATA_DIR", data.path().display().to_string()),
            ("GATEWAY_MASTER_KEY", MASTER_KEY.to_owned()),
        ];
        let process = Process::stack("admin-api", &arguments, &environment);
        let addresses = process.wait_listening().await;
        let address = *addresses.get("admin").unwrap_or_else(|| panic!("the admin API names no port: {addresses:?}"));
        (process, address)
    }

    pub fn process(&self) -> &Process {
        &self.process
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Kills it and starts it again on the same port.
    pub async fn restart_hard(&mut self) {
        self.process.kill().await;
        let (process, _) = Self::launch(&self.database, &self.data, &self.address.to_string()).await;
        self.process = process;
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(&Request::get(path)).await
    }

    pub async fn put(&self, path: &str, value: &Value) -> Answer {
        self.write("PUT", path, value).await
    }

    pub async fn patch(&self, path: &str, value: &Value) -> Answer {
        self.write("PATCH", path, value).await
    }

    pub async fn post(&self, path: &str, value: &Value) -> Answer {
        self.write("POST", path, value).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send(&Request::new("DELETE", path)).await
    }

    async fn write(&self, method: &str, path: &str, value: &Value) -> Answer {
        let request = Request::new(method, path).header("Content-Type", "application/json");
        self.send(&request.body(value.to_string())).await
    }

    /// Sends any request, as an admin.
    pub async fn send(&self, request: &Request) -> Answer {
        self.try_send(request).await.unwrap_or_else(|failure| panic!("the admin API: {failure} to {request:?}"))
    }

    pub async fn try_send(&self, request: &Request) -> Result<Answer, Failure> {
        request.clone().header("Authorization", &format!("Bearer {ADMIN_TOKEN}")).send(self.address).await
    }

    async fn try_get(&self, path: &str) -> Result<Answer, String> {
        self.try_send(&Request::get(path)).await.map_err(|failure| failure.to_string())
    }
}

// === impl Gateway ===

/// A gateway with a data folder of its own, as if it were alone on its host. It keeps its ports when it is started again.
#[derive(Debug)]
pub struct Gateway {
    number: usize,
    process: Option<Process>,
    ports: Option<Ports>,
    database_url: String,
    settings: Vec<(String, String)>,
    data: TempDir,
    /// Logs of the lives before this one would be lost with their processes.
    starts: Mutex<usize>,
}

#[derive(Clone, Copy, Debug)]
struct Ports {
    traffic: SocketAddr,
    tls: SocketAddr,
    ops: SocketAddr,
}

impl Gateway {
    /// A gateway that was not started yet.
    pub fn new(number: usize, database: &Database, settings: &[(String, String)]) -> Self {
        Self {
            number,
            process: None,
            ports: None,
            database_url: database.url(),
            settings: settings.to_vec(),
            data: TempDir::with_prefix("gatehouse-gateway-").expect("a temporary folder can be made"),
            starts: Mutex::new(0),
        }
    }

    /// Starts it and waits until it listens, not until it is ready; on the same ports as before.
    pub async fn start_again(&mut self) {
        assert!(self.process.as_ref().is_none_or(|process| !process.is_running()), "the gateway runs already");
        self.launch();
        let addresses = self.process().wait_listening().await;
        let port = |name| *addresses.get(name).unwrap_or_else(|| panic!("the gateway names no {name}: {addresses:?}"));
        self.ports = Some(Ports { traffic: port("traffic"), tls: port("tls"), ops: port("ops") });
    }

    /// Starts it and waits for nothing.
    pub fn launch(&mut self) {
        let listen = |pick: fn(Ports) -> SocketAddr| {
            self.ports.map_or_else(|| format!("127.0.0.1:{}", free_port()), |at| pick(at).to_string())
        };
        let (traffic, tls, ops) = (listen(|at| at.traffic), listen(|at| at.tls), listen(|at| at.ops));
        let mut arguments = words(&["gateway", "serve", "--listen", &traffic, "--listen-tls", &tls]);
        arguments.extend(words(&["--ops-listen", &ops, "--database-url", &self.database_url]));
        let mut environment =
            vec![("DATA_DIR", self.data.path().display().to_string()), ("GATEWAY_MASTER_KEY", MASTER_KEY.to_owned())];
        environment.extend(self.settings.iter().map(|(name, value)| (name.as_str(), value.clone())));
        let mut starts = self.starts.lock().unwrap();
        *starts += 1;
        let name = format!("gateway {} (start {starts})", self.number);
        self.process = Some(Process::stack(&name, &arguments, &environment));
    }

    pub async fn wait_ready(&self) {
        eventually("the gateway to be ready", async || self.try_ops("/readyz").await?.with_status(200)).await;
    }

    #[track_caller]
    pub fn process(&self) -> &Process {
        self.process.as_ref().expect("the gateway was started")
    }

    #[track_caller]
    fn ports(&self) -> Ports {
        self.ports.expect("the gateway was started")
    }

    pub fn address(&self) -> SocketAddr {
        self.ports().traffic
    }

    pub fn tls_address(&self) -> SocketAddr {
        self.ports().tls
    }

    pub fn ops_address(&self) -> SocketAddr {
        self.ports().ops
    }

    /// The folder where it keeps its files.
    pub fn data(&self) -> &std::path::Path {
        self.data.path()
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address())
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(&Request::get(path)).await
    }

    /// Sends on a connection of its own.
    pub async fn send(&self, request: &Request) -> Answer {
        self.try_send(request).await.unwrap_or_else(|failure| panic!("the gateway: {failure} to {request:?}"))
    }

    pub async fn try_send(&self, request: &Request) -> Result<Answer, Failure> {
        request.send(self.address()).await
    }

    pub async fn connect(&self) -> Connection {
        Connection::open(self.address()).await.unwrap_or_else(|failure| panic!("the gateway: {failure}"))
    }

    /// What the ops port answers.
    pub async fn ops(&self, path: &str) -> Answer {
        self.try_ops(path).await.unwrap_or_else(|failure| panic!("the gateway's ops port: {failure}"))
    }

    pub async fn try_ops(&self, path: &str) -> Result<Answer, String> {
        Request::get(path).send(self.ops_address()).await.map_err(|failure| failure.to_string())
    }

    /// The sum of a metric's series whose labels contain all of these texts; `None` when there is no such series.
    pub async fn metric(&self, name: &str, labels: &[&str]) -> Option<f64> {
        let text = self.ops("/metrics").await.expect_status(200).text();
        metric(&text, name, labels)
    }

    /// The generation that it serves.
    pub async fn generation(&self) -> u64 {
        let status = self.ops("/status").await.json();
        status["generation"].as_u64().unwrap_or_else(|| panic!("no generation in {status}"))
    }

    /// SIGTERM, and its end.
    pub async fn terminate(&self) -> Exit {
        self.process().signal(Signal::TERM);
        self.process().wait_exit().await
    }

    /// `kill -9`, and a start on the same ports with the same files.
    pub async fn restart_hard(&mut self) {
        self.process().kill().await;
        self.start_again().await;
    }

    /// SIGTERM, and a start on the same ports with the same files once it has ended.
    pub async fn restart(&mut self) {
        let exit = self.terminate().await;
        assert_eq!(exit, Exit::Code(0), "a gateway that is told to end ends well");
        self.start_again().await;
        self.wait_ready().await;
    }
}

/// Reads the text format of Prometheus.
pub fn metric(text: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let samples = text.lines().filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let (found, its_labels) = series.split_once('{').unwrap_or((series, ""));
        (found == name && labels.iter().all(|label| its_labels.contains(label))).then(|| value.parse::<f64>().ok())?
    });
    samples.reduce(|sum, sample| sum + sample)
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}
