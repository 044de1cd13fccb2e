//! Processes that the system ends because there is no memory left.

/// What is asked of the machine on which processes run.
pub(crate) trait Memory: Send + Sync {
    fn kills(&self) -> u64;
    fn available(&self) -> Option<u64>;

    /// What is told of a process that has ended since there were so many `kills`, where the system did that
    /// for want of memory: no request's doing, as far as can be told.
    fn starved_since(&self, kills: u64) -> Option<String> {
        if self.kills() <= kills {
            return None;
        }
        let available = self
            .available()
            .map_or(String::new(), |bytes| format!("; {} MiB are available now", bytes >> 20));
        Some(format!("the system has ended it for want of memory{available}"))
    }
}

#[cfg(test)]
mod tests {
    use super::Memory;

    struct Short;

    impl Memory for Short {
        fn kills(&self) -> u64 {
            3
        }
        fn available(&self) -> Option<u64> {
            Some(700 << 20)
        }
    }

    #[test]
    fn a_process_has_starved_where_the_system_has_ended_one_since() {
        assert_eq!(Short.starved_since(3), None);
        let told = Short.starved_since(2).unwrap();
        assert_eq!(told, "the system has ended it for want of memory; 700 MiB are available now");
    }
}
