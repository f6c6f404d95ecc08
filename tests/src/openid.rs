//! A real OpenID provider as a process of its own (`tests/openid`): it gives clients tokens, publishes its keys and introspects.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::client::{Answer, Request};
use crate::entity::{Entity, issuer};
use crate::process::Process;

/// The client that asks for tokens, and the one that may introspect them.
const CLIENT: &str = "shop";
const GATEWAY: &str = "gateway";

#[derive(Debug)]
pub struct OpenId {
    process: Process,
    address: SocketAddr,
}

impl OpenId {
    pub async fn start() -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("openid");
        let installed = folder.join("node_modules/oidc-provider").is_dir();
        assert!(installed, "the OpenID provider is not installed: run scripts/prerequisites test");
        // The one that scripts/prerequisites brings where the system's is too old.
        let brought = folder.join("runtime/bin/node");
        let mut command = Command::new(if brought.exists() { brought.as_os_str() } else { "node".as_ref() });
        command.arg("provider.js").current_dir(folder).env_remove("NODE_OPTIONS");
        let process = Process::start("the OpenID provider", command);
        let address = process.wait_listening().await["openid"];
        Self { process, address }
    }

    /// What its tokens say in `iss`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The secret of the gateway's client, as it is to stand in a file or variable.
    pub fn gateway_secret() -> String {
        secret_of(GATEWAY)
    }

    /// The issuer as the gateway is to know it, without keys or introspection.
    pub fn issuer(&self) -> Entity {
        issuer("provider").set("issuer", self.url()).set("audiences", json!(["https://api.test"]))
    }

    /// That verifies by its published keys.
    pub fn by_keys(&self) -> Entity {
        let algorithms = json!(["RS256", "PS256", "ES256", "EdDSA"]);
        self.issuer().set("jwksUrl", format!("{}/jwks", self.url())).set("algorithms", algorithms)
    }

    /// That asks for each token; `secret` is the reference to [`Self::gateway_secret`].
    pub fn by_introspection(&self, secret: &str) -> Entity {
        let url = format!("{}/token/introspection", self.url());
        self.issuer().set("introspectionUrl", url).set("clientId", GATEWAY).set("clientSecret", secret)
    }

    /// A token for the client `shop` with the scope `orders:read`. `kind`: the algorithm of a JWT, or `opaque`; with `?ttl=SECONDS`
    /// behind, it lives so long instead of ten minutes.
    pub async fn token(&self, kind: &str) -> String {
        let resource = format!("https%3A%2F%2Fapi.test%2F{}", kind.replace('?', "%3F").replace('=', "%3D"));
        let form = format!("grant_type=client_credentials&scope=orders%3Aread&resource={resource}");
        let answer = self.post("/token", form).await.expect_status(200).json();
        answer["access_token"].as_str().unwrap_or_else(|| panic!("no token in {answer}")).to_owned()
    }

    pub async fn revoke(&self, token: &str) {
        self.post("/token/revocation", format!("token={token}")).await.expect_status(200);
    }

    pub async fn kill(&self) {
        self.process.kill().await;
    }

    async fn post(&self, path: &str, form: String) -> Answer {
        let form = format!("{form}&client_id={CLIENT}&client_secret={}", secret_of(CLIENT));
        let request = Request::post(path, form).header("Content-Type", "application/x-www-form-urlencoded");
        request.send(self.address).await.unwrap_or_else(|failure| panic!("the OpenID provider: {failure}"))
    }
}

fn secret_of(client: &str) -> String {
    format!("{client}-secret-of-the-openid-tests")
}
