//! The Elastic Load Balancing adapter: reads listener and rule weights.
