use serde::Serialize;

/// Anthropic's list of models, all of it on one page.
#[derive(Debug, Serialize)]
pub struct Models<'a> {
    data: Vec<Model<'a>>,
    has_more: bool,
    first_id: Option<&'a str>,
    last_id: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct Model<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    id: &'a str,
    display_name: &'a str,
    created_at: &'static str,
    lifecycle: &'static str,
}

/// The models of these names.
pub fn models<'a>(names: impl IntoIterator<Item = &'a str>) -> Models<'a> {
    // When one was released is not known.
    let created_at = "1970-01-01T00:00:00Z";
    let model = |id| Model { kind: "model", id, display_name: id, created_at, lifecycle: "active" };
    let data: Vec<Model<'_>> = names.into_iter().map(model).collect();
    let (first_id, last_id) =
        (data.first().map(|model| model.id), data.last().map(|model| model.id));
    Models { data, has_more: false, first_id, last_id }
}
