use std::convert::Infallible;

use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpListener;

use super::*;

/// Nobody watches.
struct Unobserved;

impl TrafficObserver for Unobserved {
    fn served(&self, _: &Served) {}
}

/// A target that answers with its name as version; `/slow` takes a while, `/broken` is unhealthy.
async fn target(version: &'static str) -> SocketAddr {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = socket.accept().await.unwrap();
            let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| async move {
                if request.uri().path() == "/slow" {
                    tokio::time::sleep(Duration::from_millis(300)).await;
                }
                let status = if request.uri().path() == "/broken" { 500 } else { 200 };
                let response = hyper::Response::builder().status(status).header("x-version", version);
                Ok::<_, Infallible>(response.body(Full::<Bytes>::from("hello")).unwrap())
            });
            tokio::spawn(
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    address
}

/// A load balancer with two groups of one target each behind one rule for every path.
struct Setup {
    elb: Elb,
    blue: String,
    green: String,
    rule: String,
    listener: String,
    url: String,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Setup {
    async fn new(options: Options) -> Self {
        let elb = Elb::new(Options { seconds_scale: 0.01, ..options }, Arc::new(Unobserved));
        let arn_of =
            |answer: Value, list: &str, member: &str| answer[list][0][member].as_str().unwrap().to_owned();
        let lb = arn_of(
            call(&elb, "CreateLoadBalancer", json!({"Name": "shop"})).await,
            "LoadBalancers",
            "LoadBalancerArn",
        );
        let mut groups = Vec::new();
        for version in ["blue", "green"] {
            let input = json!({"Name": version, "Protocol": "HTTP", "Port": 80, "TargetType": "ip",
                "HealthCheckIntervalSeconds": 5, "HealthCheckTimeoutSeconds": 4});
            let group =
                arn_of(call(&elb, "CreateTargetGroup", input).await, "TargetGroups", "TargetGroupArn");
            elb.register_target(&group, target(version).await).unwrap();
            groups.push(group);
        }
        let (blue, green) = (groups[0].clone(), groups[1].clone());
        let fixed = json!([{"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "404", "MessageBody": "no"}}]);
        let input = json!({"LoadBalancerArn": lb, "Port": 0, "DefaultActions": fixed});
        let answer = call(&elb, "CreateListener", input).await;
        let url = format!("http://127.0.0.1:{}", answer["Listeners"][0]["Port"]);
        let listener = arn_of(answer, "Listeners", "ListenerArn");
        let input = json!({
            "ListenerArn": listener,
            "Priority": 1,
            "Conditions": [{"Field": "path-pattern", "Values": ["/shop*", "/slow"]}],
            "Actions": [
                {"Type": "authenticate-oidc", "Order": 1, "AuthenticateOidcConfig": {"Issuer": "https://login", "ClientSecret": "hush"}},
                forward(&[(&blue, 100), (&green, 0)]),
            ],
        });
        let rule = arn_of(call(&elb, "CreateRule", input).await, "Rules", "RuleArn");
        let client = Client::builder(TokioExecutor::new()).build_http();
        let setup = Self { elb, blue, green, rule, listener, url, client };
        setup.until_healthy().await;
        setup
    }

    async fn until_healthy(&self) {
        for group in [&self.blue, &self.green] {
            until(async || {
                let answer = call(&self.elb, "DescribeTargetHealth", json!({"TargetGroupArn": group})).await;
                answer["TargetHealthDescriptions"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .all(|t| t["TargetHealth"]["State"] == "healthy")
            })
            .await;
        }
    }

    async fn get(&self, path: &str, cookie: Option<&str>) -> (u16, String, http::HeaderMap) {
        let mut request =
            http::Request::get(format!("{}{path}", self.url)).body(Full::<Bytes>::default()).unwrap();
        if let Some(cookie) = cookie {
            request.headers_mut().insert("cookie", cookie.parse().unwrap());
        }
        let response = self.client.request(request).await.unwrap();
        let version = response.headers().get("x-version").map_or("", |v| v.to_str().unwrap()).to_owned();
        (response.status().as_u16(), version, response.headers().clone())
    }

    async fn count(&self, requests: usize, version: &str) -> usize {
        let mut count = 0;
        for _ in 0..requests {
            count += usize::from(self.get("/shop", None).await.1 == version);
        }
        count
    }

    fn address(&self, group: &str) -> SocketAddr {
        self.elb.inner.model().target_group(group).unwrap().targets[0].address
    }
}

fn forward(groups: &[(&String, u32)]) -> Value {
    let groups: Vec<Value> =
        groups.iter().map(|(arn, weight)| json!({"TargetGroupArn": arn, "Weight": weight})).collect();
    json!({"Type": "forward", "Order": 2, "ForwardConfig": {"TargetGroups": groups}})
}

async fn call(elb: &Elb, operation: &str, input: Value) -> Value {
    elb.call(operation, input, &Caller::default()).await.unwrap()
}

async fn refused(elb: &Elb, operation: &str, input: Value) -> String {
    elb.call(operation, input, &Caller::default()).await.unwrap_err().code
}

async fn until(condition: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition().await {
        assert!(Instant::now() < deadline, "the condition did not become true");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn weights_are_exact_and_zero_is_none() {
    let setup = Setup::new(Options::default()).await;
    assert_eq!(setup.count(50, "green").await, 0);
    let weights = |blue, green| [(setup.blue.clone(), blue), (setup.green.clone(), green)];
    setup.elb.set_forward_weights(&setup.rule, &weights(90, 10)).unwrap();
    assert_eq!(setup.count(100, "green").await, 10);
    setup.elb.set_forward_weights(&setup.rule, &weights(0, 100)).unwrap();
    assert_eq!(setup.count(30, "green").await, 30);
    assert_eq!(setup.elb.forward_weights(&setup.rule).unwrap(), weights(0, 100));
    // The rest of the rule is as it was.
    let rules = call(&setup.elb, "DescribeRules", json!({"RuleArns": [setup.rule]})).await;
    assert_eq!(rules["Rules"][0]["Actions"][0]["AuthenticateOidcConfig"]["Issuer"], "https://login");
    let statistics = setup.elb.statistics();
    let lb = statistics["load_balancers"].as_object().unwrap().values().next().unwrap();
    assert_eq!((lb["requests"].as_u64(), lb["versions"]["green"].as_u64()), (Some(180), Some(40)));
}

#[tokio::test]
async fn the_rest_goes_to_the_default_rule() {
    let setup = Setup::new(Options::default()).await;
    assert_eq!(setup.get("/other", None).await.0, 404);
    assert_eq!(setup.get("/shop/cart", None).await.0, 200);
}

#[tokio::test]
async fn an_empty_group_answers_503_without_failover() {
    let setup = Setup::new(Options::default()).await;
    let weights = [(setup.blue.clone(), 50), (setup.green.clone(), 50)];
    setup.elb.set_forward_weights(&setup.rule, &weights).unwrap();
    setup.elb.deregister_target(&setup.green, setup.address(&setup.green)).unwrap();
    let mut statuses = Vec::new();
    for _ in 0..10 {
        statuses.push(setup.get("/shop", None).await.0);
    }
    assert_eq!(statuses.iter().filter(|status| **status == 503).count(), 5, "{statuses:?}");
}

#[tokio::test]
async fn draining_lets_requests_end_and_forgets_the_target_later() {
    let setup = Setup::new(Options::default()).await;
    let address = setup.address(&setup.blue);
    let (answer, ()) = tokio::join!(setup.get("/slow", None), async {
        until(async || setup.elb.requests_in_flight(&setup.blue, address) == 1).await;
        setup.elb.deregister_target(&setup.blue, address).unwrap();
        assert_eq!(setup.elb.target_health(&setup.blue, address), TargetHealth::Draining);
    });
    assert_eq!(answer.0, 200);
    assert_eq!(setup.elb.requests_in_flight(&setup.blue, address), 0);
    until(async || setup.elb.target_health(&setup.blue, address) == TargetHealth::Unused).await;
}

#[tokio::test]
async fn a_target_that_is_gone_is_502_and_becomes_unhealthy() {
    let setup = Setup::new(Options { seconds_scale: 1.0, ..Options::default() }).await;
    // Nothing listens there any more.
    let gone = {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        socket.local_addr().unwrap()
    };
    {
        let mut model = setup.elb.inner.model();
        let group = model.target_group_mut(&setup.blue).unwrap();
        group.targets[0].address = gone;
        group.targets[0].generation = u64::MAX;
    }
    assert_eq!(setup.get("/shop", None).await.0, 502);
    let check = json!({"TargetGroupArn": setup.green, "HealthCheckPath": "/broken"});
    call(&setup.elb, "ModifyTargetGroup", check).await;
    let green = setup.address(&setup.green);
    until(async || setup.elb.target_health(&setup.green, green) == TargetHealth::Unhealthy).await;
}

#[tokio::test]
async fn a_cookie_keeps_its_client_on_a_group() {
    let setup = Setup::new(Options::default()).await;
    let mut action = forward(&[(&setup.blue, 50), (&setup.green, 50)]);
    action["ForwardConfig"]["TargetGroupStickinessConfig"] = json!({"Enabled": true, "DurationSeconds": 60});
    call(&setup.elb, "ModifyRule", json!({"RuleArn": setup.rule, "Actions": [action]})).await;
    let (_, version, headers) = setup.get("/shop", None).await;
    let cookie = headers["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    for _ in 0..6 {
        assert_eq!(setup.get("/shop", Some(&cookie)).await.1, version);
    }
}

#[tokio::test]
async fn nodes_follow_a_change_one_after_another() {
    let options = Options { nodes: 2, weight_propagation: Duration::from_millis(600), ..Options::default() };
    let setup = Setup::new(options).await;
    let node = |number: usize| {
        // A client of its own has a connection of its own, and so a node of its own.
        setup.elb.inner.next_node.store(number, Ordering::Relaxed);
        Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>()
    };
    let (first, second) = (node(0), Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>());
    let version = async |client: &Client<HttpConnector, Full<Bytes>>| {
        let answer = client.get(format!("{}/shop", setup.url).parse().unwrap()).await.unwrap();
        answer.headers().get("x-version").map(|version| version.to_str().unwrap().to_owned())
    };
    until(async || version(&first).await.is_some() && version(&second).await.is_some()).await;
    let weights = [(setup.blue.clone(), 0), (setup.green.clone(), 100)];
    let changed = Instant::now();
    setup.elb.set_forward_weights(&setup.rule, &weights).unwrap();
    // What is set is told at once, whatever the nodes do.
    assert_eq!(setup.elb.forward_weights(&setup.rule).unwrap(), weights);
    until(async || version(&first).await.as_deref() == Some("green")).await;
    assert!(changed.elapsed() >= Duration::from_millis(300));
    until(async || version(&second).await.as_deref() == Some("green")).await;
    assert!(changed.elapsed() >= Duration::from_millis(600));
}

#[tokio::test]
async fn a_network_load_balancer_has_weights_but_no_rules() {
    let setup = Setup::new(Options::default()).await;
    let elb = &setup.elb;
    call(elb, "DeleteListener", json!({"ListenerArn": setup.listener})).await;
    let lb = call(elb, "CreateLoadBalancer", json!({"Name": "net", "Type": "network"})).await;
    let mut action = forward(&[(&setup.blue, 100), (&setup.green, 0)]);
    action.as_object_mut().unwrap().remove("Order");
    let input = json!({"LoadBalancerArn": lb["LoadBalancers"][0]["LoadBalancerArn"], "Protocol": "TCP", "DefaultActions": [action]});
    let listener = call(elb, "CreateListener", input).await["Listeners"][0].clone();
    let arn = listener["ListenerArn"].as_str().unwrap();
    let rule =
        json!({"ListenerArn": arn, "Priority": 1, "Conditions": [{"Field": "path-pattern"}], "Actions": []});
    assert_eq!(refused(elb, "CreateRule", rule).await, "UnsupportedProtocol");
    elb.set_forward_weights(arn, &[(setup.blue.clone(), 50), (setup.green.clone(), 50)]).unwrap();
    let url = format!("http://{}/anything", elb.listener_address(arn).unwrap());
    setup.until_healthy().await;
    let mut green = 0;
    for _ in 0..10 {
        let answer = setup.client.get(url.parse().unwrap()).await.unwrap();
        green += u32::from(answer.headers()["x-version"] == "green");
    }
    assert_eq!(green, 5);
    call(elb, "DeleteListener", json!({"ListenerArn": arn})).await;
    assert_eq!(elb.listener_address(arn), None);
}

#[tokio::test]
async fn what_aws_refuses() {
    let setup = Setup::new(Options::default()).await;
    let elb = &setup.elb;
    let modify = |action: Value| json!({"RuleArn": setup.rule, "Actions": [action]});
    let default_rule = elb.inner.model().rule(&setup.listener).unwrap().arn.clone();
    let unknown = setup.blue.replace("blue", "nobody");
    let six: Vec<(&String, u32)> = std::iter::repeat_n((&setup.blue, 1), 6).collect();
    for (operation, input, code) in [
        ("ModifyRule", modify(forward(&[(&setup.blue, 1000)])), "ValidationError"),
        ("ModifyRule", modify(forward(&six)), "InvalidLoadBalancerAction"),
        ("ModifyRule", modify(forward(&[(&setup.blue, 1), (&setup.blue, 1)])), "InvalidLoadBalancerAction"),
        ("ModifyRule", json!({"RuleArn": setup.rule, "Actions": []}), "InvalidLoadBalancerAction"),
        ("ModifyRule", json!({"RuleArn": setup.rule}), "ValidationError"),
        (
            "ModifyRule",
            json!({"RuleArn": setup.rule, "Transforms": [], "ResetTransforms": true}),
            "ValidationError",
        ),
        ("ModifyRule", modify(forward(&[(&unknown, 1)])), "TargetGroupNotFound"),
        ("ModifyRule", json!({"RuleArn": format!("{}0", setup.rule)}), "RuleNotFound"),
        ("ModifyRule", json!({"RuleArn": default_rule}), "OperationNotPermitted"),
        ("ModifyListener", json!({"ListenerArn": "arn:x"}), "ListenerNotFound"),
        ("DescribeRules", json!({"ListenerArn": "arn:x"}), "ListenerNotFound"),
        ("DeleteTargetGroup", json!({"TargetGroupArn": setup.blue}), "ResourceInUse"),
        ("CreateTargetGroup", json!({"Name": "blue"}), "DuplicateTargetGroupName"),
        ("DescribeLoadBalancers", json!({"Names": ["nobody"]}), "LoadBalancerNotFound"),
        (
            "CreateRule",
            json!({"ListenerArn": setup.listener, "Priority": 1, "Conditions": [{}], "Actions": [forward(&[(&setup.blue, 1)])]}),
            "PriorityInUse",
        ),
    ] {
        assert_eq!(refused(elb, operation, input.clone()).await, code, "{operation} {input}");
    }
    // A refused change changes nothing.
    assert_eq!(setup.count(5, "blue").await, 5);
    assert_eq!(elb.set_forward_weights("arn:x:listener-rule/y", &[]).unwrap_err().code, "RuleNotFound");
}

/// The actions of the rule as AWS tells them.
async fn actions(setup: &Setup) -> Vec<Value> {
    let rules = call(&setup.elb, "DescribeRules", json!({"RuleArns": [setup.rule]})).await;
    rules["Rules"][0]["Actions"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_list_that_is_sent_is_replaced_whole_and_what_is_not_sent_stays() {
    let setup = Setup::new(Options::default()).await;
    let transforms = json!([{"Type": "url-rewrite", "UrlRewriteConfig": {"Rewrites": [{"Regex": "^/a", "Replace": "/b"}]}}]);
    call(&setup.elb, "ModifyRule", json!({"RuleArn": setup.rule, "Transforms": transforms})).await;

    // A secret is never told, so what was read cannot be sent back as it is.
    let mut list = actions(&setup).await;
    assert_eq!(list[0]["AuthenticateOidcConfig"], json!({"Issuer": "https://login"}));
    let modify = |list: &[Value]| json!({"RuleArn": setup.rule, "Actions": list});
    assert_eq!(refused(&setup.elb, "ModifyRule", modify(&list)).await, "InvalidLoadBalancerAction");
    list[0]["AuthenticateOidcConfig"]["UseExistingClientSecret"] = json!(true);
    list[1]["ForwardConfig"]["TargetGroups"][1]["Weight"] = json!(100);
    list[1]["ForwardConfig"]["TargetGroupStickinessConfig"] = json!({"Enabled": true, "DurationSeconds": 60});
    call(&setup.elb, "ModifyRule", modify(&list)).await;
    assert_eq!(
        setup.elb.inner.model().rule(&setup.rule).unwrap().actions[0]["AuthenticateOidcConfig"]["ClientSecret"],
        "hush"
    );
    let rules = call(&setup.elb, "DescribeRules", json!({"RuleArns": [setup.rule]})).await;
    let rule = &rules["Rules"][0];
    assert_eq!(rule["Transforms"], transforms);
    assert_eq!(rule["Conditions"][0]["Values"], json!(["/shop*", "/slow"]));
    assert_eq!(rule["Actions"][1]["ForwardConfig"]["TargetGroupStickinessConfig"]["DurationSeconds"], 60);

    // What is left out of the list is gone.
    call(&setup.elb, "ModifyRule", modify(&[forward(&[(&setup.green, 1)])])).await;
    let list = actions(&setup).await;
    assert_eq!((list.len(), &list[0]["TargetGroupArn"]), (1, &json!(setup.green)));
    assert_eq!(list[0]["ForwardConfig"]["TargetGroupStickinessConfig"], json!({"Enabled": false}));
    // AWS tells the ARN of a single group beside the list: with a second group in the list it has to go.
    let mut both = list[0].clone();
    let second = json!({"TargetGroupArn": setup.blue, "Weight": 0});
    both["ForwardConfig"]["TargetGroups"].as_array_mut().unwrap().push(second);
    assert_eq!(refused(&setup.elb, "ModifyRule", modify(&[both.clone()])).await, "ValidationError");
    both.as_object_mut().unwrap().remove("TargetGroupArn");
    call(&setup.elb, "ModifyRule", modify(&[both])).await;
    assert_eq!(
        setup.elb.forward_weights(&setup.rule).unwrap(),
        [(setup.green.clone(), 1), (setup.blue.clone(), 0)]
    );
    call(&setup.elb, "ModifyRule", json!({"RuleArn": setup.rule, "ResetTransforms": true})).await;
    let rules = call(&setup.elb, "DescribeRules", json!({"RuleArns": [setup.rule]})).await;
    assert_eq!(rules["Rules"][0]["Transforms"], json!([]));

    setup.elb.reset_rule(&setup.rule).unwrap();
    assert_eq!(
        setup.elb.forward_weights(&setup.rule).unwrap(),
        [(setup.blue.clone(), 100), (setup.green.clone(), 0)]
    );
    assert_eq!(actions(&setup).await[0]["Type"], "authenticate-oidc");
}

#[tokio::test]
async fn actions_are_in_order_and_the_one_that_ends_a_rule_is_last() {
    let setup = Setup::new(Options::default()).await;
    let login = |order: Value| json!({"Type": "authenticate-cognito", "Order": order, "AuthenticateCognitoConfig": {"UserPoolArn": "arn:pool"}});
    for (first, code) in [
        (json!(3), "InvalidLoadBalancerAction"),
        (json!(2), "InvalidLoadBalancerAction"),
        (Value::Null, "InvalidLoadBalancerAction"),
    ] {
        let list = json!([login(first.clone()), forward(&[(&setup.blue, 1)])]);
        let modify = json!({"RuleArn": setup.rule, "Actions": list});
        assert_eq!(refused(&setup.elb, "ModifyRule", modify).await, code, "{first}");
    }
    let list = json!([login(json!(1)), forward(&[(&setup.blue, 1)])]);
    call(&setup.elb, "ModifyRule", json!({"RuleArn": setup.rule, "Actions": list})).await;
}

#[tokio::test]
async fn a_target_group_belongs_to_one_load_balancer() {
    let setup = Setup::new(Options::default()).await;
    let lb = call(&setup.elb, "CreateLoadBalancer", json!({"Name": "other"})).await;
    let arn = lb["LoadBalancers"][0]["LoadBalancerArn"].clone();
    let listen = |action: Value| json!({"LoadBalancerArn": arn, "Port": 0, "DefaultActions": [action]});
    let code = refused(&setup.elb, "CreateListener", listen(forward(&[(&setup.blue, 1)]))).await;
    assert_eq!(code, "TargetGroupAssociationLimit");
    let input = json!({"Name": "red", "TargetType": "ip"});
    let red = call(&setup.elb, "CreateTargetGroup", input).await["TargetGroups"][0]["TargetGroupArn"]
        .as_str()
        .unwrap()
        .to_owned();
    let listener =
        call(&setup.elb, "CreateListener", listen(forward(&[(&red, 1)]))).await["Listeners"][0].clone();
    let modify = json!({"RuleArn": setup.rule, "Actions": [forward(&[(&setup.blue, 1), (&red, 0)])]});
    assert_eq!(refused(&setup.elb, "ModifyRule", modify.clone()).await, "TargetGroupAssociationLimit");
    let defaults = json!({"ListenerArn": listener["ListenerArn"], "DefaultActions": [forward(&[(&red, 1), (&setup.green, 0)])]});
    assert_eq!(refused(&setup.elb, "ModifyListener", defaults).await, "TargetGroupAssociationLimit");
    call(&setup.elb, "DeleteListener", json!({"ListenerArn": listener["ListenerArn"]})).await;
    call(&setup.elb, "ModifyRule", modify).await;
}

#[tokio::test]
async fn targets_are_unused_until_their_group_is_in_a_rule_even_at_weight_0() {
    let setup = Setup::new(Options::default()).await;
    let input = json!({"Name": "canary", "TargetType": "ip", "HealthCheckIntervalSeconds": 5, "HealthCheckTimeoutSeconds": 4});
    let canary = call(&setup.elb, "CreateTargetGroup", input).await["TargetGroups"][0]["TargetGroupArn"]
        .as_str()
        .unwrap()
        .to_owned();
    setup.elb.register_target(&canary, target("canary").await).unwrap();
    let state = async || {
        let health = call(&setup.elb, "DescribeTargetHealth", json!({"TargetGroupArn": canary})).await;
        let health = &health["TargetHealthDescriptions"][0]["TargetHealth"];
        (
            health["State"].as_str().unwrap().to_owned(),
            health["Reason"].as_str().unwrap_or_default().to_owned(),
        )
    };
    let unused = ("unused".to_owned(), "Target.NotInUse".to_owned());
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(state().await, unused);
    assert_eq!(setup.elb.load_balancers_of(&canary).unwrap(), [""; 0]);
    let with = json!({"RuleArn": setup.rule, "Actions": [forward(&[(&setup.blue, 100), (&canary, 0)])]});
    call(&setup.elb, "ModifyRule", with.clone()).await;
    assert_eq!(setup.elb.load_balancers_of(&canary).unwrap().len(), 1);
    until(async || state().await.0 == "healthy").await;
    assert_eq!(setup.count(20, "canary").await, 0);
    // Out of the rule nothing is known about it any more, and back in it has to prove itself again.
    call(
        &setup.elb,
        "ModifyRule",
        json!({"RuleArn": setup.rule, "Actions": [forward(&[(&setup.blue, 100)])]}),
    )
    .await;
    assert_eq!(state().await, unused);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let unready = json!({"TargetGroupArn": canary, "HealthCheckPath": "/broken"});
    call(&setup.elb, "ModifyTargetGroup", unready).await;
    call(&setup.elb, "ModifyRule", with).await;
    assert_eq!(state().await.0, "initial");
    until(async || state().await.0 == "unhealthy").await;
    assert_eq!(
        refused(&setup.elb, "DescribeTargetHealth", json!({"TargetGroupArn": "arn:x:targetgroup/x"})).await,
        "TargetGroupNotFound"
    );
}

#[tokio::test]
async fn a_group_emptied_before_every_node_has_heard_of_it_answers_503() {
    let late = Options { nodes: 1, weight_propagation: Duration::from_millis(400), ..Options::default() };
    for (options, hazard) in [(Options::default(), false), (late, true)] {
        let setup = Setup::new(options).await;
        until(async || setup.get("/shop", None).await.1 == "blue").await;
        let moved = [(setup.blue.clone(), 0), (setup.green.clone(), 100)];
        setup.elb.set_forward_weights(&setup.rule, &moved).unwrap();
        setup.elb.deregister_target(&setup.blue, setup.address(&setup.blue)).unwrap();
        assert_eq!(setup.get("/shop", None).await.0, if hazard { 503 } else { 200 });
        until(async || setup.get("/shop", None).await.1 == "green").await;
    }
}

#[tokio::test]
async fn a_group_of_unhealthy_targets_fails_open_where_that_is_played() {
    for fail_open in [false, true] {
        let setup = Setup::new(Options { fail_open, ..Options::default() }).await;
        call(
            &setup.elb,
            "ModifyTargetGroup",
            json!({"TargetGroupArn": setup.blue, "HealthCheckPath": "/broken"}),
        )
        .await;
        let blue = setup.address(&setup.blue);
        until(async || setup.elb.target_health(&setup.blue, blue) == TargetHealth::Unhealthy).await;
        assert_eq!(setup.get("/shop", None).await.0, if fail_open { 200 } else { 503 });
    }
}

#[tokio::test]
async fn what_is_read_of_rules_may_be_late_while_traffic_is_not() {
    let lag = Duration::from_millis(400);
    let setup = Setup::new(Options { read_lag: lag, ..Options::default() }).await;
    tokio::time::sleep(lag).await;
    let moved = [(setup.blue.clone(), 0), (setup.green.clone(), 100)];
    let changed = Instant::now();
    setup.elb.set_forward_weights(&setup.rule, &moved).unwrap();
    assert_eq!(setup.get("/shop", None).await.1, "green");
    let told = async || actions(&setup).await[1]["ForwardConfig"]["TargetGroups"][1]["Weight"].clone();
    assert_eq!(told().await, 0, "written, not yet seen");
    until(async || told().await == 100).await;
    assert!(changed.elapsed() >= lag);
    let listeners = call(&setup.elb, "DescribeListeners", json!({"ListenerArns": [setup.listener]})).await;
    assert_eq!(listeners["Listeners"][0]["DefaultActions"][0]["Type"], "fixed-response");
}
