//! Who is who: the people of a policy by all the names they go by, and who is known to have asked for a release.
//!
//! There is one question, "whose name is this?", and two kinds of names. An **identity** is an ARN that AWS has proven or that STS gave: it
//! speaks for the person whose pattern fits it most closely. Any other **name** was written by someone (a GitHub login, an address, what a
//! build server calls its user): it proves nothing, so it never lets anybody approve, but it is enough to keep a person from approving
//! their own release.

use std::collections::{BTreeMap, BTreeSet};

use crate::actor::Actor;
use crate::ids::{AwsPattern, Closeness, SlackMember};
use crate::intent::Provenance;
use crate::plan::Plan;
use crate::policy::{Approval, Person, Policy};
use crate::release::Release;

/// The people of a policy or a plan, by name.
#[derive(Debug, Clone, Default)]
pub struct People<'a>(BTreeMap<&'a str, &'a Person>);

impl<'a> People<'a> {
    /// Everyone a policy knows.
    pub fn of_policy(policy: &'a Policy) -> Self {
        Self(policy.people.iter().map(|(name, person)| (name.as_str(), person)).collect())
    }

    /// Everyone the plan's policy knew: also who may not approve, because an identity that is theirs is nobody else's.
    pub fn of_plan(plan: &'a Plan) -> Self {
        let approvers = plan.gates.approvals.iter().flat_map(|gate| &gate.approvers);
        let approvers = approvers.map(|approver| (approver.name.as_str(), &approver.person));
        let people = plan.gates.people.iter().map(|(name, person)| (name.as_str(), person));
        Self(approvers.chain(people).collect())
    }

    /// Whose AWS identity this is: whose pattern says the most about it. Several when patterns say equally much, nobody when none fits.
    pub fn with_identity(&self, arn: &str) -> Vec<&'a str> {
        self.closest(|pattern| pattern.closeness(arn))
    }

    /// Whose Slack account this is; several when people share one, nobody when it is nobody's.
    pub fn with_slack(&self, member: &SlackMember) -> Vec<&'a str> {
        let theirs =
            |(name, person): (&&'a str, &&Person)| (person.slack.as_ref() == Some(member)).then_some(*name);
        self.0.iter().filter_map(theirs).collect()
    }

    fn closest(&self, closeness: impl Fn(&AwsPattern) -> Option<Closeness>) -> Vec<&'a str> {
        let closest = |person: &Person| person.aws.iter().filter_map(&closeness).max();
        let fits: Vec<_> =
            self.0.iter().filter_map(|(name, person)| Some((closest(person)?, *name))).collect();
        let best = fits.iter().map(|(closeness, _)| *closeness).max();
        fits.into_iter().filter(|(closeness, _)| Some(*closeness) == best).map(|(_, name)| name).collect()
    }

    /// Whom this text names: an identity, or any other name. Upper and lower case are the same, as they are for GitHub and for mail.
    pub fn called(&self, text: &str) -> Vec<&'a str> {
        let text = text.trim();
        if text.starts_with("arn:") {
            return self.with_identity(text);
        }
        // `Anna Berg <anna@example.com>`: what Git makes of an author.
        let address = text.rsplit_once('<').and_then(|(_, rest)| rest.strip_suffix('>'));
        let spellings: Vec<&str> =
            [Some(text), address, text.strip_prefix('@'), text.strip_prefix("github:")]
                .into_iter()
                .flatten()
                .filter(|spelling| !spelling.is_empty())
                .collect();
        let goes_by = |name: &str, person: &Person| {
            let names = [&person.github, &person.email, &person.aliases].into_iter().flatten();
            let mut names = names.map(String::as_str).chain([name]);
            names.any(|name| spellings.iter().any(|spelling| spelling.eq_ignore_ascii_case(name)))
        };
        let by_name = self.0.iter().filter(|(name, person)| goes_by(name, person)).map(|(name, _)| *name);
        let found: BTreeSet<&str> =
            by_name.chain(self.closest(|pattern| pattern.closeness_to_name(text))).collect();
        found.into_iter().collect()
    }

    /// Who asked for a release, or made it, as far as anybody is known.
    pub fn requester(&self, by: &Actor, provenance: &Provenance) -> Requester {
        let asked = match by {
            Actor::Person { name } => Some(name.as_str()),
            Actor::Tidegate | Actor::Event { .. } => None,
        };
        let texts: Vec<&str> = [asked, provenance.author.as_deref()].into_iter().flatten().collect();
        let mut known: Vec<String> =
            texts.iter().flat_map(|text| self.called(text)).map(str::to_owned).collect();
        known.sort();
        known.dedup();
        match texts.first() {
            _ if !known.is_empty() => Requester::People(known),
            Some(stranger) => Requester::Stranger((*stranger).to_owned()),
            None => Requester::Nobody,
        }
    }

    /// Who asked for this release, or made it.
    pub fn requester_of(&self, release: &Release) -> Requester {
        self.requester(&release.requested_by, &release.provenance)
    }
}

