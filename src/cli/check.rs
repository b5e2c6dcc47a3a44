//! `shardgate check FILE`

use std::path::Path;
use std::process::ExitCode;

use super::out;
use crate::config::addresses::doubtful;
use crate::config::ids::Ids;
use crate::config::load::load;
use crate::config::profile;
use crate::config::shadow::shadowed;
use crate::config::snapshot::Snapshot;

/// What is odd and a line of numbers on standard output, or what is wrong on standard error.
pub fn check(file: &Path, profile: Option<&str>) -> ExitCode {
    // What a profile changes is as wrong tomorrow as it is today.
    let others = profile::NAMES.iter().map(|name| load(file, Some(name), &mut Ids::default()));
    match others
        .fold(load(file, profile, &mut Ids::default()), |first, other| first.and_then(|good| other.map(|_| good)))
    {
        Ok(snapshot) => {
            let file = file.display();
            let routes = shadowed(&snapshot).into_iter().map(|shadowed| shadowed.to_string());
            let odd = doubtful(&snapshot).into_iter().chain(routes);
            let lines =
                odd.map(|odd| format!("{file}: warning: {odd}\n")).chain([format!("{file}: {}\n", summary(&snapshot))]);
            out::answer(&lines.collect::<String>())
        }
        Err(problems) => out::complain(&problems.to_string()),
    }
}

pub fn summary(snapshot: &Snapshot) -> String {
    let endpoints = snapshot.plan.services.iter().map(|service| service.endpoints.len()).sum();
    format!(
        "ok: {}, {}, {}, {}",
        counted(snapshot.listeners.len(), "listener"),
        counted(snapshot.plan.routes.len(), "route"),
        counted(snapshot.plan.services.len(), "service"),
        counted(endpoints, "endpoint"),
    )
}

fn counted(count: usize, noun: &str) -> String {
    match count {
        1 => format!("1 {noun}"),
        _ => format!("{count} {noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load::load_text;

    #[test]
    fn the_summary_counts() {
        let text = "{version: 1, listeners: [{name: a, address: \"[::1]:1\"}], \
                    services: [{name: s, endpoints: [\"127.0.0.1:1\", \"127.0.0.1:2\"]}]}";
        let resolve = |name: &str| Ok(vec![name.parse().unwrap()]);
        let snapshot = load_text("f.yaml", text, &mut Ids::default(), &resolve).unwrap();
        assert_eq!(summary(&snapshot), "ok: 1 listener, 0 routes, 1 service, 2 endpoints");
    }
}
