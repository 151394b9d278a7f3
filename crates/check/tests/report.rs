//! What a report says, and how a run is judged, shown with servers of a few lines of shell.

use std::net::TcpListener;
use std::sync::LazyLock;
use std::{io, thread};

use anstream::adapter::strip_str;
use check::{Kind, Plan, Report, Server, run};
use conformance::{Case, Finding, Mode, Problem, Profile, Reach, Subject, Target, Verdict, passed};

const PASSES: Case = Case::echo("x/01", "it passes", |_| passed()).why("It shows a pass.");
const FAILS: Case = Case::echo("x/02", "it says hello", |bench| {
    let server = bench.start()?;
    let mut a = server.connect("a")?;
    a.send(b"hello\n")?;
    a.expect(b"hello\n")?;
    passed()
})
.why("It shows a failure.");
const UNDECIDED: Case = Case::echo("y/01", "it is not known", |_| {
    Err(Box::new(Problem::Inconclusive("the moon is full".to_owned())))
})
.why("It shows what is missing.");
const MEASURED: Case =
    Case::echo("y/02", "it is measured", |_| Ok(Finding::Measured("201 threads".to_owned())))
        .why("It shows a measurement.");
const BROADCASTS: Case =
    Case::broadcast("z/01", "it is another mode", |_| passed()).why("It shows what is left out.");

/// What comes of these cases against `target`.
fn report(cases: &[&'static Case], target: Target) -> Report {
    let subject = Subject { target, profile: Profile::good(vec![Mode::Echo]) };
    let server = Server { name: "mine".to_owned(), expect: "good".to_owned(), subject };
    let plan = Plan { cases: cases.to_vec(), seed: 7, repeat: 1 };
    run(&plan, &[server], |_, _| {})
}

/// What comes of a case of each kind, the failure first.
fn of_each_kind() -> &'static Report {
    static REPORT: LazyLock<Report> =
        LazyLock::new(|| report(&[&FAILS, &PASSES, &UNDECIDED, &MEASURED, &BROADCASTS], liar()));
    &REPORT
}

/// It says that it listens, and does not.
fn liar() -> Target {
    let script = "echo listening on 127.0.0.1:1; exec sleep 1000";
    Target::Program("sh".into(), vec!["-c".to_owned(), script.to_owned()])
}

#[test]
fn the_exit_status_says_what_came_of_it() {
    let code = |cases: &[&'static Case]| report(cases, liar()).exit_code();
    assert_eq!(code(&[&PASSES, &MEASURED, &BROADCASTS]), 0);
    assert_eq!(of_each_kind().exit_code(), 1);
    assert_eq!(code(&[&PASSES, &UNDECIDED]), 3);
    assert_eq!(code(&[&BROADCASTS]), 3);
}

#[test]
fn rows_stand_in_the_order_of_the_plan() {
    let report = report(&[&MEASURED, &PASSES, &UNDECIDED], liar());
    let ids: Vec<_> = report.servers[0].rows.iter().map(|row| row.case.id).collect();
    assert_eq!(ids, ["y/02", "x/01", "y/01"]);
}

#[test]
fn what_is_wrong_is_run_again_only_for_a_label() {
    let row = &of_each_kind().servers[0].rows[0];
    assert_eq!((row.kind(), row.again), (Kind::Bad, Some("FAIL")));
    let parts = row.explanation().unwrap().parts;
    let run_again = parts.iter().find(|(label, _)| *label == "to run it again").unwrap();
    assert_eq!(run_again.1, "x/02 --seed 7; it was the same when run again");
}

#[test]
fn each_round_has_its_own_seed() {
    let subject = Subject { target: liar(), profile: Profile::good(vec![Mode::Echo]) };
    let server = Server { name: "mine".to_owned(), expect: "good".to_owned(), subject };
    let plan = Plan { cases: vec![&PASSES], seed: 7, repeat: 3 };
    assert_eq!(run(&plan, &[server], |_, _| {}).servers[0].rows[0].seed, 9);
}

#[test]
fn a_terminal_shows_a_tree_within_80_columns() {
    let text = strip_str(&check::text::render(of_each_kind())).to_string();
    for line in [
        "    ✓ x/01      it passes",
        "    ? y/01      it is not known  could not check: the moon is full",
        "    i y/02      it is measured  201 threads",
        "    – z/01: the server does not broadcast",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    let widest = text.lines().map(|line| line.chars().count()).max();
    assert!(widest <= Some(80), "{widest:?} columns\n{text}");
}

#[test]
fn json_and_junit_carry_every_case_and_its_verdict() {
    let report = report(&[&PASSES, &UNDECIDED, &BROADCASTS], liar());
    let json: serde_json::Value = serde_json::from_str(&check::json::render(&report)).unwrap();
    let verdicts: Vec<_> = json["servers"][0]["cases"]
        .as_array()
        .unwrap()
        .iter()
        .map(|case| case["verdict"].as_str().unwrap())
        .collect();
    assert_eq!(verdicts, ["PASS", "INCONCLUSIVE", "N/A"]);
    assert_eq!(json["exit_code"], 3);
    let xml = check::junit::render(&report);
    assert!(xml.contains(r#"tests="3""#) && xml.contains(r#"errors="1""#), "{xml}");
    assert!(xml.contains("<skipped") && !xml.contains('\x1b'), "{xml}");
}

#[test]
fn a_verdict_has_the_log_of_what_was_said() {
    let row = &of_each_kind().servers[0].rows[0];
    assert!(matches!(row.verdict, Verdict::Fail(_)));
    assert!(row.logs[0].events().any(|event| event.text.contains("listens on 127.0.0.1:1")));
}

#[test]
fn an_address_is_enough_for_what_only_clients_see() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            thread::spawn(move || {
                let mut stream = stream?;
                io::copy(&mut stream.try_clone()?, &mut stream)
            });
        }
    });
    let cases: Vec<_> = conformance::catalogue().filter(|case| case.family() == "echo").collect();
    let report = report(&cases, Target::Address(address));
    let rows = &report.servers[0].rows;
    let wrong: Vec<_> = rows.iter().filter_map(|row| row.explanation()).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    let echoes = rows.iter().filter(|row| row.case.reach == Reach::Address && row.mode.is_some());
    assert!(echoes.count() >= 5);
    assert!(rows.iter().all(|row| row.case.reach == Reach::Address || row.mode.is_none()));
}
