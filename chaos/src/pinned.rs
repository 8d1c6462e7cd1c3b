//! Seeds that once found a bug, kept for ever.

/// A line each: the seed, then its story.
const LIST: &str = include_str!("../seeds.txt");

/// The pinned seeds in the order of the list.
pub(crate) fn seeds() -> Vec<u64> {
    LIST.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_whitespace().next()?.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_a_seed_with_a_story() {
        for line in LIST.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (seed, story) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
            assert!(seed.parse::<u64>().is_ok() && !story.trim().is_empty(), "{line}");
        }
        assert!(!seeds().is_empty());
    }
}
