//! What the operator writes of API keys. The comments here are the documentation of its keys.

use crate::http::view::FieldName;
use crate::policy::Place;
use serde::Deserialize;

/// Requests need a key of one of the file's `consumers`; 401 without one.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where a request may have its key. One that has two is refused, as is a header that comes twice or with a comma.
    /// Default: the header `X-API-Key` alone; Kong's are `[{ header: apikey }, { query: apikey }]`.
    #[serde(default = "usual_places")]
    pub places: Vec<Place>,
    /// Whether neither the service nor a redirect's target gets to see the key. Default: false.
    #[serde(default)]
    pub hide_key: bool,
    /// The header that tells the service the name of the consumer. What the client sent under this name is removed in
    /// any case. Default: `X-Consumer-Username`.
    #[serde(default = "usual_consumer_header")]
    pub consumer_header: FieldName,
}

fn usual_places() -> Vec<Place> {
    vec![Place::Header(FieldName::fixed("X-API-Key"))]
}

fn usual_consumer_header() -> FieldName {
    FieldName::fixed("X-Consumer-Username")
}
