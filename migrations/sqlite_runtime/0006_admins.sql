-- What changes all the time about admins.

-- When a personal token was last used. Apart from the token: using it is no change.
CREATE TABLE gateway_admin_token_usage (
    token_id BLOB NOT NULL PRIMARY KEY,
    last_used_at INTEGER NOT NULL
) STRICT;

-- Logins that have not ended: whoever logs out is deleted here.
CREATE TABLE gateway_admin_session (
    id BLOB NOT NULL PRIMARY KEY,
    admin_id BLOB NOT NULL,
    -- The admin's, at the login.
    epoch INTEGER NOT NULL,
    -- Keyed hashes of the secret that renews the session, and of the one before it.
    secret_hash TEXT NOT NULL,
    previous_hash TEXT,
    created_at INTEGER NOT NULL,
    renewed_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;

CREATE INDEX gateway_admin_session_of_admin ON gateway_admin_session (admin_id);
CREATE INDEX gateway_admin_session_expiry ON gateway_admin_session (expires_at);

-- Failed logins by email and by address, each as a keyed hash: people type passwords where the email belongs.
CREATE TABLE gateway_admin_login_failure (
    subject TEXT NOT NULL PRIMARY KEY,
    failures INTEGER NOT NULL,
    last_at INTEGER NOT NULL
) STRICT;

CREATE INDEX gateway_admin_login_failure_age ON gateway_admin_login_failure (last_at);
