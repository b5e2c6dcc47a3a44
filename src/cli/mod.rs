//! temporary
pub mod echo;
use std::process::ExitCode;
use std::sync::Arc;
pub fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    if args[1] == "echo" {
        echo::run(args[2].parse().unwrap()).unwrap();
    }
    let service = crate::upstream::Service {
        id: 0,
        name: "origin".into(),
        endpoints: vec![crate::upstream::service::Endpoint {
            address: args[3].parse().unwrap(),
            name: args[3].clone(),
        }],
        timeouts: Default::default(),
        pool: Default::default(),
        retry: Default::default(),
    };
    let route = Arc::new(crate::route::Route {
        id: 0,
        name: "all".into(),
        service: 0,
        rules: vec![crate::route::Rule {
            host: crate::route::HostRule::Any,
            path: crate::route::PathRule::Prefix(b"/".to_vec().into()),
            rank: 1,
        }],
        preserve_host: true,
        websocket: true,
        body_bytes_max: None,
    });
    let plan = crate::proxy::Plan {
        services: vec![Arc::new(service)],
        table: crate::route::Table::compile(&[route.clone()]),
        routes: vec![route],
        limits: Default::default(),
        trust: vec![],
        http: Default::default(),
    };
    let s = crate::config::snapshot::Snapshot {
        listeners: vec![crate::config::snapshot::Listener {
            id: 0,
            name: "public".into(),
            address: args[2].parse().unwrap(),
        }],
        plan: Arc::new(plan),
        access_log: crate::config::snapshot::AccessLog { enabled: args.len() > 4 },
        drain_timeout: std::time::Duration::from_secs(5),
    };
    match crate::control::run(&s) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("shardgate: {e}");
            ExitCode::FAILURE
        }
    }
}
