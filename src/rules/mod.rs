//! L2: tracks in, events out.
