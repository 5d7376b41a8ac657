//! The first hour: a service that is there and has nothing prepared gets its first canary by what `tidegate init` prints, and by nothing else.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tidegate_sandbox::local::INFRASTRUCTURE_ROLE;
use tidegate_sandbox::local::shop::{Balancer, CLUSTER, call};

use crate::runner::{Scenario, scenario};
use crate::stage::until;
use crate::story::{Story, good};

const PREPARED_WITHIN: Duration = Duration::from_secs(120);

pub(crate) fn all() -> Vec<Scenario> {
    vec![scenario("first hour: from nothing prepared to a canary by init alone", async |stage| {
        let mut story = Story::open_plain(&stage, "first-hour", Balancer::Application).await?;
        from_nothing(&mut story).await
    })]
}

async fn from_nothing(story: &mut Story) -> Result<()> {
    let name = story.name.to_string();
    let file = story.stage.file("first-hour.txt", "")?.with_extension("yaml");
    let file = file.to_str().context("a path")?.to_owned();
    let asked = ["--json", "init", "--cluster", CLUSTER, "--service", &name, "--out", &file];
    let (code, text) =
        story.stage.tidegate(&[&asked as &[&str], &["--as", "cloudformation"]].concat()).await?;
    ensure!(code == 0, "{text}");
    let answer: Value = serde_json::from_str(&text).with_context(|| text.clone())?;
    let found = answer["strategies"][0]["findings"].to_string();
    ensure!(found.contains("no_second_target_group") && found.contains("alarm_missing"), "{found}");
    deploy(story, answer["addition"].as_str().context("something is lacking")?).await?;

    // A policy is read before it is applied; here its bakes get shorter, and nothing else is changed.
    let policy =
        std::fs::read_to_string(&file)?.replace("bake: 5m", "bake: 4s").replace("bake: 15m", "bake: 3s");
    std::fs::write(&file, &policy)?;
    let (code, text) = story.stage.tidegate(&["apply", &file]).await?;
    ensure!(code == 0, "{text}");
    let other = format!("{file}.again");
    let again = [&asked[..6], &["--out", &other, "--force"]].concat();
    until("init finds nothing that is lacking", PREPARED_WITHIN, async || {
        let (_, text) = story.stage.tidegate(&again).await?;
        let answer: Value = serde_json::from_str(&text).with_context(|| text.clone())?;
        Ok((answer["strategies"][0]["blocked"] == false).then_some(()))
    })
    .await?;

    story.let_in()?;
    let digest = story.push("v2", good("v2")).await?;
    let id = story.release_of(&digest).await?;
    story.until_shifted(&id, 10.0).await?;
    story.ends(&id, "promoted").await?;
    story.runs(&digest).await?;
    doctor(story).await
}

/// Other scenarios spoil what `doctor` sees of their services; this one's is well, and so is what belongs to all.
async fn doctor(story: &Story) -> Result<()> {
    let (_, text) = story.stage.tidegate(&["--json", "doctor"]).await?;
    let answer: Value = serde_json::from_str(&text).with_context(|| text.clone())?;
    let checks = answer["checks"].as_array().context("checks")?;
    for what in ["secret gate".to_owned(), format!("permissions for {}", story.name)] {
        let check = checks.iter().find(|check| check["what"] == what);
        let check = check.with_context(|| format!("no check {what}: {text}"))?;
        ensure!(check["verdict"] == "ok", "{check}");
    }
    Ok(())
}

/// Does what the template and its comments say, as AWS CloudFormation and a person would.
async fn deploy(story: &Story, addition: &str) -> Result<()> {
    let local = &story.stage.local;
    let (template, comments) = addition.split_once("# In what is there already").context("what to change")?;
    let template = yaml(template)?;
    let resources = template["Resources"].as_object().context("resources")?;
    let mut made = Vec::new();
    for (id, resource) in resources {
        if resource["Type"] == "AWS::ElasticLoadBalancingV2::TargetGroup" {
            let created = call(&local.elb, "CreateTargetGroup", resource["Properties"].clone()).await?;
            let arn = created["TargetGroups"][0]["TargetGroupArn"].as_str().context("an ARN")?.to_owned();
            let full_name = arn.rsplit(':').next().unwrap_or_default().to_owned();
            made.push((format!("GetAtt {id}.TargetGroupFullName"), full_name));
            made.push((format!("Ref {id}"), arn));
        }
        if resource["Type"] == "AWS::IAM::Role" {
            made.push((format!("GetAtt {id}.Arn"), INFRASTRUCTURE_ROLE.to_owned()));
        }
    }
    for resource in resources.values().filter(|resource| resource["Type"] == "AWS::CloudWatch::Alarm") {
        let alarm = resolved(&resource["Properties"], &made);
        call(&local.cloudwatch, "PutMetricAlarm", alarm).await?;
    }
    let actions = resolved(&block(comments, "Actions:")?["Actions"], &made);
    call(&local.elb, "ModifyRule", json!({ "RuleArn": story.shop.rule, "Actions": actions })).await?;
    let advanced = resolved(&block(comments, "AdvancedConfiguration:")?["AdvancedConfiguration"], &made);
    let update = json!({ "cluster": CLUSTER, "service": story.name.as_str(), "loadBalancers": [{
        "targetGroupArn": story.shop.groups[0], "containerName": "app", "containerPort": 8080,
        "advancedConfiguration": {
            "alternateTargetGroupArn": advanced["AlternateTargetGroupArn"],
            "productionListenerRule": advanced["ProductionListenerRule"],
            "roleArn": advanced["RoleArn"],
        },
    }]});
    call(&local.ecs, "UpdateService", update).await?;
    Ok(())
}

/// YAML with the short forms of AWS CloudFormation's functions as text: `!Ref A` as `"Ref A"`.
fn yaml(text: &str) -> Result<Value> {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('!') {
        let (function, argument) = after.split_once(' ').context("a function has an argument")?;
        let length = argument.find([' ', '\n', ',']).unwrap_or(argument.len());
        write!(plain, "{before}\"{function} {}\"", &argument[..length])?;
        rest = &argument[length..];
    }
    plain.push_str(rest);
    serde_saphyr::from_str(&plain).with_context(|| plain.clone())
}

/// A part of the comments, as YAML.
fn block(comments: &str, first: &str) -> Result<Value> {
    let lines = comments.lines().map(|line| line.trim_start_matches('#'));
    let inside = lines.skip_while(|line| line.trim() != first).take_while(|line| line.starts_with("      "));
    let text: Vec<&str> = inside.map(|line| &line[6..]).collect();
    yaml(&text.join("\n"))
}

/// With what has been made in the place of what names it.
fn resolved(value: &Value, made: &[(String, String)]) -> Value {
    match value {
        Value::String(text) => {
            made.iter().find(|(named, _)| named == text).map_or_else(|| value.clone(), |(_, is)| json!(is))
        }
        Value::Array(all) => all.iter().map(|one| resolved(one, made)).collect(),
        Value::Object(all) => all.iter().map(|(key, one)| (key.clone(), resolved(one, made))).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}
