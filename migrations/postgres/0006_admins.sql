-- Who may use the admin API: people with passwords, and the tokens that they made for their scripts.
CREATE TABLE gateway_admin (
    id UUID NOT NULL PRIMARY KEY,
    -- In lower case.
    email TEXT COLLATE "C" NOT NULL UNIQUE,
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    -- argon2id, in the PHC format.
    password_hash TEXT NOT NULL,
    is_active BOOLEAN NOT NULL,
    -- Sessions live as long as this stays what it was at their login: one write ends them all, in the transaction that has reason to.
    epoch BIGINT NOT NULL,
    revision BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

-- Personal tokens. Of the token itself only a keyed hash is kept.
CREATE TABLE gateway_admin_token (
    id UUID NOT NULL PRIMARY KEY,
    admin_id UUID NOT NULL REFERENCES gateway_admin (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    token_hash TEXT NOT NULL UNIQUE,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    revoked_at BIGINT
);

CREATE INDEX gateway_admin_token_of_admin ON gateway_admin_token (admin_id);

-- When a personal token was last used. Apart from the token: using it is no change.
CREATE TABLE gateway_admin_token_usage (
    token_id UUID NOT NULL PRIMARY KEY,
    last_used_at BIGINT NOT NULL
);

-- Logins that have not ended: whoever logs out is deleted here.
CREATE TABLE gateway_admin_session (
    id UUID NOT NULL PRIMARY KEY,
    admin_id UUID NOT NULL,
    -- The admin's, at the login.
    epoch BIGINT NOT NULL,
    -- Keyed hashes of the secret that renews the session, and of the one before it.
    secret_hash TEXT NOT NULL,
    previous_hash TEXT,
    created_at BIGINT NOT NULL,
    renewed_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);

CREATE INDEX gateway_admin_session_of_admin ON gateway_admin_session (admin_id);
CREATE INDEX gateway_admin_session_expiry ON gateway_admin_session (expires_at);

-- Failed logins by email and by address, each as a keyed hash: people type passwords where the email belongs.
CREATE TABLE gateway_admin_login_failure (
    subject TEXT NOT NULL PRIMARY KEY,
    failures BIGINT NOT NULL,
    last_at BIGINT NOT NULL
);

CREATE INDEX gateway_admin_login_failure_age ON gateway_admin_login_failure (last_at);
