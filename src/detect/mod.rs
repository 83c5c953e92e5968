//! L2: frames in, objects out.
