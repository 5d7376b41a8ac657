//! Starting and ending the processes of tasks. Children cannot outlive the sandbox: they read its end from stdin.

use std::collections::HashMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::oneshot;
use tracing::{debug, warn};

use super::serve::LISTENING;
use crate::ports::ImageSpec;

/// What is known of a task's process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskStatus {
    /// Started, does not accept connections yet.
    Starting,
    /// Accepts connections here.
    Listening(SocketAddr),
    /// Ended, by itself or because it was asked to.
    Exited {
        /// The exit code, when the process had one.
        code: Option<i32>,
    },
}

/// What the scheduler needs to run tasks. No call blocks.
pub trait TaskLauncher: Send + Sync {
    /// Starts the process of a task.
    fn launch(&self, task: &str, image: &ImageSpec);
    /// How the process is; a task never launched counts as exited.
    fn status(&self, task: &str) -> TaskStatus;
    /// Asks the process to end; it may finish its requests, for a limited time.
    fn stop(&self, task: &str);
    /// Forgets a task that has exited.
    fn forget(&self, task: &str);
}

/// From asking a process to end until it is killed. AWS's default `stopTimeout`.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// Runs each task as a child process of the sandbox's own binary. Needs a tokio runtime.
pub struct ProcessLauncher {
    executable: PathBuf,
    leading_args: Vec<OsString>,
    processes: Arc<Mutex<HashMap<String, Process>>>,
}

struct Process {
    status: TaskStatus,
    stop: Option<oneshot::Sender<()>>,
}

impl ProcessLauncher {
    /// Runs `executable leading_args… --version …`. The sandbox's own binary takes `["task"]` as leading argument.
    pub fn new(executable: PathBuf, leading_args: Vec<OsString>) -> Self {
        Self { executable, leading_args, processes: Arc::default() }
    }

    /// The running binary with its hidden subcommand `task`.
    ///
    /// # Errors
    /// When the path of the running binary cannot be found.
    pub fn of_current_exe() -> std::io::Result<Self> {
        Ok(Self::new(std::env::current_exe()?, vec!["task".into()]))
    }

    fn command(&self, task: &str, image: &ImageSpec) -> Command {
        let mut command = Command::new(&self.executable);
        command.args(&self.leading_args).args(["--port", "0", "--task", task, "--version", &image.version]);
        command.args(["--error-percent", &image.error_percent.to_string()]);
        command.args(["--latency-ms", &image.latency_ms.to_string()]);
        if image.crashes {
            command.arg("--crash");
        }
        if image.unhealthy {
            command.arg("--unhealthy");
        }
        // Its own process group: Ctrl-C reaches the sandbox, which ends its tasks in order.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        command.process_group(0).kill_on_drop(true);
        command
    }
}

fn lock(processes: &Mutex<HashMap<String, Process>>) -> MutexGuard<'_, HashMap<String, Process>> {
    processes.lock().unwrap_or_else(PoisonError::into_inner)
}

impl TaskLauncher for ProcessLauncher {
    fn launch(&self, task: &str, image: &ImageSpec) {
        let (stop, stopped) = oneshot::channel();
        let status = match self.command(task, image).spawn() {
            Ok(child) => {
                tokio::spawn(watch(Arc::clone(&self.processes), task.to_owned(), child, stopped));
                TaskStatus::Starting
            }
            Err(error) => {
                warn!(executable = %self.executable.display(), %error, "failed to start the process of a task");
                TaskStatus::Exited { code: None }
            }
        };
        lock(&self.processes).insert(task.to_owned(), Process { status, stop: Some(stop) });
    }

    fn status(&self, task: &str) -> TaskStatus {
        let processes = lock(&self.processes);
        processes.get(task).map_or(TaskStatus::Exited { code: None }, |process| process.status.clone())
    }

    fn stop(&self, task: &str) {
        if let Some(stop) = lock(&self.processes).get_mut(task).and_then(|process| process.stop.take()) {
            let _already_exited = stop.send(());
        }
    }

    fn forget(&self, task: &str) {
        lock(&self.processes).remove(task);
    }
}

