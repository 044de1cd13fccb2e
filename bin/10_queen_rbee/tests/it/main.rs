//! The queen over her routes, with hives that are scripts: no process is started.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod chain; // hives, workers, models
mod accepted; // jobs that outlive their queen
mod completions; // OpenAI's endpoints
mod apis; // other APIs than OpenAI's chat completions
mod hung; // hives that do not answer
mod together; // hives that compute a model together
mod jobs; // work that is begun by name
mod metrics; // what is counted, and requests by their ids
mod openapi; // the routes, described
mod refusals; // what nobody is let do
mod page; // the page, and what it is told
mod tls; // what goes before HTTP
mod world; // a queen between a client and scripted hives
