use narration_core::Narration;
use rbee_api::{JobRequest, Model, ModelList};

use crate::{
    app::App,
    cli::{ModelArgs, ModelListArgs, ModelVerb, OfHive},
    commands::{hive, print},
    failure::Failure,
    job::Job,
    render::{Table, bytes},
};

pub(crate) async fn run(app: &App, verb: ModelVerb) -> Result<(), Failure> {
    match verb {
        ModelVerb::Pull(args) => pull(app, args).await,
        ModelVerb::List(ModelListArgs { hive: OfHive { alias }, output }) => {
            hive::ensure(app, alias.clone()).await?;
            let list = app.queen().await?.models(alias.as_deref()).await?;
            print(app, output.json, &list, table)
        }
        ModelVerb::Rm(args) => remove(app, args).await,
    }
}

async fn pull(app: &App, args: ModelArgs) -> Result<(), Failure> {
    let ModelArgs { model, hive: of, output } = args;
    let request = JobRequest::ModelPull { hive: hive::known(app, of.alias)?, model };
    let result = Job::start(app, &request).await?.finish().await?;
    print(app, output.json, &result, |_| String::new())
}

async fn remove(app: &App, args: ModelArgs) -> Result<(), Failure> {
    let alias = args.hive.alias;
    hive::ensure(app, alias.clone()).await?;
    let removed = app.queen().await?.remove_model(&args.model, alias.as_deref()).await?;
    let human = format!("Removed {}, {} are free again", removed.name, bytes(removed.freed_bytes));
    Narration::new("keeper", "model_rm", human).about(&removed.name).emit();
    print(app, args.output.json, &removed, |_| String::new())
}

fn table(list: &ModelList) -> String {
    let mut table = Table::new(&["NAME", "SIZE", "HERE", "LICENCE", "DESCRIPTION"]);
    for model in &list.models {
        table.row(row(model));
    }
    table.text()
}

fn row(model: &Model) -> [String; 5] {
    [
        model.name.clone(),
        if model.size_bytes == 0 { String::new() } else { bytes(model.size_bytes) },
        if model.local { "yes" } else { "no" }.to_owned(),
        model.license.clone().unwrap_or_default(),
        model.description.clone().unwrap_or_default(),
    ]
}
