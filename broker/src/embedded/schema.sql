CREATE TABLE client (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    -- The name of the file it keeps locked.
    life TEXT NOT NULL,
    -- The UDP port on loopback where it is woken, if it has one.
    port INTEGER
) STRICT;

CREATE TABLE queue (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    -- Returns of a message before it is dead-lettered.
    delivery_limit INTEGER NOT NULL,
    -- The name of the queue it goes to then.
    dead_letters TEXT,
    -- The client whose inbox it is.
    owner INTEGER REFERENCES client
) STRICT;

-- Changes with every queue that comes or goes.
CREATE TABLE edition (number INTEGER NOT NULL) STRICT;
INSERT INTO edition VALUES (0);

-- Over how many queues the outcomes of an exchange are spread, if not one.
CREATE TABLE spread (
    exchange TEXT PRIMARY KEY,
    queues INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE consumer (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    client INTEGER NOT NULL REFERENCES client,
    queue INTEGER NOT NULL REFERENCES queue,
    -- How many tasks it takes, 0 while it takes none, and how many it holds: so that
    -- nobody takes more than its share.
    prefetch INTEGER NOT NULL DEFAULT 0,
    held INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE message (
    id INTEGER PRIMARY KEY,
    -- How often whoever held it died; NULL if it was never delivered.
    returns INTEGER,
    -- Properties, exchange, routing key and deaths, as MessagePack.
    head BLOB NOT NULL,
    body BLOB NOT NULL
) STRICT;

-- Each message is in one of the three below.
CREATE TABLE waiting (
    queue INTEGER NOT NULL,
    message INTEGER NOT NULL,
    PRIMARY KEY (queue, message)
) STRICT, WITHOUT ROWID;

CREATE TABLE lease (
    message INTEGER PRIMARY KEY,
    queue INTEGER NOT NULL,
    -- Never used again: what it holds no more it cannot answer for.
    consumer INTEGER NOT NULL
) STRICT;

CREATE TABLE delayed (
    -- Milliseconds since 1970.
    due_at INTEGER NOT NULL,
    message INTEGER NOT NULL,
    queue TEXT NOT NULL,
    -- The queue it goes to if that is not there by then.
    dead_letters TEXT NOT NULL,
    PRIMARY KEY (due_at, message)
) STRICT, WITHOUT ROWID;
