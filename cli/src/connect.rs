//! The way to AWS: configuration as the AWS CLI has it, names derived from the stack's, and who is asking.

use std::sync::Arc;

use anyhow::Context as _;
use tidegate_aws::{Options, SdkConfig, port_error};
use tidegate_core::actor::Actor;
use tidegate_core::fault::{ErrorKind, PortError};
use tidegate_core::ids::{AccountId, Region};
use tidegate_core::ports::{LoadBalancing, Notebook};
use tidegate_runtime::config::Config;
use tidegate_runtime::{Context, Installation};
use tidegate_start::Start;
use tokio::sync::OnceCell;

use crate::door::{Door, GateApi};
use crate::fault::Refusal;
use crate::global::{Global, endpoint};
use crate::image::Registry;
use crate::output::Output;
use crate::queues::{Queues, QueuesOfStack};
use crate::stack::{NamedStack, Stack};
use crate::wakes::{QueueByName, Wakes};

/// Everything a command needs of AWS.
pub struct Connection {
    /// The ports.
    pub context: Context,
    wakes: Arc<Wakes>,
    caller: Caller,
    notebook: Option<Arc<dyn Notebook>>,
    door: Option<Arc<dyn Door>>,
    balancing: Option<Arc<dyn LoadBalancing>>,
    queues: Option<Arc<dyn Queues>>,
    stack: Option<Arc<dyn Stack>>,
}

/// Who is asking; found out when it matters.
#[derive(Debug)]
pub struct Caller {
    sts: Option<aws_sdk_sts::Client>,
    known: OnceCell<Identity>,
}

/// An AWS identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The account.
    pub account: AccountId,
    /// The ARN that is recorded as the actor.
    pub arn: String,
}

impl Caller {
    /// Asks STS.
    pub fn of(aws: &SdkConfig) -> Self {
        Self { sts: Some(aws_sdk_sts::Client::new(aws)), known: OnceCell::new() }
    }

    /// Already known.
    pub fn known(identity: Identity) -> Self {
        Self { sts: None, known: OnceCell::new_with(Some(identity)) }
    }

    async fn identity(&self) -> anyhow::Result<&Identity> {
        let found = self.known.get_or_try_init(|| self.ask()).await;
        found.context("failed to find out who is asking")
    }

    async fn ask(&self) -> Result<Identity, PortError> {
        const OPERATION: &str = "sts:GetCallerIdentity";
        let incomplete = |what: &str| {
            PortError::new(ErrorKind::Invalid, OPERATION, "Incomplete", format!("the answer holds no {what}"))
        };
        let Some(sts) = &self.sts else { return Err(incomplete("identity")) };
        let answer = sts.get_caller_identity().send().await.map_err(|error| port_error(OPERATION, error))?;
        let account = answer.account.and_then(|account| account.parse().ok());
        Ok(Identity {
            account: account.ok_or_else(|| incomplete("account"))?,
            arn: answer.arn.ok_or_else(|| incomplete("ARN"))?,
        })
    }
}

impl Connection {
    /// Connects; nothing is called yet but STS, and that only when no account was named.
    pub async fn open(global: &Global) -> anyhow::Result<Self> {
        let options = Options {
            region: global.region.as_ref().map(Region::to_string),
            profile: global.profile.clone(),
            endpoint_url: global.endpoint_url.clone(),
        };
        let aws = tidegate_aws::config(&options).await?;
        if let Some(url) = aws.endpoint_url() {
            endpoint(url).map_err(|wrong| {
                Refusal::new(format!(
                    "the endpoint {url:?} of the environment or the profile cannot be used: {wrong}"
                ))
                .remedy("correct AWS_ENDPOINT_URL, or endpoint_url in the profile")
            })?;
        }
        let caller = Caller::of(&aws);
        let account = match &global.account {
            Some(account) => account.clone(),
            None => caller.identity().await?.account.clone(),
        };
        let region = aws.region().map(|region| region.as_ref().to_owned()).unwrap_or_default();
        let region = Region::new(region).context("failed to use the configured region")?;
        // What a person asks for does not queue behind what the clock sends.
        let queue = format!("{}-commands", global.stack);
        let wakes = Wakes::new(Box::new(QueueByName::new(aws_sdk_sqs::Client::new(&aws), queue.clone())));
        let config = Config {
            table: format!("{}-ledger", global.stack),
            wake_queue_url: queue,
            account,
            region,
            gate_url: None,
        };
        let door = Arc::new(GateApi::new(aws.clone(), &global.stack));
        let balancing = tidegate_assembly::load_balancing(&aws);
        let queues = Arc::new(QueuesOfStack::new(aws_sdk_sqs::Client::new(&aws), &global.stack));
        let stack = Arc::new(NamedStack::new(&aws, &global.stack));
        let start = Start { config, aws };
        let notebook = Arc::new(start.ledger());
        Ok(Self::with(tidegate_assembly::context(&start), wakes, caller)
            .with_notebook(notebook)
            .with_door(door)
            .with_balancing(balancing)
            .with_queues(queues)
            .with_stack(stack))
    }

