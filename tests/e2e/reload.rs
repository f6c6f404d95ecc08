//! Changes while traffic flows: served soon, nothing lost, what did not change is left alone, and the bad never take over.

use std::time::Duration;

use e2e::{Backend, Database, Load, Request, Stack, eventually, proof, route, service};
use serde_json::json;

fn one(backend: &Backend) -> [e2e::Entity; 2] {
    [service("one").url(backend.url()), route("one").pattern("/one/{*rest}").to_service("one").public()]
}

// === C1: a change is served soon after the write's answer, and `wait` never lies ===

async fn an_awaited_write_is_served(database: Database) {
    let (first, second) = (Backend::saying("first"), Backend::saying("second"));
    let stack = Stack::builder().database(database).gateways(3).start().await;
    stack.put(&one(&first)).await;
    for round in 0..proof::count(20, 200) {
        let (backend, expected) = if round % 2 == 0 { (&second, "second") } else { (&first, "first") };
        let answer =
            stack.admin().put("/admin/routing/services/one?wait=10s", &service("one").url(backend.url()).json()).await;
        assert_eq!(answer.status, 200, "{answer}");
        assert_eq!(answer.header("x-config-applied"), Some("3/3"), "{answer}");
        for gateway in stack.gateways() {
            assert_eq!(gateway.get("/one/x").await.expect_status(200).text(), expected, "round {round}");
        }
    }
}

#[tokio::test]
async fn an_awaited_write_is_served_by_every_gateway_on_sqlite() {
    an_awaited_write_is_served(Database::sqlite()).await;
}

#[tokio::test]
async fn an_awaited_write_is_served_by_every_gateway_on_postgres() {
    an_awaited_write_is_served(Database::postgres().await).await;
}

/// Who is not told of a change finds it by a look each five seconds, so that many changes in turn, each served before the next,
/// take many of them. How soon a change is served is for `benches/` to say, beside nothing else on the machine.
const BETWEEN_LOOKS: Duration = Duration::from_secs(5);

async fn a_change_is_told(database: Database, gateways: usize) {
    let rounds = proof::count(20, 500);
    let half_the_looks = BETWEEN_LOOKS * u32::try_from(rounds / 2).unwrap();
    let served = changes_are_served(database, gateways, rounds);
    tokio::time::timeout(half_the_looks, served).await.expect("the gateways were told");
}

async fn changes_are_served(database: Database, gateways: usize, rounds: usize) {
    let (first, second) = (Backend::saying("first"), Backend::saying("second"));
    let stack = Stack::builder().database(database).gateways(gateways).start().await;
    stack.put(&one(&first)).await;
    for round in 0..rounds {
        let (backend, expected) = if round % 2 == 0 { (&second, "second") } else { (&first, "first") };
        let answer = stack.admin().put("/admin/routing/services/one", &service("one").url(backend.url()).json()).await;
        assert_eq!(answer.status, 200, "{answer}");
        let served = stack.gateways().iter().map(|gateway| {
            eventually("the new backend to answer", async || {
                let text = gateway.get("/one/x").await.expect_status(200).text();
                if text == expected { Ok(()) } else { Err(text) }
            })
        });
        futures::future::join_all(served).await;
    }
}

#[tokio::test]
async fn gateways_are_told_of_a_change_on_sqlite() {
    a_change_is_told(Database::sqlite(), 2).await;
}

#[tokio::test]
async fn gateways_are_told_of_a_change_on_postgres() {
    a_change_is_told(Database::postgres().await, proof::count(2, 10)).await;
}

// === C2: reloads under load lose nothing ===

async fn reloads_lose_nothing(database: Database) {
    let (first, second) = (Backend::saying("first"), Backend::saying("second"));
    let stack = Stack::builder().database(database).start().await;
    stack.put(&one(&first)).await;
    let connections = 8;
    let load = Load::start(&stack.gateway(0).url("/one/x"), connections);
    let reloads = proof::count(40, 200);
    let requests = u64::try_from(proof::count(10_000, 100_000)).unwrap();
    for round in 0..reloads {
        let backend = if round % 2 == 0 { &second } else { &first };
        // The service that carries the load changes, and so does the table of routes around it.
        stack.put(&[service("one").url(backend.url())]).await;
        stack.put(&[route("other").pattern("/other").to_service("one").public().set("priority", round)]).await;
        load.wait_for(requests / u64::try_from(reloads).unwrap()).await;
    }
    let report = load.stop().await;
    report.assert_nothing_failed();
    assert_eq!(report.connections, 8, "the gateway closed connections: {report}");
    assert!(first.count() > 0 && second.count() > 0);
}