/// Who asked for a release, or made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Requester {
    /// People of the policy.
    People(Vec<String>),
    /// Someone the policy does not know.
    Stranger(String),
    /// An event started it and named nobody: a push, a pipeline, a webhook.
    Nobody,
}

impl Requester {
    /// Why the release does not pass a gate that wants to know who asked for it; `None` when it does.
    pub fn refused_by(&self, approval: &Approval) -> Option<String> {
        match self {
            Self::People(_) => None,
            Self::Stranger(_) | Self::Nobody => approval
                .require_requester
                .then(|| format!("{self}, and the policy releases nothing that none of its people asked for (approval.require_requester)")),
        }
    }
}

impl std::fmt::Display for Requester {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::People(names) => write!(f, "{} asked for this release, or made it", names.join(" and ")),
            Self::Stranger(name) => {
                write!(f, "{name} asked for this release, or made it, and is none of the policy's people")
            }
            Self::Nobody => f.write_str("nobody is known to have asked for this release"),
        }
    }
}

/// What is allowed in a policy, and yet holds less than it seems to.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Warning {
    /// The field: `people.anna.aws[0]`.
    pub path: String,
    /// What is the matter and what to do.
    pub problem: String,
}

impl std::fmt::Display for Warning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.path, self.problem)
    }
}

