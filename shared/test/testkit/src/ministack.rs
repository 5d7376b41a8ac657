//! A real ministack for the tests of adapters: the AWS protocols over HTTP, without an account.
//!
//! Start one for each test binary and give each test a table or queue of its own:
//!
//! ```no_run
//! # use tidegate_testkit::ministack::Ministack;
//! static MINISTACK: std::sync::OnceLock<Ministack> = std::sync::OnceLock::new();
//! # async fn test() {
//! let config = MINISTACK.get_or_init(Ministack::start).config().await;
//! # }
//! ```
//!
//! It cannot outlive the test process: it kills its own process group when the pipe on its standard input closes, which happens
//! on drop and, also for a `static` and after SIGKILL, when the process ends. It removes its directory before that.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use tempfile::TempDir;
use tidegate_aws::{Options, SdkConfig};

/// The account everything in it belongs to.
pub const ACCOUNT: &str = "111122223333";
/// Its region.
pub const REGION: &str = "eu-central-1";

const START_LIMIT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);

const LAUNCHER: &str = r#"
import os, shutil, signal, sys, threading

def die_with_parent():
    while os.read(0, 4096):
        pass
    shutil.rmtree(os.environ["HOME"], ignore_errors=True)
    os.killpg(0, signal.SIGKILL)

threading.Thread(target=die_with_parent, daemon=True).start()
sys.argv = ["ministack"]
from ministack.app import main
main()
"#;

/// A running ministack; dropping it ends it.
#[derive(Debug)]
pub struct Ministack {
    child: Child,
    addr: SocketAddr,
    dir: TempDir,
}

impl Ministack {
    /// Starts one on a free port of 127.0.0.1 and waits until it answers: one to two seconds.
    ///
    /// # Panics
    ///
    /// With what to do, when there is no virtual environment with ministack, or ministack does not start. A test that needs it must
    /// fail then, not pass unseen.
    pub fn start() -> Self {
        let venv = venv();
        let dir = tempfile::tempdir().expect("a temporary directory");
        let addr = free_addr();
        let log = std::fs::File::create(dir.path().join(LOG)).expect("a log file");
        let mut command = command(&venv.join("bin/python"), dir.path(), addr);
        command.stderr(log.try_clone().expect("the log file twice")).stdout(log);
        let child =
            command.spawn().unwrap_or_else(|error| panic!("failed to run {}: {error}", venv.display()));
        let mut ministack = Self { child, addr, dir };
        ministack.wait_until_ready();
        ministack
    }

    /// Where it listens: `http://127.0.0.1:PORT`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// A client configuration as the functions have it, with root's credentials. Make one in each test: connections belong to
    /// the test's own tokio runtime.
    pub async fn config(&self) -> SdkConfig {
        let options = Options {
            region: Some(REGION.into()),
            endpoint_url: Some(self.endpoint()),
            ..Options::default()
        };
        let config = tidegate_aws::config(&options).await.expect("a region is given");
        let root = Credentials::new("test", "test", None, None, "ministack");
        config.into_builder().credentials_provider(SharedCredentialsProvider::new(root)).build()
    }

    fn wait_until_ready(&mut self) {
        let deadline = Instant::now() + START_LIMIT;
        while !answers(self.addr) {
            if let Some(status) = self.child.try_wait().expect("the state of the child") {
                panic!("ministack ended at start ({status}):\n{}", self.log());
            }
            assert!(Instant::now() < deadline, "ministack did not answer:\n{}", self.log());
            std::thread::sleep(POLL);
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join(LOG)).unwrap_or_default()
    }
}

impl Drop for Ministack {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        // Its directory is removed after this; nothing may write there any more.
        let _ = self.child.wait();
    }
}

const LOG: &str = "ministack.log";

/// `TIDEGATE_VENV`, or `.venv` in the checkout.
fn venv() -> PathBuf {
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..");
    let venv = std::env::var_os("TIDEGATE_VENV").map_or_else(|| checkout.join(".venv"), PathBuf::from);
    assert!(
        venv.join("bin/python").exists(),
        "no virtual environment with ministack at {}: run `cargo xtask test`, which makes it, or set TIDEGATE_VENV",
        venv.display()
    );
    venv
}

fn command(python: &Path, dir: &Path, addr: SocketAddr) -> Command {
    let mut command = Command::new(python);
    command
        .args(["-c", LAUNCHER])
        // The developer's AWS settings have no business there.
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", dir)
        .env("TMPDIR", dir)
        .env("PYTHONUNBUFFERED", "1")
        .env("BIND_HOST", addr.ip().to_string())
        .env("GATEWAY_PORT", addr.port().to_string())
        .env("AWS_ENDPOINT_URL", format!("http://{addr}"))
        .env("MINISTACK_ACCOUNT_ID", ACCOUNT)
        .env("MINISTACK_REGION", REGION)
        .env("DOCKER_HOST", format!("unix://{}/no-docker.sock", dir.display()))
        .env("IOT_MTLS_ENABLED", "0")
        .env("SFTP_ENABLED", "0")
        .env("STATE_DIR", dir.join("state"))
        .env("S3_DATA_DIR", dir.join("s3"))
        .stdin(Stdio::piped())
        // A group of its own: it ends itself by killing the group it is in.
        .process_group(0);
    command
}

/// A port that was free a moment ago: ministack cannot be handed a bound socket.
fn free_addr() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("the address of a bound socket")
}

fn answers(addr: SocketAddr) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(addr)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        write!(stream, "GET /_ministack/health HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n")?;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    ask().is_ok_and(|answer| answer == "HTTP/1.1 200")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_when_dropped() {
        let ministack = Ministack::start();
        let addr = ministack.addr;
        assert!(answers(addr));
        drop(ministack);
        assert!(TcpStream::connect(addr).is_err());
    }
}