#[tokio::test]
async fn reloads_under_load_lose_nothing_and_keep_connections_on_sqlite() {
    reloads_lose_nothing(Database::sqlite()).await;
}

#[tokio::test]
async fn reloads_under_load_lose_nothing_and_keep_connections_on_postgres() {
    reloads_lose_nothing(Database::postgres().await).await;
}

#[tokio::test]
async fn an_upgraded_connection_lives_through_reloads() {
    let backend = Backend::raw(|mut wire| async move {
        let head = wire.read_head().await.unwrap().expect("a request");
        assert!(head.headers.has_word("connection", "upgrade"), "{head:?}");
        let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        wire.write(switch.as_bytes()).await.unwrap();
        while let Ok(bytes) = wire.read_some().await
            && !bytes.is_empty()
        {
            wire.write(&bytes).await.unwrap();
        }
    });
    let stack = Stack::start().await;
    stack.put(&one(&backend)).await;
    let mut connection = stack.gateway(0).connect().await;
    let request = Request::get("/one/socket").header("Connection", "Upgrade").header("Upgrade", "websocket");
    let request = request.header("Sec-WebSocket-Version", "13").header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
    let head = connection.begin(&request).await.unwrap();
    assert_eq!(head.status().unwrap(), 101);
    for round in 0..proof::count(10, 200) {
        let other = service("other").url(format!("http://127.0.0.1:{}", 1000 + round));
        stack.put(&[other, route("other").pattern("/other").to_service("other").set("priority", round)]).await;
        let message = format!("message {round}");
        connection.wire().write(message.as_bytes()).await.unwrap();
        assert_eq!(connection.wire().read_some().await.unwrap(), message);
    }
}

// === C3: what did not change is left alone ===

#[tokio::test]
async fn an_unchanged_service_keeps_its_connections_and_its_turn_over_reloads() {
    let backends = [Backend::saying("a"), Backend::saying("b")];
    let stack = Stack::start().await;
    let shop = service("shop").instances("v1", &backends.each_ref().map(Backend::url));
    stack.put(&[shop, route("shop").pattern("/shop").to_service("shop").public()]).await;
    stack.put(&[service("other").url("http://127.0.0.1:9")]).await;
    let mut connection = stack.gateway(0).connect().await;
    for round in 0..20 {
        stack.put(&[service("other").url(format!("http://127.0.0.1:{}", 10 + round))]).await;
        connection.send(&Request::get("/shop")).await.unwrap().expect_status(200);
    }
    let [a, b] = backends.each_ref().map(|backend| (backend.count(), backend.connections()));
    assert_eq!((a, b), ((10, 1), (10, 1)), "requests and connections: turns or pools began anew");
}

#[tokio::test]
async fn memory_is_flat_over_many_reloads() {
    let backend = Backend::saying("hello");
    let stack = Stack::start().await;
    stack.put(&one(&backend)).await;
    let reload = async |count: usize| {
        for round in 0..count {
            let change = service("other").url(format!("http://127.0.0.1:{}", 1000 + round % 60_000));
            let answer = stack.admin().put(&change.path(), &change.json()).await;
            assert!(answer.status < 300, "{answer}");
        }
        let head = stack.database().number("SELECT generation FROM config_head").await;
        eventually("the newest generation", async || {
            let served = stack.gateway(0).generation().await;
            if i64::try_from(served).unwrap() == head { Ok(()) } else { Err(format!("{served} of {head}")) }
        })
        .await;
    };
    let warm = proof::count(200, 1_000);
    reload(warm).await;
    let before = stack.gateway(0).process().resident_bytes();
    reload(proof::count(600, 10_000)).await;
    let after = stack.gateway(0).process().resident_bytes();
    let grown = after.saturating_sub(before) / 1024;
    assert!(grown < 8 * 1024, "grew by {grown} KiB, from {} KiB", before / 1024);
}