/// What whoever stores the policy should know about its people.
pub fn warnings(policy: &Policy) -> Vec<Warning> {
    let mut found = Vec::new();
    let mut owners: BTreeMap<&AwsPattern, &str> = BTreeMap::new();
    for (name, person) in &policy.people {
        for (index, pattern) in person.aws.iter().enumerate() {
            let path = format!("people.{name}.aws[{index}]");
            if let Some(session) = pattern.chosen_session() {
                let problem = format!(
                    "whoever may assume the role can call their session {session:?}, and passes for {name} then; use a role that only {name} may assume, or have the role's trust policy require the session name (sts:RoleSessionName)"
                );
                found.push(Warning { path: path.clone(), problem });
            }
            if let Some(other) = owners.insert(pattern, name) {
                let problem =
                    format!("{other} has the same identity: Tidegate cannot tell {other} and {name} apart");
                found.push(Warning { path, problem });
            }
        }
    }
    let mut members = BTreeMap::new();
    for (name, person) in &policy.people {
        if let Some(other) = person.slack.as_ref().and_then(|member| members.insert(member, name)) {
            let problem =
                format!("{other} has the same member id: Tidegate cannot tell {other} and {name} apart");
            found.push(Warning { path: format!("people.{name}.slack"), problem });
        }
    }
    let names_nobody = !policy.from.ecr.tags.is_empty();
    for (index, _) in
        policy.approval.iter().enumerate().filter(|(_, approval)| names_nobody && approval.require_requester)
    {
        let problem =
            "an ECR push names nobody, so every release that a push starts (from.ecr.tags) is refused";
        found.push(Warning { path: format!("approval[{index}].require_requester"), problem: problem.into() });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn people(yaml: &str) -> BTreeMap<String, Person> {
        serde_saphyr::from_str(yaml).unwrap()
    }

    fn of(people: &BTreeMap<String, Person>) -> People<'_> {
        People(people.iter().map(|(name, person)| (name.as_str(), person)).collect())
    }

    const TEAM: &str = r#"
anna:
  github: Anna-Berg
  email: [anna@example.com, a.berg@example.com]
  aliases: jenkins-anna
  aws: ["arn:aws:sts::111122223333:assumed-role/engineer/anna", "arn:aws:iam::111122223333:user/staff/anna"]
ben: { aws: ["arn:aws:sts::111122223333:assumed-role/engineer/*"] }
carla: { aws: ["arn:aws:iam::111122223333:role/leads/carla"] }
dora: {}
"#;

    #[test]
    fn a_person_is_known_by_every_name() {
        let team = people(TEAM);
        for (text, whom) in [
            ("anna", vec!["anna"]),
            ("ANNA-berg", vec!["anna"]),
            ("@anna-berg", vec!["anna"]),
            ("github:anna-berg", vec!["anna"]),
            ("A.Berg@example.com", vec!["anna"]),
            ("Anna Berg <anna@example.com>", vec!["anna"]),
            ("jenkins-anna", vec!["anna"]),
            ("arn:aws:sts::111122223333:assumed-role/engineer/anna", vec!["anna"]),
            ("arn:aws:iam::111122223333:user/staff/anna", vec!["anna"]),
            // What CodeBuild calls whoever started a build.
            ("engineer/anna", vec!["anna"]),
            ("engineer/zoe", vec!["ben"]),
            ("dora", vec!["dora"]),
            ("arn:aws:sts::111122223333:assumed-role/carla/anything", vec!["carla"]),
            ("annabel", vec![]),
            ("Anna Berg", vec![]),
            ("", vec![]),
            ("<>", vec![]),
            ("@", vec![]),
            ("codepipeline/shop", vec![]),
            ("arn:aws:sts::444455556666:assumed-role/engineer/anna", vec![]),
        ] {
            assert_eq!(of(&team).called(text), whom, "{text}");
        }
    }

    #[test]
    fn the_closest_pattern_says_whose_an_identity_is() {
        let team = people(TEAM);
        let whose = |session: &str| {
            of(&team).with_identity(&format!("arn:aws:sts::111122223333:assumed-role/engineer/{session}"))
        };
        assert_eq!(whose("anna"), ["anna"]);
        assert_eq!(whose("zoe"), ["ben"]);
        // What somebody wrote is no identity.
        for name in ["anna", "anna-berg", "anna@example.com", "engineer/anna", ""] {
            assert_eq!(of(&team).with_identity(name), Vec::<&str>::new(), "{name}");
        }
        let both =
            people(r#"{ x: { aws: ["arn:aws:iam::1:role/a*"] }, y: { aws: ["arn:aws:iam::1:role/a*"] } }"#);
        assert_eq!(of(&both).with_identity("arn:aws:iam::1:role/ab"), ["x", "y"]);
    }

    #[test]
    fn who_asked_is_someone_known_a_stranger_or_nobody() {
        let team = people(TEAM);
        let requester = |by: &Actor, author: Option<&str>| {
            let provenance = Provenance { author: author.map(str::to_owned), ..Provenance::default() };
            of(&team).requester(by, &provenance).to_string()
        };
        let push = Actor::Event { source: "aws.ecr".into(), id: "1".into() };
        let person = |name: &str| Actor::Person { name: name.into() };
        assert_eq!(requester(&push, None), "nobody is known to have asked for this release");
        assert_eq!(requester(&push, Some("anna-berg")), "anna asked for this release, or made it");
        assert_eq!(
            requester(&person("arn:aws:sts::111122223333:assumed-role/carla/x"), Some("anna-berg")),
            "anna and carla asked for this release, or made it"
        );
        let stranger = requester(&person("arn:aws:iam::1:user/zoe"), None);
        assert_eq!(
            stranger,
            "arn:aws:iam::1:user/zoe asked for this release, or made it, and is none of the policy's people"
        );
    }

    fn warned(people: &str, approval: &str) -> Vec<String> {
        let text = format!(
            "service: a\nfrom: {{ ecr: {{ repository: a/a, tags: ['*'] }} }}\nto: {{ ecs: {{ cluster: a, service: a, container: a }} }}\n\
             strategy: {{ rolling: {{}} }}\napproval: {{ before: deploy, by: [x]{approval} }}\npeople: {people}\n"
        );
        let policy = crate::policy::parse("a.yaml", &text).unwrap();
        warnings(&policy).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_policy_is_warned_about_names_that_callers_choose_and_people_who_share_one() {
        let quiet = r#"{ x: { aws: ["arn:aws:iam::1:role/a", "arn:aws:sts::1:assumed-role/b/*", "arn:aws:iam::1:user/x",
            "arn:aws:sts::1:assumed-role/AWSReservedSSO_Dev_0123/x@example.com"] } }"#;
        assert_eq!(warned(quiet, ""), Vec::<String>::new());
        let chosen = warned(r#"{ x: { aws: ["arn:aws:sts::1:assumed-role/engineer/x"] } }"#, "");
        assert_eq!(chosen.len(), 1);
        assert!(chosen[0].starts_with("people.x.aws[0]: whoever may assume the role"), "{chosen:?}");
        let shared =
            warned(r#"{ x: { aws: ["arn:aws:iam::1:role/a"] }, y: { aws: ["arn:aws:iam::1:role/a"] } }"#, "");
        assert_eq!(shared, ["people.y.aws[0]: x has the same identity: Tidegate cannot tell x and y apart"]);
        let chatting = warned("{ x: { slack: U0123ABCDEF }, y: { slack: U0123ABCDEF } }", "");
        assert_eq!(
            chatting,
            ["people.y.slack: x has the same member id: Tidegate cannot tell x and y apart"]
        );
        let pushes = warned("{ x: {} }", ", require_requester: true");
        assert!(
            pushes.len() == 1 && pushes[0].starts_with("approval[0].require_requester: an ECR push"),
            "{pushes:?}"
        );
    }
}
