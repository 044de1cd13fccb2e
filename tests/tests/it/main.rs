//! The chain as a person uses it: `./rbee` in a checkout, with a home of its own.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod engines; // processes beside workers
mod other_engines; // vLLM, and any server
mod together; // hives that compute a model together
mod real_vllm; // itself, not a stand-in: for `./rbee test --vllm`
mod first_run; // from nothing to tokens; and again, with nothing to do
mod edits; // what an edit rebuilds and replaces
mod broken_builds; // what a syntax error leaves alone
mod carried; // conversations, into the worker in the place of theirs
mod drain_deadline; // streams that outlast what relays them
mod slow_readers; // of streams whose worker and hive are replaced
mod verbs; // hives by alias, updates switched off, stop
mod two_trees; // of one person
mod healing; // after kill -9
mod other_user; // of the machine
mod accepted; // jobs that outlive their queen
mod kills; // of a level while it streams
mod real_model; // tokens of the real model, through real clients
mod api_clients; // clients of Anthropic, Ollama and OpenAI's responses
mod fuzzed; // requests of any kind
mod page; // in a browser
mod readme; // its commands, as they stand there
mod installed; // without the source tree
mod elsewhere; // hives on other machines
mod far; // two of them, at bad lines
mod odd_machines; // on which something is not as it mostly is
mod real_streams; // of the real model, while every level is replaced
mod random; // whatever happens, in any order
mod model_settings; // settings, templates and model files, edited under such streams
