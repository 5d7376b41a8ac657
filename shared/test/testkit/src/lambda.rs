//! A stand-in for Lambda: hands events to the real binary of a function through the runtime API, answers its calls to AWS, and keeps
//! everything the process writes.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;

/// Starting a debug build on a loaded machine takes seconds; what takes longer than this hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// A call of the function to AWS.
#[derive(Debug, Clone)]
pub struct AwsCall {
    /// `POST /`.
    pub line: String,
    /// The header that names the operation of a JSON protocol: `DynamoDB_20120810.GetItem`. Empty for others.
    pub target: String,
}

/// What a function did with its events.
#[derive(Debug)]
pub struct Ran {
    /// What it answered to each event; a failed one has `errorMessage`.
    pub answers: Vec<Value>,
    /// Everything it wrote to its standard output and error streams.
    pub written: String,
}

/// How AWS answers a call: status and body.
type Aws = dyn Fn(&AwsCall) -> (u16, String) + Send + Sync;

struct Invocations {
    events: Mutex<Vec<Value>>,
    answers: Mutex<Sender<Value>>,
    aws: Box<Aws>,
}

/// Starts `binary`, gives it the events one after the other, and ends it. `aws` answers its calls: status and body.
///
/// # Panics
/// When the function cannot be started or leaves an event unanswered.
#[expect(clippy::expect_used, reason = "only tests use it, and they fail by panicking")]
pub fn run(
    binary: &str,
    settings: &[(&str, &str)],
    events: &[Value],
    aws: impl Fn(&AwsCall) -> (u16, String) + Send + Sync + 'static,
) -> Ran {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let (sender, answered) = channel();
    let mut left = events.to_vec();
    left.reverse();
    let shared =
        Arc::new(Invocations { events: Mutex::new(left), answers: Mutex::new(sender), aws: Box::new(aws) });
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let shared = Arc::clone(&shared);
            // A caller that goes away ends its own thread and nothing else.
            std::thread::spawn(move || drop(serve(&stream, &shared)));
        }
    });
    let endpoint = format!("http://{address}");
    let mut child = Command::new(binary)
        .env_clear()
        .envs([
            ("AWS_LAMBDA_RUNTIME_API", address.as_str()),
            ("AWS_LAMBDA_FUNCTION_NAME", "function"),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256"),
            ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
            ("AWS_LAMBDA_LOG_STREAM_NAME", "stream"),
            ("AWS_LAMBDA_LOG_GROUP_NAME", "group"),
            ("AWS_REGION", "eu-central-1"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
            ("AWS_ENDPOINT_URL", endpoint.as_str()),
            ("TIDEGATE_TABLE", "ledger"),
            ("TIDEGATE_WAKE_QUEUE_URL", &format!("{endpoint}/111122223333/wake")),
            ("TIDEGATE_ACCOUNT_ID", "111122223333"),
        ])
        .envs(settings.iter().copied())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the function starts");
    let out = reader(child.stdout.take().expect("standard output"));
    let err = reader(child.stderr.take().expect("standard error"));
    let answers: Vec<Value> = events.iter().map_while(|_| answered.recv_timeout(PATIENCE).ok()).collect();
    child.kill().expect("the function is there to be ended");
    child.wait().expect("it ends");
    let written = [out, err].map(|thread| thread.join().expect("its output can be read")).concat();
    assert_eq!(answers.len(), events.len(), "events were left unanswered: {written}");
    Ran { answers, written }
}

fn reader(mut stream: impl std::io::Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was written before the stream broke is still told.
        let _ = stream.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Serves one connection, request after request.
fn serve(stream: &TcpStream, shared: &Invocations) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let Some((call, body)) = request(&mut reader)? else { return Ok(()) };
        let mut path = call.line.split(' ').nth(1).unwrap_or_default().split('/').rev();
        let last = path.next().unwrap_or_default();
        let runtime_api = call.line.contains(" /2018-06-01/runtime/");
        let (status, headers, answer) = match (runtime_api, last) {
            (true, "next") => {
                let event = shared.events.lock().unwrap_or_else(PoisonError::into_inner).pop();
                // As on AWS, where a function that has nothing to do is frozen in this call.
                let Some(event) = event else { return wait(&mut reader) };
                let headers = "Lambda-Runtime-Aws-Request-Id: 8476a536-e9f4-11e8-9739-2dfe598c3fcd\r\n\
                               Lambda-Runtime-Deadline-Ms: 4102444800000\r\n\
                               Lambda-Runtime-Invoked-Function-Arn: arn:aws:lambda:eu-central-1:111122223333:function:function\r\n\
                               Content-Type: application/json\r\n";
                (200, headers, event.to_string())
            }
            (true, _) => {
                let answer = serde_json::from_slice(&body).unwrap_or(Value::Null);
                // Nobody waits for it any more when the test is over.
                let _ = shared.answers.lock().unwrap_or_else(PoisonError::into_inner).send(answer);
                (202, "", String::new())
            }
            (false, _) => {
                let (status, answer) = (shared.aws)(&call);
                (status, "Content-Type: application/x-amz-json-1.0\r\n", answer)
            }
        };
        let head = format!("HTTP/1.1 {status} -\r\n{headers}Content-Length: {}\r\n\r\n", answer.len());
        let mut stream = stream;
        stream.write_all(head.as_bytes())?;
        stream.write_all(answer.as_bytes())?;
    }
}

fn wait(reader: &mut BufReader<&TcpStream>) -> std::io::Result<()> {
    reader.read_to_end(&mut Vec::new()).map(|_| ())
}

/// The next request of a connection: what it is and its body.
fn request(reader: &mut BufReader<&TcpStream>) -> std::io::Result<Option<(AwsCall, Vec<u8>)>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut call = AwsCall { line: line.trim_end().to_owned(), target: String::new() };
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let Some((name, value)) = header.trim_end().split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().unwrap_or_default(),
            "x-amz-target" => value.trim().clone_into(&mut call.target),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Some((call, body)))
}
