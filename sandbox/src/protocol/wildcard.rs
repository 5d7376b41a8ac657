//! `*` and `?` as IAM, load balancer rules and event patterns mean them: any run of characters, one character, and nothing
//! else special. Glob libraries give meaning to brackets and slashes, which none of the three do.

/// Whether the whole text matches the pattern.
pub fn matches(pattern: &str, text: &str) -> bool {
    run(pattern, text, true)
}

/// As [`matches()`], with `*` only: `?` is an ordinary character in event patterns.
pub fn matches_star(pattern: &str, text: &str) -> bool {
    run(pattern, text, false)
}

fn run(pattern: &str, text: &str, question_mark: bool) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    let (mut p, mut t) = (0, 0);
    // Where to go back to: after the last star, one character further in the text.
    let mut back: Option<(usize, usize)> = None;
    while t < text.len() {
        if p < pattern.len() && pattern[p] == '*' {
            back = Some((p + 1, t));
            p += 1;
        } else if p < pattern.len() && (pattern[p] == text[t] || (question_mark && pattern[p] == '?')) {
            p += 1;
            t += 1;
        } else if let Some((after_star, from)) = back {
            back = Some((after_star, from + 1));
            p = after_star;
            t = from + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_question_marks() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("ecs:*", "ecs:UpdateService", true),
            ("ecs:Describe*", "ecs:UpdateService", false),
            ("arn:aws:ecs:*:*:service/prod/*", "arn:aws:ecs:eu-west-1:1:service/prod/web", true),
            ("arn:aws:ecs:*:*:service/prod/*", "arn:aws:ecs:eu-west-1:1:service/test/web", false),
            ("/api/?/x", "/api/1/x", true),
            ("/api/?/x", "/api/12/x", false),
            ("*a*b*", "xxaxxbxx", true),
            ("a*b", "ab", true),
            ("a*b", "abc", false),
            ("[x]", "x", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} on {text}");
        }
        assert!(!matches_star("a?c", "abc"));
    }
}
