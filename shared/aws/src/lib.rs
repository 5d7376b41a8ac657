//! What every AWS adapter shares: client configuration and the classification of SDK errors.