    /// With what stands around target groups.
    #[must_use]
    pub fn with_balancing(self, balancing: Arc<dyn LoadBalancing>) -> Self {
        Self { balancing: Some(balancing), ..self }
    }

    /// What stands around target groups.
    pub fn balancing(&self) -> anyhow::Result<&dyn LoadBalancing> {
        self.balancing.as_deref().context("this connection cannot look at load balancers")
    }

    /// With the stack's queues.
    #[must_use]
    pub fn with_queues(self, queues: Arc<dyn Queues>) -> Self {
        Self { queues: Some(queues), ..self }
    }

    /// With the stack itself.
    #[must_use]
    pub fn with_stack(self, stack: Arc<dyn Stack>) -> Self {
        Self { stack: Some(stack), ..self }
    }

    /// The stack itself.
    pub fn stack(&self) -> anyhow::Result<&dyn Stack> {
        self.stack.as_deref().context("this connection cannot look at the stack")
    }

    /// The stack's queues.
    pub fn queues(&self) -> anyhow::Result<&dyn Queues> {
        self.queues.as_deref().context("this connection cannot look at queues")
    }

    /// With what receivers were told.
    #[must_use]
    pub fn with_notebook(self, notebook: Arc<dyn Notebook>) -> Self {
        Self { notebook: Some(notebook), ..self }
    }

    /// What receivers were told, and trials of them.
    pub fn notebook(&self) -> anyhow::Result<&dyn Notebook> {
        self.notebook.as_deref().context("this connection has no ledger to ask for a trial in")
    }

    /// With whoever makes links.
    #[must_use]
    pub fn with_door(self, door: Arc<dyn Door>) -> Self {
        Self { door: Some(door), ..self }
    }

    /// Whoever makes links to the dashboard.
    pub fn door(&self) -> anyhow::Result<&dyn Door> {
        self.door.as_deref().context("this connection has nobody to ask for a link")
    }

    /// With any ports; the world's own waker is replaced.
    pub fn with(context: Context, wakes: Wakes, caller: Caller) -> Self {
        let wakes = Arc::new(wakes);
        // The queue is found by its name with the first wake-up, and that it cannot be found is no failure.
        let installation = Installation { waker: Some(wakes.clone()), ..context.installation };
        Self {
            context: Context { installation, ..context },
            wakes,
            caller,
            notebook: None,
            door: None,
            balancing: None,
            queues: None,
            stack: None,
        }
    }

    /// Tidegate's own ground.
    pub fn installation(&self) -> &Installation {
        &self.context.installation
    }

    /// Where images are looked for.
    pub fn registry(&self) -> Registry<'_> {
        let installation = self.installation();
        Registry {
            account: &installation.account,
            region: &installation.region,
            images: &*self.context.images,
        }
    }

    /// Who is recorded as the one who asked.
    pub async fn actor(&self) -> anyhow::Result<Actor> {
        Ok(Actor::Person { name: self.caller.identity().await?.arn.clone() })
    }

    /// Whether the conductor was told of the change just made; says so when it was not.
    pub fn conductor_told(&self, out: &mut Output) -> bool {
        let Some(error) = self.wakes.missed() else { return true };
        out.note(&format!(
            "the conductor could not be told at once ({}); the clock finds the change within a minute",
            error.told()
        ));
        false
    }
}
