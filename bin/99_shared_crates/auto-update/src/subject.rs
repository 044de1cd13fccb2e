use std::sync::{Arc, RwLock};

use crate::{
    environment::BuildEnvironment,
    error::Error,
    layout::{Layout, Options},
    workspace::Package,
};

/// One binary with its options and surroundings, and where it was found to lie.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    pub(crate) package: Package,
    options: Options,
    environment: BuildEnvironment,
    /// Found on first use, and again when cargo's configuration changes.
    layout: Arc<RwLock<Option<Arc<Layout>>>>,
}

impl Subject {
    /// The binary as cargo builds it by itself.
    pub(crate) fn new(package: Package, binary: String) -> Self {
        Self {
            package,
            options: Options::of(binary),
            environment: BuildEnvironment::capture(),
            layout: Arc::default(),
        }
    }

    pub(crate) fn binary(&self) -> &str {
        &self.options.binary
    }

    pub(crate) fn environment(&self) -> &BuildEnvironment {
        &self.environment
    }

    pub(crate) fn with_options(mut self, change: impl FnOnce(&mut Options)) -> Self {
        change(&mut self.options);
        self.layout = Arc::default();
        self
    }

    pub(crate) fn with_environment(mut self, environment: BuildEnvironment) -> Self {
        self.environment = environment;
        self.layout = Arc::default();
        self
    }

    pub(crate) fn layout(&self) -> Result<Arc<Layout>, Error> {
        let known = self.layout.read().unwrap_or_else(|poison| poison.into_inner()).clone();
        if let Some(layout) = known
            && layout.is_current()
        {
            return Ok(layout);
        }
        let (package, options) = (self.package.clone(), self.options.clone());
        let layout = Arc::new(Layout::find(package, options, self.environment.clone())?);
        let mut slot = self.layout.write().unwrap_or_else(|poison| poison.into_inner());
        *slot = Some(layout.clone());
        Ok(layout)
    }
}
