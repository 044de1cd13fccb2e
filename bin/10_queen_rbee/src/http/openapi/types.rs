use rbee_api::{
    ErrorBody, Health, HiveList, JobCreated, JobInfo, JobList, JobRemains, KeyCreated, KeyList,
    KeyRequest, ModelList, ModelRemoved, WorkerList,
};
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// Other people's requests, which are read by workers or translated: what of them is told here.
const OTHERS: &str = include_str!("others.json");

/// Every schema by its name.
pub(super) fn schemas() -> Map<String, Value> {
    let mut all: Map<String, Value> =
        serde_json::from_str(OTHERS).expect("the file in the tree is an object");
    add::<ErrorBody>(&mut all);
    add::<Health>(&mut all);
    add::<HiveList>(&mut all);
    add::<JobCreated>(&mut all);
    add::<JobInfo>(&mut all);
    add::<JobList>(&mut all);
    add::<JobRemains>(&mut all);
    add::<KeyCreated>(&mut all);
    add::<KeyList>(&mut all);
    add::<KeyRequest>(&mut all);
    add::<ModelList>(&mut all);
    add::<ModelRemoved>(&mut all);
    add::<WorkerList>(&mut all);
    all
}

/// Adds the type's schema, and those of the types in it.
fn add<T: ToSchema>(to: &mut Map<String, Value>) {
    let mut found = vec![(T::name().into_owned(), T::schema())];
    T::schemas(&mut found);
    for (name, schema) in found {
        let schema = serde_json::to_value(schema).expect("a schema is JSON");
        to.insert(name, schema);
    }
}
