//! The steps from a fresh clone to the first answer, which two programs tell of, one after the other.

/// One step of the first run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    Tools,
    Keeper,
    Queen,
    Hive,
    Worker,
    Model,
}

impl Step {
    pub const ALL: [Self; 6] =
        [Self::Tools, Self::Keeper, Self::Queen, Self::Hive, Self::Worker, Self::Model];

    /// The step in which `binary` is built.
    pub fn building(binary: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|step| step.binary() == Some(binary))
    }

    /// The binary that is built in it.
    pub fn binary(self) -> Option<&'static str> {
        match self {
            Self::Keeper => Some("rbee-keeper"),
            Self::Queen => Some("queen-rbee"),
            Self::Hive => Some("rbee-hive"),
            Self::Worker => Some("llamacpp-worker"),
            Self::Tools | Self::Model => None,
        }
    }

    /// `3 of 6`
    pub fn count(self) -> String {
        let number = Self::ALL.iter().take_while(|step| **step != self).count() + 1;
        format!("{number} of {}", Self::ALL.len())
    }

    /// `rbee: step 3 of 6: building queen-rbee, which answers clients`
    pub fn line(self) -> String {
        let what = match self {
            Self::Tools => "the tools of the build, where this machine lacks them",
            Self::Keeper => "building rbee-keeper, the command line",
            Self::Queen => "building queen-rbee, which answers clients",
            Self::Hive => "building rbee-hive, which keeps models and workers",
            Self::Worker => {
                "building llamacpp-worker, which computes; the model is downloaded meanwhile"
            }
            Self::Model => "loading the model",
        };
        format!("rbee: step {}: {what}", self.count())
    }
}
