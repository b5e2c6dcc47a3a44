//! What a shard counts: plain fields that only it touches. The control thread adds up copies.

/// Declares the struct and its list of fields from one table, so that no field can be left out of a sum or an export.
macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident: $cells:ty,)*) => {
        /// The counters of one shard; those named `_active` and `_in_flight` also go down.
        #[derive(Clone, Debug, Eq, PartialEq)]
        pub struct Counters {
            $($(#[$doc])* pub $name: $cells,)*
        }

        impl Counters {
            pub const ZERO: Self = Self { $($name: <$cells as Cells>::ZERO,)* };

            /// Every counter with its cells: one, or one for each index that its doc comment names.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, &[u64])> {
                [$((stringify!($name), self.$name.cells()),)*].into_iter()
            }

            /// Adds another shard's counts.
            pub fn merge(&mut self, other: &Self) {
                $(add(self.$name.cells_mut(), other.$name.cells());)*
            }
        }
    };
}

counters! {
    /// Connections accepted from clients, those refused at once included.
    connections_accepted: u64,
    /// Client connections open now.
    connections_active: u64,
    /// Client connections closed right after accept, by [`Refusal`].
    connections_refused: [u64; Refusal::COUNT],
    /// Connections of load balancers that did not begin with a good PROXY header in time.
    proxy_headers_refused: u64,
    /// Connections given to a shard that had far fewer.
    handoffs_sent: u64,
    /// Connections taken from other shards.
    handoffs_received: u64,
    /// Connections served here because the mailbox of the shard that had far fewer was full.
    handoffs_refused: u64,
    /// Times that a shard could not accept on a listening socket that it was given.
    listens_failed: u64,
    /// Client connections that a shard had before it put a changed configuration in force, and not right after. Nothing
    /// that this does closes one, so it only ever finds a mistake; whatever a new limit ends later is not in it.
    connections_closed_by_configuration: u64,
    /// Requests whose head was read, well-formed or not.
    requests_total: u64,
    /// Exchanges going on now.
    requests_in_flight: u64,
    /// Requests refused before any work because the gateway had too much to do.
    sheds: u64,
    /// Exchanges whose code panicked; each cost its connection.
    exchange_panics: u64,
    /// Bytes read from clients, framing included.
    downstream_received_bytes: u64,
    /// Bytes written to clients, framing included.
    downstream_sent_bytes: u64,
    /// Bytes read from upstreams, framing included.
    upstream_received_bytes: u64,
    /// Bytes written to upstreams, framing included.
    upstream_sent_bytes: u64,
    /// Connections opened to upstreams.
    upstream_connects: u64,
    /// Connections to upstreams that could not be opened.
    upstream_connects_failed: u64,
    /// Those that were not tried, because the service has as many as it may.
    upstream_connects_refused: u64,
    /// Exchanges that found an idle upstream connection.
    upstream_reuses: u64,
    /// Requests sent a second time because a reused connection died before it answered.
    upstream_retries: u64,
    /// Access log lines that found no room on their way to the writer.
    log_lines_dropped: u64,
    /// Requests that were asked who sends them, and answered or not.
    authentication_attempts: u64,
    /// Requests that a policy refused, by the place of the refusal in the list of all.
    policy_refusals: [u64; POLICY_REFUSALS_MAX],
    /// Requests that a policy would have refused that only logs, by the same place.
    policy_would_refuse: [u64; POLICY_REFUSALS_MAX],
}

/// Refusals told apart.
pub const POLICY_REFUSALS_MAX: usize = 64;

impl Counters {
    pub fn count_refusal(&mut self, refusal: Refusal) {
        self.connections_refused[refusal as usize] += 1;
    }

    /// Connections that were accepted and not refused. Shards report at different times, and one refuses what another
    /// has accepted: for a moment there may seem to be more of the one than of the other.
    pub fn connections_handled(&self) -> u64 {
        self.connections_accepted.saturating_sub(self.connections_refused.iter().sum())
    }
}

impl Default for Counters {
    fn default() -> Self {
        Self::ZERO
    }
}

