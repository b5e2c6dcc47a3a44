//! Profiles: what one environment has otherwise, laid over the rest of the file.
//!
//! Sections merge key by key. An entry of a list that has a name takes the place of the base's entry of that name, a
//! policy that of its kind, or is added; every other list is replaced.

use super::consumers::{ApiKeys, Consumer, ConsumerGroup};
use super::model::{
    AccessLog, Admin, Authentication, Http, Limits, Listener, Logging, Model, Overlay, Profiles, RateLimiting, Route,
    Runtime, Service, Shutdown,
};
use super::suggest::nearest;
use crate::policy;
use serde_saphyr::Spanned;

/// Every profile that a file may have.
pub const NAMES: [&str; 3] = ["development", "staging", "production"];

/// The file as it is under `profile`; without one the base alone. Fails with what to do about an unknown name.
pub fn choose(mut model: Model, profile: Option<&str>) -> Result<Model, String> {
    let Profiles { development, staging, production } = std::mem::take(&mut model.profiles);
    let overlay = match profile {
        None => None,
        Some("development") => development,
        Some("staging") => staging,
        Some("production") => production,
        Some(other) => {
            return Err(match nearest(other, NAMES) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("profiles are {}", NAMES.join(", ")),
            });
        }
    };
    // A file that says nothing of a profile is the same under it.
    if let Some(overlay) = overlay {
        lay(&mut model, overlay);
    }
    Ok(model)
}

fn lay(model: &mut Model, overlay: Overlay) {
    let Overlay {
        listeners,
        services,
        routes,
        consumers,
        consumer_groups,
        api_keys,
        policies,
        policy_order,
        roles,
        authentication,
        rate_limiting,
        limits,
        trust,
        http,
        access_log,
        logging,
        admin,
        runtime,
        shutdown,
    } = overlay;
    by_name(&mut model.listeners.value, listeners, |listener: &Listener| &listener.name.value);
    by_name(&mut model.services, services, |service: &Service| &service.name.value);
    by_name(&mut model.routes, routes, |route: &Route| &route.name.value);
    by_name(&mut model.consumers, consumers, |consumer: &Spanned<Consumer>| &consumer.value.name.value);
    by_name(&mut model.consumer_groups, consumer_groups, |group: &ConsumerGroup| &group.name.value);
    by_name(&mut model.policies, policies, |policy: &Spanned<policy::Config>| policy.value.kind().name());
    if policy_order.is_some() {
        model.policy_order = policy_order;
    }
    model.api_keys.lay(api_keys);
    model.roles.extend(roles);
    model.authentication.lay(authentication);
    model.rate_limiting.lay(rate_limiting);
    model.limits.lay(limits);
    model.http.lay(http);
    model.access_log.lay(access_log);
    model.logging.lay(logging);
    model.admin.lay(admin);
    model.runtime.lay(runtime);
    model.shutdown.lay(shutdown);
    if let Some(trust) = trust {
        model.trust = trust;
    }
}

fn by_name<T>(base: &mut Vec<T>, over: Vec<T>, name: impl Fn(&T) -> &str) {
    // Only the base's own entries give way: a name that comes twice in the overlay is the mistake it always is.
    let own = base.len();
    for entry in over {
        match base[..own].iter().position(|other| name(other) == name(&entry)) {
            Some(place) => base[place] = entry,
            None => base.push(entry),
        }
    }
}

/// Lays every key that is given over the base's.
macro_rules! sections {
    ($($section:ident { $($key:ident),* $(,)? })*) => {$(
        impl $section {
            fn lay(&mut self, over: Self) {
                // Naming every key makes it an error to forget one.
                let Self { $($key),* } = over;
                $(if $key.is_some() {
                    self.$key = $key;
                })*
            }
        }
    )*};
}

