//! PURE: whether a repository's lifecycle policy is about to take an image away.
//!
//! Evaluated here from the policy in force. ECR's own preview is of no use for it: it shows the policy somebody last tried out, at
//! the time they did. Rules as documented in "Lifecycle policy properties" and "Automate the cleanup of images" (ECR user guide):
//! the rule with the lowest number whose tags match decides about an image, no later one can; ECR acts within 24 hours.

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

/// How far ahead is looked: ECR acts within 24 hours, so what is due by then may be gone any moment.
const AHEAD: SignedDuration = SignedDuration::from_hours(24);

/// A lifecycle policy. Fields and values that are not known are taken to mean nothing for the image.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct LifecyclePolicy {
    #[serde(default)]
    rules: Vec<Rule>,
}

/// One rule. Whether its action is to expire or to archive makes no difference: ECS can pull neither.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Rule {
    rule_priority: i64,
    selection: Selection,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Selection {
    tag_status: String,
    tag_pattern_list: Vec<String>,
    tag_prefix_list: Vec<String>,
    storage_class: Option<String>,
    count_type: String,
    count_unit: Option<String>,
    count_number: u32,
}

/// What a policy looks at in an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Subject {
    pub(crate) tags: Vec<String>,
    pub(crate) pushed_at: Timestamp,
    pub(crate) pulled_at: Option<Timestamp>,
}

/// What a policy says about an image.
#[derive(Debug)]
pub(crate) enum Verdict<'a> {
    /// It stays.
    Stays,
    /// It is about to go.
    Goes,
    /// It goes when this many images or more that the rule selects were pushed after it.
    GoesBehind(usize, &'a Rule),
}

impl LifecyclePolicy {
    /// From the text of `GetLifecyclePolicy`.
    pub(crate) fn parse(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// What it says about an image that is not archived.
    pub(crate) fn verdict(&self, image: &Subject, now: Timestamp) -> Verdict<'_> {
        let matching = self.rules.iter().filter(|rule| rule.selects(image));
        let Some(rule) = matching.min_by_key(|rule| rule.rule_priority) else { return Verdict::Stays };
        let due = |since: Timestamp| match rule.selection.days() {
            Some(days) if now.saturating_add(AHEAD).unwrap_or(now).duration_since(since) > days => {
                Verdict::Goes
            }
            Some(_) | None => Verdict::Stays,
        };
        match rule.selection.count_type.as_str() {
            "sinceImagePushed" => due(image.pushed_at),
            "sinceImagePulled" => due(image.pulled_at.unwrap_or(image.pushed_at)),
            "imageCountMoreThan" => {
                let count = usize::try_from(rule.selection.count_number).unwrap_or(usize::MAX);
                Verdict::GoesBehind(count, rule)
            }
            _ => Verdict::Stays,
        }
    }
}

impl Rule {
    /// Whether it looks at an image that is not archived.
    pub(crate) fn selects(&self, image: &Subject) -> bool {
        let selection = &self.selection;
        if selection.storage_class.as_deref().is_some_and(|class| class != "standard") {
            return false;
        }
        // "If you specify multiple tags, only the images with all specified tags are selected."
        let any_tag = |matches: &dyn Fn(&str) -> bool| image.tags.iter().any(|tag| matches(tag));
        match selection.tag_status.as_str() {
            "any" => true,
            "untagged" => image.tags.is_empty(),
            "tagged" => {
                let mut patterns = selection.tag_pattern_list.iter();
                let mut prefixes = selection.tag_prefix_list.iter();
                !image.tags.is_empty()
                    && patterns.all(|pattern| any_tag(&|tag| matches(pattern, tag)))
                    && prefixes.all(|prefix| any_tag(&|tag| tag.starts_with(prefix.as_str())))
            }
            _ => false,
        }
    }
}

impl Selection {
    fn days(&self) -> Option<SignedDuration> {
        let days = self.count_unit.as_deref().is_none_or(|unit| unit == "days");
        days.then(|| SignedDuration::from_hours(24 * i64::from(self.count_number)))
    }
}

