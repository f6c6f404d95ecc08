//! The harness: real processes on ports that the operating system picks, a database for each test, backends that do what a
//! test tells them, clients that count every failure, and everything stopped on drop. A test reads as what it proves.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::must_use_candidate,
    clippy::return_self_not_must_use,
    reason = "a harness fails by panicking, and its builders are read in tests, where nothing is lost silently"
)]

pub mod backend;
pub mod client;
pub mod crowd;
pub mod database;
pub mod entity;
pub mod eventually;
pub mod fuzzer;
pub mod http2;
pub mod kafka;
pub mod load;
pub mod network;
pub mod openid;
pub mod postgres;
pub mod process;
pub mod proof;
pub mod rabbitmq;
pub mod redis;
pub mod rooms;
pub mod smtp;
pub mod stack;
pub mod tls;
pub mod wire;
pub mod workers;

pub use backend::{Backend, Fault, Gate, Received, Reply};
pub use client::{Answer, Connection, Failure, Request, raw_request};
pub use crowd::Crowd;
pub use database::Database;
pub use entity::{Entity, application, certificate, issuer, queue, route, service};
pub use eventually::{eventually, eventually_within};
pub use fuzzer::Fuzzer;
pub use http2::{Grpc, Http2};
pub use load::{Load, Report};
pub use openid::OpenId;
pub use postgres::PostgresCluster;
pub use process::{Exit, Line, Process, Signal};
pub use smtp::{Mail, SmtpSink};
pub use stack::{Admin, Gateway, Stack};
pub use tls::{Authority, Issued, TlsClient};
pub use workers::Workers;
