//! The Amazon ECS adapter: observes services and performs deployments.
