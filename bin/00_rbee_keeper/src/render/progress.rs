use std::collections::HashMap;

use indicatif::ProgressStyle;
use rbee_api::Progress;

use super::bytes;

/// Without a total, a line for each of these.
const STEP_BYTES: u64 = 64 << 20;

/// Decides which of many progress events are worth a line.
#[derive(Debug, Default)]
pub(crate) struct ProgressSteps {
    last: HashMap<String, u64>,
}

impl ProgressSteps {
    /// A line for the first event of a target and for each further tenth of its way.
    pub(crate) fn line(&mut self, progress: &Progress) -> Option<String> {
        let Progress { target, done_bytes, total_bytes } = progress;
        let (step, text) = match total_bytes {
            Some(total) => {
                let percent = percent(*done_bytes, *total);
                let (done, total) = (bytes(*done_bytes), bytes(*total));
                (percent / 10, format!("{target}: {}% ({done} of {total})", percent / 10 * 10))
            }
            None => (done_bytes / STEP_BYTES, format!("{target}: {}", bytes(*done_bytes))),
        };
        if self.last.get(target) == Some(&step) {
            return None;
        }
        self.last.insert(target.clone(), step);
        Some(text)
    }
}

pub(crate) fn progress_json(progress: &Progress) -> String {
    serde_json::to_string(progress).expect("progress holds only strings and numbers")
}

/// The look of a bar: with a total its share and the time left, without one what has come.
pub(crate) fn bar_style(progress: &Progress) -> ProgressStyle {
    let template = match progress.total_bytes {
        Some(_) => {
            "{msg} [{wide_bar}] {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec} {eta}"
        }
        None => "{msg} {decimal_bytes} {decimal_bytes_per_sec}",
    };
    ProgressStyle::with_template(template).expect("the template is valid").progress_chars("=> ")
}

fn percent(done: u64, total: u64) -> u64 {
    if total == 0 { 100 } else { (u128::from(done) * 100 / u128::from(total)).min(100) as u64 }
}

#[cfg(test)]
mod tests {
    use rbee_api::Progress;

    use super::ProgressSteps;

    fn lines(totals: Option<u64>, done: &[u64]) -> Vec<String> {
        let mut steps = ProgressSteps::default();
        let progress =
            |&done_bytes| Progress { target: "m".into(), done_bytes, total_bytes: totals };
        done.iter().filter_map(|done| steps.line(&progress(done))).collect()
    }

    #[test]
    fn each_tenth_is_said_once() {
        let done: Vec<u64> = (0..=1000).map(|thousandth| thousandth * 98_000).collect();
        let lines = lines(Some(98_000_000), &done);
        assert_eq!(lines.len(), 11);
        assert_eq!(lines[0], "m: 0% (0 B of 98.0 MB)");
        assert_eq!(lines[10], "m: 100% (98.0 MB of 98.0 MB)");
    }

    #[test]
    fn without_a_total_only_the_amount_is_said() {
        assert_eq!(lines(None, &[0, 1 << 20, 65 << 20]), ["m: 0 B", "m: 68.2 MB"]);
    }

    #[test]
    fn an_empty_file_is_whole_at_once() {
        assert_eq!(lines(Some(0), &[0]), ["m: 100% (0 B of 0 B)"]);
    }
}
