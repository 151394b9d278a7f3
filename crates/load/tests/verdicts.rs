//! The generator against small servers that are wrong in one known way each, and against right
//! ones: it must name the fault, and must not find any where there is none.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use load::{Broadcast, Echo, Error, Fault, Pace, Progress, Protocol, Report, Verdict};

#[test]
fn a_right_echo_works() {
    let report = echo(20, |_, bytes| bytes);
    assert_eq!(report.verdict, Verdict::Works);
    assert_eq!((report.connected, report.served), (20, 20));
    let window = report.window.expect("it was measured");
    assert!(window.received > 0 && window.latency.len() == window.received);
}

#[test]
fn an_echo_that_comes_in_pieces_works() {
    let server = serve(|mut stream, _| {
        let mut buffer = [0; 7];
        while let Ok(read @ 1..) = stream.read(&mut buffer) {
            if stream.write_all(&buffer[..read]).is_err() {
                return;
            }
        }
    });
    let plan = Echo { message: 1000, pace: Pace::InFlight(4), ..echo_plan(3) };
    assert_eq!(run_echo(&plan, server).verdict, Verdict::Works);
}

#[test]
fn a_lost_byte_is_named_wherever_it_is() {
    side_by_side([0, 30, 63], |index| {
        let report = echo(3, move |number, mut bytes| {
            if number == 40 {
                bytes.remove(index.min(bytes.len() - 1));
            }
            bytes
        });
        assert_eq!(fault(&report), Some((Fault::Lost, 1)), "byte {index}: {:?}", report);
    });
}

#[test]
fn a_lost_message_is_named_even_if_it_is_the_first() {
    side_by_side([1, 40], |lost| {
        let report = echo(3, move |number, bytes| if number == lost { Vec::new() } else { bytes });
        assert_eq!(fault(&report), Some((Fault::Lost, 64)), "message {lost}: {:?}", report);
    });
}

#[test]
fn a_duplicated_byte_is_named() {
    let report = echo(3, |number, mut bytes| {
        if number == 40 {
            bytes.insert(30, bytes[29]);
        }
        bytes
    });
    assert_eq!(fault(&report), Some((Fault::Duplicated, 1)));
}

#[test]
fn halves_that_change_places_are_named() {
    let report = echo(3, |number, mut bytes| {
        if number == 40 {
            let half = bytes.len() / 2;
            bytes.rotate_left(half);
        }
        bytes
    });
    assert_eq!(fault(&report), Some((Fault::Reordered, 32)));
}

#[test]
fn a_changed_byte_is_named() {
    let report = echo(3, |number, mut bytes| {
        bytes[20] ^= u8::from(number == 40);
        bytes
    });
    assert_eq!(fault(&report), Some((Fault::Corrupted, 1)));
}

#[test]
fn bytes_of_another_connection_are_named() {
    let last = Mutex::new(Vec::new());
    let report = echo(3, move |number, bytes| {
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        let other = std::mem::replace(&mut *last, bytes.clone());
        // The first forty messages of three connections: two in a row are rarely of one.
        if number > 40 && other.len() == bytes.len() && other != bytes { other } else { bytes }
    });
    let fault = name(&report);
    // Where they were of the same connection, they are a message that was there before.
    assert!(matches!(fault, Some(Fault::Misdelivered | Fault::Duplicated)), "{:?}", report);
}

#[test]
fn a_server_that_serves_one_client_is_no_failure() {
    let only = Mutex::new(());
    let server = serve(move |mut stream, _| {
        let _turn = only.lock().unwrap_or_else(PoisonError::into_inner);
        copy_back(&mut stream, |bytes| bytes);
    });
    let report = run_echo(&echo_plan(5), server);
    assert_eq!(report.verdict, Verdict::Serves(1));
    assert_eq!((report.connected, report.served), (5, 1));
    assert!(report.window.expect("it was measured").received > 0);
}

#[test]
fn a_server_that_answers_nobody_serves_none() {
    let report = echo(5, |_, _| Vec::new());
    assert_eq!(report.verdict, Verdict::Serves(0), "{:?}", report);
}

#[test]
fn a_server_that_falls_silent_stalls() {
    let report = echo(5, |number, bytes| if number > 20 { Vec::new() } else { bytes });
    assert_eq!(report.verdict, Verdict::Stalls, "{:?}", report);
}

#[test]
fn a_connection_that_the_server_ends_is_named() {
    let number = AtomicU64::new(0);
    let server = serve(move |mut stream, _| {
        let ended = stream.try_clone().expect("the stream is open");
        copy_back(&mut stream, |bytes| {
            if number.fetch_add(1, Ordering::Relaxed) == 40 {
                ended.shutdown(Shutdown::Both).expect("the stream is open");
            }
            bytes
        });
    });
    let report = run_echo(&echo_plan(3), server);
    assert_eq!(report.verdict, Verdict::Closed(1));
    assert!(report.verdict.is_failure());
}

