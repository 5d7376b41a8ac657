//! `init`, the pure part: from what was seen of a service to a policy file with comments, and to what has to be added in AWS, in the language one
//! keeps infrastructure in. What is lacking is not judged here: it is what preflight found.

mod cdk;
mod cloudformation;
mod terraform;

use std::collections::BTreeSet;

use tidegate_core::finding::FindingCode;
use tidegate_core::ids::{
    AccountId, ContainerName, EcsService, Region, RepositoryName, RuleArn, ServiceName, Tag, TargetGroupArn,
};
use tidegate_core::vocab::elb::Surroundings;

/// In what the addition is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Language {
    /// AWS CloudFormation, YAML
    Cloudformation,
    /// Terraform
    Terraform,
    /// AWS CDK, TypeScript
    Cdk,
}

/// A service as it was found.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct Ground {
    /// What Tidegate is to call it.
    pub service: ServiceName,
    pub account: AccountId,
    pub region: Region,
    pub at: EcsService,
    /// Whether it is where Tidegate's own configuration points to.
    pub is_home: bool,
    pub container: ContainerName,
    pub repository: RepositoryName,
    /// The tag it runs, where its task definition names one.
    pub tag: Option<Tag>,
    /// Its load balancers.
    pub balancers: Vec<Balancer>,
    /// What preflight found for the strategy `canary`.
    pub lacks: BTreeSet<FindingCode>,
}

/// A load balancer of the service.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct Balancer {
    pub around: Surroundings,
    pub second: Option<TargetGroupArn>,
    /// The rule or listener that sends the service its requests, where there is no doubt.
    pub rule: Option<RuleArn>,
    pub role_given: bool,
}

/// What has to be added for one load balancer.
struct Missing<'a> {
    /// `Checkout`, `Checkout2`: what resources are called by.
    id: String,
    /// `checkout`, `checkout-2`.
    name: String,
    balancer: &'a Balancer,
    group: bool,
    rule: bool,
    role: bool,
}

/// One alarm for one target group.
struct Alarm {
    id: String,
    name: String,
    /// `AWS/ApplicationELB` or `AWS/NetworkELB`.
    namespace: &'static str,
    load_balancer: String,
    /// As CloudWatch names the target group; `None`: the new one.
    group: Option<String>,
}

/// How an infrastructure language writes each part of an addition; the order of the parts is the same in all of them.
struct Dialect {
    /// What a comment begins with.
    comment: &'static str,
    /// What stands before the first part.
    begins: &'static str,
    group: fn(&Missing<'_>) -> String,
    role: &'static str,
    alarm: fn(&Alarm) -> String,
    /// What a person has to change by hand.
    changes: fn(&Missing<'_>) -> String,
}

impl Ground {
    fn has(&self, code: FindingCode) -> bool {
        self.lacks.contains(&code)
    }

    /// Whether there is anything to be added in AWS that can be written down.
    pub fn is_lacking(&self) -> bool {
        self.missing().iter().any(|it| it.group || it.rule || it.role) || !self.alarms_to_make().is_empty()
    }

    fn missing(&self) -> Vec<Missing<'_>> {
        self.balancers.iter().enumerate().map(|(index, balancer)| self.missing_of(index, balancer)).collect()
    }

    fn missing_of<'a>(&self, index: usize, balancer: &'a Balancer) -> Missing<'a> {
        let group = self.has(FindingCode::NoSecondTargetGroup) && balancer.second.is_none();
        let suffix = if index == 0 { String::new() } else { (index + 1).to_string() };
        let dash = if suffix.is_empty() { String::new() } else { format!("-{suffix}") };
        Missing {
            id: format!("{}{suffix}", pascal(self.service.as_str())),
            name: format!("{}{dash}", self.service),
            balancer,
            group,
            rule: group || self.has(FindingCode::RuleWithoutBothGroups),
            role: group || (self.has(FindingCode::NoInfrastructureRole) && !balancer.role_given),
        }
    }

    fn needs_role(&self) -> bool {
        self.missing().iter().any(|it| it.role)
    }

    /// The alarms of the policy: one for each target group, because which of the two carries the candidate changes from release to release.
    fn alarms(&self) -> Vec<Alarm> {
        let mut alarms = Vec::new();
        for it in self.missing() {
            let Some(balancer) = &it.balancer.around.load_balancer else { continue };
            let load_balancer = tail(balancer, ":loadbalancer/");
            let namespace =
                if load_balancer.starts_with("app/") { "AWS/ApplicationELB" } else { "AWS/NetworkELB" };
            let groups = [
                ("first", Some(it.balancer.around.group.as_str())),
                ("second", it.balancer.second.as_ref().map(TargetGroupArn::as_str)),
            ];
            for (which, group) in groups {
                alarms.push(Alarm {
                    id: format!("{}{}Alarm", it.id, pascal(which)),
                    name: format!("{}-{which}-group", it.name),
                    namespace,
                    load_balancer: load_balancer.clone(),
                    group: group.map(|arn| arn.rsplit(':').next().unwrap_or(arn).to_owned()),
                });
            }
        }
        alarms
    }

    fn alarms_to_make(&self) -> Vec<Alarm> {
        if self.has(FindingCode::AlarmMissing) || self.has(FindingCode::NoAlarms) {
            self.alarms()
        } else {
            Vec::new()
        }
    }

    /// The names of the policy's alarms.
    pub fn alarm_names(&self) -> Vec<String> {
        self.alarms().into_iter().map(|alarm| alarm.name).collect()
    }

    /// What has to be added, in this language.
    pub fn addition(&self, language: Language) -> String {
        let dialect = match language {
            Language::Cloudformation => cloudformation::DIALECT,
            Language::Terraform => terraform::DIALECT,
            Language::Cdk => cdk::DIALECT,
        };
        let (missing, alarms) = (self.missing(), self.alarms_to_make());
        let groups = missing.iter().filter(|it| it.group).map(dialect.group);
        let role = self.needs_role().then(|| dialect.role.to_owned());
        let changes = missing.iter().filter(|it| it.rule || it.role).map(dialect.changes);
        let parts = groups.chain(role).chain(alarms.iter().map(dialect.alarm)).chain(changes);
        let begins = [self.header(dialect.comment), dialect.begins.to_owned()];
        begins.into_iter().chain(parts).collect()
    }

    /// The first lines of an addition.
    fn header(&self, comment: &str) -> String {
        let ecs = &self.at;
        format!(
            "{comment} What ECS service {}/{} lacks for the strategies canary, linear and blue_green. Read it before you deploy it: names, health checks\n\
             {comment} and thresholds are taken from what is there, or are a beginning.\n",
            ecs.cluster, ecs.service
        )
    }

    /// The policy file.
    pub fn policy(&self) -> String {
        let Self { service, repository, container, .. } = self;
        let ecs = &self.at;
        let tags = self.tag.as_ref().map_or_else(|| "v*".to_owned(), |tag| pattern(tag.as_str()));
        let runs = match &self.tag {
            Some(tag) => format!("it runs {tag} now"),
            None => "it runs an image without a tag now: correct this".to_owned(),
        };
        let place = if self.is_home {
            String::new()
        } else {
            format!("    account: \"{}\"\n    region: {}\n", self.account, self.region)
        };
        let (strategy, alarms) = if self.balancers.is_empty() { rolling() } else { self.canary() };
        format!(
            "# How {service} is released. Every field is described in docs/policy.md; after a change: tidegate validate FILE, then tidegate apply FILE.\n\
             service: {service}\n\n\
             # A push to this ECR repository under a tag that matches starts a release ({runs}).\n\
             from:\n  ecr:\n    repository: {repository}\n    tags: [\"{tags}\"]\n\n\
             # Where it goes. Containers that are not named keep the image they run.\n\
             to:\n  ecs:\n    cluster: {}\n    service: {}\n    container: {container}\n{place}\n\
             {strategy}\n{alarms}",
            ecs.cluster, ecs.service
        )
    }

    fn canary(&self) -> (String, String) {
        let strategy = "# 10% of the requests for 5 minutes, then all of them; both versions stay for 15 minutes more. Others: linear, steps, blue_green, rolling.\n\
             strategy:\n  canary: { percent: 10, bake: 5m }\n  bake: 15m\n";
        let names: Vec<String> = self.alarm_names();
        let alarms = format!(
            "# One of these in ALARM rolls the release back; so do 3 tasks that crash. There is one for each target group.\n\
             rollback:\n  alarms: [{}]\n\n\
             # Each bake needs 100 answered requests, and is held up to 30 minutes for them. Lower it for a quiet service:\n\
             # evidence: {{ min_requests: 20 }}\n\n\
             # Somebody may have to approve before traffic moves:\n\
             # approval: {{ before: shift, by: [ann] }}\n\
             # people: {{ ann: {{ aws: [\"arn:aws:iam::{}:role/developer\"] }} }}\n",
            names.join(", "),
            self.account
        );
        (strategy.to_owned(), alarms)
    }
}

