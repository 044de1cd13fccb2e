//! llama.cpp's context, with what its wrapper has no call for: threads that stay, and a way out of
//! a batch that is being decoded.

#![expect(unsafe_code, reason = "functions of llama.cpp that its wrapper does not offer")]

use std::{
    cell::{Cell, RefCell},
    ffi::c_void,
    num::NonZeroU32,
    ops::{Deref, DerefMut},
    ptr::{self, NonNull},
    sync::Arc,
    time::Instant,
};

use cpu_time::ThreadTime;

use llama_cpp_2::{
    DecodeError,
    context::{LlamaContext, params::LlamaContextParams},
    llama_batch::LlamaBatch,
};
use llama_cpp_sys_2 as sys;
use tokio::sync::mpsc;

use super::{
    EngineConfig,
    share::{Share, Took},
    watch::Watch,
};
use crate::{
    llama_log,
    model::{LoadError, Model, backend},
};

/// How long a thread without work looks for more before it sleeps, in llama.cpp's unit of 131,072
/// pauses of the processor: some milliseconds. More passes between two tokens of no stream, and
/// other programs are not kept from the processor for longer; llama.cpp's own choice is 50.
const POLL: u32 = 1;
/// What llama.cpp's decoding returns after it was broken off.
const ABORTED: DecodeError = DecodeError::Unknown(2);
/// Operations between two signs of life; a batch has some thousand.
const OPERATIONS_PER_BEAT: u32 = 64;

/// How decoding a batch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decoded {
    Whole,
    /// Everybody who wanted it has gone. The cache holds nothing of the batch.
    Unwanted,
}

/// A context whose threads live as long as it does.
///
/// Left alone, llama.cpp starts its threads anew for every batch, which is for every token. What is
/// computed is sent as `T`.
pub(super) struct Compute<'m, T> {
    // Dropped in this order: the context uses the others.
    context: LlamaContext<'m>,
    _pool: Pool,
    hook: Box<Hook<T>>,
    raw: NonNull<sys::llama_context>,
    /// `None` where not only these threads compute, and their time tells nothing.
    share: Option<Share>,
}

/// What llama.cpp asks between two operations.
struct Hook<T> {
    watch: Arc<Watch>,
    /// Whom the batch under way is for; whoever has gone has closed the channel.
    wanted_by: RefCell<Vec<mpsc::Sender<T>>>,
    operations: Cell<u32>,
}

/// llama.cpp's threads.
struct Pool(NonNull<sys::ggml_threadpool>);

impl<'m, T> Compute<'m, T> {
    /// A context with these parameters, and with what every one here has: the configured threads, and
    /// one cache for all sequences.
    pub(super) fn new(
        model: &'m Model,
        config: EngineConfig,
        watch: Arc<Watch>,
        parameters: LlamaContextParams,
    ) -> Result<Self, LoadError> {
        let threads = i32::try_from(config.threads.get()).unwrap_or(i32::MAX);
        let parameters = parameters
            .with_kv_unified(true)
            .with_n_threads(threads)
            .with_n_threads_batch(threads)
            .with_no_perf(true);
        let backend = backend()?;
        let (made, errors) =
            llama_log::with_errors(|| model.llama.new_context(backend, parameters));
        let failed = |reason| LoadError::Context {
            context: config.context,
            parallel: config.parallel,
            reason,
        };
        let made = made.map_err(|error| {
            failed(if errors.is_empty() { error.to_string() } else { errors.join("; ") })
        })?;
        let share = (!backend.supports_gpu_offload()).then(|| Share::of(config.threads));
        Self::on(made, config.threads, watch, share)
            .ok_or_else(|| failed("its threads cannot be made".to_owned()))
    }

    /// `None` where the threads cannot be made.
    fn on(
        context: LlamaContext<'m>,
        threads: NonZeroU32,
        watch: Arc<Watch>,
        share: Option<Share>,
    ) -> Option<Self> {
        let raw = raw(&context)?;
        let pool = Pool::new(threads)?;
        let hook =
            Box::new(Hook { watch, wanted_by: RefCell::default(), operations: Cell::default() });
        let data = ptr::from_ref(hook.as_ref()).cast_mut().cast::<c_void>();
        // SAFETY: `raw` is the context that `Self` owns; pool and hook are freed after it, and the
        // hook does not move. No batch is being decoded yet.
        unsafe {
            sys::llama_attach_threadpool(raw.as_ptr(), pool.0.as_ptr(), pool.0.as_ptr());
            sys::llama_set_abort_callback(raw.as_ptr(), Some(is_unwanted::<T>), data);
        }
        Some(Self { context, _pool: pool, hook, raw, share })
    }