#[test]
fn a_right_broadcast_works() {
    side_by_side([2, 40], |clients| {
        let report = broadcast(clients, |_, line| vec![(line, To::Others)]);
        assert_eq!(report.verdict, Verdict::Works, "{:?}", report);
        let window = report.window.expect("it was measured");
        assert!(window.sent > 0 && window.received > 0 && !window.latency.is_empty());
    });
}

#[test]
fn lines_lost_to_all_or_to_one_client_that_is_only_counted_are_named() {
    side_by_side([To::Nobody, To::OthersBut(3)], |to| {
        let report = broadcast(12, move |number, line| {
            // Several, so that not all of them are client 3's own.
            vec![(line, if (100..110).contains(&number) { to } else { To::Others })]
        });
        assert_eq!(name(&report), Some(Fault::Lost), "{:?}", report);
    });
}

#[test]
fn a_line_that_comes_twice_is_named() {
    let report = broadcast(12, |number, line| {
        let again = (line.clone(), if number == 100 { To::Others } else { To::Nobody });
        vec![(line, To::Others), again]
    });
    assert_eq!(name(&report), Some(Fault::Duplicated), "{:?}", report);
}

#[test]
fn a_line_too_many_for_a_client_that_is_only_counted_is_named() {
    let report = broadcast(12, |number, line| {
        let again = (line.clone(), if number == 100 { To::Only(3) } else { To::Nobody });
        vec![(line, To::Others), again]
    });
    assert_eq!(fault(&report), Some((Fault::Surplus, 1)), "{:?}", report);
}

#[test]
fn lines_of_one_sender_that_change_places_are_named() {
    let kept = Mutex::new(None);
    let report = broadcast(3, move |number, line| {
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        if number == 100 {
            *kept = Some(line);
            return Vec::new();
        }
        // The first three characters are the sender.
        match kept.take_if(|kept| kept[..3] == line[..3]) {
            Some(earlier) => vec![(line, To::Others), (earlier, To::Others)],
            None => vec![(line, To::Others)],
        }
    });
    assert_eq!(name(&report), Some(Fault::Reordered), "{:?}", report);
}

#[test]
fn a_torn_line_is_named() {
    let report = broadcast(12, |number, mut line| {
        if number == 100 {
            line.remove(9);
        }
        vec![(line, To::Others)]
    });
    assert_eq!(name(&report), Some(Fault::Corrupted), "{:?}", report);
}

#[test]
fn a_server_that_sends_lines_back_is_named() {
    let report = broadcast(12, |_, line| vec![(line, To::All)]);
    assert_eq!(name(&report), Some(Fault::Returned), "{:?}", report);
}

#[test]
fn a_room_that_falls_silent_stalls() {
    let report = broadcast(5, |number, line| {
        vec![(line, if number > 100 { To::Nobody } else { To::Others })]
    });
    assert_eq!(report.verdict, Verdict::Stalls, "{:?}", report);
}

#[test]
fn a_run_ends_when_its_watcher_says_so() {
    let server = serve(|mut stream, _| copy_back(&mut stream, |bytes| bytes));
    let mut watcher = |progress| match progress {
        Progress::Measuring => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    };
    let plan = Echo { window: Duration::from_secs(3600), ..echo_plan(1) };
    assert!(matches!(plan.run(server, &mut watcher), Err(Error::Stopped)));
}

#[test]
fn an_open_loop_sends_at_its_pace_and_counts_all_that_comes() {
    let server = serve(|mut stream, _| copy_back(&mut stream, |bytes| bytes));
    let plan = Echo { pace: Pace::PerSecond(2000.0), ..echo_plan(3) };
    let report = run_echo(&plan, server);
    assert_eq!(report.verdict, Verdict::Works, "{report:?}");
    let window = report.window.expect("it was measured");
    assert_eq!(window.delivered, Some(1.0));
    // Not one that was meant to leave in the window is left out, however late it came.
    assert_eq!(window.latency.len(), window.sent, "{window:?}");
}

#[test]
fn whoever_waits_for_an_answer_lets_the_clock_run_on() {
    side_by_side([true, false], |waits| {
        // Each hears one echo, when it arrives, and nothing more.
        let server = serve(|mut stream, _| {
            let mut number = 0;
            copy_back(&mut stream, |bytes| {
                number += 1;
                if number > 1 { Vec::new() } else { bytes }
            });
        });
        let pace = if waits { Pace::AtMostPerSecond(1000.0) } else { Pace::PerSecond(1000.0) };
        let report = run_echo(&Echo { pace, ..echo_plan(3) }, server);
        let sent = report.window.expect("it was measured").sent;
        assert_eq!(waits, sent <= 3, "{pace:?}: {sent}");
    });
}

