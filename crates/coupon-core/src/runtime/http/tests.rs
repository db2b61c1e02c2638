use std::time::Instant;

use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::*;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
const SLOW: &[u8] = b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n";

const SLOW_AND_LAST: &[u8] = b"GET /slow HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

struct Running {
    address: SocketAddr,
    shutdown: Shutdown,
    started: Arc<Notify>,
    release: Arc<Notify>,
    served: JoinHandle<()>,
}

async fn start(header_timeout: u64, drain: u64, max_connections: usize) -> Running {
    idling(60_000, header_timeout, drain, max_connections).await
}

async fn idling(idle_timeout: u64, header_timeout: u64, drain: u64, max_connections: usize) -> Running {
    let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0)), "http.listen").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let (started, release, shutdown) = (Arc::new(Notify::new()), Arc::new(Notify::new()), Shutdown::new());
    let slow = {
        let (started, release) = (Arc::clone(&started), Arc::clone(&release));
        move || async move {
            started.notify_one();
            release.notified().await;
            "slow"
        }
    };
    let router = Router::new().route("/", get(|| async { "quick" })).route("/slow", get(slow));
    let limits = HttpLimits {
        header_timeout: Duration::from_millis(header_timeout),
        idle_timeout: Duration::from_millis(idle_timeout),
        drain: Duration::from_millis(drain),
        max_connections,
        name: "test",
    };
    let served = tokio::spawn(serve(listener, router, limits, shutdown.clone()));
    Running { address, shutdown, started, release, served }
}

impl Running {
    async fn send(&self, bytes: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.expect("it listens");
        stream.write_all(bytes).await.expect("it reads");
        stream
    }

    async fn end(self) {
        within(self.served).await.expect("serve does not panic");
    }
}

async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(10), future).await.expect("it happens within 10 s")
}

/// Lets this much time pass, where the time of a head or of an idle connection is itself what is tested.
async fn pause(time: Duration) {
    tokio::time::sleep(time).await;
}

