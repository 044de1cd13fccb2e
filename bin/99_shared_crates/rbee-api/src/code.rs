use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One row for each code: its name in the API and the HTTP status that it stands for.
macro_rules! codes {
    ($($(#[$doc:meta])* $code:ident = $name:literal, $status:literal;)+) => {
        /// What went wrong, as a program tells it apart. The status and OpenAI's class of the
        /// error follow from it.
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        pub enum ErrorCode {
            $($(#[$doc])* $code,)+
            /// A code of another server's, or of another version's, passed on as it came.
            Foreign(ForeignCode),
        }

        impl ErrorCode {
            /// Every code of ours.
            pub const ALL: &[Self] = &[$(Self::$code,)+];

            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$code => $name,)+
                    Self::Foreign(ForeignCode(name)) => name,
                }
            }

            /// The HTTP status; of a foreign code nothing is known but that it came from behind.
            pub fn status(&self) -> u16 {
                match self {
                    $(Self::$code => $status,)+
                    Self::Foreign(_) => 502,
                }
            }
        }
    };
}

codes! {
    InvalidJson = "invalid_json", 400;
    InvalidBody = "invalid_body", 400;
    InvalidType = "invalid_type", 400;
    InvalidValue = "invalid_value", 400;
    InvalidQuery = "invalid_query", 400;
    InvalidKeyName = "invalid_key_name", 400;
    InvalidModel = "invalid_model", 400;
    InvalidLastEventId = "invalid_last_event_id", 400;
    MissingParameter = "missing_required_parameter", 400;
    UnsupportedParameter = "unsupported_parameter", 400;
    ContextLengthExceeded = "context_length_exceeded", 400;
    BodyUnreadable = "body_unreadable", 400;
    HostMissing = "host_missing", 400;
    HostAmbiguous = "host_ambiguous", 400;
    TlsRequired = "tls_required", 400;
    TokenMissing = "token_missing", 401;
    TokenWrong = "token_wrong", 401;
    KeyMissing = "key_missing", 401;
    KeyWrong = "key_wrong", 401;
    OriginNotAllowed = "origin_not_allowed", 403;
    SiteNotAllowed = "site_not_allowed", 403;
    UnknownPath = "unknown_path", 404;
    JobNotFound = "job_not_found", 404;
    ModelNotFound = "model_not_found", 404;
    KeyNotFound = "key_not_found", 404;
    HiveNotFound = "hive_not_found", 404;
    MethodNotAllowed = "method_not_allowed", 405;
    BodyTooSlow = "body_too_slow", 408;
    JobEnded = "job_ended", 409;
    JobPresent = "job_present", 409;
    /// Another process goes on with the job, and whoever had it before cannot end it.
    JobTakenOver = "job_taken_over", 409;
    KeyPresent = "key_present", 409;
    /// What has come of an answer does not say how it goes on.
    NotContinuable = "not_continuable", 409;
    ModelBusy = "model_busy", 409;
    EventsGone = "events_gone", 410;
    BodyTooLarge = "body_too_large", 413;
    ContentTypeNotJson = "content_type_not_json", 415;
    HostNotAllowed = "host_not_allowed", 421;
    UnusableModel = "unusable_model", 422;
    /// The bodies of other requests take all the room.
    TooManyBodies = "too_many_bodies", 429;
    TooManyJobs = "too_many_jobs", 429;
    QueueFull = "queue_full", 429;
    /// Its causes are in the log of the process.
    Internal = "internal_error", 500;
    EngineFailed = "engine_failed", 500;
    /// The request was under way when a worker crashed, and may be why.
    WorkerCrashed = "worker_crashed", 500;
    /// The next level answered something that cannot be read.
    BadGateway = "bad_gateway", 502;
    /// The next level did not answer, or stopped in the middle.
    UpstreamLost = "upstream_lost", 502;
    /// A model could not be downloaded.
    ModelUnavailable = "model_unavailable", 502;
    BuildFailed = "build_failed", 503;
    HiveUnavailable = "hive_unavailable", 503;
    WorkerUnavailable = "worker_unavailable", 503;
    InsufficientMemory = "insufficient_memory", 503;
    /// Somebody ended the job before its answer was whole.
    Cancelled = "cancelled", 503;
    /// The process was replaced before the answer began.
    Replaced = "replaced", 503;
    Stopping = "stopping", 503;
}

/// A code that only another server can have given.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ForeignCode(Box<str>);

impl ErrorCode {
    /// OpenAI's class of the error, which its clients match on.
    pub fn kind(&self) -> &'static str {
        error_kind(self.status())
    }

    fn read(name: &str) -> Self {
        let ours = Self::ALL.iter().find(|code| code.as_str() == name).cloned();
        ours.unwrap_or_else(|| Self::Foreign(ForeignCode(name.into())))
    }
}

/// OpenAI's class of an error with that status.
pub fn error_kind(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        403 | 421 => "permission_error",
        404 => "not_found_error",
        429 => "rate_limit_error",
        400..500 => "invalid_request_error",
        _ => "server_error",
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for ErrorCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for ErrorCode {
    /// Other servers write numbers here, or null.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::String(name) => Self::read(&name),
            other => Self::read(&other.to_string()),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::ErrorCode;

    #[test]
    fn every_code_has_a_name_of_its_own_and_is_read_back_from_it() {
        let names: HashSet<_> = ErrorCode::ALL.iter().map(ErrorCode::as_str).collect();
        assert_eq!(names.len(), ErrorCode::ALL.len());
        for code in ErrorCode::ALL {
            let text = serde_json::to_string(code).unwrap();
            assert_eq!(&serde_json::from_str::<ErrorCode>(&text).unwrap(), code);
            assert!((400..600).contains(&code.status()), "{code}");
        }
    }

    #[test]
    fn a_code_of_another_server_is_passed_on_as_it_came() {
        for (sent, passed_on) in [(r#""oom""#, r#""oom""#), ("400", r#""400""#)] {
            let code: ErrorCode = serde_json::from_str(sent).unwrap();
            assert!(matches!(code, ErrorCode::Foreign(_)));
            assert_eq!(serde_json::to_string(&code).unwrap(), passed_on);
        }
    }
}
