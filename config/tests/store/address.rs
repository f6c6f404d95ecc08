//! What can be named as the database, and that nothing secret of it is repeated.

use std::error::Error;
use std::fmt::Write;

use gateway_config::store::{StoreError, open};

/// An error with everything that a log could show of it.
fn shown(error: &StoreError) -> String {
    let mut text = format!("{error} {error:?}");
    let mut source = error.source();
    while let Some(error) = source {
        write!(text, " {error} {error:?}").unwrap();
        source = error.source();
    }
    text
}

#[tokio::test]
async fn other_addresses_are_refused_without_repeating_a_password() {
    for url in [
        "mysql://root:hunter2@db/gateway",
        "hunter2",
        "postgres://gateway:hunter2@db:port/gateway",
        "postgres://gateway:hunter2@db/gateway?sslmode=hunter2",
        "sqlite://",
        "sqlite://:memory:",
        "sqlite://data/gateway.db?mode=ro",
        "sqlite:///",
    ] {
        let error = open(url).await.map(drop).unwrap_err();
        assert!(matches!(error, StoreError::BadUrl(..)), "{url}: {error}");
        assert!(!shown(&error).contains("hunter2"), "{}", shown(&error));
    }
}

#[tokio::test]
async fn a_database_that_is_away_is_unavailable_and_its_password_stays_unsaid() {
    // Nothing listens on port 1; opening succeeds all the same.
    let store = open("postgres://gateway:hunter2@127.0.0.1:1/gateway").await.unwrap();
    let error = store.head().await.unwrap_err();
    assert!(error.is_unavailable(), "{error}");
    let watch = store.watch().await.unwrap().changed().await.unwrap_err();
    for error in [error, watch, store.migrate().await.unwrap_err()] {
        assert!(error.is_unavailable(), "{error}");
        assert!(!shown(&error).contains("hunter2"), "{}", shown(&error));
    }
    assert!(!format!("{store:?}").contains("hunter2"), "{store:?}");
}
