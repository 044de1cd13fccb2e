use api_dialects::{anthropic, ollama};
use axum::{
    Json,
    extract::Request,
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use rbee_api::{ErrorBody, paths};

/// In which shape an API tells errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum Shape {
    OpenAi,
    Anthropic,
    Ollama,
}

impl Shape {
    /// By the path, since most refusals are older than any look at the request.
    pub(in crate::http) fn of(path: &str) -> Self {
        let roots = [(paths::MESSAGES, Self::Anthropic), (paths::OLLAMA, Self::Ollama)];
        let found = roots.into_iter().find(|(root, _)| is_below(path, root));
        found.map_or(Self::OpenAi, |(_, shape)| shape)
    }
}

fn is_below(path: &str, root: &str) -> bool {
    path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whatever refuses a request, here or before: tells it as the API of the request's path does.
pub(in crate::http) async fn in_their_own_shape(request: Request, next: Next) -> Response {
    let shape = Shape::of(request.uri().path());
    let mut response = next.run(request).await;
    let Some(body) = response.extensions_mut().remove::<ErrorBody>() else { return response };
    let body = match shape {
        Shape::OpenAi => return response,
        Shape::Anthropic => Json(anthropic::error(&body)).into_response().into_body(),
        Shape::Ollama => Json(ollama::error(&body)).into_response().into_body(),
    };
    response.map(|_| body)
}

#[cfg(test)]
mod tests {
    use super::Shape;

    #[test]
    fn a_path_is_of_the_api_whose_root_it_lies_below() {
        for (path, shape) in [
            ("/v1/messages", Shape::Anthropic),
            ("/v1/messages/count_tokens", Shape::Anthropic),
            ("/v1/messages2", Shape::OpenAi),
            ("/v1/chat/completions", Shape::OpenAi),
            ("/api/chat", Shape::Ollama),
            ("/api/copy", Shape::Ollama),
            ("/apis", Shape::OpenAi),
            ("/", Shape::OpenAi),
        ] {
            assert_eq!(Shape::of(path), shape, "{path}");
        }
    }
}
