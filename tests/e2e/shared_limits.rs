//! Limits that two gateways share through a real Redis, which is killed and comes back empty while requests come.

use std::collections::VecDeque;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use shardgate::control::sharing::resp::{self, Value};
use shardgate::stdx::rng::Rng;

use crate::harness::{Config, Gateway, OK, Origin, Running, free_port, tool};
use crate::jwks_https::certify;
use crate::jwt::folder;

#[path = "../nodes/model.rs"]
mod model;

fn redis(port: u16) -> Running {
    let mut command = tool("redis-server");
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
    command.current_dir(std::env::temp_dir());
    Running::start(command, port)
}

/// One that speaks to nobody who does not show a certificate of the folder's authority.
fn encrypted_redis(port: u16, folder: &Path) -> Running {
    let mut command = tool("redis-server");
    command.args(["--port", "0", "--tls-port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
    command.args(["--tls-cert-file", "server.pem", "--tls-key-file", "server.key", "--tls-ca-cert-file"]);
    command.arg("authority.pem").current_dir(folder);
    Running::start(command, port)
}

fn gateway(origin: &Origin, port: u16, limit: &str, more: &str) -> Gateway {
    let store = format!("rate_limiting: {{ redis: {{ address: \"127.0.0.1:{port}\"{more} }} }}");
    let limit = format!("policies: [{{ rate_limit: {limit} }}]");
    Gateway::start(&Config::to(origin).admin().shards(2).of_route(&limit).with(&store))
}

/// What clients of both gateways got while they asked over and over.
struct Flood {
    served: u32,
    waits: Vec<Duration>,
}

fn flood(gateways: &[&Gateway], patience: Duration) -> Flood {
    let began = Instant::now();
    let ask = |gateway: &Gateway| {
        let (mut client, mut flood) = (gateway.client(), Flood { served: 0, waits: Vec::new() });
        while began.elapsed() < patience {
            let sent = Instant::now();
            client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            let response = client.response();
            flood.waits.push(sent.elapsed());
            match response.status() {
                200 => flood.served += 1,
                status => assert_eq!(status, 429),
            }
            if response.closes() {
                client = gateway.client();
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        flood
    };
    std::thread::scope(|scope| {
        let clients: Vec<_> =
            (0..6).map(|client| scope.spawn(move || ask(gateways[client % gateways.len()]))).collect();
        let floods = clients.into_iter().map(|client| client.join().expect("a client does not panic"));
        floods.fold(Flood { served: 0, waits: Vec::new() }, |mut all, one| {
            all.served += one.served;
            all.waits.extend(one.waits);
            all
        })
    })
}

#[test]
fn two_gateways_admit_no_more_than_one_limit_while_redis_is_killed_and_comes_back_empty() {
    let (origin, port) = (Origin::answering(OK), free_port());
    let first_life = redis(port);
    let gateways = [(); 2].map(|()| {
        let gateway = gateway(&origin, port, "{ requests_per_second: 200, key: [global], policy: redis }", "");
        gateway.wait_said("limits are shared through Redis");
        gateway
    });
    let both = [&gateways[0], &gateways[1]];
    crate::harness::wait_until("they know of one another", || {
        both.iter().all(|gateway| gateway.metric("shardgate_shared_limits_nodes") == 2.0)
    });
    let began = Instant::now();
    let mut all = Vec::new();
    all.push(flood(&both, Duration::from_millis(1_200)));
    drop(first_life);
    all.push(flood(&both, Duration::from_millis(2_000)));
    both.iter().for_each(|gateway| gateway.wait_said("warning: limits are not shared"));
    let _second_life = redis(port);
    all.push(flood(&both, Duration::from_millis(3_000)));
    let (served, took) = (all.iter().map(|part| part.served).sum::<u32>(), began.elapsed());
    let most = 200.0 + 200.0 * took.as_secs_f64();
    assert!(f64::from(served) <= most, "{served} of {most}");
    // Redis takes its time to be believed, and a slow machine asks less often than it may.
    assert!(all.iter().all(|part| part.served > 100), "{:?}", all.iter().map(|part| part.served).collect::<Vec<_>>());
    let mut waits: Vec<Duration> = all.into_iter().flat_map(|part| part.waits).collect();
    waits.sort_unstable();
    let late = waits[waits.len() * 99 / 100];
    assert!(late < Duration::from_millis(200), "no request waits for Redis: {late:?}");
    for gateway in both {
        crate::harness::wait_until("the breaker is closed again", || {
            gateway.metric("shardgate_shared_limits_breaker{state=\"closed\"}") == 1.0
        });
        assert!(gateway.metric("shardgate_shared_limits_granted_total") > 0.0);
        assert!(gateway.metric("shardgate_shared_limits_failures_total") > 0.0);
    }
}

#[test]
fn a_limit_is_spent_at_every_gateway_and_redis_knows_no_client() {
    let (origin, port) = (Origin::answering(OK), free_port());
    let _redis = redis(port);
    let limit = "{ requests_per_hour: 8, key: [{ header: X-Tenant }], policy: redis }";
    let gateways = [(); 2].map(|()| {
        let gateway = gateway(&origin, port, limit, ", prefix: \"edge\", database: 3, on_failure: refuse");
        gateway.wait_said("limits are shared through Redis");
        gateway
    });
    let ask = |gateway: &Gateway, tenant: &str| {
        let mut client = gateway.client();
        client.send(format!("GET / HTTP/1.1\r\nHost: a\r\nX-Tenant: {tenant}\r\n\r\n"));
        client.response().status()
    };
    // A moment is enough for what Redis has.
    let served = (0..60).filter(|round| {
        std::thread::sleep(Duration::from_millis(10));
        ask(&gateways[round % 2], "tenant-one") == 200
    });
    // The first of them began alone, with all that nodes hold, and the store begins with nothing.
    assert!((3..=8).contains(&served.count()));
    assert_eq!(ask(&gateways[0], "tenant-two"), 200);
    std::thread::sleep(Duration::from_millis(100));
    let mut client = Client::connect(port);
    client.ask(&["SELECT", "3"]);
    let Value::Array(keys) = client.ask(&["KEYS", "*"]) else { panic!("Redis lists its keys") };
    let keys: Vec<String> = keys.iter().map(text).collect();
    assert!(keys.contains(&"edge:nodes".to_owned()), "{keys:?}");
    assert!(keys.iter().all(|key| key.starts_with("edge:") && !key.contains("tenant")), "{keys:?}");
    let [one, other] = gateways;
    one.terminate();
    crate::harness::wait_until("who ends leaves its share", || {
        let Value::Array(fields) = Client::connect_to(port, "3").ask(&["HKEYS", "edge:nodes"]) else { return false };
        fields.iter().filter(|field| text(field).starts_with("node:")).count() == 1
    });
    drop(other);
}

/// The script of the gateway against the model that the simulation judges it by, over many calls of three nodes.
#[test]
fn the_script_does_what_its_model_does() {
    let port = free_port();
    let _redis = redis(port);
    let (mut client, mut store, mut rng) = (Client::connect(port), model::Store::default(), Rng::new(11));
    let mut shares = [0; 3];
    let script = include_str!("../../src/control/sharing/grants.lua");
    for round in 0..3_000_u64 {
        if round % 1_000 == 500 {
            // All are silent by then.
            std::thread::sleep(Duration::from_millis(600));
        }
        let node = rng.below(3) as usize;
        let keys = (0..rng.below(4)).map(|_| format!("k{}", rng.below(5)));
        let keys: Vec<String> = ["nodes".to_owned()].into_iter().chain(keys).collect();
        let run = format!("run{}", round / 1_000);
        let deadline = if rng.chance(20) { "1" } else { "9999999999999999" };
        let grows = if rng.chance(500) { "1" } else { "0" };
        let head = [&format!("n{node}"), &run, deadline, &shares[node].to_string(), grows, "00000000000000ff"];
        let mut arguments: Vec<String> = head.iter().map(|text| (*text).to_owned()).collect();
        for _ in &keys[1..] {
            let token = 0.3 + rng.below(5_000) as f64;
            arguments.extend([rng.below(50).to_string(), token.to_string(), rng.between(1, 200).to_string()]);
        }
        let count = keys.len().to_string();
        let words = ["EVAL", script, &count].into_iter();
        let words: Vec<&str> = words.chain(keys.iter().chain(&arguments).map(String::as_str)).collect();
        let answer = numbers(&client.ask(&words));
        let want = store.call(&model::Call { keys: keys.clone(), arguments: arguments.clone() }, answer[0]);
        let flat = want.rest.iter().flat_map(|(share, nodes, seed, grants)| {
            let seed = u64::from_str_radix(seed, 16).expect("a seed");
            [*share, *nodes, seed].into_iter().chain(grants.clone()).collect::<Vec<_>>()
        });
        let want: Vec<u64> = [want.now].into_iter().chain(flat).collect();
        assert_eq!(answer, want, "call {round}: {words:?}");
        if let Some(share) = answer.get(1) {
            shares[node] = *share;
        }
    }
    assert!(shares.iter().sum::<u64>() <= 1 << 16);
}

#[test]
fn who_shares_limits_on_encrypted_connections_knows_redis_and_is_known() {
    let (origin, port, folder) = (Origin::answering(OK), free_port(), folder("redis-tls"));
    certify(&folder);
    let _redis = encrypted_redis(port, &folder);
    let start = |name: &str, tls: &str| {
        let store = format!("rate_limiting: {{ redis: {{ address: \"127.0.0.1:{port}\"{tls} }} }}");
        let limit = "policies: [{ rate_limit: { requests_per_second: 9, policy: redis } }]";
        let file = folder.join(format!("{name}.yaml"));
        fs::write(&file, Config::to(&origin).admin().of_route(limit).with(&store).yaml()).unwrap();
        Gateway::start_on(&file, &[])
    };
    let copy = |from: &str, to: &str| fs::copy(folder.join(from), folder.join(to)).unwrap();
    copy("server.pem", "client.pem");
    copy("server.key", "client.key");
    let identity = "certificate_file: client.pem, key_file: client.key";
    let gateway = start("known", &format!(", tls: {{ ca_file: authority.pem, {identity} }}"));
    gateway.wait_said("limits are shared through Redis");
    let named = start("named", &format!(", tls: {{ ca_file: authority.pem, server_name: localhost, {identity} }}"));
    named.wait_said("not valid for name");
    let stranger = start("stranger", &format!(", tls: {{ ca_file: stranger.pem, {identity} }}"));
    stranger.wait_said("invalid peer certificate");
    for (name, unknown) in [("unknown", ", tls: { ca_file: authority.pem }"), ("open", "")] {
        start(name, unknown).wait_said("limits are not shared, Redis at");
    }
    // Who is renewed in two steps is who he was until the second.
    copy("authority.pem", "client.pem");
    gateway.wait_said("the configuration in force stays");
    assert_eq!(gateway.metric("shardgate_shared_limits_breaker{state=\"closed\"}"), 1.0);
    copy("authority.key", "client.key");
    gateway.wait_said("configuration 1 is in force");
    crate::harness::wait_until("it is the authority that asks", || {
        let said = gateway.stderr();
        said.iter().filter(|line| line.contains("limits are shared through Redis")).count() == 2
    });
    assert!(!gateway.stderr().iter().any(|line| line.contains("limits are not shared")), "{:?}", gateway.stderr());
    drop((gateway, named, stranger));
    fs::remove_dir_all(folder).unwrap();
}

/// Numbers of a reply, the seed among them.
fn numbers(value: &Value) -> Vec<u64> {
    let Value::Array(values) = value else { panic!("the script answers with an array: {value:?}") };
    let number = |value: &Value| match value {
        Value::Integer(number) => u64::try_from(*number).expect("no number is negative"),
        other => u64::from_str_radix(&text(other), 16).expect("a seed"),
    };
    values.iter().map(number).collect()
}

fn text(value: &Value) -> String {
    match value {
        Value::Bulk(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        other => panic!("no string: {other:?}"),
    }
}

struct Client {
    stream: TcpStream,
    inbox: VecDeque<u8>,
}

impl Client {
    fn connect(port: u16) -> Self {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("Redis is there");
        Self { stream, inbox: VecDeque::new() }
    }

    fn connect_to(port: u16, database: &str) -> Self {
        let mut client = Self::connect(port);
        client.ask(&["SELECT", database]);
        client
    }

    fn ask(&mut self, words: &[&str]) -> Value {
        let mut out = Vec::new();
        resp::write(&mut out, words.iter().map(|word| word.as_bytes()));
        self.stream.write_all(&out).expect("Redis reads");
        let mut bytes = [0; 4096];
        loop {
            if let Some((value, length)) = resp::read(self.inbox.make_contiguous()).expect("Redis speaks RESP") {
                self.inbox.drain(..length);
                return value;
            }
            let count = self.stream.read(&mut bytes).expect("Redis answers");
            assert!(count > 0, "Redis is there");
            self.inbox.extend(&bytes[..count]);
        }
    }
}