/// Why a connection was closed right after accept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refusal {
    /// The listener's process has as many connections as it may.
    Total,
    /// This client has as many connections as one may.
    Client,
    /// No descriptor was left.
    Descriptors,
}

impl Refusal {
    pub const COUNT: usize = 3;
}

/// One counter or an array of them, seen as a slice.
trait Cells {
    const ZERO: Self;
    fn cells(&self) -> &[u64];
    fn cells_mut(&mut self) -> &mut [u64];
}

impl Cells for u64 {
    const ZERO: Self = 0;

    fn cells(&self) -> &[u64] {
        std::slice::from_ref(self)
    }

    fn cells_mut(&mut self) -> &mut [u64] {
        std::slice::from_mut(self)
    }
}

impl<const N: usize> Cells for [u64; N] {
    const ZERO: Self = [0; N];

    fn cells(&self) -> &[u64] {
        self
    }

    fn cells_mut(&mut self) -> &mut [u64] {
        self
    }
}

fn add(to: &mut [u64], from: &[u64]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to += from;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every cell another number, so that two fields mixed up show.
    fn distinct(step: u64) -> Counters {
        let (mut counters, mut one) = (Counters::ZERO, Counters::ZERO);
        one.connections_accepted = step;
        one.connections_active = 2 * step;
        one.connections_refused = [3 * step, 4 * step, 5 * step];
        one.proxy_headers_refused = 6 * step;
        one.handoffs_sent = 7 * step;
        one.handoffs_received = 8 * step;
        one.handoffs_refused = 9 * step;
        one.listens_failed = 10 * step;
        one.connections_closed_by_configuration = 11 * step;
        one.requests_total = 12 * step;
        one.requests_in_flight = 13 * step;
        one.sheds = 14 * step;
        one.exchange_panics = 15 * step;
        one.downstream_received_bytes = 16 * step;
        one.downstream_sent_bytes = 17 * step;
        one.upstream_received_bytes = 18 * step;
        one.upstream_sent_bytes = 19 * step;
        one.upstream_connects = 20 * step;
        one.upstream_connects_failed = 21 * step;
        one.upstream_connects_refused = 22 * step;
        one.upstream_reuses = 23 * step;
        one.upstream_retries = 24 * step;
        one.log_lines_dropped = 25 * step;
        one.authentication_attempts = 26 * step;
        one.policy_refusals = std::array::from_fn(|place| (27 + place as u64) * step);
        let first = 27 + POLICY_REFUSALS_MAX as u64;
        one.policy_would_refuse = std::array::from_fn(|place| (first + place as u64) * step);
        counters.merge(&one);
        counters
    }

    #[test]
    fn the_list_holds_every_field_once_and_in_order() {
        let counters = distinct(1);
        let values: Vec<u64> = counters.iter().flat_map(|(_, cells)| cells).copied().collect();
        assert_eq!(values, (1..27 + 2 * POLICY_REFUSALS_MAX as u64).collect::<Vec<u64>>());
        assert_eq!(size_of::<Counters>(), values.len() * size_of::<u64>());
        assert_eq!(counters.iter().next().unwrap().0, "connections_accepted");
        assert_eq!(counters.iter().last().unwrap().0, "policy_would_refuse");
    }

    #[test]
    fn merging_adds_every_cell() {
        let mut sum = distinct(1);
        sum.merge(&distinct(10));
        assert_eq!(sum, distinct(11));
    }

    #[test]
    fn refusals_are_counted_by_reason() {
        let mut counters = Counters::ZERO;
        counters.count_refusal(Refusal::Total);
        counters.count_refusal(Refusal::Descriptors);
        counters.count_refusal(Refusal::Descriptors);
        assert_eq!(counters.connections_refused, [1, 0, 2]);
        assert_eq!(counters.connections_handled(), 0, "another shard has accepted them");
        counters.connections_accepted = 5;
        assert_eq!(counters.connections_handled(), 2);
        assert_eq!(Refusal::Descriptors as usize + 1, Refusal::COUNT);
    }
}
