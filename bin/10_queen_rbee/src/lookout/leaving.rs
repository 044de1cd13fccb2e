use std::{sync::Arc, time::Duration};

use rbee_api::seen;

use super::board::{Board, Frame};
use crate::Queen;

/// How often they are looked at: what they do goes on without a word to this one.
const ROUND: Duration = Duration::from_secs(2);

/// Tells of the queens that this one has replaced.
pub(super) async fn look(queen: Queen, board: Arc<Board>) {
    loop {
        board.put(Frame::of(seen::LEAVING, "", &queen.relays.leaving().await));
        tokio::time::sleep(ROUND).await;
    }
}
