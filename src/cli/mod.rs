//! The command line.

pub mod check;
pub mod echo;
pub mod explain;
pub mod key;
mod out;
mod plan;
pub mod run;
pub mod schema;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::{OsStr, Resettable};
use clap::{Arg, CommandFactory, FromArgMatches, Parser, Subcommand};

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
        #[command(flatten)]
        profile: Profile,
        /// Folder where the last good configuration is kept, to begin with when the file cannot be read
        #[arg(long, env = "STATE_DIRECTORY")]
        state: Option<PathBuf>,
        /// Socket by which a gateway that is started later takes over this one's connections to come, and by which this
        /// one takes over now
        #[arg(long, env = "SHARDGATE_CONTROL")]
        control: Option<PathBuf>,
    },
    /// Say whether a configuration file is good, and what is wrong if not
    Check {
        /// The configuration
        file: PathBuf,
        #[command(flatten)]
        profile: Profile,
    },
    /// Say what a new configuration changes; exits with 0 if nothing, 3 if something
    Plan {
        /// The configuration that is in force
        old: PathBuf,
        /// The one that is to be
        new: PathBuf,
        #[command(flatten)]
        profile: Profile,
    },
    /// Say which route a request would meet, and why each nearer one does not take it
    Explain {
        /// The configuration
        file: PathBuf,
        method: String,
        /// As in `http://api.example.com/users`
        url: String,
        /// A header, as in `-H "Host: example.com"`
        #[arg(short = 'H', long = "header")]
        headers: Vec<String>,
        /// Ask as a peer that the file trusts; a client is believed nothing that only such a one may say
        #[arg(long)]
        trusted: bool,
        #[command(flatten)]
        profile: Profile,
    },
    /// Give consumers of a configuration file keys, or take them away
    #[command(subcommand)]
    Key(key::Task),
    /// Print the JSON Schema of configuration files, for editors and checks of other tools
    Schema,
    /// Run an origin that answers every request with what it received, to try a gateway on
    Echo {
        /// Where to listen, as in `127.0.0.1:9000`
        address: SocketAddr,
    },
}

#[derive(Debug, clap::Args)]
struct Profile {
    /// development, staging or production: what the file's `profiles` have under that name is laid over the rest
    #[arg(long, env = "SHARDGATE_PROFILE", id = "PROFILE")]
    profile: Option<String>,
}

/// What the binary does: 0 is success, 1 a failure, 2 a command line that makes no sense.
pub fn main() -> ExitCode {
    match definition().try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => dispatch(cli.command),
        Err(usage) => {
            // Help and version come this way too. Nothing is left to be done when the terminal is gone.
            let _ = usage.print();
            ExitCode::from(usage.exit_code().try_into().unwrap_or(1))
        }
    }
}

/// A variable that is empty is as good as one that is not set.
fn definition() -> clap::Command {
    heeding(Cli::command())
}

fn heeding(command: clap::Command) -> clap::Command {
    let heed = |arg: Arg| if is_empty(&arg) { arg.env(Resettable::<OsStr>::Reset) } else { arg };
    command.mut_args(heed).mut_subcommands(heeding)
}

#[expect(clippy::disallowed_methods, reason = "the variables that the command line knows")]
fn is_empty(arg: &Arg) -> bool {
    let Some(name) = arg.get_env() else { return false };
    std::env::var_os(name).is_some_and(|value| value.is_empty())
}

fn dispatch(command: Command) -> ExitCode {
    match command {
        Command::Run { file, profile, state, control } => run::run(&file, profile.profile, state.as_deref(), control),
        Command::Check { file, profile } => check::check(&file, profile.profile.as_deref()),
        Command::Plan { old, new, profile } => plan::plan(&old, &new, profile.profile.as_deref()),
        Command::Explain { file, method, url, headers, trusted, profile } => {
            explain::explain(&file, profile.profile.as_deref(), (&method, &url, &headers), trusted)
        }
        Command::Key(task) => key::key(&task),
        Command::Schema => schema::schema(),
        Command::Echo { address } => match echo::run(address) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => out::complain(&format!("shardgate echo: cannot serve on {address}: {error}\n")),
        },
    }
}

#[cfg(test)]
mod tests {
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
        check(
            "shardgate run a.yaml --profile x --state /s --control /c",
            Ok("Run { file: \"a.yaml\", profile: Profile { profile: Some(\"x\") }, state: Some(\"/s\"), \
                control: Some(\"/c\") }"),
        );
        check(
            "shardgate check a.yaml --profile x",
            Ok("Check { file: \"a.yaml\", profile: Profile { profile: Some(\"x\") } }"),
        );
        check("shardgate plan a.yaml", Err(2));
        check("shardgate explain a.yaml GET", Err(2));
        check("shardgate echo 127.0.0.1:9000", Ok("Echo { address: 127.0.0.1:9000 }"));
        check("shardgate schema", Ok("Schema"));
        check("shardgate schema a.yaml", Err(2));
        check("shardgate", Err(2));
        check("shardgate key new", Err(2));
        check("shardgate key rotate ann --grace-s x", Err(2));
        check("shardgate run", Err(2));
        check("shardgate echo 9000", Err(2));
        check("shardgate start a.yaml", Err(2));
        check("shardgate --version", Err(0));
        check("shardgate run --help", Err(0));
    }
}