async fn watch(
    processes: Arc<Mutex<HashMap<String, Process>>>,
    task: String,
    mut child: Child,
    stopped: oneshot::Receiver<()>,
) {
    let stdin = child.stdin.take();
    let set = |status: TaskStatus| {
        if let Some(process) = lock(&processes).get_mut(&task) {
            process.status = status;
        }
    };
    let stdout = child.stdout.take();
    let reports = async {
        let Some(stdout) = stdout else { return };
        let mut lines = BufReader::new(stdout).lines();
        // Read to the end: a child whose stdout nobody reads would block, one whose stdout is closed would fail.
        while let Ok(Some(line)) = lines.next_line().await {
            let address = line.split_once(LISTENING).and_then(|(_, address)| address.trim().parse().ok());
            if let Some(address) = address {
                set(TaskStatus::Listening(address));
            }
        }
    };
    let end = async {
        // The launcher itself gone (sender dropped) is a reason to stop, too.
        let _sent_or_dropped = stopped.await;
        drop(stdin);
        tokio::time::sleep(STOP_TIMEOUT).await;
    };
    let exit = tokio::select! {
        (exit, ()) = async { tokio::join!(child.wait(), reports) } => Some(exit),
        () = end => None,
    };
    let exit = match exit {
        Some(exit) => exit,
        None => {
            warn!(task, "killing a task that did not end in time");
            let killed = child.kill().await;
            debug!(task, ?killed, "killed");
            child.wait().await
        }
    };
    let code = exit.ok().and_then(|status| status.code());
    set(TaskStatus::Exited { code });
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::tasks::serve::{TaskArgs, run};
    use clap::Parser;
    use http_body_util::{BodyExt as _, Empty};
    use hyper_util::client::legacy::Client;
    use hyper_util::rt::TokioExecutor;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        task: TaskArgs,
    }

    /// Not a test: what the tests below start as the process of a task, because a unit test has no other binary.
    #[test]
    #[ignore = "the child process of other tests"]
    fn child_process() {
        let args: Vec<_> = std::env::args().skip_while(|arg| arg != "--").collect();
        if args.is_empty() {
            return;
        }
        let task = Cli::parse_from(args).task;
        tokio::runtime::Runtime::new().unwrap().block_on(run(task)).unwrap();
    }

    pub(crate) fn launcher() -> ProcessLauncher {
        let args = ["--exact", "tasks::launch::tests::child_process", "--ignored", "--nocapture", "--"];
        ProcessLauncher::new(std::env::current_exe().unwrap(), args.map(OsString::from).to_vec())
    }

    fn image(version: &str) -> ImageSpec {
        ImageSpec {
            digest: "sha256:0".into(),
            version: version.into(),
            error_percent: 50.0,
            latency_ms: 0,
            crashes: false,
            unhealthy: false,
        }
    }

    async fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(tokio::time::Instant::now() < deadline, "not in time: {what}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn listening(launcher: &ProcessLauncher, task: &str) -> SocketAddr {
        until("listening", || match launcher.status(task) {
            TaskStatus::Listening(address) => Some(address),
            TaskStatus::Starting => None,
            TaskStatus::Exited { code } => panic!("exited with {code:?}"),
        })
        .await
    }

    #[tokio::test]
    async fn a_process_serves_its_version_and_its_share_of_errors_and_ends_when_asked() {
        let launcher = launcher();
        launcher.launch("t1", &image("v7"));
        let address = listening(&launcher, "t1").await;
        let client = Client::builder(TokioExecutor::new()).build_http::<Empty<bytes::Bytes>>();
        let mut statuses = Vec::new();
        for _ in 0..4 {
            let answer = client.get(format!("http://{address}/any").parse().unwrap()).await.unwrap();
            statuses.push(answer.status().as_u16());
            assert_eq!(answer.headers()["x-version"], "v7");
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(body["task"], "t1");
        }
        assert_eq!(statuses, [200, 500, 200, 500]);
        let health = client.get(format!("http://{address}/health").parse().unwrap()).await.unwrap();
        assert_eq!(health.status(), 200);

        launcher.stop("t1");
        let code = until("exit", || match launcher.status("t1") {
            TaskStatus::Exited { code } => Some(code),
            TaskStatus::Starting | TaskStatus::Listening(_) => None,
        })
        .await;
        assert_eq!(code, Some(0));
    }

    #[tokio::test]
    async fn an_image_that_crashes_exits_with_a_code() {
        let launcher = launcher();
        launcher.launch("t1", &ImageSpec { crashes: true, ..image("v8") });
        let code = until("exit", || match launcher.status("t1") {
            TaskStatus::Exited { code } => Some(code),
            TaskStatus::Starting | TaskStatus::Listening(_) => None,
        })
        .await;
        assert!(code.is_some_and(|code| code != 0), "{code:?}");
    }
}
