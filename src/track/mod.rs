//! L2: detections in, tracks out. Pure.
