//! A report in the format of JUnit, which build servers read.

use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite, XmlString};

use crate::{Kind, Report, Row, ServerReport, text};

/// The report as XML. A case that could not be checked is an error, one that does not apply is
/// skipped.
pub fn render(report: &Report) -> String {
    let mut document = quick_junit::Report::new("conformance");
    document.set_time(report.took);
    document.add_test_suites(report.servers.iter().map(suite));
    document.to_string().expect("a String takes all")
}

fn suite(report: &ServerReport) -> TestSuite {
    let mut suite = TestSuite::new(report.server.name.as_str());
    suite.add_test_cases(report.rows.iter().map(case));
    suite
}

fn case(row: &Row) -> TestCase {
    let mut status = match row.kind() {
        Kind::Good | Kind::Designed | Kind::Info => TestCaseStatus::success(),
        Kind::NotApplicable => TestCaseStatus::skipped(),
        Kind::Inconclusive => TestCaseStatus::non_success(NonSuccessKind::Error),
        Kind::Bad => TestCaseStatus::non_success(NonSuccessKind::Failure),
    };
    status.set_type(row.verdict.word());
    if let Some(remark) = row.remark() {
        status.set_message(remark);
    }
    if let Some(explanation) = row.explanation() {
        // `XmlString` takes the colours out.
        status.set_description(XmlString::new(text::explain(&explanation)));
    }
    let mut case = TestCase::new(format!("{} {}", row.case.id, row.case.title), status);
    case.set_classname(row.case.family()).set_time(row.took);
    case
}
