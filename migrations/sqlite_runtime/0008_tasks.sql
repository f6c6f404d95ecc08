-- Tasks: what became of requests that were accepted for later. Written behind the publish, in batches, so a row may come after its
-- task has ended, or never; a task's id proves by itself whose it is.
CREATE TABLE gateway_task (
    id TEXT NOT NULL PRIMARY KEY,
    queue TEXT NOT NULL,
    -- Its name then; the id is what counts.
    application TEXT,
    application_id BLOB,
    subject TEXT,
    status TEXT NOT NULL,
    -- By it the same request with the same Idempotency-Key is known again. Empty: a report came before the rest.
    body_hash TEXT NOT NULL,
    is_published INTEGER NOT NULL,
    -- JSON letter by letter, as the worker said it.
    result TEXT,
    error TEXT,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    finished_at INTEGER,
    expires_at INTEGER NOT NULL,
    callback_url TEXT,
    -- When the callback is tried next; none: there is nothing to call, not yet or no more.
    callback_at INTEGER,
    callback_attempts INTEGER NOT NULL
) STRICT;

CREATE INDEX gateway_task_by_time ON gateway_task (created_at DESC);
CREATE INDEX gateway_task_by_queue ON gateway_task (queue, created_at DESC);
CREATE INDEX gateway_task_by_application ON gateway_task (application, created_at DESC);
CREATE INDEX gateway_task_expiring ON gateway_task (expires_at);
CREATE INDEX gateway_task_calling ON gateway_task (callback_at) WHERE callback_at IS NOT NULL;
