//! Messages and AWS events as they arrive, parsed tolerantly.
