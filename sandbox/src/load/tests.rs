use std::sync::atomic::{AtomicU64, Ordering};

use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::*;

/// Every tenth answer is an error; every hundredth request finds the connection closed.
async fn server() -> (SocketAddr, Arc<AtomicU64>) {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let requests = Arc::new(AtomicU64::new(0));
    let counter = requests.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = socket.accept().await.unwrap();
            let counter = counter.clone();
            let service = service_fn(move |_: hyper::Request<hyper::body::Incoming>| {
                let number = counter.fetch_add(1, Ordering::Relaxed) + 1;
                async move {
                    if number.is_multiple_of(100) {
                        return Err("closed");
                    }
                    let status = if number.is_multiple_of(10) { 500 } else { 200 };
                    let response = hyper::Response::builder().status(status).header("x-version", "v1");
                    Ok::<_, &str>(response.body(Full::<Bytes>::default()).unwrap())
                }
            });
            tokio::spawn(
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    (address, requests)
}

#[tokio::test]
async fn every_request_is_accounted_for() {
    let (address, requests) = server().await;
    let load = Load::start(Plan::new(address, 400.0));
    let deadline = Instant::now() + Duration::from_secs(20);
    while load.snapshot().total.sent < 250 {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let snapshot = load.stop().await;
    let total = &snapshot.total;
    let seen = requests.load(Ordering::Relaxed);
    assert_eq!(total.in_flight(), 0);
    assert_eq!(total.sent, seen);
    assert_eq!(total.lost, BTreeMap::from([("reset".to_owned(), seen / 100)]));
    assert_eq!(total.errors(), seen / 10 - seen / 100);
    assert_eq!(total.errors_by_version["v1"], total.errors());
    assert_eq!(total.by_version["v1"], total.answered());
    assert_eq!(snapshot.seconds.iter().map(|second| second.sent).sum::<u64>(), total.sent);
}

#[tokio::test]
async fn nobody_there_is_lost() {
    let address = {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        socket.local_addr().unwrap()
    };
    let load = Load::start(Plan::new(address, 100.0));
    while load.snapshot().total.lost() < 3 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let total = load.stop().await.total;
    assert_eq!(total.lost["connect"], total.sent);
}
