//! What daemons of the chain inherit beside what every daemon does.

/// rbee's own settings: a daemon reads the same configuration as its starter.
pub(crate) const SETTINGS: [&str; 1] = ["RBEE_*"];

/// Where models come from. Queen and hive: the queen passes it on.
pub(crate) const DOWNLOADS: [&str; 1] = ["HF_ENDPOINT"];

/// What engines of other people and the libraries below them are told by variables. Queen and hive
/// pass it on.
pub(crate) const ENGINES: [&str; 12] = [
    "VLLM_*", "CUDA_*", "NCCL_*", "GLOO_*", "NVIDIA_*", "TORCH*", "HIP_*", "ROCR_*", "GGML_*",
    "LLAMA_*", "OMP_*", "HF_HOME",
];
