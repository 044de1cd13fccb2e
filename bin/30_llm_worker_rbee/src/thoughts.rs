//! What a model thinks before it answers, which stands in its text between two tags.

use gguf_file::ThoughtTags;

use crate::overlap::overlap;

/// A part of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    Thought(String),
    Aloud(String),
}

/// Tells thoughts from the rest of an answer while it comes. White space beside the tags is neither.
#[derive(Debug, Clone)]
pub(crate) struct ThoughtStream {
    tags: ThoughtTags,
    state: State,
    /// What has come and is not yet certain to be anything.
    held: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing has come that is not white space.
    Begin,
    /// After what begins thoughts, before the first.
    Opened,
    Thinking,
    /// After what ends them.
    Closed,
    /// No thoughts can follow.
    Aloud,
}

impl ThoughtStream {
    /// `opened` says that the prompt has begun them.
    pub(crate) fn new(tags: ThoughtTags, opened: bool) -> Self {
        let state = if opened { State::Opened } else { State::Begin };
        Self { tags, state, held: String::new() }
    }

    pub(crate) fn push(&mut self, text: &str) -> Vec<Said> {
        self.held.push_str(text);
        let mut said = Vec::new();
        while self.step(&mut said) {}
        said
    }

    /// What was held back when no more text comes.
    pub(crate) fn finish(&mut self) -> Option<Said> {
        let held = std::mem::take(&mut self.held);
        match std::mem::replace(&mut self.state, State::Aloud) {
            State::Begin | State::Aloud => {
                Some(held).filter(|held| !held.is_empty()).map(Said::Aloud)
            }
            State::Opened | State::Thinking => {
                let thought = held.trim_end();
                (!thought.is_empty()).then(|| Said::Thought(thought.to_owned()))
            }
            State::Closed => None,
        }
    }

    /// Goes one state further; false when more text has to come.
    fn step(&mut self, said: &mut Vec<Said>) -> bool {
        let ThoughtTags { open, close } = self.tags;
        match self.state {
            State::Begin => {
                let begun = self.held.trim_start();
                if begun.starts_with(open) {
                    let until = self.held.len() - begun.len() + open.len();
                    self.held.drain(..until);
                    self.state = State::Opened;
                } else if open.starts_with(begun) {
                    return false;
                } else {
                    self.state = State::Aloud;
                }
                true
            }
            State::Opened | State::Closed => {
                self.held.drain(..self.held.len() - self.held.trim_start().len());
                if self.held.is_empty() {
                    return false;
                }
                let opened = self.state == State::Opened;
                self.state = if opened { State::Thinking } else { State::Aloud };
                true
            }
            State::Thinking => {
                let end = self.held.find(close);
                let certain = end.unwrap_or(self.held.len() - overlap(&self.held, close));
                let thought = self.held[..certain].trim_end().len();
                if thought > 0 {
                    said.push(Said::Thought(self.held.drain(..thought).collect()));
                }
                let Some(end) = end else { return false };
                self.held.drain(..end - thought + close.len());
                self.state = State::Closed;
                true
            }
            State::Aloud => {
                if !self.held.is_empty() {
                    said.push(Said::Aloud(std::mem::take(&mut self.held)));
                }
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THINK: ThoughtTags = ThoughtTags { open: "<think>", close: "</think>" };

    fn named(template: &str) -> ThoughtTags {
        ThoughtTags::of_template(template).unwrap()
    }

    /// The thoughts and the rest of `answer`, which comes in pieces of `size` characters.
    fn read(tags: ThoughtTags, opened: bool, answer: &str, size: usize) -> (String, String) {
        let mut stream = ThoughtStream::new(tags, opened);
        let chars: Vec<_> = answer.chars().collect();
        let mut said: Vec<_> = chars
            .chunks(size)
            .flat_map(|part| stream.push(&part.iter().collect::<String>()))
            .collect();
        said.extend(stream.finish());
        let (mut thoughts, mut aloud) = (String::new(), String::new());
        for part in said {
            match part {
                Said::Thought(text) => thoughts += &text,
                Said::Aloud(text) => aloud += &text,
            }
        }
        (thoughts, aloud)
    }

    #[track_caller]
    fn assert_reads(tags: ThoughtTags, opened: bool, answer: &str, thoughts: &str, aloud: &str) {
        for size in [1, 2, 3, 7, 1000] {
            let (found, said) = read(tags, opened, answer, size);
            assert_eq!((&*found, &*said), (thoughts, aloud), "by {size}: {answer}");
        }
    }

    /// As Qwen 3 and DeepSeek R1 write them, the second after a prompt that ends with the tag.
    #[test]
    fn thoughts_are_told_from_the_answer() {
        let qwen = "<think>\nOkay, the user asks for 1 < 2.\n\nSo yes.\n</think>\n\nYes, it is.\n";
        assert_reads(
            THINK,
            false,
            qwen,
            "Okay, the user asks for 1 < 2.\n\nSo yes.",
            "Yes, it is.\n",
        );
        let deepseek = "Okay, so </ that is it.\n</think>\n\nParis.";
        assert_reads(THINK, true, deepseek, "Okay, so </ that is it.", "Paris.");
        // With thinking switched off.
        assert_reads(THINK, false, "<think>\n\n</think>\n\nParis.", "", "Paris.");
        assert_reads(named("[THINK][/THINK]"), false, "[THINK]Hm.[/THINK]Well.", "Hm.", "Well.");
        let gpt = "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Well.";
        let aloud = "<|start|>assistant<|channel|>final<|message|>Well.";
        assert_reads(named("<|channel|>analysis"), false, gpt, "Hm.", aloud);
        assert_reads(
            named("<channel|>"),
            false,
            "<|channel>thought\nHm.\n<channel|>Well.",
            "Hm.",
            "Well.",
        );
    }

    #[test]
    fn an_answer_without_thoughts_is_itself() {
        for answer in ["Paris.", "", " \n", "<thin", "a <think> b </think>", "<b>x</b>", "</think>"]
        {
            assert_reads(THINK, false, answer, "", answer);
        }
    }

    #[test]
    fn thoughts_that_are_cut_off_stay_thoughts() {
        assert_reads(THINK, false, "<think>\nOne, two </thi", "One, two </thi", "");
        assert_reads(THINK, true, "One, two\n", "One, two", "");
        assert_reads(THINK, true, "One.</think>", "One.", "");
    }
}
