/// `98.1 MB`: powers of ten, as disks and downloads count.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1000.0;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// `2h 5m`: the two largest units.
pub(crate) fn age(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, _, _) => format!("{hours}h {minutes}m"),
        _ => format!("{days}d {hours}h"),
    }
}

/// [`age`] without seconds, for what is not looked at each second.
pub(crate) fn minutes(seconds: u64) -> String {
    match seconds {
        0..60 => "<1m".to_owned(),
        60..3600 => format!("{}m", seconds / 60),
        _ => age(seconds),
    }
}

/// The text in so many columns: where it is too long, its first path loses folders at its beginning, as
/// the end says which file it is.
pub(crate) fn fit_path(text: &str, columns: usize) -> String {
    let length = text.chars().count();
    let path = text.split('`').nth(1).filter(|path| path.contains('/'));
    let Some(path) = path.filter(|_| length > columns) else { return text.to_owned() };
    let wanted = path.chars().count().saturating_sub(length - columns + CUT.len());
    let mut ends = path.match_indices('/').map(|(at, _)| &path[at..]);
    // The name of the file at least.
    let name = path.rfind('/').map_or(path, |at| &path[at..]);
    let end = ends.find(|end| end.chars().count() <= wanted).unwrap_or(name);
    text.replacen(path, &format!("{CUT}{end}"), 1)
}

/// Stands for folders that have no room.
const CUT: &str = "..";

/// The beginning of a hash, enough to tell builds apart by eye.
pub(crate) fn short_hash(hash: &str) -> &str {
    hash.get(..12).unwrap_or(hash)
}

#[cfg(test)]
mod tests {
    use super::{age, bytes, fit_path, minutes, short_hash};

    #[test]
    fn sizes_have_one_decimal_and_never_four_digits() {
        let sizes = [0, 999, 1000, 98_123_456, 999_960_000, 3_500_000_000];
        let shown: Vec<_> = sizes.into_iter().map(bytes).collect();
        assert_eq!(shown, ["0 B", "999 B", "1.0 kB", "98.1 MB", "1.0 GB", "3.5 GB"]);
    }

    #[test]
    fn ages_name_their_two_largest_units() {
        let shown: Vec<_> = [0, 59, 60, 7500, 90_000].into_iter().map(age).collect();
        assert_eq!(shown, ["0s", "59s", "1m 0s", "2h 5m", "1d 1h"]);
    }

    #[test]
    fn what_is_looked_at_seldom_has_no_seconds() {
        let shown: Vec<_> = [0, 59, 60, 3599, 7500].into_iter().map(minutes).collect();
        assert_eq!(shown, ["<1m", "<1m", "1m", "59m", "2h 5m"]);
    }

    #[test]
    fn paths_are_cut_at_their_beginning() {
        let why = "`bin/20_rbee_hive/src/models/list.rs` changed";
        for (columns, expected) in [
            (99, why),
            (45, why),
            (44, "`../20_rbee_hive/src/models/list.rs` changed"),
            (30, "`../models/list.rs` changed"),
            (26, "`../list.rs` changed"),
            (5, "`../list.rs` changed"),
        ] {
            assert_eq!(fit_path(why, columns), expected, "{columns}");
        }
        assert_eq!(
            fit_path("the variable `RUSTFLAGS` is new", 5),
            "the variable `RUSTFLAGS` is new"
        );
    }

    #[test]
    fn a_short_text_is_its_own_short_hash() {
        assert_eq!(short_hash("0123456789abcdef"), "0123456789ab");
        assert_eq!(short_hash("01"), "01");
    }
}
