use std::sync::LazyLock;

/// One file of the page.
#[derive(Debug, Clone, Copy)]
pub struct Asset {
    /// Where it is asked for.
    pub path: &'static str,
    pub content_type: &'static str,
    /// As it is in the source tree.
    pub text: &'static str,
}

/// Stands in the first file for the version of all of them.
const VERSION_MARK: &str = "{{version}}";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

macro_rules! assets {
    ($($path:literal: $content_type:ident = $file:literal,)+) => {
        /// Every file, the document first.
        pub const ASSETS: &[Asset] = &[$(Asset {
            path: $path,
            content_type: $content_type,
            text: include_str!(concat!("../assets/", $file)),
        },)+];
    };
}

assets! {
    "/": HTML = "index.html",
    "/page/page.css": CSS = "page.css",
    "/page/icon.svg": SVG = "icon.svg",
    "/page/main.js": JAVASCRIPT = "main.js",
    "/page/dom.js": JAVASCRIPT = "dom.js",
    "/page/text.js": JAVASCRIPT = "text.js",
    "/page/api.js": JAVASCRIPT = "api.js",
    "/page/sse.js": JAVASCRIPT = "sse.js",
    "/page/store.js": JAVASCRIPT = "store.js",
    "/page/chain.js": JAVASCRIPT = "chain.js",
    "/page/keys.js": JAVASCRIPT = "keys.js",
    "/page/models.js": JAVASCRIPT = "models.js",
    "/page/requests.js": JAVASCRIPT = "requests.js",
    "/page/events.js": JAVASCRIPT = "events.js",
    "/page/chat.js": JAVASCRIPT = "chat.js",
    "/page/talk.js": JAVASCRIPT = "talk.js",
    "/page/login.js": JAVASCRIPT = "login.js",
}

/// What tells these files from those of another build: 16 digits.
pub fn version() -> &'static str {
    static VERSION: LazyLock<String> = LazyLock::new(|| {
        let mut hasher = blake3::Hasher::new();
        for asset in ASSETS {
            hasher.update(asset.path.as_bytes()).update(&[0]);
            hasher.update(asset.text.as_bytes()).update(&[0]);
        }
        hasher.finalize().to_hex()[..16].to_owned()
    });
    &VERSION
}

impl Asset {
    /// As it is sent.
    pub fn body(&self) -> String {
        self.text.replace(VERSION_MARK, version())
    }
}
