//! The SQS adapter: wake-ups for releases, delayed to their second.
