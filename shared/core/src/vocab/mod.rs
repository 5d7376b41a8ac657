//! The words of the services a release goes through, one module each and shared by the engines: what is seen of them, what can be asked of
//! them, and what can be done.

pub mod autoscaling;
pub mod cloudwatch;
pub mod codebuild;
pub mod ecr;
pub mod ecs;
pub mod elb;
pub mod lambda;
pub mod tasks;
