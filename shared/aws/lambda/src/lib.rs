//! IO: the AWS Lambda adapter, which sees functions, versions and aliases and changes them. Every change names the revision that was seen, so
//! that AWS refuses it when somebody else was faster.

mod seen;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use async_trait::async_trait;
use aws_sdk_lambda::Client;
use aws_sdk_lambda::operation::get_function::GetFunctionOutput;
use aws_sdk_lambda::types::AliasRoutingConfiguration;
use futures::future::try_join_all;
use tidegate_aws::{SdkConfig, Targets, port_error};
use tidegate_core::fault::{ErrorKind, PortError};
use tidegate_core::ids::{FunctionVersion, LambdaAlias, ReleaseId, Target};
use tidegate_core::ports::Lambda;
use tidegate_core::seen::Seen;
use tidegate_core::vocab::lambda::{AliasSeen, Around, CodeSeen, Effect, Needs, Observation, Routing};

const GET_ALIAS: &str = "lambda:GetAlias";
const GET_FUNCTION: &str = "lambda:GetFunction";
const GET_PROVISIONED: &str = "lambda:GetProvisionedConcurrencyConfig";
const LIST_MAPPINGS: &str = "lambda:ListEventSourceMappings";
const UPDATE_ALIAS: &str = "lambda:UpdateAlias";
const UPDATE_CODE: &str = "lambda:UpdateFunctionCode";
const PUBLISH: &str = "lambda:PublishVersion";

/// AWS Lambda by way of the official SDK, one client for each region and role.
#[derive(Debug)]
pub struct LambdaAdapter {
    clients: Targets<Client>,
}

/// The function of a target. Only an alias of a function is ever asked about here.
fn at<'t>(place: &'t Target, operation: &str) -> Result<&'t LambdaAlias, PortError> {
    place.lambda().ok_or_else(|| {
        let message = format!("{place} is no alias of a Lambda function");
        PortError::new(ErrorKind::Invalid, operation, "NoLambdaAlias", message)
    })
}

/// What AWS says is not there is no error.
fn unless_gone<T>(answer: Result<T, PortError>) -> Result<Option<T>, PortError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

impl LambdaAdapter {
    /// With the home account's configuration.
    pub fn new(installation: SdkConfig) -> Self {
        Self { clients: Targets::new(installation, Client::new) }
    }

    async fn alias(&self, place: &Target) -> Result<Option<AliasSeen>, PortError> {
        let at = at(place, GET_ALIAS)?;
        let client = self.clients.client(place).await;
        let call = client.get_alias().function_name(at.function.as_str()).name(at.alias.as_str());
        let answer = call.send().await.map_err(|error| port_error(GET_ALIAS, error));
        unless_gone(answer)?
            .map(|answer| {
                let weights =
                    answer.routing_config().and_then(|routing| routing.additional_version_weights());
                seen::alias(answer.function_version(), weights, answer.revision_id())
            })
            .transpose()
    }

    /// `$LATEST`, or a version.
    async fn function(
        &self,
        place: &Target,
        version: Option<&FunctionVersion>,
    ) -> Result<Option<GetFunctionOutput>, PortError> {
        let at = at(place, GET_FUNCTION)?;
        let client = self.clients.client(place).await;
        let call = client
            .get_function()
            .function_name(at.function.as_str())
            .set_qualifier(version.map(ToString::to_string));
        unless_gone(call.send().await.map_err(|error| port_error(GET_FUNCTION, error)))
    }

    async fn latest(&self, place: &Target) -> Result<Option<CodeSeen>, PortError> {
        self.function(place, None).await?.map(|answer| seen::code(GET_FUNCTION, &answer)).transpose()
    }

    async fn versions(
        &self,
        place: &Target,
        versions: &BTreeSet<FunctionVersion>,
    ) -> Result<BTreeMap<FunctionVersion, Option<CodeSeen>>, PortError> {
        let one = |version: FunctionVersion| async move {
            let answer = self.function(place, Some(&version)).await?;
            let code = answer.map(|answer| seen::code(GET_FUNCTION, &answer)).transpose()?;
            Ok::<_, PortError>((version, code))
        };
        Ok(try_join_all(versions.iter().cloned().map(one)).await?.into_iter().collect())
    }

    async fn around(&self, place: &Target) -> Result<Around, PortError> {
        let (provisioned, past_alias) = tokio::try_join!(self.provisioned(place), self.past_alias(place))?;
        Ok(Around { provisioned, past_alias })
    }

    async fn provisioned(&self, place: &Target) -> Result<Option<i32>, PortError> {
        let at = at(place, GET_PROVISIONED)?;
        let client = self.clients.client(place).await;
        let call = client
            .get_provisioned_concurrency_config()
            .function_name(at.function.as_str())
            .qualifier(at.alias.as_str());
        let answer = unless_gone(call.send().await.map_err(|error| port_error(GET_PROVISIONED, error)))?;
        Ok(answer.map(|answer| answer.requested_provisioned_concurrent_executions().unwrap_or(0)))
    }

