//! Trees of path segments, a root for each host, in three flat pieces of memory.
//!
//! A child is found by its parent and its segment in one table for all: a few words a node, however few children each
//! has, where a map for each would cost hundreds of bytes.

use std::hash::BuildHasher;

use crate::stdx::hash::FixedHash;

#[derive(Debug, Default)]
pub(super) struct Paths {
    nodes: Vec<Node>,
    /// Open addressing; a power of two, at most half full.
    places: Vec<Place>,
    /// The segments of all nodes.
    segments: Vec<u8>,
}

/// A path up to a segment's end. A root is the empty path, before the first slash.
#[derive(Debug)]
struct Node {
    /// What is asked for at each kind of end; [`NONE`] is nothing.
    ends: [u32; 3],
    parent: u32,
    segment_start: u32,
    segment_len: u16,
    has_children: bool,
}

/// How a path that has come to a node goes on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum End {
    /// It ends here.
    Exact,
    /// It ends here or goes on with a slash: prefix `/a`.
    Prefix,
    /// It goes on with a slash: prefix `/a/`.
    PrefixSlash,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    /// Of the hash, so that most nodes that are not meant are not looked at.
    tag: u32,
    node: u32,
}

impl Paths {
    pub(super) fn root(&mut self) -> u32 {
        self.push(NONE, b"")
    }

    /// The node of `segments` (a path without its first slash; `None` is the root), made where it is missing.
    pub(super) fn make(&mut self, root: u32, segments: Option<&[u8]>) -> u32 {
        let mut node = root;
        for segment in segments.into_iter().flat_map(|segments| segments.split(|&byte| byte == b'/')) {
            node = match self.child(node, segment) {
                Some(child) => child,
                None => self.add(node, segment),
            };
        }
        node
    }

    pub(super) fn end(&mut self, node: u32, end: End) -> &mut u32 {
        &mut self.nodes[node as usize].ends[end as usize]
    }

    /// Walks as deep as the tree has the path's segments, and meets what stands at each end that fits the path.
    /// `segments` is the path after its first slash.
    #[inline]
    pub(super) fn descend(&self, root: u32, mut segments: &[u8], mut meet: impl FnMut(u32)) {
        let (mut at, mut node) = (root, &self.nodes[root as usize]);
        meet(node.ends[End::PrefixSlash as usize]);
        while node.has_children {
            let end = memchr::memchr(b'/', segments);
            let Some(child) = self.child(at, &segments[..end.unwrap_or(segments.len())]) else { return };
            (at, node) = (child, &self.nodes[child as usize]);
            meet(node.ends[End::Prefix as usize]);
            match end {
                Some(slash) => {
                    meet(node.ends[End::PrefixSlash as usize]);
                    segments = &segments[slash + 1..];
                }
                None => return meet(node.ends[End::Exact as usize]),
            }
        }
    }

    pub(super) fn shrink(&mut self) {
        self.nodes.shrink_to_fit();
        self.segments.shrink_to_fit();
    }

    fn child(&self, parent: u32, segment: &[u8]) -> Option<u32> {
        let mask = self.places.len().wrapping_sub(1);
        let (mut at, tag) = start(parent, segment);
        loop {
            let place = self.places.get(at & mask)?;
            if place.node == NONE {
                return None;
            }
            if place.tag == tag && self.is(place.node, parent, segment) {
                return Some(place.node);
            }
            at += 1;
        }
    }

    fn is(&self, node: u32, parent: u32, segment: &[u8]) -> bool {
        self.nodes[node as usize].parent == parent && self.segment(node) == segment
    }

    fn segment(&self, node: u32) -> &[u8] {
        let Node { segment_start, segment_len, .. } = self.nodes[node as usize];
        &self.segments[segment_start as usize..][..usize::from(segment_len)]
    }

    fn add(&mut self, parent: u32, segment: &[u8]) -> u32 {
        self.nodes[parent as usize].has_children = true;
        let node = self.push(parent, segment);
        if 2 * self.nodes.len() > self.places.len() {
            self.grow();
        } else {
            self.place(node);
        }
        node
    }

    fn push(&mut self, parent: u32, segment: &[u8]) -> u32 {
        let node = u32::try_from(self.nodes.len()).expect("fewer than 2^32 path segments");
        self.nodes.push(Node {
            ends: [NONE; 3],
            parent,
            segment_start: u32::try_from(self.segments.len()).expect("fewer than 2^32 bytes of segments"),
            segment_len: u16::try_from(segment.len()).expect("a segment is shorter than a head"),
            has_children: false,
        });
        self.segments.extend_from_slice(segment);
        node
    }

    fn grow(&mut self) {
        let places = (2 * self.nodes.len()).next_power_of_two().max(PLACES_MIN);
        self.places.clear();
        self.places.resize(places, Place { tag: 0, node: NONE });
        for node in 0..self.nodes.len() as u32 {
            if self.nodes[node as usize].parent != NONE {
                self.place(node);
            }
        }
    }

    fn place(&mut self, node: u32) {
        let mask = self.places.len() - 1;
        let (mut at, tag) = start(self.nodes[node as usize].parent, self.segment(node));
        while self.places[at & mask].node != NONE {
            at += 1;
        }
        self.places[at & mask] = Place { tag, node };
    }
}

/// Where the search for a child begins, and the rest of its hash.
#[inline]
fn start(parent: u32, segment: &[u8]) -> (usize, u32) {
    let hash = FixedHash.hash_one((parent, segment));
    (hash as usize & (u32::MAX as usize), (hash >> 32) as u32)
}

/// Stands for no node and for nothing at an end.
pub(super) const NONE: u32 = u32::MAX;
const PLACES_MIN: usize = 8;
