//! The shapes `--json` prints, and all that people are shown. Made from the ledger's own types, but not these: the ledger's rows may
//! change with a schema version, what scripts read may not. Fields are only ever added.

mod plan;
mod release;
mod rows;
mod stages;

pub use plan::{
    FindingView, PlanView, PlannedStage, PlannedView, RollbackView, RuleView, WayBackView, WeightView,
};
pub use release::{
    AlarmView, ApprovalView, BackView, CauseView, EntryView, FailedTaskView, GivenView, NextView,
    ReleaseView, State, because, cause_kind, entries, summary,
};
pub use rows::{PromotedRow, ReleaseRow, ServiceRow, strategy};
pub use stages::{StageState, StageView, stages};
