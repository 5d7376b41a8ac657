use serde_json::{Value, json};
use tidegate_core::ids::{AccountId, AliasName, FunctionName, Region, Resource};
use tidegate_core::policy::Percent;
use tidegate_core::vocab::lambda::{CodeState, Update};
use tidegate_replay::{Answer, Replay};

use super::*;

fn place() -> Target {
    let function = FunctionName::new("thumbnails").unwrap();
    let at = LambdaAlias { function, alias: AliasName::new("live").unwrap() };
    Target {
        account: AccountId::new("111122223333").unwrap(),
        region: Region::new("eu-central-1").unwrap(),
        resource: Resource::LambdaAlias(at),
        role: None,
    }
}

fn version(number: &str) -> FunctionVersion {
    FunctionVersion::new(number).unwrap()
}

fn image(fill: &str) -> String {
    format!("111122223333.dkr.ecr.eu-central-1.amazonaws.com/shop/thumbnails@sha256:{}", fill.repeat(64))
}

fn alias(points_at: &str, weights: Value, revision: &str) -> Value {
    json!({ "Name": "live", "FunctionVersion": points_at, "RevisionId": revision,
            "RoutingConfig": { "AdditionalVersionWeights": weights } })
}

fn function(fill: &str, update: &str, environment: Value) -> Value {
    json!({
        "Configuration": { "PackageType": "Image", "State": "Active", "LastUpdateStatus": update, "CodeSha256": fill.repeat(64),
            "RevisionId": "r7", "Architectures": ["arm64"], "Role": "arn:aws:iam::111122223333:role/f",
            "Environment": { "Variables": environment } },
        "Code": { "ResolvedImageUri": image(fill), "ImageUri": "x:latest" },
    })
}

fn sent(replay: &Replay, operation: &str) -> Value {
    serde_json::from_str(&replay.calls(operation)[0].body).unwrap()
}

#[tokio::test]
async fn an_alias_is_seen_with_its_weights_and_revision() {
    let replay = Replay::new();
    replay.json("GetAlias", alias("41", json!({ "42": 0.125 }), "r1"));
    let needs = Needs { alias: true, ..Needs::default() };
    let seen = LambdaAdapter::new(replay.config()).observe(&place(), &needs).await;
    let alias = seen.alias.known().unwrap().as_ref().unwrap();
    assert_eq!((alias.version.as_ref(), alias.revision.as_str()), (Some(&version("41")), "r1"));
    assert_eq!(alias.weights, BTreeMap::from([(version("42"), Percent::from_tenths(125))]));
}

#[tokio::test]
async fn what_is_not_there_is_no_error_and_what_cannot_be_seen_is() {
    let replay = Replay::new();
    replay.answer("GetAlias", Answer::error(404, "ResourceNotFoundException", "none"));
    replay.answer("GetFunction", Answer::error(403, "AccessDeniedException", "no"));
    let needs = Needs { alias: true, latest: true, ..Needs::default() };
    let seen = LambdaAdapter::new(replay.config()).observe(&place(), &needs).await;
    assert_eq!(seen.alias.known(), Some(&None));
    let error = seen.latest.error().unwrap();
    assert_eq!((error.kind, error.operation.as_str()), (ErrorKind::Denied, "lambda:GetFunction"));
}

#[tokio::test]
async fn environments_are_compared_and_never_kept() {
    let replay = Replay::new();
    for secret in ["a", "b"] {
        replay.json("GetFunction", function("a", "InProgress", json!({ "PASSWORD": secret })));
    }
    let adapter = LambdaAdapter::new(replay.config());
    let needs = Needs { latest: true, ..Needs::default() };
    let mut seen = Vec::new();
    for _ in 0..2 {
        seen.push(adapter.observe(&place(), &needs).await.latest.known().unwrap().clone().unwrap());
    }
    assert_eq!(seen[0].differing(&seen[1]), BTreeSet::from(["Environment"]));
    assert!(!format!("{seen:?}").contains("PASSWORD"));
    assert_eq!((&seen[0].update, &seen[0].state), (&Update::UnderWay, &CodeState::Ready));
    assert_eq!(seen[0].digest().unwrap().as_str(), format!("sha256:{}", "a".repeat(64)));
}

