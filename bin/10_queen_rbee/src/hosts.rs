use std::{fmt, sync::Arc};

use daemon_lifecycle::{Identity, SignOfLife};
use futures::future::BoxFuture;
use hive_lifecycle::{Error, HiveStartRequest, HiveStartResponse};
use rbee_config::RbeeConfig;

type Answer<'a, T> = BoxFuture<'a, Result<T, Error>>;

/// How hives are brought up and ended, wherever they run.
pub trait Hosts: fmt::Debug + Send + Sync {
    /// Starts the hive, or replaces one that is stale.
    fn start(
        &self,
        config: Arc<RbeeConfig>,
        request: HiveStartRequest,
    ) -> Answer<'static, HiveStartResponse>;

    /// The hive if it runs, stale or not; starts nothing.
    fn find<'a>(&self, config: &'a RbeeConfig, alias: &'a str) -> Answer<'a, Option<Identity>>;

    /// What the hive that serves says of itself however much it has to answer; `None` where nobody says
    /// anything.
    fn sign<'a>(&self, config: &'a RbeeConfig, alias: &'a str) -> Answer<'a, Option<SignOfLife>>;

    /// Whether the process runs what the hive's sources say now.
    fn is_current<'a>(
        &self,
        config: &'a RbeeConfig,
        alias: &'a str,
        hive: &'a Identity,
    ) -> Answer<'a, bool>;

    /// Stops the hive and its workers; says what ran.
    fn stop<'a>(
        &self,
        config: &'a RbeeConfig,
        alias: &'a str,
        now: bool,
    ) -> Answer<'a, Vec<String>>;

    /// Ends a hive that hangs, at once, and none of its workers.
    fn end<'a>(&'a self, hive: &'a Identity) -> BoxFuture<'a, ()>;
}

/// This host, by hive-lifecycle.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ThisHost;

impl Hosts for ThisHost {
    fn start(
        &self,
        config: Arc<RbeeConfig>,
        request: HiveStartRequest,
    ) -> Answer<'static, HiveStartResponse> {
        Box::pin(hive_lifecycle::execute_hive_start(request, config))
    }

    fn find<'a>(&self, config: &'a RbeeConfig, alias: &'a str) -> Answer<'a, Option<Identity>> {
        Box::pin(hive_lifecycle::find_hive(config, alias))
    }

    fn sign<'a>(&self, config: &'a RbeeConfig, alias: &'a str) -> Answer<'a, Option<SignOfLife>> {
        Box::pin(hive_lifecycle::hive_sign(config, alias))
    }

    fn is_current<'a>(
        &self,
        config: &'a RbeeConfig,
        alias: &'a str,
        hive: &'a Identity,
    ) -> Answer<'a, bool> {
        Box::pin(hive_lifecycle::hive_is_current(config, alias, hive))
    }

    fn stop<'a>(
        &self,
        config: &'a RbeeConfig,
        alias: &'a str,
        now: bool,
    ) -> Answer<'a, Vec<String>> {
        Box::pin(hive_lifecycle::execute_hive_stop(config, alias, now))
    }

    fn end<'a>(&'a self, hive: &'a Identity) -> BoxFuture<'a, ()> {
        Box::pin(async {
            daemon_lifecycle::kill(hive).await;
        })
    }
}
