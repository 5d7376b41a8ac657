use std::collections::HashMap;

use async_trait::async_trait;

use super::*;

/// A bus whose functions fail as told.
#[derive(Default)]
struct TestBus {
    rules: Vec<Rule>,
    failures: Mutex<HashMap<String, Vec<Failure>>>,
    invoked: Mutex<Vec<(String, Value)>>,
    sent: Mutex<Vec<(String, String)>>,
    destination: Option<String>,
}

#[async_trait]
impl Bus for TestBus {
    async fn rules(&self) -> Result<Vec<Rule>, AwsError> {
        Ok(self.rules.clone())
    }

    async fn invoke(&self, function_arn: &str, payload: &Value) -> Result<(), Failure> {
        self.invoked.lock().unwrap().push((function_arn.to_owned(), payload.clone()));
        let mut failures = self.failures.lock().unwrap();
        failures.get_mut(function_arn).and_then(Vec::pop).map_or(Ok(()), Err)
    }

    async fn failure_destination(&self, _: &str) -> Option<String> {
        self.destination.clone()
    }

    async fn send(&self, queue_arn: &str, body: &str, _: &[(&str, String)]) -> Result<(), AwsError> {
        self.sent.lock().unwrap().push((queue_arn.to_owned(), body.to_owned()));
        Ok(())
    }
}

const FUNCTION: &str = "arn:aws:lambda:eu-west-1:1:function:intake";
const QUEUE: &str = "arn:aws:sqs:eu-west-1:1:queue";

fn rule(target: &str) -> Rule {
    let target = Target {
        arn: target.to_owned(),
        input: None,
        input_path: None,
        dead_letter_arn: Some("arn:aws:sqs:eu-west-1:1:rule-dlq".to_owned()),
    };
    Rule { name: "push".into(), pattern: json!({"source": ["aws.ecr"]}), targets: vec![target] }
}

fn event(source: &str) -> ServiceEvent {
    ServiceEvent {
        source: source.into(),
        detail_type: "ECR Image Action".into(),
        resources: vec![],
        detail: json!({"result": "SUCCESS"}),
        time: "2026-01-02T03:04:05.678Z".parse().unwrap(),
    }
}

fn dispatcher(bus: TestBus) -> (Dispatcher, Arc<TestBus>) {
    let bus = Arc::new(bus);
    let retries = [Duration::from_millis(1); 2];
    (Dispatcher::new(Options { retries, ..Options::new("123456789012", "eu-west-1") }, bus.clone()), bus)
}

async fn delivered(dispatcher: &Dispatcher) -> Vec<(String, usize)> {
    while dispatcher.pending() > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    dispatcher.log().into_iter().map(|delivery| (delivery.outcome, delivery.tries)).collect()
}

#[tokio::test]
async fn an_event_reaches_the_targets_of_its_rules() {
    let (dispatcher, bus) =
        dispatcher(TestBus { rules: vec![rule(FUNCTION), rule(QUEUE)], ..TestBus::default() });
    dispatcher.emit(event("aws.ecr"));
    dispatcher.emit(event("aws.other"));
    let mut outcomes = delivered(&dispatcher).await;
    outcomes.sort();
    assert_eq!(outcomes, [("delivered".into(), 1), ("delivered".into(), 1), ("no_rule".into(), 0)]);
    let (function, payload) = bus.invoked.lock().unwrap()[0].clone();
    assert_eq!(function, FUNCTION);
    assert_eq!(payload["id"].as_str().unwrap().len(), 36);
    for (member, value) in [
        ("version", json!("0")),
        ("account", json!("123456789012")),
        ("region", json!("eu-west-1")),
        ("time", json!("2026-01-02T03:04:05Z")),
        ("detail-type", json!("ECR Image Action")),
        ("detail", json!({"result": "SUCCESS"})),
    ] {
        assert_eq!(payload[member], value, "{member}");
    }
    assert_eq!(bus.sent.lock().unwrap()[0].0, QUEUE);
}