    /// Decodes `batch`, unless all of `wanted_by` are closed before it is done.
    pub(super) fn decode(
        &mut self,
        batch: &mut LlamaBatch<'_>,
        wanted_by: Vec<mpsc::Sender<T>>,
    ) -> Result<Decoded, DecodeError> {
        self.hook.wanted_by.replace(wanted_by);
        let (began, cpu) = (Instant::now(), ThreadTime::now());
        let decoded = self.context.decode(batch);
        self.hook.wanted_by.take();
        self.hook.watch.beat();
        match decoded {
            Ok(()) => {
                // Decoding may be asynchronous; its time is what the pace is about.
                self.context.synchronize();
                let tokens = usize::try_from(batch.n_tokens()).unwrap_or_default();
                self.share(Took { tokens, wall: began.elapsed(), cpu: cpu.elapsed() });
                Ok(Decoded::Whole)
            }
            Err(ABORTED) => Ok(Decoded::Unwanted),
            Err(error) => Err(error),
        }
    }
}

impl<T> Compute<'_, T> {
    /// Lets fewer threads compute, or more again, as batches show.
    fn share(&mut self, took: Took) {
        let Some(threads) = self.share.as_mut().and_then(|share| share.next(took)) else { return };
        tracing::debug!(threads, "others are busy, or have been");
        let threads = i32::try_from(threads.get()).unwrap_or(i32::MAX);
        // SAFETY: it is the context that `Self` owns, and no batch is being decoded. The pool has at
        // least as many threads.
        unsafe { sys::llama_set_n_threads(self.raw.as_ptr(), threads, threads) }
    }
}

impl<'m, T> Deref for Compute<'m, T> {
    type Target = LlamaContext<'m>;

    fn deref(&self) -> &LlamaContext<'m> {
        &self.context
    }
}

impl<T> DerefMut for Compute<'_, T> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.context
    }
}

/// The pointer that the wrapper keeps to itself, from what it prints of itself.
///
/// Its layout is Rust's own and may change with every compiler; what it prints changes with its
/// version only, and then this finds nothing, which every test of the engine notices.
fn raw(context: &LlamaContext<'_>) -> Option<NonNull<sys::llama_context>> {
    let shown = format!("{context:?}");
    let (_, digits) = shown.split_once("LlamaContext { context: 0x")?;
    let end = digits.find(|digit: char| !digit.is_ascii_hexdigit())?;
    let address = usize::from_str_radix(&digits[..end], 16).ok()?;
    NonNull::new(ptr::with_exposed_provenance_mut(address))
}

/// llama.cpp calls this on the thread that decodes.
unsafe extern "C" fn is_unwanted<T>(data: *mut c_void) -> bool {
    // SAFETY: it is the hook of the context that calls, which outlives the context, and only the
    // thread that decodes uses it.
    let hook = unsafe { &*data.cast::<Hook<T>>() };
    let operations = hook.operations.get().wrapping_add(1);
    hook.operations.set(operations);
    if operations.is_multiple_of(OPERATIONS_PER_BEAT) {
        hook.watch.beat();
    }
    let wanted_by = hook.wanted_by.borrow();
    !wanted_by.is_empty() && wanted_by.iter().all(mpsc::Sender::is_closed)
}

impl Pool {
    fn new(threads: NonZeroU32) -> Option<Self> {
        let threads = i32::try_from(threads.get()).ok()?;
        // SAFETY: the parameters are llama.cpp's own, and are only read.
        let pool = unsafe {
            let mut parameters = sys::ggml_threadpool_params_default(threads);
            parameters.poll = POLL;
            sys::ggml_threadpool_new(&raw mut parameters)
        };
        NonNull::new(pool).map(Self)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // SAFETY: it is freed once, after the context that used it.
        unsafe { sys::ggml_threadpool_free(self.0.as_ptr()) }
    }
}
