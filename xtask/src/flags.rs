use std::{ffi::OsString, str::FromStr};

use rbee_config::Overrides;

/// Those of the keeper's flags that say how the keeper itself is built.
///
/// A value that makes no sense is left for the keeper to refuse.
pub(crate) fn overrides(args: &[OsString]) -> Overrides {
    Overrides {
        narration: value(args, "--narration"),
        auto_update: value(args, "--auto-update"),
        on_build_failure: value(args, "--on-build-failure"),
        ..Overrides::default()
    }
}

/// The value of the last `--flag VALUE` or `--flag=VALUE` before `--`.
fn value<T: FromStr>(args: &[OsString], flag: &str) -> Option<T> {
    let mut args = args.iter().map_while(|arg| arg.to_str()).take_while(|arg| *arg != "--");
    let mut found = None;
    while let Some(arg) = args.next() {
        if arg == flag {
            found = args.next();
        } else if let Some(value) = arg.strip_prefix(flag).and_then(|rest| rest.strip_prefix('=')) {
            found = Some(value);
        }
    }
    found?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_found_in_both_forms_and_not_behind_the_dashes() {
        let found = |line: &str| {
            let args: Vec<_> = line.split(' ').map(OsString::from).collect();
            overrides(&args).auto_update
        };
        assert_eq!(found("infer --auto-update false hi"), Some(false));
        assert_eq!(found("--auto-update=true infer hi"), Some(true));
        assert_eq!(found("--auto-update=true --auto-update false"), Some(false));
        assert_eq!(found("infer -- --auto-update false"), None);
        assert_eq!(found("infer --auto-update-later=false"), None);
        assert_eq!(found("infer --auto-update"), None);
        assert_eq!(found("infer --auto-update perhaps"), None);
    }
}