fn rolling() -> (String, String) {
    let strategy = "# The service has no load balancer, so there are no requests to share out: its tasks are replaced one after the other, and watched.\n\
         # With the engine weighted a canary is a share of tasks: strategy: { steps: [{ percent: 10, bake: 5m }], bake: 15m }\n\
         strategy:\n  rolling: {}\n  bake: 15m\n";
    let alarms = "# Without alarms only crashing tasks, Amazon ECS itself or a person roll a release back. Name some:\n\
         # rollback: { alarms: [checkout-errors] }\n";
    (strategy.to_owned(), alarms.to_owned())
}

/// A pattern for tags like this one: what stands before the last part that counts, then anything.
fn pattern(tag: &str) -> String {
    match tag.rfind(['-', '.', '_']) {
        Some(at) if at > 0 => format!("{}*", &tag[..=at]),
        _ => match tag.find(|c: char| c.is_ascii_digit()) {
            Some(at) if at > 0 => format!("{}[0-9]*", &tag[..at]),
            _ => tag.to_owned(),
        },
    }
}

/// `check-out_2` as `CheckOut2`.
fn pascal(name: &str) -> String {
    let capital = |part: &str| {
        let mut letters = part.chars();
        letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
    };
    name.split(['-', '_']).map(capital).collect()
}

fn tail(arn: &str, after: &str) -> String {
    arn.split_once(after).map_or(arn, |(_, rest)| rest).to_owned()
}

/// A name that AWS takes for a target group: at most 32 characters, and no hyphen at the end.
fn group_name(name: &str) -> String {
    let clean: String = name.chars().map(|c| if c == '_' { '-' } else { c }).take(25).collect();
    format!("{}-second", clean.trim_end_matches('-'))
}

const ERROR_RATE: &str = "IF(requests > 20, 100 * FILL(errors, 0) / requests, 0)";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_like_the_one_that_runs() {
        assert_eq!(pattern("main-41"), "main-*");
        assert_eq!(pattern("v12"), "v[0-9]*");
        assert_eq!(pattern("1.2.3"), "1.2.*");
        assert_eq!(pattern("latest"), "latest");
        assert_eq!(pascal("check-out_2"), "CheckOut2");
        assert!(group_name(&"x".repeat(60)).len() <= 32);
    }
}
