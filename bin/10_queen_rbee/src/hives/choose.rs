use chain_level::Places;
use futures::future::join_all;
use rbee_api::{Part, WorkerList, WorkerState};

use super::{HiveHandle, Hives};

/// What is known of a hive when a model has to go to one.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Candidate {
    alias: String,
    /// Whether there is no way to its machine, as far as is known.
    out_of_reach: bool,
    /// A hive that would have to be started first comes last.
    running: bool,
    has_model: bool,
    active_requests: u32,
}

impl Hives {
    /// The alias of the hive that is to answer for `model`, none of those `without`; `None` where no other is
    /// left.
    ///
    /// One that has it loaded, else one that runs, else the first; of several alike the one with
    /// the fewest requests. One that is out of reach comes last. With one hive configured nobody is
    /// asked, nor where the model's table names one.
    pub(super) async fn hive_for(
        &self,
        places: &Places<HiveHandle>,
        model: &str,
        without: &[String],
    ) -> Option<String> {
        let config = self.config();
        let entry = config.model_called(model).map(|(_, entry)| entry);
        let mut aliases = match entry {
            // The first is the head of those that compute it together.
            Some(entry) if entry.is_shared() => vec![entry.hives[0].clone()],
            Some(entry) if !entry.hives.is_empty() => entry.hives.clone(),
            _ => self.aliases(),
        };
        aliases.retain(|alias| !without.contains(alias));
        if let [] | [_] = &aliases[..] {
            return aliases.pop();
        }
        // All at once: who asks waits for the slowest of them, and not for their sum.
        let asked = aliases.iter().map(|alias| self.candidate(places, alias, model));
        best(join_all(asked).await)
    }

    /// The other hives that compute `model` together with that one.
    pub(super) fn hives_beside(&self, model: &str) -> Vec<String> {
        let config = self.config();
        let entry = config.model_called(model).map(|(_, entry)| entry);
        let shared = entry.filter(|entry| entry.is_shared());
        shared.map(|entry| entry.hives[1..].to_vec()).unwrap_or_default()
    }

    async fn candidate(&self, places: &Places<HiveHandle>, alias: &str, model: &str) -> Candidate {
        let running = places.occupant(alias).filter(|running| running.is_alive());
        let workers = match &running {
            Some(running) => self.workers_of(&running.handle).await.ok(),
            None => None,
        };
        // A link that is cut is noticed by a hive that does not answer, before ssh notices.
        let is_silent = running.is_some() && workers.is_none() && self.is_elsewhere(alias);
        let out_of_reach = is_silent || self.0.elsewhere.is_out_of_reach(alias);
        let running = workers.is_some();
        let WorkerList { workers, .. } = workers.unwrap_or_default();
        Candidate {
            alias: alias.to_owned(),
            out_of_reach,
            running,
            has_model: workers
                .iter()
                .filter(|worker| worker.part.as_ref().is_none_or(Part::is_head))
                .any(|worker| worker.model == model && worker.state == WorkerState::Ready),
            active_requests: workers.iter().map(|worker| worker.active_requests).sum(),
        }
    }
}

/// The configuration's order decides between candidates that are alike.
fn best(candidates: Vec<Candidate>) -> Option<String> {
    candidates
        .into_iter()
        .min_by_key(|hive| {
            (hive.out_of_reach, !hive.has_model, !hive.running, hive.active_requests)
        })
        .map(|hive| hive.alias)
}

#[cfg(test)]
mod tests {
    use super::{Candidate, best};

    #[test]
    fn a_hive_that_has_the_model_wins_however_busy() {
        assert_eq!(chosen([hive("a", true, false, 0), hive("b", true, true, 9)]), "b");
    }

    #[test]
    fn of_two_that_have_it_the_less_busy_wins() {
        assert_eq!(chosen([hive("a", true, true, 2), hive("b", true, true, 1)]), "b");
    }

    #[test]
    fn a_hive_that_runs_wins_over_one_to_be_started() {
        assert_eq!(chosen([hive("a", false, false, 0), hive("b", true, false, 5)]), "b");
    }

    #[test]
    fn the_first_of_the_configuration_wins_a_tie() {
        assert_eq!(chosen([hive("a", false, false, 0), hive("b", false, false, 0)]), "a");
    }

    #[test]
    fn one_that_is_out_of_reach_comes_behind_one_to_be_started() {
        let lost = Candidate { out_of_reach: true, ..hive("a", false, true, 0) };
        assert_eq!(chosen([lost, hive("b", false, false, 9)]), "b");
    }

    fn chosen(candidates: [Candidate; 2]) -> String {
        best(candidates.into()).expect("there are some")
    }

    fn hive(alias: &str, running: bool, has_model: bool, active_requests: u32) -> Candidate {
        let alias = alias.to_owned();
        Candidate { alias, out_of_reach: false, running, has_model, active_requests }
    }
}
