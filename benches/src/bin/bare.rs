//! A plain Pingora proxy: every request to one backend, nothing looked at, nothing changed. It is the floor that Gatehouse is held
//! against, so it has the same allocator, the same number of threads and the same pool.

use std::net::SocketAddr;

use async_trait::async_trait;
use clap::Parser;
use pingora::prelude::{HttpPeer, ProxyHttp, Result, Server, Session, http_proxy_service};
use pingora::server::RunArgs;
use pingora::server::configuration::ServerConf;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(about = "A plain Pingora proxy, to compare with")]
struct Settings {
    #[arg(long)]
    listen: SocketAddr,
    #[arg(long)]
    upstream: SocketAddr,
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Idle connections to the backend kept for reuse, for each thread
    #[arg(long, default_value_t = 512)]
    pool: usize,
}

struct Bare {
    upstream: SocketAddr,
}

#[async_trait]
impl ProxyHttp for Bare {
    type CTX = ();

    fn new_ctx(&self) -> Self::CTX {}

    async fn upstream_peer(&self, _session: &mut Session, _ctx: &mut Self::CTX) -> Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.upstream, false, String::new())))
    }
}

fn main() {
    let settings = Settings::parse();
    let conf =
        ServerConf { threads: settings.threads, upstream_keepalive_pool_size: settings.pool, ..ServerConf::default() };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let mut service = http_proxy_service(&server.configuration, Bare { upstream: settings.upstream });
    service.add_tcp(&settings.listen.to_string());
    server.add_service(service);
    server.run(RunArgs::default());
}
