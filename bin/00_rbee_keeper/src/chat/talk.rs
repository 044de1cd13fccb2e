use serde_json::Value;

use crate::cli::message;

/// What has been said, and what of it the model is told.
#[derive(Debug, Default)]
pub(crate) struct Talk {
    system: Option<String>,
    /// In turns: the person's, the model's.
    messages: Vec<Value>,
    /// The first message that is still told; those before it have no room.
    told_from: usize,
}

impl Talk {
    pub(crate) fn new(system: Option<String>) -> Self {
        Self { system, ..Self::default() }
    }

    pub(crate) fn system(&self) -> Option<&str> {
        self.system.as_deref()
    }

    pub(crate) fn set_system(&mut self, text: Option<String>) {
        self.system = text;
    }

    pub(crate) fn ask(&mut self, text: &str) {
        self.messages.push(message("user", text));
    }

    pub(crate) fn answered(&mut self, text: &str) {
        self.messages.push(message("assistant", text));
    }

    /// Takes the last question back: the turn did not happen.
    pub(crate) fn unask(&mut self) {
        self.messages.pop();
        self.told_from = self.told_from.min(self.messages.len());
    }

    pub(crate) fn clear(&mut self) {
        self.messages.clear();
        self.told_from = 0;
    }

    /// What the model is told.
    pub(crate) fn told(&self) -> Vec<Value> {
        let system = self.system.iter().map(|text| message("system", text));
        system.chain(self.messages[self.told_from..].iter().cloned()).collect()
    }

    /// Everything that was said.
    pub(crate) fn all(&self) -> Vec<Value> {
        let system = self.system.iter().map(|text| message("system", text));
        system.chain(self.messages.iter().cloned()).collect()
    }

    /// Leaves out a quarter of what is told, in whole turns and at least one, the oldest first. `None`
    /// where only the last question is left; else how many messages are left out by now.
    pub(crate) fn leave_out(&mut self) -> Option<usize> {
        let turns = (self.messages.len() - self.told_from) / 2;
        if turns == 0 {
            return None;
        }
        self.told_from += 2 * turns.div_ceil(4);
        Some(self.told_from)
    }
}

#[cfg(test)]
mod tests {
    use super::Talk;

    fn texts(talk: &Talk) -> Vec<String> {
        let text = |message: serde_json::Value| message["content"].as_str().unwrap().to_owned();
        talk.told().into_iter().map(text).collect()
    }

    #[test]
    fn the_oldest_turns_are_left_out_first_and_the_system_text_never() {
        let mut talk = Talk::new(Some("be kind".into()));
        for turn in 0..5 {
            talk.ask(&format!("q{turn}"));
            talk.answered(&format!("a{turn}"));
        }
        talk.ask("last");
        assert_eq!(talk.leave_out(), Some(4));
        assert_eq!(texts(&talk)[..2], ["be kind", "q2"]);
        assert_eq!([talk.leave_out(), talk.leave_out(), talk.leave_out()], [6, 8, 10].map(Some));
        assert_eq!(texts(&talk), ["be kind", "last"]);
        assert_eq!(talk.leave_out(), None);
        // Nothing is lost of it.
        assert_eq!(talk.all().len(), 12);
    }

    #[test]
    fn a_turn_that_did_not_happen_is_forgotten() {
        let mut talk = Talk::default();
        talk.ask("first");
        talk.unask();
        assert!(talk.told().is_empty());
        talk.ask("second");
        talk.clear();
        assert!(talk.all().is_empty());
    }
}
