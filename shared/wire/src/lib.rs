//! Messages and AWS events as they arrive, turned into typed values at the edge, or refused with the name of the field.
//!
//! Everything here is tolerant where AWS may grow (unknown fields, unknown values of an enumeration, unknown detail types) and
//! strict where Tidegate acts on what it reads: a digest is a digest, a name is a name, an account is one we serve.

mod arn;
mod decode;
mod grow;

pub mod alarm;
pub mod artifact;
pub mod codebuild;
pub mod codepipeline;
pub mod ecr;
pub mod ecs;
pub mod ecs_hook;
pub mod envelope;
pub mod event;
pub mod pipeline_job;
pub mod request;
pub mod s3;
pub mod stream;
pub mod task_definition;
pub mod wake;

pub use envelope::{Envelope, EventError, Origins, parse_envelope};
pub use event::{Event, parse_event};
