//! The world in memory: a ledger with the exact semantics of its commits, an AWS that behaves as Amazon ECS, ELB, CloudWatch and ECR
//! do, a queue and a clock. No test doubles of single calls: what is done to it has consequences.

mod aws;
mod conditions;
mod configuration;
mod herald;
mod ledger;
mod ports;
mod universe;

pub use aws::{
    Aws, Balancing, EcsHabits, Emitted, PauseStage, Quality, Scene, SecondState, ServiceState, in_seconds,
};
pub use conditions::{Conditions, Fault, Faults, Planned};
pub use herald::{Post, Tiding};
pub use ledger::{Row, Rows, Written};
pub use universe::{Caller, Delivery, Performed, State, Universe};
