//! The known word that a mistyped one is nearest to.

/// The best of `known`, if any is near enough that it was probably meant.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > WORD_BYTES_MAX {
        return None;
    }
    let near = known.into_iter().filter_map(|candidate| Some((cost(word, candidate)?, candidate)));
    near.min_by_key(|&(cost, _)| cost).map(|(_, candidate)| candidate)
}

/// How far apart two words are, if not too far: edits, or a word that breaks off early (`lisen` for `listeners`), which
/// costs two more than its edits.
fn cost(word: &str, candidate: &str) -> Option<usize> {
    let (word, candidate) = (folded(word), folded(candidate));
    let distances = distances(&word, &candidate);
    let whole = distances[candidate.len()];
    let cost = match distances.iter().min() {
        Some(beginning) if word.len() >= BEGINNING_BYTES_MIN => whole.min(beginning + 2),
        _ => whole,
    };
    let cost_max = COST_MAX.min(word.len().max(candidate.len()) / 3);
    (cost <= cost_max).then_some(cost)
}

/// `connectMs`, `connect-ms` and `connect_ms` are the same word.
fn folded(word: &str) -> Vec<u8> {
    word.bytes().filter(|byte| !matches!(byte, b'_' | b'-')).map(|byte| byte.to_ascii_lowercase()).collect()
}

/// Edits (insert, delete, replace, swap neighbours) from `a` to each beginning of `b`, the whole of it last.
fn distances(a: &[u8], b: &[u8]) -> Vec<usize> {
    let mut before_last = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before_last[j - 2] + 1);
            }
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last
}

/// Beyond three, a suggestion is a guess.
const COST_MAX: usize = 3;
/// Fewer bytes are the beginning of too many words.
const BEGINNING_BYTES_MIN: usize = 4;
/// No key is as long, and the distance costs the square.
const WORD_BYTES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(word: &str, want: Option<&str>) {
        let known = ["version", "listeners", "services", "routes", "limits", "trust", "connect_ms", "idle_ms", "hosts"];
        assert_eq!(nearest(word, known), want, "{word}");
    }

    #[test]
    fn a_mistyped_word_finds_its_neighbour() {
        check("listners", Some("listeners"));
        check("lisen", Some("listeners"));
        check("listeners_", Some("listeners"));
        check("Routes", Some("routes"));
        check("rotues", Some("routes"));
        check("host", Some("hosts"));
        check("service", Some("services"));
        check("connectMs", Some("connect_ms"));
        check("connect-ms", Some("connect_ms"));
    }

    #[test]
    fn the_nearest_of_two_wins() {
        assert_eq!(nearest("timeout_ms", ["timeouts_ms", "timeout_m"]), Some("timeouts_ms"));
        assert_eq!(nearest("paths", ["path", "paths"]), Some("paths"));
    }

    #[test]
    fn what_is_far_from_all_finds_none() {
        check("plugins", None);
        check("x", None);
        check("", None);
        check(&"listeners".repeat(10), None);
    }
}
