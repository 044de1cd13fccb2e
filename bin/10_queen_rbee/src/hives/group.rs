//! The workers that compute one model together: which they are to be, and what is to be made of those that
//! there are.

use std::net::SocketAddr;

use rbee_api::{Part, Worker, WorkerList, WorkerState};
use rbee_config::RbeeConfig;

/// A model that several hives compute together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) model: String,
    /// The hives' aliases, the head's first.
    pub(super) hives: Vec<String>,
    /// The part of each, all of which meet at port 0: each start has a port of its own.
    parts: Vec<Part>,
}

/// What a hive says of its part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Seen {
    /// It is not to be asked, or does not know for sure.
    Unknown,
    Nothing,
    /// A worker that is alive, of which the hive does not know more: it is being started or replaced, or
    /// does not answer.
    Silent,
    /// A worker that is no part of this model.
    Other,
    Part {
        part: Part,
        outdated: bool,
    },
}

/// What is to be made of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// All answer, and were started together.
    Whole,
    /// They do, and would be started otherwise now.
    Outdated,
    /// There is none.
    Empty,
    /// Those that there are wait for one that is not there, and for that reason.
    Broken(String),
    /// One of them is alive and does not answer, or not yet, and is called so.
    Silent(String),
    /// Not all of them are known of.
    Unsure,
}

impl Group {
    /// As the configuration has it for the model of that name, where several hives are to compute it.
    pub(super) fn of(config: &RbeeConfig, model: &str) -> Option<Self> {
        let (name, entry) = config.model_called(model).filter(|(_, entry)| entry.is_shared())?;
        let nodes = &config.worker.vllm.nodes;
        let head = nodes.get(&entry.hives[0])?;
        let count = u32::try_from(entry.hives.len()).ok()?;
        let part = |(rank, alias): (u32, &String)| {
            let node = nodes.get(alias)?;
            Some(Part {
                rank,
                parts: count,
                meet: SocketAddr::new(head.address, 0),
                address: node.address,
                interface: node.interface.clone(),
            })
        };
        let parts: Option<Vec<Part>> = (0..).zip(&entry.hives).map(part).collect();
        Some(Self { model: name.to_owned(), hives: entry.hives.clone(), parts: parts? })
    }

    /// Of every such model.
    pub(super) fn all(config: &RbeeConfig) -> Vec<Self> {
        config.model.keys().filter_map(|model| Self::of(config, model)).collect()
    }

    /// Every hive's part, for a start at which they meet at that port.
    pub(super) fn meeting_at(&self, port: u16) -> impl Iterator<Item = (&String, Part)> {
        let at = move |part: &Part| {
            let meet = SocketAddr::new(part.meet.ip(), port);
            Part { meet, ..part.clone() }
        };
        self.hives.iter().zip(self.parts.iter().map(at))
    }

    /// What one of its hives has, by its list of workers; `None` is a hive that does not answer.
    pub(super) fn seen(&self, list: Option<&WorkerList>) -> Seen {
        let Some(list) = list else { return Seen::Unknown };
        match list.workers.iter().find(|worker| worker.model == self.model) {
            None if list.silent.contains(&self.model) => Seen::Silent,
            None => Seen::Nothing,
            // It may have ended, or be late.
            Some(worker) if worker.state == WorkerState::Failed => Seen::Unknown,
            Some(Worker { part: None, .. }) => Seen::Other,
            Some(Worker { part: Some(part), outdated, .. }) => {
                Seen::Part { part: part.clone(), outdated: *outdated }
            }
        }
    }

    /// `seen` is what each hive has, in the order of the hives.
    pub(super) fn judge(&self, seen: &[Seen]) -> Verdict {
        let some = |seen: &Seen| matches!(seen, Seen::Part { .. } | Seen::Other | Seen::Silent);
        let nth = |is_so: fn(&Seen) -> bool| seen.iter().position(is_so);
        if let Some(rank) = nth(|seen| matches!(seen, Seen::Other)) {
            return Verdict::Broken(format!("{} is not one of them", self.called(rank)));
        }
        if let Some(rank) = nth(|seen| matches!(seen, Seen::Nothing))
            && seen.iter().any(some)
        {
            return Verdict::Broken(format!("{} has ended", self.called(rank)));
        }
        let ports: Vec<u16> = seen.iter().filter_map(port).collect();
        if ports.windows(2).any(|two| two[0] != two[1]) {
            let why = format!("the workers for `{}` were not started together", self.model);
            return Verdict::Broken(why);
        }
        if seen.contains(&Seen::Unknown) {
            return Verdict::Unsure;
        }
        if let Some(rank) = nth(|seen| matches!(seen, Seen::Silent)) {
            return Verdict::Silent(format!("{} does not answer", self.called(rank)));
        }
        let Some(port) = ports.first() else { return Verdict::Empty };
        let is_as_wanted = |(seen, (_, wanted)): (&Seen, (&String, Part))| {
            *seen == Seen::Part { part: wanted, outdated: false }
        };
        match seen.iter().zip(self.meeting_at(*port)).all(is_as_wanted) {
            true => Verdict::Whole,
            false => Verdict::Outdated,
        }
    }

