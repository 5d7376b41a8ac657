//! The binary over the AWS protocols: names derived from the stack's, the caller's identity, the ledger, the queue. AWS is a ministack.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::OnceLock;

use assert_cmd::Command;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection,
    ProjectionType, ScalarAttributeType,
};
use serde_json::Value;
use tidegate_testkit::ministack::{Ministack, REGION};

static MINISTACK: OnceLock<Ministack> = OnceLock::new();

const POLICY: &str = r#"
service: checkout
from:     { ecr: { repository: shop/checkout, tags: ["main-*"] } }
to:       { ecs: { cluster: prod, service: checkout, container: app } }
strategy: { canary: { percent: 10, bake: 5m }, bake: 15m }
"#;

const MANIFEST: &str = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","size":2,"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"},"layers":[]}"#;

struct Ended {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Ended {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|_| panic!("no JSON: {}{}", self.out, self.err))
    }
}

/// Runs the binary against a stack, with nothing of the machine's own AWS configuration.
fn tidegate(stack: &str, args: &[&str], input: &str) -> Ended {
    let endpoint = MINISTACK.get().unwrap().endpoint();
    let output = Command::cargo_bin("tidegate")
        .unwrap()
        .env_clear()
        .env("HOME", "/nonexistent")
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .env("AWS_ENDPOINT_URL", endpoint)
        .env("TIDEGATE_STACK", stack)
        .args(["--region", REGION])
        .args(args)
        .write_stdin(input)
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ended { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

async fn table(stack: &str) {
    let attribute = |name: &str| {
        let definition = AttributeDefinition::builder().attribute_name(name);
        definition.attribute_type(ScalarAttributeType::S).build().unwrap()
    };
    let key =
        |name: &str, kind| KeySchemaElement::builder().attribute_name(name).key_type(kind).build().unwrap();
    let index = |name: &str, prefix: &str| {
        GlobalSecondaryIndex::builder()
            .index_name(name)
            .key_schema(key(&format!("{prefix}pk"), KeyType::Hash))
            .key_schema(key(&format!("{prefix}sk"), KeyType::Range))
            .projection(Projection::builder().projection_type(ProjectionType::KeysOnly).build())
            .build()
            .unwrap()
    };
    let names = ["pk", "sk", "gsi1pk", "gsi1sk", "gsi2pk", "gsi2sk"];
    aws_sdk_dynamodb::Client::new(&MINISTACK.get_or_init(Ministack::start).config().await)
        .create_table()
        .table_name(format!("{stack}-ledger"))
        .billing_mode(BillingMode::PayPerRequest)
        .set_attribute_definitions(Some(names.map(attribute).into()))
        .key_schema(key("pk", KeyType::Hash))
        .key_schema(key("sk", KeyType::Range))
        .global_secondary_indexes(index("by-service", "gsi1"))
        .global_secondary_indexes(index("by-wake", "gsi2"))
        .send()
        .await
        .unwrap();
}

/// Creates the repository once, with one image, and gives its digest.
async fn image() -> String {
    static DIGEST: tokio::sync::OnceCell<String> = tokio::sync::OnceCell::const_new();
    let push = || async {
        let client = aws_sdk_ecr::Client::new(&MINISTACK.get_or_init(Ministack::start).config().await);
        client.create_repository().repository_name("shop/checkout").send().await.unwrap();
        let put = client.put_image().repository_name("shop/checkout").image_tag("main-42");
        let put = put.image_manifest(MANIFEST).send().await.unwrap();
        put.image.unwrap().image_id.unwrap().image_digest.unwrap()
    };
    DIGEST.get_or_init(push).await.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_is_created_in_the_ledger_and_the_conductor_is_woken() {
    table("whole").await;
    let digest = image().await;
    let sqs = aws_sdk_sqs::Client::new(&MINISTACK.get().unwrap().config().await);
    let queue = sqs.create_queue().queue_name("whole-commands").send().await.unwrap().queue_url.unwrap();

    let applied = tidegate("whole", &["apply", "-", "--json"], POLICY);
    assert_eq!((applied.code, &applied.json()["policies"][0]["change"]), (Some(0), &Value::from("created")));
    let again = tidegate("whole", &["apply", "-"], POLICY);
    assert_eq!(again.out, "= checkout: unchanged (canary 10% for 5m, then 15m)\n");

    let released = tidegate("whole", &["release", "checkout", "main-42", "--reason", "try", "--json"], "");
    let answer = released.json();
    assert_eq!((released.code, &answer["outcome"]), (Some(0), &Value::from("created")));
    assert_eq!(
        (&answer["images"]["app"]["digest"], &answer["conductor_told"]),
        (&Value::from(digest), &Value::from(true))
    );
    let id = answer["release"].as_str().unwrap();

    let message = sqs.receive_message().queue_url(queue).send().await.unwrap().messages.unwrap_or_default();
    assert!(message.iter().any(|message| message.body().unwrap_or_default().contains(id)), "{message:?}");

    let watched = tidegate("whole", &["watch", id, "--once", "--json"], "");
    assert_eq!((watched.code, &watched.json()["state"]), (Some(6), &Value::from("queued")));
    let why = tidegate("whole", &["why", "checkout", "--json"], "").json();
    let created = &why["release"]["history"][0];
    assert_eq!((&created["why"], &why["release"]["release"]), (&Value::from("try"), &Value::from(id)));
    assert!(created["by"].as_str().unwrap().starts_with("arn:aws:iam::111122223333:"), "{created}");

    assert_eq!(tidegate("whole", &["cancel", "checkout"], "").code, Some(0));
    let list = tidegate("whole", &["releases", "--json"], "").json();
    assert_eq!(list["releases"][0]["release"], id);
    assert_eq!(tidegate("whole", &["services", "--json"], "").json()["services"][0]["waiting"], id);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_queue_the_change_stands_and_it_is_said_who_will_find_it() {
    table("deaf").await;
    image().await;
    assert_eq!(tidegate("deaf", &["apply", "-"], POLICY).code, Some(0));
    let released = tidegate("deaf", &["release", "checkout", "main-42"], "");
    assert_eq!(released.code, Some(0), "{}", released.err);
    assert!(released.out.contains("created release"), "{}", released.out);
    assert!(released.err.contains("the clock finds the change within a minute"), "{}", released.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stack_that_is_not_there_is_told_with_what_to_check() {
    MINISTACK.get_or_init(Ministack::start);
    let ended = tidegate("nowhere", &["services"], "");
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.err.contains("ResourceNotFoundException") && ended.err.contains("--stack"),
        "{}",
        ended.err
    );
}
