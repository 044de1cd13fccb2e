//! What llama.cpp's cells hold of one sequence, as bytes beside them.

#![expect(unsafe_code, reason = "llama.cpp fills a buffer, and trusts what it is given back")]

use std::{
    ffi::CStr,
    fmt,
    sync::{Arc, OnceLock},
};

use llama_cpp_2::{LlamaStateSeqFlags, context::LlamaContext};
use llama_cpp_sys_2 as sys;

/// The source of llama.cpp, which does not say of itself which one it is.
const SOURCE: &str = "llama-cpp-sys-2 0.1.161";

/// The cells of one sequence, to be brought back into a context like the one that they come from.
#[derive(Clone)]
pub(crate) struct State(Arc<Vec<u8>>);

impl State {
    /// Bytes that a state of the sequence would have.
    pub(super) fn len_of(context: &LlamaContext<'_>, sequence: i32) -> usize {
        context.state_seq_get_size_ext(sequence, LlamaStateSeqFlags::default())
    }

    /// What the cells hold of the sequence; `None` where llama.cpp does not give it.
    pub(super) fn of(context: &LlamaContext<'_>, sequence: i32) -> Option<Self> {
        let len = Self::len_of(context, sequence);
        let mut bytes = Vec::with_capacity(len);
        // SAFETY: llama.cpp writes as many bytes as it has just said, and there is room for them; only
        // so many as it says that it has written are taken for written.
        let written = unsafe {
            let flags = LlamaStateSeqFlags::default();
            let written = context.state_seq_get_data_ext(bytes.as_mut_ptr(), sequence, flags);
            bytes.set_len(written.min(len));
            written
        };
        (written == len && len > 0).then(|| Self(Arc::new(bytes)))
    }

    /// Puts it into the cells, as that sequence; false where it does not fit there.
    pub(super) fn put(&self, context: &mut LlamaContext<'_>, sequence: i32) -> bool {
        let flags = LlamaStateSeqFlags::default();
        // SAFETY: the bytes come from a context with the same model, settings and build of llama.cpp:
        // this one, or by `from_like` another process's.
        unsafe { context.state_seq_set_data_ext(&self.0, sequence, flags) }
    }

    /// From the bytes of a state of another process. It must have had such a context as this one, by the
    /// same llama.cpp, and the bytes must be those that it was given there: llama.cpp looks at little.
    pub(crate) fn from_like(bytes: Vec<u8>) -> Self {
        Self(Arc::new(bytes))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("State").field(&self.0.len()).finish()
    }
}

/// Which llama.cpp this is, and what it was compiled for.
pub(super) fn build() -> String {
    static BUILD: OnceLock<String> = OnceLock::new();
    let build = || {
        // SAFETY: llama.cpp keeps the text until the next call, and only here it is called, once.
        let text = unsafe { CStr::from_ptr(sys::llama_print_system_info()) };
        format!("{SOURCE}; {}", text.to_string_lossy())
    };
    BUILD.get_or_init(build).clone()
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::SOURCE;

    #[test]
    fn the_source_of_llama_cpp_is_the_one_that_is_compiled() {
        let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.lock");
        let (name, version) = SOURCE.split_once(' ').unwrap();
        let wanted = format!("name = \"{name}\"\nversion = \"{version}\"\n");
        assert!(fs::read_to_string(lock).unwrap().contains(&wanted), "write it into SOURCE");
    }
}
