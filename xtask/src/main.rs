//! The project's own commands: `cargo xtask --help`.

mod book;
mod check;
mod compare;
mod exercise;
mod look;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The project's own commands.
#[derive(Parser)]
#[command(bin_name = "cargo xtask", max_term_width = 80)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Book(book::Options),
    Check(Box<check::Options>),
    Compare(compare::Options),
    Exercise(exercise::Options),
    Look(look::Options),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Book(options) => book::run(&options),
        Command::Check(options) => Ok(check::run(&options)),
        Command::Compare(options) => compare::run(&options),
        Command::Exercise(options) => Ok(exercise::run(&options)),
        Command::Look(options) => look::run(&options),
    };
    result.unwrap_or_else(|error| {
        anstream::eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
