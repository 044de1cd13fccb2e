use narration_core::{Narration, NarrationLayer};
use tracing_subscriber::{
    EnvFilter, Layer as _, filter::filter_fn, fmt, layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

/// Sends the process's log to stderr, which its starter has pointed at the log file, and each
/// narration to `narrate` as well.
///
/// `filter` is a `tracing` filter such as `info,queen_rbee=debug`; none, or one that cannot be
/// read, counts as `info`. To be called once, before anything is narrated.
pub fn init_tracing(filter: Option<&str>, narrate: impl Fn(Narration) + Send + Sync + 'static) {
    let filter = filter.and_then(|filter| EnvFilter::try_new(filter).ok());
    let filter = filter.unwrap_or_else(|| EnvFilter::new("info"));
    let narration = filter_fn(|metadata| metadata.target() == narration_core::TARGET);
    tracing_subscriber::registry()
        .with(NarrationLayer::new(narrate).with_filter(narration))
        .with(fmt::layer().with_ansi(false).with_writer(std::io::stderr).with_filter(filter))
        .init();
}
