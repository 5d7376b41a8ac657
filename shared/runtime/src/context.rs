//! Everything a reconcile needs, as ports.

use std::sync::Arc;

use tidegate_core::ids::{AccountId, Region, ReleaseId};
use tidegate_core::ports::{
    Alarms, AutoScaling, Builds, Ecs, Elb, Images, Lambda, Ledger, Messenger, Metrics, Waker,
};

use crate::time::Time;

/// Tidegate's own ground: where it is installed, its ledger, its wake-ups, its clock. Enough to create releases and to be asked.
#[derive(Clone)]
pub struct Installation {
    /// The account Tidegate is installed in.
    pub account: AccountId,
    /// The region Tidegate is installed in.
    pub region: Region,
    /// The ledger.
    pub ledger: Arc<dyn Ledger>,
    /// The wake-up queue. `None` in what that queue itself wakes: no function ever re-queues itself through SQS, because AWS stops such
    /// chains after about 16 hops.
    pub waker: Option<Arc<dyn Waker>>,
    /// The clock.
    pub time: Arc<dyn Time>,
}

/// Home, and the ports a release is driven through.
#[derive(Clone)]
pub struct Context {
    /// Tidegate's own ground.
    pub installation: Installation,
    /// Amazon ECS.
    pub ecs: Arc<dyn Ecs>,
    /// Elastic Load Balancing.
    pub elb: Arc<dyn Elb>,
    /// Application Auto Scaling.
    pub autoscaling: Arc<dyn AutoScaling>,
    /// AWS Lambda.
    pub lambda: Arc<dyn Lambda>,
    /// CloudWatch.
    pub alarms: Arc<dyn Alarms>,
    /// CloudWatch's metrics.
    pub metrics: Arc<dyn Metrics>,
    /// ECR.
    pub images: Arc<dyn Images>,
    /// Messages to people.
    pub messenger: Arc<dyn Messenger>,
    /// CodeBuild.
    pub builds: Arc<dyn Builds>,
}

impl Installation {
    /// A new release id: a ULID of now.
    pub(crate) fn new_id(&self) -> ReleaseId {
        let millis = u64::try_from(self.time.now().as_millisecond()).unwrap_or_default();
        let ulid = ulid::Ulid::from_parts(millis, fastrand::u128(..));
        // A ULID is 26 characters of Crockford's base 32, so in lower case it always is a release id.
        ReleaseId::new(ulid.to_string().to_lowercase()).expect("a ULID is a release id")
    }
}
