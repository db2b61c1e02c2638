//! The generator against small servers of this test.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use coupon_e2e::member::token::Signer;

use super::*;

const BODY: &str = r#"{"request_id":"018f3f5e-7b1a-7000-8000-000000000001","state":"accepted"}"#;

/// How long a server of this test stands still: for the client, a stall is time that passes.
const STALL: Duration = Duration::from_millis(100);
/// Time that a slow server takes for each answer.
const SLOW: Duration = Duration::from_millis(2);

/// Answers each request by what `answer` makes of its number; none closes the connection.
fn server(answer: impl Fn(usize) -> Option<String> + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (answer, count) = (Arc::new(answer), Arc::new(Mutex::new(0)));
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (answer, count) = (Arc::clone(&answer), Arc::clone(&count));
            thread::spawn(move || serve(&mut stream.unwrap(), &*answer, &count));
        }
    });
    address
}

fn serve(stream: &mut TcpStream, answer: &dyn Fn(usize) -> Option<String>, count: &Mutex<usize>) {
    let mut buffer = [0; 4096];
    while stream.read(&mut buffer).is_ok_and(|read| read > 0) {
        // Held while it answers: one request after the other, as with one worker.
        let mut number = count.lock().unwrap();
        *number += 1;
        let Some(body) = answer(*number - 1) else { return };
        let head = format!("HTTP/1.1 202 Accepted\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all((head + &body).as_bytes()).unwrap();
    }
}

fn load(address: SocketAddr, schedule: Schedule, connections: usize) -> Load {
    let requests = Requests::make(&Signer::new_of_world(), "host", "CODE", 0, schedule.len()).unwrap();
    Load { connections, ..Load::planned(address, requests, schedule) }
}

#[tokio::test]
async fn a_stall_makes_every_request_late_that_was_due_meanwhile() {
    let address = server(|number| {
        if number == 50 {
            thread::sleep(STALL);
        }
        Some(BODY.to_owned())
    });
    // 500 a second: about fifty are due within the 100 ms.
    let outcome = load(address, Schedule::steady(500.0, 0.4), 4).run().await.unwrap();
    assert_eq!((outcome.count(202), outcome.unanswered()), (200, 0));
    let latencies = outcome.latencies().unwrap();
    let late = latencies.len() - latencies.count_between(0, 20_000);
    assert!((25..=120).contains(&late), "{late} were late");
    assert!(quantile_ms(&latencies, 1.0) > 90.0);
}

#[tokio::test]
async fn a_broken_connection_loses_one_answer_and_is_made_anew() {
    let address = server(|number| (number != 5).then(|| BODY.to_owned()));
    let outcome = load(address, Schedule::at_once(20), 1).run().await.unwrap();
    assert_eq!((outcome.asked, outcome.count(202), outcome.unanswered()), (20, 19, 1));
    let answers = outcome.answers();
    let lost: Vec<&str> =
        answers.iter().filter(|answer| answer.no_answer.is_some()).map(|answer| &*answer.member).collect();
    assert_eq!(lost, ["bench-000000005"]);
    assert_eq!(answers.iter().filter(|answer| answer.is_held()).count(), 19);
    assert!(quantile_ms(&outcome.latencies().unwrap(), 1.0) > 100_000.0);
}

#[tokio::test]
async fn a_run_stops_in_time_and_samples_are_sent_on() {
    let address = server(|_| {
        thread::sleep(SLOW);
        Some(BODY.to_owned())
    });
    let (to, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let mut load = load(address, Schedule::at_once(5000), 2);
    (load.stop_after, load.samples) = (Some(Duration::from_millis(200)), Some(Samples { every: 10, to }));
    let outcome = load.run().await.unwrap();
    assert!((20..=120).contains(&outcome.asked), "{}", outcome.asked);
    let mut samples = 0;
    while heard.recv().await.is_some() {
        samples += 1;
    }
    assert_eq!(samples, outcome.asked.div_ceil(10));
}

#[test]
fn the_rate_is_that_of_the_middle() {
    // A slow start, then one each ms, then a slow end.
    let start = (0..5).map(|index| index * 1_000_000_000);
    let middle = (0..90).map(|index| 5_000_000_000 + index * 1_000_000);
    let end = (0..5).map(|index| 10_000_000_000 + index * 1_000_000_000);
    let rate = middle_rate(start.chain(middle).chain(end).collect());
    assert!((rate - 1000.0).abs() < 1.0, "{rate}");
    assert!(middle_rate(vec![1; 20]).abs() < f64::EPSILON);
}
