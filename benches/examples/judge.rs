//! Judges a request to each of 10,000 routes, once. Times depend on who else uses the machine's caches, misses that callgrind
//! simulates do not: `benches/README.md` says how it is run.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};

use benches::fleet;
use gateway_config::model::Timestamp;
use gateway_config::snapshot::{BodyFacts, Caller, RequestFacts, Snapshot, compile, decide, match_request};
use http::{HeaderMap, Method, header};

// As in the gateway.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROUTES: usize = 10_000;

fn main() -> anyhow::Result<()> {
    let configuration = fleet::configuration(ROUTES, ROUTES / 10, "http://127.0.0.1:1")?;
    let snapshot = compile(&configuration, 1).map_err(|problems| anyhow::anyhow!("{problems:?}"))?;
    drop(configuration);
    let headers = HeaderMap::from_iter([(header::HOST, http::HeaderValue::from_static("shop.example.com"))]);
    for number in 0..ROUTES {
        // A prime step: neighbours in the configuration are not neighbours in time.
        let path = fleet::path(number * 7919 % ROUTES);
        anyhow::ensure!(judge(&snapshot, &path, &headers), "no route takes {path}");
    }
    Ok(())
}

/// All that counts; never a part of its caller, so that it can be told apart.
#[inline(never)]
fn judge(snapshot: &Snapshot, path: &str, headers: &HeaderMap) -> bool {
    let facts = RequestFacts {
        method: &Method::GET,
        host: "shop.example.com",
        path,
        query: None,
        target_bytes: path.len(),
        headers,
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        now: Timestamp::default(),
        entropy: 0,
    };
    let matched = match_request(snapshot, &facts);
    black_box(decide(snapshot, &matched, &Caller::Anonymous, &BodyFacts::default())).route.is_some()
}