/// All that comes until the other side closes.
async fn rest(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset is an end as well.
    drop(within(stream.read_to_end(&mut bytes)).await);
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn s4_a_client_that_does_not_finish_its_head_is_cut_off() {
    let running = start(300, 1000, 10).await;
    for head in [&b""[..], b"PRI * HT", b"GET / HTTP/1.1\r\nhost: x\r\nx-slow: "] {
        let begun = Instant::now();
        let answer = rest(running.send(head).await).await;
        assert!(!answer.contains("200 OK"), "{answer}");
        assert!(begun.elapsed() >= Duration::from_millis(250), "not before its time");
        assert!(begun.elapsed() < Duration::from_secs(5), "cut off soon after");
    }
    let answer = rest(running.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await).await;
    assert!(!answer.contains("200 OK"), "no HTTP/2: {answer}");
    // The second one of a connection as well, counted from its first byte.
    let mut stream = running.send(REQUEST).await;
    answered(&mut stream).await;
    pause(Duration::from_millis(500)).await;
    stream.write_all(b"GET / HT").await.expect("it is open after more than the time for a head");
    let begun = Instant::now();
    assert_eq!(rest(stream).await, "");
    assert!(begun.elapsed() >= Duration::from_millis(250) && begun.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn s4_a_dripping_head_is_cut_off_however_often_a_byte_comes() {
    let running = start(400, 1000, 10).await;
    let stream = running.send(b"GET / HTTP/1.1\r\nhost: x\r\nx-slow: ").await;
    let (begun, (mut reader, mut writer)) = (Instant::now(), stream.into_split());
    let dripping = tokio::spawn(async move {
        while writer.write_all(b"x").await.is_ok() {
            pause(Duration::from_millis(20)).await;
        }
    });
    let mut bytes = Vec::new();
    drop(within(reader.read_to_end(&mut bytes)).await);
    assert!(bytes.is_empty());
    assert!(begun.elapsed() >= Duration::from_millis(350) && begun.elapsed() < Duration::from_secs(5));
    within(dripping).await.expect("it ends");
}

#[tokio::test]
async fn an_idle_connection_is_kept_for_its_own_time_and_then_closed() {
    let running = idling(1200, 200, 1000, 10).await;
    let mut stream = running.send(REQUEST).await;
    answered(&mut stream).await;
    // Longer than a head may take.
    pause(Duration::from_millis(700)).await;
    stream.write_all(REQUEST).await.expect("it is open");
    answered(&mut stream).await;
    let begun = Instant::now();
    assert_eq!(rest(stream).await, "");
    assert!(begun.elapsed() >= Duration::from_millis(1100), "{:?}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn while_few_slots_are_free_idle_connections_make_room_and_busy_ones_stay() {
    let running = idling(3_600_000, 300, 1000, 10).await;
    let busy = running.send(SLOW_AND_LAST).await;
    within(running.started.notified()).await;
    let mut idle = Vec::new();
    // One slot is the listener's, for whoever comes next.
    for _ in 0..7 {
        let mut stream = running.send(REQUEST).await;
        answered(&mut stream).await;
        idle.push(stream);
    }
    // One of ten is free: longer than an idle connection is kept when there are fewer.
    pause(Duration::from_millis(900)).await;
    for stream in &mut idle {
        stream.write_all(REQUEST).await.expect("it is open");
        answered(stream).await;
    }
    // Two take the last slots; the third waits for one.
    for _ in 0..3 {
        let mut stream = running.send(REQUEST).await;
        answered(&mut stream).await;
        idle.push(stream);
    }
    running.release.notify_one();
    assert!(rest(busy).await.contains("200 OK"), "a request that is being answered is not idle");
}

#[tokio::test]
async fn a_stop_closes_connections_that_idle_at_once() {
    let running = idling(3_600_000, 5000, 5000, 10).await;
    let mut stream = running.send(REQUEST).await;
    answered(&mut stream).await;
    let begun = Instant::now();
    running.shutdown.begin("a test");
    assert_eq!(rest(stream).await, "");
    running.end().await;
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

/// Reads one answer of `/`.
async fn answered(stream: &mut TcpStream) {
    let (mut bytes, mut byte) = (Vec::new(), [0]);
    while !bytes.ends_with(b"quick") {
        within(stream.read_exact(&mut byte)).await.expect("an answer");
        bytes.push(byte[0]);
    }
}

#[tokio::test]
async fn a_request_that_cannot_be_read_is_answered_with_a_problem() {
    let running = start(5000, 1000, 10).await;
    let long = |head: &str, length: usize, end: &str| [head, &"x".repeat(length), end].concat();
    for (status, code, request) in [
        (400, "BAD_REQUEST", "GET /\u{1}\u{2} nonsense\r\n\r\n".to_owned()),
        (
            400,
            "BAD_REQUEST",
            "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}".to_owned(),
        ),
        (400, "BAD_REQUEST", "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n".to_owned()),
        (431, "HEADERS_TOO_LARGE", long("GET / HTTP/1.1\r\nhost: x\r\nx-large: ", 200_000, "\r\n\r\n")),
        (431, "HEADERS_TOO_LARGE", ["GET / HTTP/1.1\r\nhost: x\r\n", &"x-many: 1\r\n".repeat(101), "\r\n"].concat()),
        (414, "URI_TOO_LONG", long("GET /", 65_600, " HTTP/1.1\r\nhost: x\r\n\r\n")),
    ] {
        let answer = rest(running.send(request.as_bytes()).await).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{code}: {answer}");
        for header in ["content-type: application/problem+json", "connection: close", "cache-control: no-store"] {
            assert_eq!(head.matches(header).count(), 1, "{header} in {head}");
        }
        assert!(head.contains(&format!("content-length: {}", body.len())), "{answer}");
        let body: serde_json::Value = serde_json::from_str(body).expect("JSON");
        assert_eq!((body["status"].as_u64(), body["code"].as_str()), (Some(status), Some(code)), "{body}");
        assert!(body["title"].as_str().is_some_and(|title| !title.is_empty()), "{body}");
    }
    // Also after a request that was answered.
    let answer = rest(running.send(&[REQUEST, b"nonsense\r\n\r\n"].concat()).await).await;
    assert!(answer.contains("quickHTTP/1.1 400 ") && answer.contains("BAD_REQUEST"), "{answer}");
}

#[tokio::test]
async fn a_slow_handler_is_not_a_slow_head() {
    let running = start(200, 1000, 10).await;
    let stream = running.send(SLOW_AND_LAST).await;
    within(running.started.notified()).await;
    // Longer than a head may take.
    pause(Duration::from_millis(500)).await;
    running.release.notify_one();
    let answer = rest(stream).await;
    assert!(answer.contains("200 OK") && answer.ends_with("slow"), "{answer}");
}

#[tokio::test]
async fn a_stop_lets_requests_in_flight_end_and_takes_no_new_ones() {
    let running = start(5000, 5000, 10).await;
    let idle = running.send(b"").await;
    let stream = running.send(SLOW).await;
    within(running.started.notified()).await;
    running.shutdown.begin("a test");
    assert_eq!(rest(idle).await, "", "an idle connection is closed at once");
    assert!(TcpStream::connect(running.address).await.is_err(), "nobody listens any more");
    assert!(!running.served.is_finished(), "a request is still in flight");
    running.release.notify_one();
    let answer = rest(stream).await;
    assert!(answer.contains("200 OK") && answer.ends_with("slow"), "{answer}");
    running.end().await;
}

#[tokio::test]
async fn a_request_that_does_not_end_is_cut_when_the_drain_time_is_over() {
    let running = start(5000, 200, 10).await;
    let stream = running.send(SLOW).await;
    within(running.started.notified()).await;
    let begun = Instant::now();
    running.shutdown.begin("a test");
    assert_eq!(rest(stream).await, "");
    assert!(begun.elapsed() >= Duration::from_millis(200));
    running.end().await;
}

#[tokio::test]
async fn a_connection_above_the_cap_waits_for_a_free_slot() {
    let running = start(5000, 1000, 1).await;
    let first = running.send(SLOW).await;
    within(running.started.notified()).await;
    let mut second = running.send(REQUEST).await;
    let mut byte = [0];
    let early = tokio::time::timeout(Duration::from_millis(300), second.read(&mut byte)).await;
    assert!(early.is_err(), "answered although the cap is reached");
    running.release.notify_one();
    drop(first);
    within(second.read_exact(&mut byte)).await.expect("answered after the first has gone");
    running.shutdown.begin("a test");
    running.end().await;
}
