//! ministack, the emulator behind the sandbox: DynamoDB, SQS, S3, IAM, ECR, EventBridge rules, CloudFormation and Lambda.
//!
//! [`Process`] runs it, [`Client`] calls it, and [`deploy`] puts the project's own `template.yaml` into it. What ministack (1.5.33)
//! does differently from AWS is worked around in the sandbox, never in the template or the product:
//!
//! | ministack | here |
//! |---|---|
//! | listens on all interfaces, on one well-known port | bound to 127.0.0.1, on a free port |
//! | passes its own environment on to functions | started with an environment of its own, not the developer's |
//! | functions call the `AWS_ENDPOINT_URL` of its environment, whatever their own says | set to the sandbox's endpoint |
//! | looks after Docker containers, opens ports for IoT and SFTP | switched off |
//! | ends idle function processes after five minutes | after a day: a cold start would measure the emulator |
//! | keeps a function's `LoggingConfig`, but does not set `AWS_LAMBDA_LOG_FORMAT` and `_LEVEL` | set for all functions |
//! | CloudFormation drops a table's time to live, its recovery and its encryption | [`deploy`] sets the time to live; the others change nothing a program could notice |
//! | does not execute `AWS::Serverless` packaging | [`deploy`] uploads and rewrites `CodeUri`, as `sam package` does |
//! | checks ECS calls on the resource `*` only, and knows little of ECS | the sandbox's endpoint answers ECS and checks the policies itself |
//! | refuses events with a source `aws.*` | the sandbox reads the rules and invokes their targets itself |
//!
//! Not worked around, but good to know: failed asynchronous invocations are retried after seconds, not minutes, and then reach
//! the `OnFailure` destination; a `rate(1 minute)` rule first fires a minute after the stack is there; SQS messages reach a
//! function in about 0.1 s, delayed ones on time; queue URLs say `localhost`, which the SDK ignores; conditions of a template may use
//! `Fn::Select`, not `Fn::Join`; alarms with metric math are refused.

pub mod batches;
mod client;
mod deploy;
pub mod functions;
mod process;
mod session;

pub use client::Client;
pub(crate) use client::object_path;
pub use deploy::{Deployed, Deployment, create, deploy};
pub use process::{Options, Process};
pub use session::Session;

#[cfg(test)]
mod testing;
