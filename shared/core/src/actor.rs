//! Who or what acts.

use serde::{Deserialize, Serialize};

/// Who or what acted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Actor {
    /// Tidegate itself, by the plan.
    Tidegate,
    /// A person or tool with an AWS identity.
    Person {
        /// Their ARN or name.
        name: String,
    },
    /// An event of an AWS service.
    Event {
        /// `aws.ecr`, …
        source: String,
        /// The event's id.
        id: String,
    },
}

impl std::fmt::Display for Actor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tidegate => f.write_str("tidegate"),
            Self::Person { name } => f.write_str(name),
            Self::Event { source, id } => f.write_str(&event(source, id)),
        }
    }
}

/// What an event is to people; its id only where it names something.
fn event(source: &str, id: &str) -> String {
    match source {
        "aws.ecr" => "a push to ECR".to_owned(),
        "aws.codebuild" => format!("build {id}"),
        "aws.s3" => format!("manifest {id}"),
        "aws.codepipeline" => format!("pipeline execution {id}"),
        "tidegate.clock" if id.starts_with("pushed at ") => "the clock, which found a push".to_owned(),
        "tidegate.clock" => format!("the clock, which found build {id}"),
        "github" | "jenkins" | "docker_hub" => format!("webhook of {source}"),
        _ => format!("event of {source}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_event_is_to_people_holds_no_event_id() {
        for source in ["aws.ecr", "github", "shop.ci"] {
            assert!(!event(source, "edcccf36-1c6f-4d2f").contains("edcccf36"), "{source}");
        }
        assert_eq!(event("aws.codebuild", "checkout:4"), "build checkout:4");
    }
}