#[test]
fn a_server_that_cannot_keep_the_pace_is_behind() {
    let server = serve(|mut stream, _| {
        let mut message = [0; 64];
        while stream.read_exact(&mut message).is_ok() && stream.write_all(&message).is_ok() {
            thread::sleep(Duration::from_millis(20)); // at most fifty a second
        }
    });
    let plan = Echo { pace: Pace::PerSecond(5000.0), ..echo_plan(2) };
    let report = run_echo(&plan, server);
    assert!(matches!(report.verdict, Verdict::Behind(..=500)), "{report:?}");
    assert!(!report.verdict.is_failure());
}

#[test]
fn a_storm_tells_when_the_last_one_is_served() {
    let server = serve(|mut stream, _| copy_back(&mut stream, |bytes| bytes));
    let plan = Echo { storm: true, pace: Pace::Silent, ..echo_plan(50) };
    let report = run_echo(&plan, server);
    assert_eq!((report.verdict, report.served), (Verdict::Works, 50), "{report:?}");
    assert!(report.arrival.served >= report.arrival.connected);
    assert_eq!(report.window.expect("it was measured").sent, 0, "nobody says anything");
}

#[test]
fn the_flooder_has_no_part_in_the_figures() {
    let server = serve(|mut stream, _| copy_back(&mut stream, |bytes| bytes));
    let plan = Echo { flooder: true, pace: Pace::PerSecond(200.0), ..echo_plan(3) };
    let report = run_echo(&plan, server);
    assert_eq!(report.verdict, Verdict::Works, "{report:?}");
    let window = report.window.expect("it was measured");
    assert!(window.sent_per_second() < 250.0, "a flood would be thousands: {window:?}");
}

#[test]
fn an_open_broadcast_delivers_all() {
    let plan = Broadcast { pace: Pace::PerSecond(500.0), senders: 3, ..broadcast_plan(10) };
    let report = run_broadcast(&plan, |_, line| vec![(line, To::Others)]);
    assert_eq!(report.verdict, Verdict::Works, "{report:?}");
    let window = report.window.expect("it was measured");
    assert_eq!(window.delivered, Some(1.0));
}

/// Runs a test on several values at the same time: each waits for silence most of the time.
fn side_by_side<T: Send>(values: impl IntoIterator<Item = T>, test: impl Fn(T) + Sync) {
    thread::scope(|scope| {
        let tests: Vec<_> = values.into_iter().map(|value| scope.spawn(|| test(value))).collect();
        for test in tests {
            test.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
    });
}

/// The fault that was found, and how often.
fn fault(report: &Report) -> Option<(Fault, u64)> {
    match report.verdict {
        Verdict::Faulty(tally) => Some((tally.fault, tally.count)),
        _ => None,
    }
}

fn name(report: &Report) -> Option<Fault> {
    fault(report).map(|(fault, _)| fault)
}

fn echo_plan(connections: usize) -> Echo {
    Echo {
        connections,
        message: 64,
        pace: Pace::InFlight(1),
        storm: false,
        flooder: false,
        warm_up: Duration::from_millis(50),
        window: Duration::from_millis(300),
        patience: Duration::from_secs(1),
        seed: 7,
    }
}

fn run_echo(plan: &Echo, server: SocketAddr) -> Report {
    plan.run(server, &mut |_| ControlFlow::Continue(())).expect("the generator can do its work")
}

/// A run against a server that sends back what `answer` makes of each message, which it is given
/// with its number over all connections, from 1.
fn echo(
    connections: usize,
    answer: impl Fn(u64, Vec<u8>) -> Vec<u8> + Send + Sync + 'static,
) -> Report {
    let number = AtomicU64::new(0);
    let server = serve(move |mut stream, _| {
        copy_back(&mut stream, |bytes| answer(number.fetch_add(1, Ordering::Relaxed) + 1, bytes));
    });
    run_echo(&echo_plan(connections), server)
}

fn copy_back(stream: &mut TcpStream, mut answer: impl FnMut(Vec<u8>) -> Vec<u8>) {
    let mut buffer = [0; 64];
    while let Ok(read @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&answer(buffer[..read].to_vec())).is_err() {
            return; // the run is over
        }
    }
}

/// Who is sent a line.
#[derive(Clone, Copy, Debug)]
enum To {
    Nobody,
    Others,
    OthersBut(usize),
    Only(usize),
    All,
}

/// A run against a server that sends what `relay` makes of each line, which it is given with its
/// number over all clients, from 1. The first lines tell the generator who is in the room.
fn broadcast(
    clients: usize,
    relay: impl Fn(u64, Vec<u8>) -> Vec<(Vec<u8>, To)> + Send + Sync + 'static,
) -> Report {
    run_broadcast(&broadcast_plan(clients), relay)
}

