use std::{thread, time::Duration};

/// Waits for a while, as whoever asks again and again does, or what happens at any moment. Not for
/// something to have happened: that is an event.
#[expect(clippy::disallowed_methods, reason = "how dense a load is, is a matter of time")]
pub fn pause(time: Duration) {
    thread::sleep(time);
}
