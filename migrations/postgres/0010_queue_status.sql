-- What each gateway sees of each queue, written every few seconds, and the test messages that operators ask gateways to publish.
CREATE TABLE gateway_queue_status (
    queue_id UUID NOT NULL,
    node UUID NOT NULL,
    -- That wait at the broker, and who takes them; none: the broker does not tell.
    messages BIGINT,
    consumers BIGINT,
    broker_up BOOLEAN NOT NULL,
    -- That wait on the gateway's own disk.
    spooled BIGINT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (queue_id, node)
);

CREATE TABLE gateway_queue_test (
    id UUID NOT NULL PRIMARY KEY,
    queue_id UUID NOT NULL,
    -- JSON letter by letter, as the operator sent it.
    data TEXT,
    asked_at BIGINT NOT NULL,
    -- Which gateway took it, and as which task.
    node UUID,
    task_id TEXT,
    -- None: it is under way.
    published BOOLEAN,
    error TEXT
);