    /// The part of that rank, as a person is told of it.
    pub(super) fn called(&self, rank: usize) -> String {
        let (model, alias) = (&self.model, &self.hives[rank]);
        match rank {
            0 => format!("the head of `{model}` on `{alias}`"),
            rank => format!("part {rank} of `{model}` on `{alias}`"),
        }
    }
}

fn port(seen: &Seen) -> Option<u16> {
    match seen {
        Seen::Part { part, .. } => Some(part.meet.port()),
        Seen::Unknown | Seen::Nothing | Seen::Silent | Seen::Other => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Group, Part, Seen, Verdict};

    #[test]
    fn parts_that_were_started_together_and_as_they_would_be_now_are_left_alone() {
        assert_eq!(verdict(&[part(0, 1), part(1, 1)]), Verdict::Whole);
        assert_eq!(verdict(&[Seen::Nothing, Seen::Nothing]), Verdict::Empty);
    }

    #[test]
    fn one_that_is_not_there_breaks_all_of_them() {
        for seen in [[part(0, 1), Seen::Nothing], [Seen::Nothing, part(1, 1)]] {
            let Verdict::Broken(why) = verdict(&seen) else { panic!("{seen:?}") };
            let who = if seen[0] == Seen::Nothing {
                "the head of `m` on `a` has ended"
            } else {
                "part 1 of `m` on `b` has ended"
            };
            assert_eq!(why, who);
        }
        let alone = verdict(&[Seen::Other, Seen::Nothing]);
        assert_eq!(alone, Verdict::Broken("the head of `m` on `a` is not one of them".to_owned()));
    }

    #[test]
    fn parts_of_two_starts_do_not_belong_together() {
        assert!(matches!(verdict(&[part(0, 1), part(1, 2)]), Verdict::Broken(_)));
    }

    #[test]
    fn a_hive_that_does_not_answer_is_no_reason_to_end_anything() {
        assert_eq!(verdict(&[part(0, 1), Seen::Unknown]), Verdict::Unsure);
        assert_eq!(verdict(&[Seen::Unknown, part(1, 1)]), Verdict::Unsure);
        assert_eq!(verdict(&[Seen::Unknown, Seen::Nothing]), Verdict::Unsure);
    }

    #[test]
    fn a_part_that_does_not_answer_may_be_as_it_should() {
        for seen in [[part(0, 1), Seen::Silent], [Seen::Silent, Seen::Silent]] {
            assert!(matches!(verdict(&seen), Verdict::Silent(_)), "{seen:?}");
        }
        assert_eq!(verdict(&[Seen::Unknown, Seen::Silent]), Verdict::Unsure);
        assert!(matches!(verdict(&[Seen::Silent, Seen::Nothing]), Verdict::Broken(_)));
    }

    #[test]
    fn parts_that_would_be_started_otherwise_are_outdated() {
        let mut elsewhere = part(1, 1);
        let Seen::Part { part: moved, .. } = &mut elsewhere else { panic!() };
        moved.address = [10, 0, 0, 9].into();
        assert_eq!(verdict(&[part(0, 1), elsewhere]), Verdict::Outdated);
        let Seen::Part { part: rank, .. } = part(1, 1) else { panic!() };
        let changed = Seen::Part { part: rank, outdated: true };
        assert_eq!(verdict(&[part(0, 1), changed]), Verdict::Outdated);
    }

    fn verdict(seen: &[Seen]) -> Verdict {
        let hives = ["a", "b"].map(str::to_owned).into();
        let parts = [part(0, 0), part(1, 0)].map(|seen| match seen {
            Seen::Part { part, .. } => part,
            _ => panic!(),
        });
        Group { model: "m".to_owned(), hives, parts: parts.into() }.judge(seen)
    }

    fn part(rank: u32, port: u16) -> Seen {
        let part = Part {
            rank,
            parts: 2,
            meet: ([10, 0, 0, 1], port).into(),
            address: [10, 0, 0, 1 + u8::try_from(rank).unwrap()].into(),
            interface: None,
        };
        Seen::Part { part, outdated: false }
    }
}