sections! {
    Limits {
        head_bytes_max, fields_max, uri_bytes_max, body_bytes_max, trailer_bytes_max, informational_max,
        header_read_timeout_ms, body_bytes_per_s_min, body_rate_grace_ms, idle_timeout_ms, send_timeout_ms,
        linger_timeout_ms, requests_per_connection_max, connections_max, connections_per_client_max,
        requests_in_flight_max, receive_bytes_max, retry_after_s,
    }
    ApiKeys { pepper_file }
    Authentication { bypass_local, strict_validation }
    RateLimiting { enabled, requests_per_second, redis }
    Http { merge_slashes, underscores_in_headers, via }
    AccessLog { enabled }
    Logging { level }
    Admin { enabled, address }
    Runtime { shards, pin, event_loop }
    Shutdown { delay_ms, drain_timeout_ms }
}

#[cfg(test)]
mod tests {
    use crate::config::ids::Ids;
    use crate::config::load::load_profile;
    use crate::policy::Policy;
    use crate::telemetry::level::Level;

    const BASE: &str = "version: 1
listeners: [{ name: a, address: \"127.0.0.1:1\" }]
services: [{ name: s, endpoints: [\"127.0.0.1:2\"] }, { name: t, endpoints: [\"127.0.0.1:3\"] }]
routes: [{ name: r, paths: [/r], service: s }]
limits: { fields_max: 50, uri_bytes_max: 1000 }
access_log: { enabled: false }
profiles:
  staging:
    services: [{ name: t, endpoints: [\"127.0.0.1:4\"] }]
    routes: [{ name: q, paths: [/q], service: t }]
    limits: { fields_max: 60 }
  production:
    access_log: { enabled: true }
    trust: { proxies: [10.0.0.0/8] }
";

    #[track_caller]
    fn check(text: &str, profile: Option<&str>, want: Result<(usize, usize, bool, &str, usize), &str>) {
        let resolve = |name: &str| Ok(vec![name.parse().expect("an address")]);
        let loaded = load_profile("f.yaml", text, profile, &mut Ids::default(), &resolve);
        let got = loaded.map(|snapshot| {
            let settings = &snapshot.plan.settings;
            let endpoint = snapshot.plan.services[1].endpoints[0].name.clone();
            (
                settings.limits.fields_max,
                settings.limits.uri_bytes_max,
                settings.access_log,
                endpoint,
                snapshot.plan.routes.len(),
            )
        });
        match (got, want) {
            (Ok(got), Ok(want)) => assert_eq!((got.0, got.1, got.2, &*got.3, got.4), want, "{profile:?}"),
            (Err(got), Err(want)) => assert_eq!(got.list[0].to_string(), want),
            (got, want) => panic!("{profile:?}: {got:?}, expected {want:?}"),
        }
    }

    #[test]
    fn a_profile_changes_what_it_names_and_nothing_else() {
        check(BASE, None, Ok((50, 1000, false, "127.0.0.1:3", 1)));
        check(BASE, Some("development"), Ok((50, 1000, false, "127.0.0.1:3", 1)));
        check(BASE, Some("staging"), Ok((60, 1000, false, "127.0.0.1:4", 2)));
        check(BASE, Some("production"), Ok((50, 1000, true, "127.0.0.1:3", 1)));
    }

    #[test]
    fn rate_limits_of_an_environment_are_written_in_short() {
        let text = format!(
            "{}{}",
            BASE.replace("/r], service: s", "/r], service: s, policies: [{ rate_limit: { requests_per_hour: 5 } }]"),
            "  development: { rate_limiting: { enabled: false } }\n"
        );
        let text = text.replace("  staging:\n", "  staging:\n    rate_limiting: { requests_per_second: 100 }\n");
        let limits = |profile: Option<&str>| {
            let resolve = |name: &str| Ok(vec![name.parse().expect("an address")]);
            let loaded = load_profile("f.yaml", &text, profile, &mut Ids::default(), &resolve);
            let limits = loaded.map(|snapshot| snapshot.plan.limits.clone()).map_err(|problems| problems.to_string());
            limits.unwrap().iter().map(|(number, terms)| (*number, terms.count)).collect::<Vec<_>>()
        };
        assert_eq!(limits(None), [(1, 5)]);
        assert_eq!(limits(Some("development")), []);
        assert_eq!(limits(Some("staging")), [(1, 100), (2, 5)]);
    }

    #[track_caller]
    fn check_document(base: &str, profile: Option<&str>, want: Result<(bool, bool, Level), &str>) {
        let resolve = |name: &str| Ok(vec![name.parse().expect("an address")]);
        let text = format!("{base}{DOCUMENT}");
        let got = load_profile("f.yaml", &text, profile, &mut Ids::default(), &resolve).map(|snapshot| {
            let is_strict = snapshot.attached.iter().any(|(_, policy)| match &**policy {
                Policy::Jwt(jwt) => jwt.config.is_strict(),
                _ => false,
            });
            (snapshot.plan.settings.bypass_local, is_strict, snapshot.log_level)
        });
        let got = got.map_err(|problems| problems.list[0].to_string());
        assert_eq!(got, want.map_err(str::to_owned), "{profile:?}");
    }

    const GUARDED: &str = "version: 1
listeners: [{ name: a, address: \"127.0.0.1:1\" }]
policies: [{ jwt: { issuers: [{ issuer: i, audiences: any, algorithms: [ES256], jwks_url: \"http://i/k\" }] } }]
";

    /// As the product's document writes it, but for keys of what is not there yet.
    const DOCUMENT: &str = "profiles:
  # Development
  development:
    rate_limiting:
      enabled: false
    authentication:
      bypass_local: true
    logging:
      level: debug

  # Staging
  staging:
    rate_limiting:
      requests_per_second: 100
    authentication:
      strict_validation: true

  # Production
  production:
    rate_limiting:
      requests_per_second: 1000
    authentication:
      strict_validation: true
";

    #[test]
    fn the_documents_environments_load_as_written() {
        check_document(GUARDED, None, Ok((false, false, Level::Info)));
        check_document(GUARDED, Some("development"), Ok((true, false, Level::Debug)));
        check_document(GUARDED, Some("staging"), Ok((false, true, Level::Info)));
        check_document(GUARDED, Some("production"), Ok((false, true, Level::Info)));
        let own = GUARDED.replace("issuers:", "strict_validation: false, issuers:");
        check_document(&own, Some("production"), Ok((false, false, Level::Info)));
    }

    #[test]
    fn production_never_lets_anybody_by_nor_does_a_file_without_a_profile() {
        let open = format!("{GUARDED}authentication: {{ bypass_local: true }}\n");
        let help = "move it to `profiles`, below `development` or `staging`";
        check_document(&open, Some("development"), Ok((true, false, Level::Debug)));
        check_document(&open, Some("staging"), Ok((true, true, Level::Info)));
        let refused = format!("f.yaml:4:33: `bypass_local` under the profile `production`: {help}");
        check_document(&open, Some("production"), Err(&refused));
        check_document(&open, None, Err(&format!("f.yaml:4:33: `bypass_local` without a profile: {help}")));
    }

    #[test]
    fn mistakes_in_a_profile_are_found_where_they_are() {
        check(BASE, Some("prodution"), Err("f.yaml: there is no profile `prodution`: did you mean `production`?"));
        let wrong = BASE.replace("service: t }", "service: u }");
        check(&wrong, None, Ok((50, 1000, false, "127.0.0.1:3", 1)));
        check(&wrong, Some("staging"), Err("f.yaml:10:47: there is no service `u`: add it to `services`"));
        let unknown = BASE.replace("fields_max: 60", "fields_mix: 60");
        check(&unknown, None, Err("f.yaml:11:15: unknown key `fields_mix`: did you mean `fields_max`?"));
    }
}
