use anyhow::Context as _;
use rbee_api::{ErrorBody, StreamEvent};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    app::App,
    client::from_detail,
    failure::Failure,
    job::{Job, JobError},
};

/// How often a request is made anew when the queen that had it died before the first token.
const MAX_LIVES: u32 = 3;

/// A language model's answer, put together from its chunks.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct Answer {
    pub(crate) job_id: Option<String>,
    pub(crate) model: Option<String>,
    pub(crate) text: String,
    /// `stop`, `length`, ...
    pub(crate) finish_reason: Option<String>,
    pub(crate) usage: Option<Value>,
    /// Which build of which program gave it, where it says so.
    #[serde(skip)]
    pub(crate) build: Option<String>,
}

/// Whether the text goes to standard output as it comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Show {
    Tokens,
    Nothing,
}

/// Sends `body` to `/v1/chat/completions` and listens to the end of the answer.
pub(crate) async fn ask(app: &App, body: &Value, show: Show) -> Result<Answer, Failure> {
    for life in 1.. {
        let mut answer = Answer::default();
        match listen(app, body, show, &mut answer).await {
            Ok(()) => return Ok(answer),
            // Nothing has been said yet, so asking anew repeats nothing.
            Err(JobError::Lost(_)) if answer.text.is_empty() && life < MAX_LIVES => {}
            Err(error) => return Err(error.into()),
        }
    }
    unreachable!("the last life returns")
}

async fn listen(app: &App, body: &Value, show: Show, answer: &mut Answer) -> Result<(), JobError> {
    let mut job = Job::chat(app, body).await.map_err(JobError::Failed)?;
    answer.job_id = job.id().map(str::to_owned);
    while let Some(event) = job.next().await? {
        if let StreamEvent::Chunk(chunk) = event {
            let said = answer.add(&chunk).map_err(JobError::Failed)?;
            if show == Show::Tokens && !said.is_empty() {
                app.terminal.out(&said).map_err(JobError::Failed)?;
            }
        }
    }
    Ok(())
}

impl Answer {
    /// Adds a chunk and gives the text that it brought.
    fn add(&mut self, chunk: &str) -> Result<String, Failure> {
        if let Ok(body) = serde_json::from_str::<ErrorBody>(chunk) {
            return Err(from_detail(body.error, None));
        }
        let chunk: Chunk = serde_json::from_str(chunk).context("cannot read the answer's chunk")?;
        self.model = chunk.model.or(self.model.take());
        self.build = chunk.system_fingerprint.or(self.build.take());
        self.usage = chunk.usage.or(self.usage.take());
        let Some(choice) = chunk.choices.into_iter().next() else { return Ok(String::new()) };
        self.finish_reason = choice.finish_reason.or(self.finish_reason.take());
        let said = choice.delta.content.unwrap_or_default();
        self.text.push_str(&said);
        Ok(said)
    }
}

#[derive(Deserialize)]
struct Chunk {
    model: Option<String>,
    #[serde(default)]
    choices: Vec<Choice>,
    system_fingerprint: Option<String>,
    usage: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    delta: Delta,
    finish_reason: Option<String>,
}

#[derive(Default, Deserialize)]
struct Delta {
    content: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::Answer;

    #[test]
    fn chunks_become_one_answer() {
        let mut answer = Answer::default();
        for chunk in [
            r#"{"model":"m","choices":[{"delta":{"role":"assistant","content":""}}]}"#,
            r#"{"model":"m","choices":[{"delta":{"content":"Hello"}}]}"#,
            r#"{"choices":[{"delta":{"content":" bees"},"finish_reason":"stop"}]}"#,
            r#"{"choices":[],"usage":{"total_tokens":7}}"#,
        ] {
            answer.add(chunk).unwrap();
        }
        assert_eq!(answer.text, "Hello bees");
        assert_eq!(answer.model.as_deref(), Some("m"));
        assert_eq!(answer.finish_reason.as_deref(), Some("stop"));
        assert_eq!(answer.usage.unwrap()["total_tokens"], 7);
    }

    #[test]
    fn an_error_in_place_of_a_chunk_is_a_failure() {
        let chunk = r#"{"error":{"message":"out of memory","type":"server_error","code":"oom"}}"#;
        let failure = Answer::default().add(chunk).unwrap_err();
        assert_eq!(failure.lines(crate::render::Paint::Plain), ["error: out of memory"]);
    }
}
