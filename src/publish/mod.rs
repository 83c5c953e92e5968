//! L3: outbox to broker.
