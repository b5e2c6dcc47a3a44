//! The command line.

pub mod check;
pub mod echo;
pub mod run;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// An API gateway.
#[derive(Debug, Parser)]
#[command(name = "shardgate", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway on a configuration file
    Run {
        /// The configuration, as in `config/quickstart.yaml`
        file: PathBuf,
    },
    /// Say whether a configuration file is good, and what is wrong if not
    Check {
        /// The configuration
        file: PathBuf,
    },
    /// Run an origin that answers every request with what it received, to try a gateway on
    Echo {
        /// Where to listen, as in `127.0.0.1:9000`
        address: SocketAddr,
    },
}

/// What the binary does: 0 is success, 1 a failure, 2 a command line that makes no sense.
pub fn main() -> ExitCode {
    match Cli::try_parse() {
        Ok(cli) => dispatch(cli.command),
        Err(usage) => {
            // Help and version come this way too. Nothing is left to be done when the terminal is gone.
            let _ = usage.print();
            ExitCode::from(usage.exit_code().try_into().unwrap_or(1))
        }
    }
}

fn dispatch(command: Command) -> ExitCode {
    match command {
        Command::Run { file } => run::run(&file),
        Command::Check { file } => check::check(&file),
        Command::Echo { address } => match echo::run(address) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("shardgate echo: cannot serve on {address}: {error}");
                ExitCode::FAILURE
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[track_caller]
    fn check(line: &str, want: Result<&str, i32>) {
        let got = Cli::try_parse_from(line.split(' ')).map(|cli| format!("{:?}", cli.command));
        assert_eq!(got.map_err(|usage| usage.exit_code()), want.map(str::to_owned), "{line}");
    }

    #[test]
    fn a_command_line_that_makes_no_sense_exits_with_2() {
        check("shardgate run a.yaml", Ok("Run { file: \"a.yaml\" }"));
        check("shardgate check a.yaml", Ok("Check { file: \"a.yaml\" }"));
        check("shardgate echo 127.0.0.1:9000", Ok("Echo { address: 127.0.0.1:9000 }"));
        check("shardgate", Err(2));
        check("shardgate run", Err(2));
        check("shardgate echo 9000", Err(2));
        check("shardgate start a.yaml", Err(2));
        check("shardgate --version", Err(0));
        check("shardgate run --help", Err(0));
    }
}