/// Whether a pattern, in which `*` is any text, is the whole tag.
fn matches(pattern: &str, tag: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == tag };
    let Some(mut tag) = tag.strip_prefix(start) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let end = parts.pop().unwrap_or_default();
    for part in parts {
        // The earliest place leaves the most for what follows.
        let Some(at) = tag.find(part) else { return false };
        tag = &tag[at + part.len()..];
    }
    tag.ends_with(end)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn at(day: i64) -> Timestamp {
        Timestamp::from_second(1_760_000_000 + day * 86_400).unwrap()
    }

    fn image(tags: &[&str], pushed_day: i64) -> Subject {
        let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        Subject { tags, pushed_at: at(pushed_day), pulled_at: None }
    }

    fn rule(priority: i64, mut selection: Value) -> Value {
        selection["countNumber"] = selection.get("countNumber").cloned().unwrap_or(14.into());
        json!({ "rulePriority": priority, "description": "…", "selection": selection, "action": { "type": "expire" } })
    }

    fn policy(rules: &[Value]) -> LifecyclePolicy {
        LifecyclePolicy::parse(&json!({ "rules": rules }).to_string()).unwrap()
    }

    fn word(policy: &LifecyclePolicy, image: &Subject, today: i64) -> String {
        match policy.verdict(image, at(today)) {
            Verdict::Stays => "stays".into(),
            Verdict::Goes => "goes".into(),
            Verdict::GoesBehind(count, _) => format!("goes behind {count}"),
        }
    }

    #[test]
    fn age_is_looked_at_a_day_ahead() {
        let policy = policy(&[rule(
            1,
            json!({ "tagStatus": "any", "countType": "sinceImagePushed", "countUnit": "days" }),
        )]);
        assert_eq!(word(&policy, &image(&["v1"], 0), 13), "stays");
        assert_eq!(word(&policy, &image(&["v1"], 0), 14), "goes");
        assert_eq!(word(&policy, &image(&["v1"], 0), 99), "goes");
    }

    #[test]
    fn what_is_pulled_is_younger() {
        let policy = policy(&[rule(
            1,
            json!({ "tagStatus": "any", "countType": "sinceImagePulled", "countUnit": "days" }),
        )]);
        let pulled = Subject { pulled_at: Some(at(20)), ..image(&[], 0) };
        assert_eq!(word(&policy, &pulled, 30), "stays");
        assert_eq!(word(&policy, &pulled, 40), "goes");
        assert_eq!(word(&policy, &image(&[], 0), 30), "goes");
    }

    #[test]
    fn the_first_rule_whose_tags_match_decides() {
        let keep = json!({ "tagStatus": "tagged", "tagPrefixList": ["release-"], "countType": "imageCountMoreThan", "countNumber": 500 });
        let all = json!({ "tagStatus": "any", "countType": "sinceImagePushed", "countUnit": "days" });
        // The order in the text does not matter, the priority does.
        let policy = policy(&[rule(9, all), rule(1, keep)]);
        assert_eq!(word(&policy, &image(&["release-7"], 0), 99), "goes behind 500");
        assert_eq!(word(&policy, &image(&["main-7"], 0), 99), "goes");
    }

    #[test]
    fn untagged_rules_are_not_for_tagged_images() {
        let rules = json!({ "tagStatus": "untagged", "countType": "sinceImagePushed", "countUnit": "days" });
        let policy = policy(&[rule(1, rules)]);
        assert_eq!(word(&policy, &image(&["v1"], 0), 99), "stays");
        assert_eq!(word(&policy, &image(&[], 0), 99), "goes");
    }

    #[test]
    fn an_image_needs_every_tag_of_a_rule() {
        let rules = json!({ "tagStatus": "tagged", "tagPatternList": ["main-*", "*-arm64"],
            "countType": "sinceImagePushed", "countUnit": "days" });
        let policy = policy(&[rule(1, rules)]);
        assert_eq!(word(&policy, &image(&["main-1"], 0), 99), "stays");
        assert_eq!(word(&policy, &image(&["main-1", "v1-arm64"], 0), 99), "goes");
        assert_eq!(word(&policy, &image(&["main-1-arm64"], 0), 99), "goes");
    }

    #[test]
    fn archiving_takes_an_image_away_but_rules_for_the_archive_do_not() {
        let archive = json!({ "rulePriority": 1, "action": { "type": "transition", "targetStorageClass": "archive" },
            "selection": { "tagStatus": "any", "countType": "sinceImagePulled", "countUnit": "days", "countNumber": 14 } });
        assert_eq!(word(&policy(&[archive]), &image(&["v1"], 0), 99), "goes");
        let purge = json!({ "tagStatus": "any", "storageClass": "archive",
            "countType": "sinceImageTransitioned", "countUnit": "days" });
        assert_eq!(word(&policy(&[rule(1, purge)]), &image(&["v1"], 0), 99), "stays");
    }

    #[test]
    fn what_is_not_known_takes_nothing_away() {
        let new = json!({ "rulePriority": 1, "selection": { "tagStatus": "any", "countType": "sinceFullMoon", "moons": 3 } });
        assert_eq!(word(&policy(&[new]), &image(&["v1"], 0), 99), "stays");
        assert_eq!(word(&policy(&[]), &image(&["v1"], 0), 99), "stays");
        assert!(LifecyclePolicy::parse("{\"rules\": [").is_err());
    }

    #[test]
    fn patterns() {
        for (pattern, tag, expected) in [
            ("main", "main", true),
            ("main", "main-1", false),
            ("main*", "main-1", true),
            ("*main", "x-main", true),
            ("*main", "main-x", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c", false),
            ("a*a", "a", false),
            ("*", "anything", true),
            ("**", "", true),
        ] {
            assert_eq!(matches(pattern, tag), expected, "{pattern} {tag}");
        }
    }
}
