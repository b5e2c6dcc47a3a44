//! What a new configuration changes about listeners. A socket is known by its address: a new name closes nothing.

use crate::config::snapshot::Listener;

#[derive(Debug, Default, Eq, PartialEq)]
pub struct Changes<'a> {
    pub opened: Vec<&'a Listener>,
    /// Those that stay open and have another name or other settings, by their earlier id.
    pub described: Vec<(u32, &'a Listener)>,
    pub closed: Vec<u32>,
}

impl<'a> Changes<'a> {
    pub fn between(old: &[Listener], new: &'a [Listener]) -> Self {
        let mut changes = Self::default();
        let mut kept = Vec::new();
        for listener in new {
            match old.iter().find(|other| other.entrance() == listener.entrance()) {
                Some(same) => {
                    kept.push(same.id);
                    if same != listener {
                        changes.described.push((same.id, listener));
                    }
                }
                None => changes.opened.push(listener),
            }
        }
        let gone = old.iter().filter(|listener| !kept.contains(&listener.id));
        changes.closed.extend(gone.map(|listener| listener.id));
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(id: u32, port: u16) -> Listener {
        Listener { id, name: format!("listener-{id}"), address: ([127, 0, 0, 1], port).into(), proxies: [].into() }
    }

    #[track_caller]
    fn check(old: &[(u32, u16)], new: &[(u32, u16)], opened: &[u32], described: &[(u32, u32)], closed: &[u32]) {
        let make = |list: &[(u32, u16)]| list.iter().map(|(id, port)| listener(*id, *port)).collect::<Vec<_>>();
        let (old, new) = (make(old), make(new));
        let changes = Changes::between(&old, &new);
        let ids: Vec<_> = changes.opened.iter().map(|listener| listener.id).collect();
        let pairs: Vec<_> = changes.described.iter().map(|(was, listener)| (*was, listener.id)).collect();
        assert_eq!((&*ids, &*pairs, &*changes.closed), (opened, described, closed));
    }

    #[test]
    fn an_address_that_stays_is_never_closed() {
        check(&[(0, 80)], &[(0, 80)], &[], &[], &[]);
        check(&[(0, 80)], &[(0, 80), (1, 81)], &[1], &[], &[]);
        check(&[(0, 80), (1, 81)], &[(1, 81)], &[], &[], &[0]);
        check(&[(0, 80)], &[(0, 81)], &[0], &[], &[0]);
        check(&[(0, 80)], &[(1, 80)], &[], &[(0, 1)], &[]);
        check(&[(0, 80), (1, 81)], &[(0, 81), (1, 80)], &[], &[(1, 0), (0, 1)], &[]);
        check(&[(0, 0), (1, 0)], &[(1, 0)], &[], &[], &[0]);
    }
}
