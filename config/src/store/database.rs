//! The store over any backend: each call opens a transaction, does its reads or writes, and ends it.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::model::{ApiKey, ChainKey, Id, Item, Kind, NewAudit, Node, Problem, Timestamp};

use super::deadline::within;
use super::session::{Backend, Purpose, Session};
use super::signing::{self, SigningKeyRow};
use super::{
    Head, Loaded, NewGeneration, Options, Page, ReadTransaction, Result, Since, Store, StoreError, Survey, Watch,
    WriteTransaction,
};
use super::{audit, node, read, usage, write, write_many};

#[derive(Debug)]
pub(super) struct Database {
    pub(super) backend: Arc<dyn Backend>,
    options: Options,
    /// Writers of this process queue here, so that those that wait for the head's lock don't hold a connection each.
    turn: Arc<Mutex<()>>,
}

impl Database {
    pub(super) fn new(backend: Arc<dyn Backend>, options: Options) -> Self {
        Self { backend, options, turn: Arc::default() }
    }

    /// A transaction that writes, in its turn. The guard is kept until the session has ended.
    pub(super) async fn writing(&self) -> Result<(Box<dyn Session>, OwnedMutexGuard<()>)> {
        let turn = within(self.options.deadline, async { Ok(Arc::clone(&self.turn).lock_owned().await) }).await?;
        Ok((self.backend.open(Purpose::Write).await?, turn))
    }
}

#[async_trait]
impl Store for Database {
    async fn migrate(&self) -> Result<()> {
        self.backend.migrate().await
    }

    async fn head(&self) -> Result<Head> {
        let mut session = self.backend.open(Purpose::Read).await?;
        let head = read::head(&mut *session, read::READ_HEAD).await?;
        session.commit(None).await?;
        Ok(head)
    }

    async fn load(&self) -> Result<Loaded> {
        let mut session = self.backend.open(Purpose::Read).await?;
        let loaded = read::load(&mut *session).await?;
        session.commit(None).await?;
        Ok(loaded)
    }

    async fn load_since(&self, generation: u64) -> Result<Since> {
        let mut session = self.backend.open(Purpose::Read).await?;
        let since = read::load_since(&mut *session, generation).await?;
        session.commit(None).await?;
        Ok(since)
    }

    async fn get(&self, kind: Kind, name: &str) -> Result<Option<Item>> {
        let mut session = self.backend.open(Purpose::Read).await?;
        let item = read::get(&mut *session, kind, name).await?;
        session.commit(None).await?;
        Ok(item)
    }

    async fn list(&self, kind: Kind, page: &Page) -> Result<Vec<Item>> {
        let mut session = self.backend.open(Purpose::Read).await?;
        let items = read::list(&mut *session, kind, page).await?;
        session.commit(None).await?;
        Ok(items)
    }

    async fn read(&self) -> Result<Box<dyn ReadTransaction>> {
        let mut session = self.backend.open(Purpose::Read).await?;
        let head = read::head(&mut *session, read::READ_HEAD).await?;
        Ok(Box::new(Reading { session, head }))
    }

    async fn begin(&self) -> Result<Box<dyn WriteTransaction>> {
        let (mut session, turn) = self.writing().await?;
        let head = read::head(&mut *session, self.backend.lock_head()).await?;
        let reading = Reading { session, head };
        Ok(Box::new(Writing { reading, backend: Arc::clone(&self.backend), _turn: turn }))
    }

    async fn watch(&self) -> Result<Box<dyn Watch>> {
        self.backend.watch().await
    }

    async fn report_node(&self, node: &Node) -> Result<()> {
        let mut session = self.backend.open(Purpose::Runtime).await?;
        node::report(&mut *session, node).await?;
        session.commit(None).await
    }

    async fn nodes(&self) -> Result<Vec<Node>> {
        nodes(&*self.backend).await
    }

    async fn leave_node(&self, id: uuid::Uuid, now: Timestamp) -> Result<bool> {
        let mut session = self.backend.open(Purpose::Runtime).await?;
        let was_there = node::leave(&mut *session, id, now).await?;
        session.commit(None).await?;
        Ok(was_there)
    }

    async fn record_key_usage(&self, uses: &[(Id<ApiKey>, Timestamp)]) -> Result<()> {
        let mut session = self.backend.open(Purpose::Runtime).await?;
        usage::record(&mut *session, uses).await?;
        session.commit(None).await
    }

    async fn key_usage(&self, keys: &[Id<ApiKey>]) -> Result<HashMap<Id<ApiKey>, Timestamp>> {
        let mut session = self.backend.open(Purpose::Runtime).await?;
        let found = usage::read(&mut *session, keys).await?;
        session.commit(None).await?;
        Ok(found)
    }

