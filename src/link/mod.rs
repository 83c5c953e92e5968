//! L3: HTTP doors.

pub mod observe;
