use std::{sync::Arc, time::Duration};

use job_server::JobInfo;
use rbee_api::UnderWay;

use super::{
    Pulse,
    board::{Board, Frame},
};
use crate::Queen;

/// How often it is told how far requests are, while there are any.
const ROUND: Duration = Duration::from_secs(1);

/// Tells of the jobs that run: when one begins or ends, and how far they are.
pub(super) async fn look(queen: Queen, board: Arc<Board>, pulse: Pulse) {
    let jobs = queen.relays.jobs();
    let mut running = jobs.running_changes();
    loop {
        let is_idle = *running.borrow_and_update() == 0;
        let under_way = jobs.list().into_iter().filter(|job| !job.state.is_ended());
        board.put(Frame::requests(under_way.map(told).collect()));
        let changed = tokio::select! {
            changed = running.changed() => changed.is_ok(),
            () = tokio::time::sleep(ROUND), if !is_idle => false,
        };
        if changed {
            pulse.beat();
        }
    }
}

fn told(job: JobInfo) -> UnderWay {
    let rbee_api::JobInfo { job_id, operation, subject, created_at_ms, last_event_id, .. } =
        job.into();
    UnderWay { job_id: Some(job_id), operation, subject, created_at_ms, events: last_event_id }
}
