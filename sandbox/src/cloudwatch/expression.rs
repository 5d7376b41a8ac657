//! The two little languages of alarms: rules of composite alarms, and arithmetic over metrics (`100 * errors / requests`).

use std::collections::HashMap;

use crate::ports::AlarmState;

/// The rule of a composite alarm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Rule {
    Is(AlarmState, String),
    Constant(bool),
    Not(Box<Rule>),
    And(Box<Rule>, Box<Rule>),
    Or(Box<Rule>, Box<Rule>),
}

impl Rule {
    /// Parses e.g. `ALARM("a") AND NOT (OK(b) OR INSUFFICIENT_DATA(c))`. An alarm may be named by ARN.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut parser = Parser { tokens: rule_tokens(text)?, at: 0 };
        let rule = parser.or()?;
        match parser.peek() {
            None => Ok(rule),
            Some(token) => Err(format!("unexpected '{token}'")),
        }
    }

    /// Evaluates the rule over the states of other alarms. An alarm that does not exist is in no state.
    pub(super) fn holds(&self, state: &dyn Fn(&str) -> Option<AlarmState>) -> bool {
        match self {
            Self::Is(wanted, name) => state(name) == Some(*wanted),
            Self::Constant(value) => *value,
            Self::Not(rule) => !rule.holds(state),
            Self::And(left, right) => left.holds(state) && right.holds(state),
            Self::Or(left, right) => left.holds(state) || right.holds(state),
        }
    }

    /// The alarms the rule looks at.
    pub(super) fn names(&self) -> Vec<&str> {
        match self {
            Self::Is(_, name) => vec![name],
            Self::Constant(_) => Vec::new(),
            Self::Not(rule) => rule.names(),
            Self::And(left, right) | Self::Or(left, right) => {
                let mut names = left.names();
                names.extend(right.names());
                names
            }
        }
    }
}

/// Alarm names may hold nearly anything, so what stands between the parentheses of a state function is one token.
fn rule_tokens(text: &str) -> Result<Vec<String>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let word: usize = rest.find(|c: char| !c.is_ascii_alphabetic() && c != '_').unwrap_or(rest.len());
        if word == 0 {
            let symbol = &rest[..rest.chars().next().map_or(0, char::len_utf8)];
            if symbol != "(" && symbol != ")" {
                return Err(format!("unexpected '{symbol}'"));
            }
            tokens.push(symbol.to_owned());
            rest = rest[1..].trim_start();
            continue;
        }
        let name = rest[..word].to_uppercase();
        rest = rest[word..].trim_start();
        if matches!(name.as_str(), "ALARM" | "OK" | "INSUFFICIENT_DATA") {
            let inner =
                rest.strip_prefix('(').ok_or_else(|| format!("'(' expected after {name}"))?.trim_start();
            let (alarm, after) = match inner.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"').ok_or("a quote is not closed")?,
                None => inner.find(')').map(|end| inner.split_at(end)).ok_or("')' expected")?,
            };
            rest = after.trim_start().strip_prefix(')').ok_or("')' expected")?.trim_start();
            tokens.extend([name, alarm.trim().to_owned()]);
        } else {
            tokens.push(name);
        }
    }
    Ok(tokens)
}

struct Parser {
    tokens: Vec<String>,
    at: usize,
}

impl Parser {
    fn peek(&self) -> Option<&str> {
        self.tokens.get(self.at).map(String::as_str)
    }

    fn take(&mut self) -> Option<String> {
        let token = self.tokens.get(self.at).cloned();
        self.at += 1;
        token
    }

    fn or(&mut self) -> Result<Rule, String> {
        let mut rule = self.and()?;
        while self.peek() == Some("OR") {
            self.at += 1;
            rule = Rule::Or(Box::new(rule), Box::new(self.and()?));
        }
        Ok(rule)
    }

    fn and(&mut self) -> Result<Rule, String> {
        let mut rule = self.not()?;
        while self.peek() == Some("AND") {
            self.at += 1;
            rule = Rule::And(Box::new(rule), Box::new(self.not()?));
        }
        Ok(rule)
    }

    fn not(&mut self) -> Result<Rule, String> {
        if self.peek() == Some("NOT") {
            self.at += 1;
            return Ok(Rule::Not(Box::new(self.not()?)));
        }
        let token = self.take().ok_or("the rule ends too early")?;
        let state = match token.as_str() {
            "TRUE" => return Ok(Rule::Constant(true)),
            "FALSE" => return Ok(Rule::Constant(false)),
            "(" => {
                let rule = self.or()?;
                return match self.take().as_deref() {
                    Some(")") => Ok(rule),
                    _ => Err("')' expected".to_owned()),
                };
            }
            "ALARM" => AlarmState::Alarm,
            "OK" => AlarmState::Ok,
            "INSUFFICIENT_DATA" => AlarmState::InsufficientData,
            other => return Err(format!("unexpected '{other}'")),
        };
        let name = self.take().ok_or("an alarm name is missing")?;
        let name = name.rsplit_once(":alarm:").map_or(name.clone(), |(_, name)| name.to_owned());
        Ok(Rule::Is(state, name))
    }
}

/// Arithmetic over metrics by their ids: numbers, `+ - * /`, parentheses, `FILL(id, number)`, and
/// `IF(a > b, x, y)` with one comparison. `None` when a metric has no data or the result is not a number, as division by zero: CloudWatch has no datapoint then.
pub(super) fn arithmetic(text: &str, values: &HashMap<String, Option<f64>>) -> Result<Option<f64>, String> {
    let mut sum = Sum { rest: text, values };
    let value = sum.terms()?;
    match sum.rest.trim() {
        "" => Ok(value.filter(|value| value.is_finite())),
        rest => Err(format!("unexpected '{rest}'")),
    }
}