// === C4: a bad configuration never takes over ===

#[tokio::test]
async fn a_configuration_that_does_not_compile_is_refused_and_the_old_one_stays() {
    let backend = Backend::saying("hello");
    let stack = Stack::start().await;
    stack.put(&one(&backend)).await;
    let before = stack.gateway(0).generation().await;
    for (path, value, field) in [
        ("/admin/routing/routes/ghost", route("ghost").pattern("/g").to_service("ghost").json(), "target"),
        ("/admin/routing/routes/bad", route("bad").pattern("no-slash").to_service("one").json(), "path"),
        ("/admin/routing/routes/twin", route("twin").pattern("/one/{*other}").to_service("one").json(), "routes/"),
        ("/admin/routing/services/bad", service("bad").url("ftp://x").json(), "defaultUrl"),
    ] {
        let answer = stack.admin().put(path, &value).await.expect_status(422);
        let problems = answer.json()["problems"].clone();
        let paths: Vec<_> =
            problems.as_array().into_iter().flatten().filter_map(|problem| problem["path"].as_str()).collect();
        assert!(paths.iter().any(|path| path.contains(field)), "{field}: {answer}");
    }
    let deleted = stack.admin().delete("/admin/routing/services/one").await.expect_status(409);
    assert!(deleted.text().contains("one"), "{deleted}");
    assert_eq!(stack.gateway(0).generation().await, before);
    stack.gateway(0).get("/one/x").await.expect_status(200);
}

/// Spoils the route by hand, with a generation as a write would make it, so that gateways look.
async fn a_spoilt_row_does_not_take_over(database: Database) {
    let backend = Backend::saying("hello");
    let stack = Stack::builder().database(database).start().await;
    stack.put(&one(&backend)).await;
    let load = Load::start(&stack.gateway(0).url("/one/x"), 2);
    stack.database().execute("UPDATE gateway_route SET target = '{\"service\": \"ghost\"}' WHERE name = 'one'").await;
    // Any write makes gateways look; this one is refused or must not bring the spoilt row with it.
    let answer = stack.admin().put("/admin/routing/services/two", &service("two").url(backend.url()).json()).await;
    assert!([200, 201, 409, 422].contains(&answer.status), "{answer}");
    load.wait_for(500).await;
    load.stop().await.assert_nothing_failed();

    stack.database().execute("UPDATE gateway_route SET target = '{\"service\": \"one\"}' WHERE name = 'one'").await;
    stack.put(&[service("two").url("http://127.0.0.1:9")]).await;
    stack.gateway(0).get("/one/x").await.expect_status(200);
}

#[tokio::test]
async fn a_row_spoilt_by_hand_does_not_take_over_on_sqlite() {
    a_spoilt_row_does_not_take_over(Database::sqlite()).await;
}

#[tokio::test]
async fn a_row_spoilt_by_hand_does_not_take_over_on_postgres() {
    a_spoilt_row_does_not_take_over(Database::postgres().await).await;
}

#[tokio::test]
async fn a_spoilt_row_shows_in_status_and_metrics() {
    let backend = Backend::saying("hello");
    let stack = Stack::start().await;
    stack.put(&one(&backend)).await;
    // A generation by hand, as if another program had written it.
    let head = stack.database().number("SELECT generation FROM config_head").await;
    stack.database().execute("UPDATE gateway_route SET path = 'no-slash' WHERE name = 'one'").await;
    let touched = json!([["route", "one"]]);
    stack
        .database()
        .execute(&format!(
            "INSERT INTO config_generation (number, created_at, actor, summary, digest, format_version, changes, touched) \
             VALUES ({}, 0, 'hand', 'spoilt', '', 1, '[]', '{touched}')",
            head + 1
        ))
        .await;
    stack.database().execute(&format!("UPDATE config_head SET generation = {}", head + 1)).await;
    eventually("the gateway to say that it could not load the configuration", async || {
        let status = stack.gateway(0).ops("/status").await.json();
        if status["degraded"].as_array().is_some_and(|reasons| !reasons.is_empty()) { Ok(()) } else { Err(status) }
    })
    .await;
    let gateway = stack.gateway(0);
    gateway.get("/one/x").await.expect_status(200);
    let refused = gateway.metric("gatehouse_config_reloads_total", &["result=\"refused\""]).await;
    assert!(refused.is_some_and(|count| count >= 1.0), "{refused:?}");
    let degraded = gateway.metric("gatehouse_degraded", &["reason=\"configuration_refused\""]).await;
    assert_eq!(degraded, Some(1.0));
}

