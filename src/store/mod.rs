//! L2: the node's SQLite: events, outbox, phantoms; one writer.
