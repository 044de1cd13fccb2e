use std::collections::BTreeMap;

use chain_tests::{Chain, get};
use rbee_api::{JobCreated, JobInfo, JobList, JobState, paths};
use serde_json::{Value, json};

use crate::kills::kill;

const JOBS: usize = 50;

/// Of each, at fifty a second; four are answered at once.
const WORDS: usize = 20;

#[test]
fn what_was_accepted_is_finished_by_the_next_queen_when_one_is_killed() {
    let chain = Chain::new();
    chain.succeed(&["infer", "one"]);
    let (queen, worker) = (chain.queen(), chain.pid("llamacpp-worker"));
    let jobs: BTreeMap<String, String> = (0..JOBS)
        .map(|nth| {
            let words: String = (0..WORDS).map(|word| format!("{nth}-{word} ")).collect();
            (accept(&chain, &queen, &words), words)
        })
        .collect();
    // The first ones have ended then, others are under way, and most wait.
    for (job, words) in jobs.iter().take(5) {
        assert_eq!(&answer(&queen, job), words);
    }
    let running =
        |jobs: &[JobInfo]| jobs.iter().filter(|job| job.state == JobState::Running).count();
    assert!(running(&list(&chain, &queen)) > JOBS / 2, "they are done already");

    kill(chain.pid("queen-rbee"));
    chain.succeed(&["infer", "healed"]);
    let queen = chain.queen();
    for (job, words) in &jobs {
        assert_eq!(&answer(&queen, job), words);
        let ended: JobInfo = get(&format!("{queen}{}", paths::job(job)));
        assert_eq!((ended.state, ended.error), (JobState::Completed, None), "{job}");
    }
    let list = list(&chain, &queen);
    assert!(jobs.keys().all(|job| list.iter().any(|listed| listed.job_id == *job)));
    assert_eq!(chain.pid("llamacpp-worker"), worker);
}

/// Has the queen accept a chat about these words; the job's id.
fn accept(chain: &Chain, queen: &str, words: &str) -> String {
    let request = json!({"stream": true, "messages": [{"role": "user", "content": words}]});
    let body = json!({"operation": "chat_completion", "request": request});
    let created = ureq::post(format!("{queen}{}", paths::JOBS))
        .header("content-type", "application/json")
        .header("authorization", bearer(chain))
        .send(body.to_string());
    let created = created.unwrap().body_mut().read_to_string().unwrap();
    serde_json::from_str::<JobCreated>(&created).unwrap().job_id
}

fn list(chain: &Chain, queen: &str) -> Vec<JobInfo> {
    let list = ureq::get(format!("{queen}{}", paths::JOBS)).header("authorization", bearer(chain));
    let list = list.call().unwrap().body_mut().read_to_string().unwrap();
    serde_json::from_str::<JobList>(&list).unwrap().jobs
}

/// The text of an answer, by its job's stream from the first event to its end.
fn answer(queen: &str, job: &str) -> String {
    let stream = ureq::get(format!("{queen}{}", paths::job_stream(job))).call().unwrap();
    let stream = stream.into_body().read_to_string().unwrap();
    let data = stream.lines().filter_map(|line| line.strip_prefix("data: "));
    let chunks = data.filter_map(|data| serde_json::from_str::<Value>(data).ok());
    let words = chunks
        .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str().map(str::to_owned));
    words.collect()
}

fn bearer(chain: &Chain) -> String {
    let token = std::fs::read_to_string(chain.home().join("state/token")).unwrap();
    format!("Bearer {}", token.trim())
}
