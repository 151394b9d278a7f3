//! What a learner is told, of a server of each kind: hang, wrong bytes, crash, spin, early close, too much.
//!
//! After a change that is meant, `INSTA_UPDATE=always cargo test -p specimens --test golden` writes
//! the texts anew.

use std::path::Path;

use anstream::adapter::strip_str;
use check::{Plan, Server};
use conformance::catalogue;
use specimens::specimens;

/// What `cargo xtask check` says of the specimen `name` and the case `id`, without what differs from
/// run to run.
fn explanation(name: &str, id: &str) -> String {
    let specimens = specimens();
    let specimen = specimens.iter().find(|it| it.name == name).expect("the specimen is there");
    let program = Path::new(env!("CARGO_BIN_EXE_specimen"));
    let subject = specimen.subject(specimen.modes[0], program);
    let server = Server { name: name.to_owned(), expect: "good".to_owned(), subject };
    let cases = catalogue().filter(|case| case.id == id).collect();
    let report = check::run(&Plan { cases, seed: 1, repeat: 1 }, &[server], |_, _| {});
    let explanation = report.servers[0].rows[0].explanation().expect("the case fails");
    strip_str(&check::text::explain(&explanation)).to_string()
}

macro_rules! golden {
    ($($test:ident: $specimen:literal, $case:literal;)+) => {$(
        #[test]
        fn $test() {
            insta::with_settings!({
                description => format!("{} by {}", $case, $specimen),
                omit_expression => true,
                prepend_module_to_snapshot => false,
                filters => vec![
                    (r"127\.0\.0\.1:\d+", "ADDRESS"),
                    (r"\d+ clock ticks and \d+ wake-ups", "N clock ticks and N wake-ups"),
                    (r"\d+ % of a core", "N % of a core"),
                    // A server that is not stuck may be met at anything.
                    (r"thread \d+ \(specimen\): .*", "thread ID (specimen): …"),
                    // The end of a server may be met by who connects, or by who waits.
                    (r"(expected +newcomer:) .*\n( +actual +).*", "$1 …\n$2…"),
                    (r"(connection from ADDRESS\n +)+connection", "connection"),
                    // Who was served meanwhile may have left before it.
                    (r"client disconnected: ADDRESS: end of input\n +error:", "error:"),
                ],
            }, {
                insta::assert_snapshot!(stringify!($test), explanation($specimen, $case));
            });
        }
    )+};
}

golden! {
    hang: "never-answers", "echo/01";
    wrong_bytes: "drops-a-byte", "echo/04";
    crash: "ends-on-a-reset", "close/01";
    spin: "spins", "proc/05";
    early_close: "resets-leavers", "echo/08";
    too_much: "a-thread-each", "conc/07";
}
