//! L2: a JPEG of an event from a frame.
