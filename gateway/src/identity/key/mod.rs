//! API keys: from a presented key to the application that it belongs to.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use gateway_config::clock::Clock;
use gateway_config::master_key::MasterKey;
use gateway_config::model::{ApiKey, Id, Timestamp};
use gateway_config::snapshot::{Code, CompiledApplication, Refusal, Snapshot};
use gateway_config::store::Store;
use tokio_util::sync::CancellationToken;

use crate::settings::ServeSettings;

pub(crate) struct Keys;

pub(crate) struct KeyCaller {
    pub(crate) application: Arc<CompiledApplication>,
    pub(crate) key: Id<ApiKey>,
}

impl Keys {
    pub(crate) fn open(
        _: &MasterKey,
        _: &ServeSettings,
        _: Arc<dyn Store>,
        _: Arc<dyn Clock>,
        _: CancellationToken,
    ) -> Arc<Self> {
        Arc::new(Self)
    }
    pub(crate) fn remembered(&self, _: &Snapshot, _: &[u8], _: Timestamp) -> Option<Result<KeyCaller, Code>> {
        Some(Err(Code::CredentialsInvalid))
    }
    pub(crate) async fn verify(&self, _: &Snapshot, _: &[u8], _: IpAddr, _: Timestamp) -> Result<KeyCaller, Code> {
        Err(Code::CredentialsInvalid)
    }
    pub(crate) fn used(&self, _: Id<ApiKey>) {}
    pub(crate) async fn rotate(&self, _: &str, _: Id<ApiKey>, _: u64) -> Result<Bytes, Refusal> {
        Err(Refusal::new(Code::CredentialsInvalid))
    }
}
