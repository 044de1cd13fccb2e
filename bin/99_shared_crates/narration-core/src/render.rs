use crate::event::{Level, Narration};

/// `[actor] action: human`, or the line itself where it is another program's.
pub fn human(narration: &Narration) -> String {
    match narration.level {
        Level::Verbatim => narration.human.clone(),
        Level::Info | Level::Warn | Level::Error | Level::Progress => {
            format!("[{}] {}: {}", narration.actor, narration.action, narration.human)
        }
    }
}

/// One JSON object on one line, with the fields of [`Narration`].
pub fn json(narration: &Narration) -> String {
    serde_json::to_string(narration).expect("a narration holds only strings and numbers")
}
