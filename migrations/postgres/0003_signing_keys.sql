-- The keys with which gateways sign what they tell backends of a caller. In the database, because the whole fleet signs with the
-- same keys; the private half is sealed under the fleet's master key, which is not in the database.
CREATE TABLE gateway_signing_key (
    kid TEXT NOT NULL PRIMARY KEY,
    -- Which rotation the key is for: of two gateways that make a key at the same moment, one is refused and takes the other's.
    slot BIGINT NOT NULL UNIQUE,
    public_jwk TEXT NOT NULL,
    sealed_private_key BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    -- From when it signs: later than it is published, so that whoever keeps the public keys knows it in time.
    active_from BIGINT NOT NULL,
    -- From when its successor signs.
    retired_at BIGINT
);