#[tokio::test]
async fn a_function_has_three_tries_then_the_dead_letter_queue() {
    let fail = || Failure::Function(json!({"errorMessage": "boom"}));
    let bus = |failures: usize| TestBus {
        rules: vec![rule(FUNCTION)],
        failures: Mutex::new(HashMap::from([(FUNCTION.to_owned(), (0..failures).map(|_| fail()).collect())])),
        destination: Some("arn:aws:sqs:eu-west-1:1:function-dlq".into()),
        ..TestBus::default()
    };
    let (healed, healed_bus) = dispatcher(bus(2));
    healed.emit(event("aws.ecr"));
    assert_eq!(delivered(&healed).await, [("delivered".into(), 3)]);
    assert!(healed_bus.sent.lock().unwrap().is_empty());

    let (broken, broken_bus) = dispatcher(bus(9));
    broken.emit(event("aws.ecr"));
    assert_eq!(delivered(&broken).await, [("dead_letter".into(), 3)]);
    let (queue, body) = broken_bus.sent.lock().unwrap()[0].clone();
    assert!(queue.ends_with(":function-dlq") && body.contains("ECR Image Action"), "{queue} {body}");
}

#[tokio::test]
async fn throttling_is_waited_out() {
    let throttled = || {
        let message = "Rate Exceeded.".to_owned();
        Failure::Invoke(AwsError { code: "TooManyRequestsException".into(), message, status: 429 })
    };
    let (dispatcher, bus) = dispatcher(TestBus {
        rules: vec![rule(FUNCTION)],
        failures: Mutex::new(HashMap::from([(FUNCTION.to_owned(), (0..6).map(|_| throttled()).collect())])),
        ..TestBus::default()
    });
    dispatcher.emit(event("aws.ecr"));
    assert_eq!(delivered(&dispatcher).await, [("delivered".into(), 7)]);
    assert!(bus.sent.lock().unwrap().is_empty());
}

#[tokio::test]
async fn an_event_that_cannot_be_handed_over_goes_where_the_rule_says() {
    let denied = || Failure::Invoke(AwsError::new("AccessDeniedException", "no"));
    let (dispatcher, bus) = dispatcher(TestBus {
        rules: vec![rule(FUNCTION)],
        failures: Mutex::new(HashMap::from([(FUNCTION.to_owned(), vec![denied(), denied(), denied()])])),
        ..TestBus::default()
    });
    dispatcher.emit(event("aws.ecr"));
    assert_eq!(delivered(&dispatcher).await, [("dead_letter".into(), 3)]);
    assert!(bus.sent.lock().unwrap()[0].0.ends_with(":rule-dlq"));
}

#[tokio::test]
async fn events_are_disturbed_as_told() {
    let (dispatcher, bus) = dispatcher(TestBus { rules: vec![rule(FUNCTION)], ..TestBus::default() });
    dispatcher.disturb(Disturbance { duplicates: 2, delay_ms: 50, jitter_ms: 50, ..Disturbance::default() });
    dispatcher.emit(event("aws.ecr"));
    delivered(&dispatcher).await;
    let ids: Vec<Value> =
        bus.invoked.lock().unwrap().iter().map(|(_, payload)| payload["id"].clone()).collect();
    assert!(ids.len() == 3 && ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    dispatcher.disturb(Disturbance { lost: 1.0, only: "ecr".into(), ..Disturbance::default() });
    dispatcher.emit(event("aws.ecr"));
    assert_eq!(delivered(&dispatcher).await.last(), Some(&("lost".to_owned(), 0)));
    assert_eq!(bus.invoked.lock().unwrap().len(), 3);
}

#[test]
fn a_target_can_have_its_own_input() {
    let envelope = json!({"detail": {"a": {"b": 1}}});
    let with = |input: Option<&str>, path: Option<&str>| {
        let target = Target {
            arn: String::new(),
            input: input.map(str::to_owned),
            input_path: path.map(str::to_owned),
            dead_letter_arn: None,
        };
        payload(&envelope, &target)
    };
    assert_eq!(with(None, None), envelope);
    assert_eq!(with(Some("{\"x\":1}"), None), json!({"x": 1}));
    assert_eq!(with(None, Some("$.detail.a")), json!({"b": 1}));
    assert_eq!(with(None, Some("$")), envelope);
}
