-- The keys with which gateways sign what they tell backends of a caller. In the database, because all gateways sign with the
-- same keys; the private half is sealed under the master key, which is not in the database.
CREATE TABLE gateway_signing_key (
    kid TEXT NOT NULL PRIMARY KEY,
    -- Which rotation the key is for: of two gateways that make a key at the same moment, one is refused and takes the other's.
    slot INTEGER NOT NULL UNIQUE,
    public_jwk TEXT NOT NULL,
    sealed_private_key BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    -- From when it signs: later than it is published, so that whoever keeps the public keys knows it in time.
    active_from INTEGER NOT NULL,
    -- From when its successor signs.
    retired_at INTEGER
) STRICT;