// === C6: notices are hints ===

#[tokio::test]
async fn a_gateway_that_missed_every_notice_finds_out_by_itself() {
    let (first, second) = (Backend::saying("first"), Backend::saying("second"));
    let stack = Stack::builder().database(Database::postgres().await).start().await;
    stack.put(&one(&first)).await;
    // A write without its notice.
    let head = stack.database().number("SELECT generation FROM config_head").await + 1;
    let database = stack.database();
    database.execute(&format!("UPDATE gateway_service_config SET default_url = '{}'", second.url())).await;
    database
        .execute(&format!(
            "INSERT INTO config_generation (number, created_at, actor, summary, digest, format_version, changes, touched) \
             VALUES ({head}, 0, 'hand', 'no notice', '', 1, '[]', '[[\"service\", \"one\"]]')"
        ))
        .await;
    database.execute(&format!("UPDATE config_head SET generation = {head}")).await;
    eventually("the poll", async || {
        let text = stack.gateway(0).get("/one/x").await.text();
        if text == "second" { Ok(()) } else { Err(text) }
    })
    .await;
}

/// Rows edited by hand make no generation: only reading everything finds them, and only the content hash tells them apart.
async fn an_edit_by_hand_is_found(database: Database) {
    let (first, second) = (Backend::saying("first"), Backend::saying("second"));
    let stack = Stack::builder().database(database).setting("GATEWAY_RECONCILE_SECONDS", "1").start().await;
    stack.put(&one(&first)).await;
    let edit = format!("UPDATE gateway_service_config SET default_url = '{}'", second.url());
    stack.database().execute(&edit).await;
    eventually("the edit to be served", async || {
        let text = stack.gateway(0).get("/one/x").await.text();
        if text == "second" { Ok(()) } else { Err(text) }
    })
    .await;
    eventually("the node to be named as one that disagrees with the history", async || {
        let nodes = stack.admin().get("/admin/nodes").await.json();
        if nodes["items"][0]["disagrees"] == true { Ok(()) } else { Err(nodes) }
    })
    .await;
    stack.database().execute(&format!("UPDATE gateway_service_config SET default_url = '{}'", first.url())).await;
    eventually("the node to agree", async || {
        let nodes = stack.admin().get("/admin/nodes").await.json();
        if nodes["items"][0]["disagrees"] == false { Ok(()) } else { Err(nodes) }
    })
    .await;
    assert_eq!(stack.gateway(0).get("/one/x").await.text(), "first");
}

#[tokio::test]
async fn an_edit_by_hand_is_found_and_shown_on_sqlite() {
    an_edit_by_hand_is_found(Database::sqlite()).await;
}

#[tokio::test]
async fn an_edit_by_hand_is_found_and_shown_on_postgres() {
    an_edit_by_hand_is_found(Database::postgres().await).await;
}

#[tokio::test]
async fn listeners_that_are_cut_off_listen_again() {
    let (first, second) = (Backend::saying("first"), Backend::saying("second"));
    let stack = Stack::builder().database(Database::postgres().await).gateways(2).start().await;
    stack.put(&one(&first)).await;
    for backend in [&second, &first, &second] {
        stack
            .database()
            .execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
            .await;
        // The admin API lost its connections too: it may say so once, and must come back.
        eventually("the write", async || {
            stack
                .admin()
                .put("/admin/routing/services/one?wait=10s", &service("one").url(backend.url()).json())
                .await
                .with_status(200)
        })
        .await;
        let expected = stack.gateway(0).get("/one/x").await.text();
        assert_eq!(stack.gateway(1).get("/one/x").await.text(), expected);
    }
}
