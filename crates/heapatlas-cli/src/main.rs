//! The `heapatlas` binary: arguments in, text or JSON out.
//!
//! In reading order: [`args`] (the command line), [`options`] (what verbs share), [`commands`]
//! (one file a verb), [`input`] (from a path to a heap), [`profile_input`]
//! (from bytes to an allocation profile), [`recording`] and [`trace_output`] (from what
//! is gathered to a file), [`render`] (text and JSON), [`exit`]
//! (codes, errors, hints). Below them: [`unpack`], [`mapping`], [`output_file`], [`console`],
//! [`trace_names`], [`progress`], [`timing`], [`duration`], [`time_point`], [`env_vars`].
//!
//! **Invariant:** no algorithm lives here; verbs ask `heapatlas_analysis` and show the answer.
//! **Invariant:** unsafe code stands in [`mapping`] only.

#![deny(unsafe_code)]

mod args;
mod commands;
mod console;
#[cfg(has_recorder)]
mod demo_program;
mod duration;
mod env_vars;
mod exit;
mod input;
#[allow(unsafe_code)]
mod mapping;
mod options;
mod output_file;
mod paths;
mod profile_input;
mod progress;
#[cfg(has_recorder)]
mod recording;
#[cfg(has_recorder)]
mod recordings;
mod render;
mod time_point;
mod timing;
#[cfg(has_recorder)]
mod trace_names;
#[cfg(has_recorder)]
mod trace_output;
mod unpack;

use clap::{CommandFactory, Parser};

use args::{CommandLine, Verb};
use console::Console;
use exit::Outcome;

fn main() {
    let result = match CommandLine::try_parse() {
        Ok(command_line) => run(command_line),
        Err(answer) => commands::help::run(&answer),
    };
    exit::leave(result)
}

fn run(command_line: CommandLine) -> anyhow::Result<Outcome> {
    let console = Console::new(&command_line.global);
    match command_line.verb {
        Verb::Leaks(args) => commands::leaks::run(args, &console),
        Verb::Summary(args) => commands::summary::run(args, &console),
        Verb::Compare(args) => commands::compare::run(args, &console),
        Verb::Show(args) => commands::show::run(args, &console),
        Verb::Export(args) => commands::export::run(args, &console),
        Verb::Record(args) => commands::record::run(args, &console),
        Verb::Demo(args) => commands::demo::run(args, &console),
        Verb::Completions(args) => {
            commands::completions::run(args, CommandLine::command(), &console)
        }
        Verb::Man(args) => commands::man::run(args, CommandLine::command(), &console),
    }
}
