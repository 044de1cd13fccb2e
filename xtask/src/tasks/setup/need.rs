use std::path::{Path, PathBuf};

use crate::tasks::setup::{
    TOOLS, libclang,
    tool::{Tool, output_of},
};

/// The oldest CMake that llama.cpp's build accepts.
const OLDEST_CMAKE: (u32, u32) = (3, 14);

/// What the build of llama.cpp needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    CCompiler,
    CxxCompiler,
    Cmake,
    /// Make, or Ninja where there is none.
    BuildTool,
    Libclang,
}

impl Need {
    pub(super) const ALL: [Self; 5] =
        [Self::CCompiler, Self::CxxCompiler, Self::Cmake, Self::BuildTool, Self::Libclang];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::CCompiler => "a C compiler (`cc`)",
            Self::CxxCompiler => "a C++ compiler (`c++`)",
            Self::Cmake => "cmake",
            Self::BuildTool => "make",
            Self::Libclang => "libclang",
        }
    }

    /// The Python package that brings it, as pip is asked for it.
    pub(super) fn wheel(self) -> Option<&'static str> {
        match self {
            Self::CCompiler | Self::CxxCompiler => None,
            Self::Cmake => Some("cmake>=3.14,<5"),
            Self::BuildTool => Some("ninja>=1.11"),
            Self::Libclang => Some("libclang>=14"),
        }
    }
}

/// What is there and what is not.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) found: Vec<Tool>,
    pub(super) missing: Vec<Need>,
}

impl Look {
    /// Looks at the system and at what setup installed for `root` before.
    ///
    /// The latter comes first: what was built with it is not built again because the system got
    /// the same tool.
    pub(super) fn at(root: &Path) -> Self {
        let wheels = root.join(TOOLS).join("py");
        let (mut found, mut missing) = (Vec::new(), Vec::new());
        for need in Need::ALL {
            let tool = match need {
                Need::CCompiler => compiler("cc"),
                Need::CxxCompiler => compiler("c++"),
                Need::Cmake => cmake(&wheels),
                Need::BuildTool => build_tool(&wheels),
                Need::Libclang => libclang::find(&wheels),
            };
            match tool {
                Some(tool) => found.push(tool),
                None => missing.push(need),
            }
        }
        Self { found, missing }
    }
}

fn compiler(name: &str) -> Option<Tool> {
    let version = output_of(name, &["--version"])?;
    let version = version.lines().next().unwrap_or_default();
    Some(Tool { description: format!("{name} is {version}"), environment: Vec::new() })
}

fn cmake(wheels: &Path) -> Option<Tool> {
    let installed = wheels.join("cmake/data/bin/cmake");
    [installed, PathBuf::from("cmake")].into_iter().find_map(|program| {
        let text = output_of(&program, &["--version"])?;
        let version = text.lines().next()?.strip_prefix("cmake version ")?;
        let mut numbers = version.split('.').map(|number| number.parse().unwrap_or(0));
        if (numbers.next()?, numbers.next()?) < OLDEST_CMAKE {
            return None;
        }
        // One on PATH is found there by the build, too.
        let environment = if program.is_absolute() {
            vec![("CMAKE", program.display().to_string())]
        } else {
            Vec::new()
        };
        Some(Tool { description: format!("cmake {version}, {}", program.display()), environment })
    })
}

fn build_tool(wheels: &Path) -> Option<Tool> {
    if let Some(text) = output_of("make", &["--version"]) {
        let version = text.lines().next().unwrap_or_default();
        return Some(Tool { description: format!("make is {version}"), environment: Vec::new() });
    }
    let installed = wheels.join("bin/ninja");
    [installed, PathBuf::from("ninja")].into_iter().find_map(|program| {
        let version = output_of(&program, &["--version"])?;
        let mut environment = vec![("CMAKE_GENERATOR", "Ninja".to_owned())];
        if program.is_absolute() {
            environment.push(("CMAKE_MAKE_PROGRAM", program.display().to_string()));
        }
        let description =
            format!("ninja {} in place of make, {}", version.trim(), program.display());
        Some(Tool { description, environment })
    })
}
