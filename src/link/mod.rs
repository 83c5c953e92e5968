//! L3: HTTP doors.
