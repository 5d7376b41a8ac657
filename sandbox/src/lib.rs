//! The local AWS: ECS, load balancers and alarms on real HTTP traffic, in front of ministack.
//!
//! Nobody should have to trust a release tool they have not watched roll back. The sandbox is the one endpoint
//! (`AWS_ENDPOINT_URL`) of every local process: it answers ECS, Elastic Load Balancing, Application Auto Scaling and CloudWatch itself, because no
//! emulator has them with a data plane, and passes every other call on to ministack.

pub mod autoscaling;
pub mod cloudwatch;
pub mod codebuild;
pub mod codepipeline;
pub mod demo;
pub mod ecs;
pub mod elb;
pub mod endpoint;
pub mod events;
mod ids;
pub mod images;
pub mod load;
pub mod local;
pub mod ministack;
pub mod ports;
pub mod protocol;
pub mod receivers;
pub mod tasks;
