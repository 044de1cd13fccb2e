use clap::{Args, Subcommand};

use super::{Output, manage::OutputArgs};

#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  ./rbee store list
  ./rbee store gc --keep 500MB

What is the newest build of a binary, or is running, is never removed.")]
pub(crate) enum StoreVerb {
    /// List the built binaries that are kept, the least recently used first
    List(OutputArgs),
    /// Remove the least recently used binaries
    Gc(GcArgs),
}

#[derive(Debug, Args)]
pub(crate) struct GcArgs {
    /// How much may stay, in bytes or with a unit such as MB or GiB; by default what builds keep too
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) keep: Option<u64>,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// `1.5GB`, `500 MiB` or a number of bytes.
fn size(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, f64); 8] = [
        ("", 1.0),
        ("B", 1.0),
        ("KB", 1e3),
        ("MB", 1e6),
        ("GB", 1e9),
        ("KIB", 1024.0),
        ("MIB", 1_048_576.0),
        ("GIB", 1_073_741_824.0),
    ];
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.trim().to_ascii_uppercase();
    let factor = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, factor)| factor);
    match (number.parse::<f64>(), factor) {
        (Ok(number), Some(factor)) => Ok((number * factor) as u64),
        _ => Err("a number of bytes, or one with B, kB, MB, GB, KiB, MiB or GiB, is wanted".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_are_understood_with_and_without_units() {
        let sizes = ["0", "1000", "1.5GB", "500 MiB", "2kB"].map(|text| size(text).ok());
        let expected = [0, 1000, 1_500_000_000, 524_288_000, 2000].map(Some);
        assert_eq!(sizes, expected);
        for wrong in ["", "GB", "-1", "1e3", "5 apples", "1.2.3"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }
}
