//! The command line of a test with options of its own: these are taken out, and the test runner reads what is left.

use std::process::ExitCode;

use clap::{Arg, CommandFactory, Parser};
use libtest_mimic::{Arguments, Trial};

/// Reads the command line. Every option of `Own` takes a value.
pub fn arguments<Own: Parser>() -> (Own, Arguments) {
    let (own, rest) = split::<Own>(std::env::args());
    if rest
        .iter()
        .any(|argument| ["-h", "--help"].contains(&argument.as_str()))
    {
        println!("{}\nAnd as any test:\n", Own::command().render_help());
    }
    (Own::parse_from(own), Arguments::from_iter(rest))
}

/// Runs the tests, and answers with the exit code that test runners expect.
pub fn run(arguments: &Arguments, tests: Vec<Trial>) -> ExitCode {
    libtest_mimic::run(arguments, tests).exit_code()
}

/// The program's name goes to both.
fn split<Own: CommandFactory>(mut arguments: impl Iterator<Item = String>) -> (Vec<String>, Vec<String>) {
    let own_names = names(&Own::command());
    let program: Vec<String> = arguments.next().into_iter().collect();
    let (mut own, mut rest) = (program.clone(), program);
    while let Some(argument) = arguments.next() {
        let (name, value) = argument
            .split_once('=')
            .map_or((&*argument, None), |(n, v)| (n, Some(v)));
        if own_names.iter().any(|own| own == name) {
            let has_value = value.is_some();
            own.push(argument);
            own.extend(arguments.by_ref().take(usize::from(!has_value)));
        } else {
            rest.push(argument);
        }
    }
    (own, rest)
}

fn names(command: &clap::Command) -> Vec<String> {
    let long = command.get_arguments().filter_map(Arg::get_long);
    long.map(|name| format!("--{name}")).collect()
}
