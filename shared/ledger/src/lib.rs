//! The ledger: one DynamoDB table holding policies, releases and their history.