fn broadcast_plan(clients: usize) -> Broadcast {
    Broadcast {
        clients,
        protocol: Protocol::Lines,
        line: 32,
        senders: usize::MAX,
        pace: Pace::InFlight(16),
        slow_reader: None,
        verify_one_in: 10,
        warm_up: Duration::from_millis(50),
        window: Duration::from_millis(500),
        patience: Duration::from_secs(1),
        seed: 7,
    }
}

fn run_broadcast(
    plan: &Broadcast,
    relay: impl Fn(u64, Vec<u8>) -> Vec<(Vec<u8>, To)> + Send + Sync + 'static,
) -> Report {
    let room = Mutex::new((0, Vec::<(usize, TcpStream)>::new()));
    let server = serve(move |mut stream, me| {
        let output = stream.try_clone().expect("the stream is open");
        room.lock().unwrap_or_else(PoisonError::into_inner).1.push((me, output));
        let mut bytes = Vec::new();
        let mut buffer = [0; 4096];
        while let Ok(read @ 1..) = stream.read(&mut buffer) {
            bytes.extend_from_slice(&buffer[..read]);
            let mut room = room.lock().unwrap_or_else(PoisonError::into_inner);
            while let Some(end) = bytes.iter().position(|&byte| byte == b'\n') {
                room.0 += 1;
                for (line, to) in relay(room.0, bytes.drain(..=end).collect()) {
                    for (client, output) in &mut room.1 {
                        let is_meant = match to {
                            To::Nobody => false,
                            To::Others => *client != me,
                            To::OthersBut(other) => *client != me && *client != other,
                            To::Only(only) => *client == only,
                            To::All => true,
                        };
                        // Who has left hears nothing any more.
                        let _ = if is_meant { output.write_all(&line) } else { Ok(()) };
                    }
                }
            }
        }
    });
    plan.run(server, &mut |_| ControlFlow::Continue(())).expect("the generator can do its work")
}

/// Starts a server with a thread for each client; `handle` gets the client's number too.
fn serve(handle: impl Fn(TcpStream, usize) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let address = listener.local_addr().expect("it is bound");
    let handle = Arc::new(handle);
    thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let stream = stream.expect("there are descriptors left");
            stream.set_nodelay(true).expect("the stream is open");
            let handle = Arc::clone(&handle);
            thread::spawn(move || handle(stream, number));
        }
    });
    address
}

#[test]
fn a_room_of_nats_is_verified() {
    let report = nats(|_| true);
    assert_eq!(report.verdict, Verdict::Works, "{report:?}");
    assert!(report.window.expect("it was measured").received > 0);
    let report = nats(|number| number != 200);
    assert_eq!(name(&report), Some(Fault::Lost), "{report:?}");
}

/// Ten clients of something that speaks as much NATS as they do. It relays those messages of which
/// `is_relayed` is true, and asks in between whether everyone is still there.
fn nats(is_relayed: impl Fn(u64) -> bool + Send + Sync + 'static) -> Report {
    let room = Mutex::new((0, Vec::<TcpStream>::new()));
    let server = serve(move |stream, _| {
        let mut own = stream.try_clone().expect("the stream is open");
        let mut input = BufReader::new(stream);
        if own.write_all(b"INFO {\"version\":\"0\"}\r\n").is_err() {
            return;
        }
        let mut line = String::new();
        while input.read_line(&mut line).is_ok_and(|read| read > 0) {
            let mut room = room.lock().unwrap_or_else(PoisonError::into_inner);
            let (number, members) = &mut *room;
            match line.split_whitespace().next() {
                Some("SUB") => members.push(own.try_clone().expect("the stream is open")),
                Some("PUB") => {
                    let mut text = [0; 34];
                    if input.read_exact(&mut text).is_err() {
                        return;
                    }
                    *number += 1;
                    let me = own.peer_addr().ok();
                    for other in members.iter_mut().filter(|it| it.peer_addr().ok() != me) {
                        let mut message = b"MSG room 1 32\r\n".to_vec();
                        message.extend(text);
                        // Who has left needs no answer.
                        let _ = match is_relayed(*number) {
                            true => other.write_all(&message),
                            false => Ok(()),
                        };
                    }
                    if *number == 50 {
                        members.iter_mut().for_each(|it| drop(it.write_all(b"PING\r\n")));
                    }
                }
                _ => {}
            }
            line.clear();
        }
    });
    let plan = Broadcast { protocol: Protocol::Nats, ..broadcast_plan(10) };
    plan.run(server, &mut |_| ControlFlow::Continue(())).expect("the generator works")
}
