//! What to leave alone on which kernel: each line is a defect that others met, and the release that ended it. The last
//! one says on which a ring costs more than epoll.

/// What this driver has to know of a kernel.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Quirks {
    /// One accept brings connection after connection.
    pub multishot_accept: bool,
    /// A sleeping ring can be kept out of the machine's iowait.
    pub no_iowait: bool,
    /// Over 3 % more CPU a request than epoll, by `loadtest/compare --only loops`.
    pub costs_more: bool,
}

/// Major and minor.
pub type Release = (u32, u32);

impl Quirks {
    /// `None` if the kernel is too old for this driver.
    pub fn of(release: Release) -> Option<Self> {
        let since = |first: Release| release >= first;
        since(FLOOR).then(|| Self {
            multishot_accept: since(ACCEPTS_RIGHT),
            no_iowait: since(NO_IOWAIT),
            costs_more: release <= DEAR_UNTIL,
        })
    }

    pub fn of_this_kernel() -> Option<Self> {
        Self::of(parse(rustix::system::uname().release().to_str().ok()?)?)
    }
}

/// `6.18.44-custom` is (6, 18).
fn parse(text: &str) -> Option<Release> {
    let mut numbers = text.split(|byte: char| !byte.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// DEFER_TASKRUN, without which completions interrupt the shard.
const FLOOR: Release = (6, 1);
/// With DEFER_TASKRUN multishot accepts brought descriptors that were none, from 6.6 on and until 6.8.
const ACCEPTS_RIGHT: Release = (6, 8);
/// Before, an idle ring shows as a machine that waits for its disk.
const NO_IOWAIT: Release = (6, 15);
/// The one that was measured; earlier ones are taken to be no cheaper. A later one gets a ring, as long as nobody has
/// measured that it costs more.
const DEAR_UNTIL: Release = (6, 18);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_read_as_kernels_print_them() {
        for (text, want) in [
            ("6.18.44-fc-v595", Some((6, 18))),
            ("5.15.0-91-generic", Some((5, 15))),
            ("6.1", Some((6, 1))),
            ("6.8-rc1", Some((6, 8))),
            ("linux", None),
            ("", None),
        ] {
            assert_eq!(parse(text), want, "{text}");
        }
    }

    #[test]
    fn a_kernel_gets_what_it_does_well() {
        let of = |release| {
            let quirks = Quirks::of(release)?;
            Some((quirks.multishot_accept, quirks.no_iowait, quirks.costs_more))
        };
        assert_eq!(of((5, 19)), None);
        assert_eq!(of((6, 1)), Some((false, false, true)));
        assert_eq!(of((6, 8)), Some((true, false, true)));
        assert_eq!(of((6, 15)), Some((true, true, true)));
        assert_eq!(of((6, 18)), Some((true, true, true)));
        assert_eq!(of((6, 19)), Some((true, true, false)));
        assert_eq!(of((7, 0)), Some((true, true, false)));
    }
}