    async fn signing_keys(&self) -> Result<Vec<SigningKeyRow>> {
        let mut session = self.backend.open(Purpose::Runtime).await?;
        let rows = signing::list(&mut *session).await?;
        session.commit(None).await?;
        Ok(rows)
    }

    async fn add_signing_key(&self, row: &SigningKeyRow) -> Result<bool> {
        let mut session = self.backend.open(Purpose::Runtime).await?;
        let was_free = signing::add(&mut *session, row).await?;
        session.commit(None).await?;
        Ok(was_free)
    }

    async fn forget_signing_keys(&self, before: Timestamp) -> Result<()> {
        let mut session = self.backend.open(Purpose::Runtime).await?;
        signing::forget(&mut *session, before).await?;
        session.commit(None).await
    }
}

async fn nodes(backend: &dyn Backend) -> Result<Vec<Node>> {
    let mut session = backend.open(Purpose::Runtime).await?;
    let nodes = node::list(&mut *session).await?;
    session.commit(None).await?;
    Ok(nodes)
}

struct Reading {
    session: Box<dyn Session>,
    head: Head,
}

#[async_trait]
impl ReadTransaction for Reading {
    fn head(&self) -> Head {
        self.head
    }

    async fn get(&mut self, kind: Kind, name: &str) -> Result<Option<Item>> {
        read::get(&mut *self.session, kind, name).await
    }

    async fn all(&mut self, kind: Kind) -> Result<(Vec<Item>, Vec<Problem>)> {
        read::all(&mut *self.session, kind).await
    }

    async fn load(&mut self) -> Result<Loaded> {
        read::load(&mut *self.session).await
    }

    async fn load_since(&mut self, generation: u64) -> Result<Since> {
        read::load_since(&mut *self.session, generation).await
    }

    async fn survey(&mut self) -> Result<Survey> {
        read::survey(&mut *self.session).await
    }

    async fn end(self: Box<Self>) -> Result<()> {
        self.session.commit(None).await
    }
}

struct Writing {
    reading: Reading,
    backend: Arc<dyn Backend>,
    // Declared last: the session ends before the next writer of this process begins.
    _turn: OwnedMutexGuard<()>,
}

#[async_trait]
impl ReadTransaction for Writing {
    fn head(&self) -> Head {
        self.reading.head
    }

    async fn get(&mut self, kind: Kind, name: &str) -> Result<Option<Item>> {
        self.reading.get(kind, name).await
    }

    async fn all(&mut self, kind: Kind) -> Result<(Vec<Item>, Vec<Problem>)> {
        self.reading.all(kind).await
    }

    async fn load(&mut self) -> Result<Loaded> {
        self.reading.load().await
    }

    async fn load_since(&mut self, generation: u64) -> Result<Since> {
        self.reading.load_since(generation).await
    }

    async fn survey(&mut self) -> Result<Survey> {
        self.reading.survey().await
    }

    async fn end(self: Box<Self>) -> Result<()> {
        let Self { reading, _turn, .. } = *self;
        Box::new(reading).end().await
    }
}

#[async_trait]
impl WriteTransaction for Writing {
    async fn nodes(&mut self) -> Result<Vec<Node>> {
        // Nodes are no part of the configuration and, on SQLite, not in its file: they are read beside the transaction.
        nodes(&*self.backend).await
    }

    async fn put(&mut self, item: &Item) -> Result<()> {
        write::put(&mut *self.reading.session, item).await
    }

    async fn put_all(&mut self, items: &[&Item]) -> Result<()> {
        write_many::put(&mut *self.reading.session, items).await
    }

    async fn delete(&mut self, kind: Kind, name: &str) -> Result<()> {
        write::delete(&mut *self.reading.session, kind, name).await
    }

    async fn delete_all(&mut self, kind: Kind, names: &[&str]) -> Result<()> {
        write_many::delete(&mut *self.reading.session, kind, names).await
    }

    async fn audit(&mut self, new: &NewAudit, chain: &ChainKey) -> Result<()> {
        audit::append(&mut *self.reading.session, self.backend.lock_audit(), new, chain).await.map(drop)
    }

    async fn commit(self: Box<Self>, generation: &NewGeneration) -> Result<()> {
        let Self { mut reading, _turn, .. } = *self;
        let next = reading.head.generation + 1;
        if generation.number != next {
            let message = format!("generation {} does not follow {}", generation.number, reading.head.generation);
            return Err(StoreError::Refused(message));
        }
        let number = write::generation(&mut *reading.session, generation).await?;
        reading.session.commit(Some(number)).await
    }
}
