//! Integration tests: scenarios against the sandbox, golden outputs, sample events.