#[tokio::test]
async fn a_change_of_the_alias_names_what_was_seen_and_everything_it_is_to_do() {
    let replay = Replay::new();
    replay.json("UpdateAlias", alias("41", json!({ "42": 0.1 }), "r2"));
    replay.json("UpdateAlias", alias("41", json!({}), "r3"));
    let adapter = LambdaAdapter::new(replay.config());
    for other in [Some((version("42"), Percent::from_tenths(100))), None] {
        let to = Routing { version: version("41"), other };
        let effect = Effect::Route { to, share: Percent::NONE, seen: "r1".into() };
        adapter.perform(&place(), &effect).await.unwrap();
    }
    let sent: Vec<Value> =
        replay.calls("UpdateAlias").iter().map(|call| serde_json::from_str(&call.body).unwrap()).collect();
    assert_eq!(
        sent[0],
        json!({ "FunctionVersion": "41", "RevisionId": "r1", "RoutingConfig": { "AdditionalVersionWeights": { "42": 0.1 } } })
    );
    assert_eq!(
        sent[1]["RoutingConfig"],
        json!({ "AdditionalVersionWeights": {} }),
        "none at all would leave them"
    );
}

#[tokio::test]
async fn a_change_that_was_made_before_is_no_conflict_and_somebody_elses_is() {
    let replay = Replay::new();
    for _ in 0..2 {
        replay.answer(
            "UpdateAlias",
            Answer::error(412, "PreconditionFailedException", "the revision is another"),
        );
    }
    replay.json("GetAlias", alias("42", json!({}), "r2"));
    replay.json("GetAlias", alias("43", json!({}), "r3"));
    let adapter = LambdaAdapter::new(replay.config());
    let effect = Effect::Route { to: Routing::all(version("42")), share: Percent::ALL, seen: "r1".into() };
    assert_eq!(adapter.perform(&place(), &effect).await, Ok(None));
    let error = adapter.perform(&place(), &effect).await.unwrap_err();
    assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Conflict, "PreconditionFailedException"));
}

#[tokio::test]
async fn code_is_updated_by_digest_without_publishing_and_published_as_it_was_seen() {
    let replay = Replay::new();
    replay.json("UpdateFunctionCode", json!({}));
    replay.json("PublishVersion", json!({ "Version": "42" }));
    let adapter = LambdaAdapter::new(replay.config());
    let update = Effect::UpdateCode { image: image("b"), seen: "r7".into() };
    assert_eq!(adapter.perform(&place(), &update).await, Ok(None));
    let update = sent(&replay, "UpdateFunctionCode");
    assert_eq!(update, json!({ "ImageUri": image("b"), "Publish": false, "RevisionId": "r7" }));
    let release = ReleaseId::new("0".repeat(26)).unwrap();
    let publish = Effect::Publish { release, code_sha256: "b".into(), seen: "r8".into() };
    assert_eq!(adapter.perform(&place(), &publish).await, Ok(Some(version("42"))));
    let publish = sent(&replay, "PublishVersion");
    assert_eq!((&publish["CodeSha256"], &publish["RevisionId"]), (&json!("b"), &json!("r8")));
}

#[tokio::test]
async fn what_passes_the_alias_by_is_named() {
    let replay = Replay::new();
    replay.answer(
        "GetProvisionedConcurrencyConfig",
        Answer::error(404, "ProvisionedConcurrencyConfigNotFoundException", "none"),
    );
    let mapping = |qualifier: &str, source: &str| {
        let function = format!("arn:aws:lambda:eu-central-1:111122223333:function:thumbnails{qualifier}");
        json!({ "FunctionArn": function, "EventSourceArn": format!("arn:aws:sqs:eu-central-1:111122223333:{source}"), "State": "Enabled" })
    };
    let all = [mapping("", "uploads"), mapping(":live", "fine"), mapping(":$LATEST", "latest")];
    replay.json("ListEventSourceMappings", json!({ "EventSourceMappings": all }));
    let needs = Needs { around: true, ..Needs::default() };
    let seen = LambdaAdapter::new(replay.config()).observe(&place(), &needs).await;
    let around = seen.around.known().unwrap();
    assert_eq!(
        (around.provisioned, around.past_alias.as_slice()),
        (None, &["uploads".to_owned(), "latest".to_owned()][..])
    );
}