    /// The sources of mappings that name the function itself, or `$LATEST`.
    async fn past_alias(&self, place: &Target) -> Result<Vec<String>, PortError> {
        let at = at(place, LIST_MAPPINGS)?;
        let client = self.clients.client(place).await;
        let mut found = Vec::new();
        let mut marker = None;
        loop {
            let call =
                client.list_event_source_mappings().function_name(at.function.as_str()).set_marker(marker);
            let page = call.send().await.map_err(|error| port_error(LIST_MAPPINGS, error))?;
            found.extend(page.event_source_mappings().iter().filter_map(seen::past_alias));
            marker = page.next_marker.filter(|marker| !marker.is_empty());
            if marker.is_none() {
                return Ok(found);
            }
        }
    }

    /// A change that was refused because of its revision may be the one that was made before, whose answer was lost.
    async fn update_code(&self, place: &Target, image: &str, seen: &str) -> Result<(), PortError> {
        let at = at(place, UPDATE_CODE)?;
        let client = self.clients.client(place).await;
        let call = client
            .update_function_code()
            .function_name(at.function.as_str())
            .image_uri(image)
            .publish(false)
            .revision_id(seen);
        let Err(error) = call.send().await.map_err(|error| port_error(UPDATE_CODE, error)) else {
            return Ok(());
        };
        if error.kind == ErrorKind::Conflict {
            let wanted = tidegate_core::reference::digest_of(image);
            let runs = self.latest(place).await?.and_then(|latest| latest.digest());
            if wanted.is_some() && runs == wanted {
                return Ok(());
            }
        }
        Err(error)
    }

    /// AWS publishes nothing when neither code nor settings have changed since the version before, and tells that one.
    async fn publish(
        &self,
        place: &Target,
        release: &ReleaseId,
        code_sha256: &str,
        seen: &str,
    ) -> Result<FunctionVersion, PortError> {
        let at = at(place, PUBLISH)?;
        let client = self.clients.client(place).await;
        let call = client
            .publish_version()
            .function_name(at.function.as_str())
            .code_sha256(code_sha256)
            .description(format!("tidegate {release}"))
            .revision_id(seen);
        let answer = call.send().await.map_err(|error| port_error(PUBLISH, error))?;
        seen::version(PUBLISH, answer.version())
    }

    async fn route(&self, place: &Target, to: &Routing, seen: &str) -> Result<(), PortError> {
        let at = at(place, UPDATE_ALIAS)?;
        let client = self.clients.client(place).await;
        let weight = |(version, share): &(FunctionVersion, tidegate_core::policy::Percent)| {
            (version.to_string(), f64::from(share.tenths()) / 1000.0)
        };
        // An empty map takes the weights away; none at all would leave them.
        let weights: HashMap<String, f64> = to.other.iter().map(weight).collect();
        let routing =
            AliasRoutingConfiguration::builder().set_additional_version_weights(Some(weights)).build();
        let call = client
            .update_alias()
            .function_name(at.function.as_str())
            .name(at.alias.as_str())
            .function_version(to.version.as_str())
            .routing_config(routing)
            .revision_id(seen);
        let Err(error) = call.send().await.map_err(|error| port_error(UPDATE_ALIAS, error)) else {
            return Ok(());
        };
        if error.kind == ErrorKind::Conflict {
            let does = self.alias(place).await?.and_then(|alias| alias.routing());
            if does.as_ref() == Some(to) {
                return Ok(());
            }
        }
        Err(error)
    }
}

#[async_trait]
impl Lambda for LambdaAdapter {
    async fn observe(&self, place: &Target, needs: &Needs) -> Observation {
        let versions = (!needs.versions.is_empty()).then_some(&needs.versions);
        let (alias, latest, versions, around) = tokio::join!(
            Seen::ask(needs.alias.then_some(()), |()| self.alias(place)),
            Seen::ask(needs.latest.then_some(()), |()| self.latest(place)),
            Seen::ask(versions, |versions| self.versions(place, versions)),
            Seen::ask(needs.around.then_some(()), |()| self.around(place)),
        );
        Observation { alias, latest, versions, around }
    }

    async fn perform(&self, place: &Target, effect: &Effect) -> Result<Option<FunctionVersion>, PortError> {
        match effect {
            Effect::UpdateCode { image, seen } => self.update_code(place, image, seen).await.map(|()| None),
            Effect::Publish { release, code_sha256, seen } => {
                self.publish(place, release, code_sha256, seen).await.map(Some)
            }
            Effect::Route { to, seen, .. } => self.route(place, to, seen).await.map(|()| None),
        }
    }
}

#[cfg(test)]
mod tests;