struct Sum<'a> {
    rest: &'a str,
    values: &'a HashMap<String, Option<f64>>,
}

impl Sum<'_> {
    fn eat(&mut self, symbol: char) -> bool {
        let rest = self.rest.trim_start();
        let found = rest.strip_prefix(symbol);
        self.rest = found.unwrap_or(rest);
        found.is_some()
    }

    fn terms(&mut self) -> Result<Option<f64>, String> {
        let mut value = self.factors()?;
        loop {
            if self.eat('+') {
                value = value.zip(self.factors()?).map(|(a, b)| a + b);
            } else if self.eat('-') {
                value = value.zip(self.factors()?).map(|(a, b)| a - b);
            } else {
                return Ok(value);
            }
        }
    }

    fn factors(&mut self) -> Result<Option<f64>, String> {
        let mut value = self.atom()?;
        loop {
            if self.eat('*') {
                value = value.zip(self.atom()?).map(|(a, b)| a * b);
            } else if self.eat('/') {
                value = value.zip(self.atom()?).map(|(a, b)| a / b);
            } else {
                return Ok(value);
            }
        }
    }

    /// The rest of `IF(a > b, x, y)`.
    fn choice(&mut self) -> Result<Option<f64>, String> {
        let chosen = self.comparison()?;
        if !self.eat(',') {
            return Err("',' expected".to_owned());
        }
        let yes = self.terms()?;
        let no = if self.eat(',') { self.terms()? } else { None };
        let value = chosen.and_then(|chosen| if chosen { yes } else { no });
        if self.eat(')') { Ok(value) } else { Err("')' expected".to_owned()) }
    }

    /// `a > b`; unknown when one of them has no data.
    fn comparison(&mut self) -> Result<Option<bool>, String> {
        let left = self.terms()?;
        let greater = match (self.eat('>'), self.eat('<')) {
            (true, false) => true,
            (false, true) => false,
            (_, _) => return Err("'>' or '<' expected".to_owned()),
        };
        let right = self.terms()?;
        Ok(left.zip(right).map(|(left, right)| if greater { left > right } else { left < right }))
    }

    fn atom(&mut self) -> Result<Option<f64>, String> {
        if self.eat('(') {
            let value = self.terms()?;
            return if self.eat(')') { Ok(value) } else { Err("')' expected".to_owned()) };
        }
        if self.eat('-') {
            return Ok(self.atom()?.map(|value| -value));
        }
        let end = self
            .rest
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '.')
            .unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        if let Ok(number) = word.parse() {
            return Ok(Some(number));
        }
        if word == "FILL" && self.eat('(') {
            let value = self.terms()?;
            let filled = if self.eat(',') { self.terms()? } else { None };
            return if self.eat(')') { Ok(value.or(filled)) } else { Err("')' expected".to_owned()) };
        }
        if word == "IF" && self.eat('(') {
            return self.choice();
        }
        self.values
            .get(word)
            .copied()
            .ok_or_else(|| format!("'{word}' is not the id of a metric or a known function"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn composite_rules() {
        let states = |name: &str| match name {
            "red" | "my alarm (5xx)" => Some(AlarmState::Alarm),
            "green" => Some(AlarmState::Ok),
            "grey" => Some(AlarmState::InsufficientData),
            _ => None,
        };
        for (rule, expected) in [
            ("ALARM(red)", true),
            ("ALARM(\"green\") OR ALARM(red)", true),
            ("ALARM(green) AND ALARM(red)", false),
            ("NOT OK(green)", false),
            ("NOT (ALARM(green) OR OK(red)) AND INSUFFICIENT_DATA(grey)", true),
            ("ALARM(\"my alarm (5xx)\")", true),
            ("ALARM(arn:aws:cloudwatch:eu-west-1:1:alarm:red)", true),
            ("ALARM(nobody)", false),
            ("TRUE AND NOT FALSE", true),
        ] {
            assert_eq!(Rule::parse(rule).map(|rule| rule.holds(&states)), Ok(expected), "{rule}");
        }
        for broken in
            ["", "ALARM(a", "ALARM(a) OR", "ALARM a", "SOMETIMES(a)", "ALARM(a) ALARM(b)", "(ALARM(a)"]
        {
            assert!(Rule::parse(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn arithmetic_over_metrics() {
        let values = HashMap::from([
            ("errors".to_owned(), Some(5.0)),
            ("requests".to_owned(), Some(100.0)),
            ("zero".to_owned(), Some(0.0)),
            ("none".to_owned(), None),
        ]);
        for (text, expected) in [
            ("100 * errors / requests", Some(5.0)),
            ("100*(errors/requests)-1", Some(4.0)),
            ("errors / zero", None),
            ("errors + none", None),
            ("errors + FILL(none, 0)", Some(5.0)),
            ("-errors + 2 * 3", Some(1.0)),
            ("IF(requests > 20, 100 * FILL(none, 0) / requests, 7)", Some(0.0)),
            ("IF(zero > 20, errors, 7)", Some(7.0)),
            ("IF(none > 20, 1, 0)", None),
        ] {
            assert_eq!(arithmetic(text, &values), Ok(expected), "{text}");
        }
        assert!(arithmetic("errors / nothing", &values).is_err());
        assert!(arithmetic("(errors", &values).is_err());
        assert!(arithmetic("IF(errors, 1, 0)", &values).is_err());
    }
}
