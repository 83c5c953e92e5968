//! L4: the command centre: receive, commit, receipt.
