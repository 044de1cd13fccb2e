use job_server::{JobId, JobServer};
use narration_core::Narration;
use rbee_api::event;

/// A sink for `narration_core::NarrationLayer`: what is narrated on behalf of a job goes into the
/// job's events.
pub fn narrate_into(jobs: JobServer) -> impl Fn(Narration) + Send + Sync + 'static {
    move |narration| {
        let id = narration.job_id.as_deref().and_then(|id| id.parse::<JobId>().ok());
        if let Some(job) = id.and_then(|id| jobs.emitter(&id)) {
            job.emit(Some(event::NARRATION), narration_core::json(&narration));
        }
    }
}
