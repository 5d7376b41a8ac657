//! PURE: what people are shown of a release, a plan, a list of services, as plain data. The command line's tree, its `--json` and the pages
//! render it, and none of them looks at the ledger's own types for it: rows may change with a schema version, what scripts read may not.
//! Fields are only ever added.

mod comparison;
mod figures;
mod headline;
mod live;
mod plan;
mod release;
mod replay;
mod rows;
mod services;
mod stages;

pub use comparison::{ArmView, ComparisonView};
pub use figures::{FigureLine, figure_lines};
pub use headline::{headline, stable_name};
pub use live::Live;
pub use plan::{
    FindingView, PlanView, PlannedStage, PlannedView, RollbackTargetView, RollbackView, ShareView,
    TrafficView,
};
pub use release::{
    AlarmView, ApprovalView, BackView, CauseView, EntryView, FailedTaskView, NextView, PausedView,
    PromoteNowView, ReleaseView, State, VoteView, alarms, because, cause_kind, entries, summary,
    waiting_approval,
};
pub use replay::{ReplayView, VerdictView, replay};
pub use rows::{FrozenRow, PromotedRow, QuarantineRow, ReleaseRow, ServiceRow, UnderWayRow, strategy};
pub use services::{FrozenView, OpenView, RunsView, ServiceView, left};
pub use stages::{StageState, StageView, stages};
