-- Who may use the admin API: people with passwords, and the tokens that they made for their scripts. Their sessions, failed logins
-- and the use of tokens change all the time: they live in runtime.db, see ../sqlite_runtime.
CREATE TABLE gateway_admin (
    id BLOB NOT NULL PRIMARY KEY,
    -- In lower case.
    email TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    -- argon2id, in the PHC format.
    password_hash TEXT NOT NULL,
    is_active INTEGER NOT NULL,
    -- Sessions live as long as this stays what it was at their login: one write ends them all, in the transaction that has reason to.
    epoch INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;

-- Personal tokens. Of the token itself only a keyed hash is kept.
CREATE TABLE gateway_admin_token (
    id BLOB NOT NULL PRIMARY KEY,
    admin_id BLOB NOT NULL REFERENCES gateway_admin (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    token_hash TEXT NOT NULL UNIQUE,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    revoked_at INTEGER
) STRICT;

CREATE INDEX gateway_admin_token_of_admin ON gateway_admin_token (admin_id);
