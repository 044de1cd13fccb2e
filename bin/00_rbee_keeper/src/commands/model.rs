use std::{collections::BTreeMap, path};

use narration_core::Narration;
use rbee_api::{
    JobRequest, KeepAlive, Model, ModelList, ModelUnloaded, Sampling, Worker, WorkerList,
};
use rbee_config::{ChatTemplate, ConfigFile, ConfigValue};
use serde::Serialize;
use serde_json::json;

use crate::{
    app::App,
    cli::{ModelArgs, ModelListArgs, ModelVerb, OfHive, Output, SetArgs, model_name},
    commands::{hive, print},
    failure::Failure,
    job::Job,
    render::{Table, age, bytes},
};

pub(crate) async fn run(app: &App, verb: ModelVerb) -> Result<(), Failure> {
    match verb {
        ModelVerb::Pull(args) => pull(app, args).await,
        ModelVerb::List(ModelListArgs { hive, output }) => {
            let list = list(app, hive).await?;
            print(app, output.json, &list, table)
        }
        ModelVerb::Search { words, hive, output } => {
            let mut list = list(app, hive).await?;
            list.models.retain(|model| has_all(model, &words));
            print(app, output.json, &list, table)
        }
        ModelVerb::Show(args) => show(app, args).await,
        ModelVerb::Ps(args) => ps(app, args.output).await,
        ModelVerb::Load { model, keep_alive } => load(app, model, keep_alive).await,
        ModelVerb::Unload(args) => unload(app, args).await,
        ModelVerb::Cp { from, to, hive, output } => copy(app, &from, &to, hive, output).await,
        ModelVerb::Set(args) => set(app, args),
        ModelVerb::Rm(args) => remove(app, args).await,
    }
}

async fn list(app: &App, OfHive { alias }: OfHive) -> Result<ModelList, Failure> {
    hive::ensure(app, alias.clone()).await?;
    Ok(app.queen().await?.models(alias.as_deref()).await?)
}

fn has_all(model: &Model, words: &[String]) -> bool {
    let text = [Some(&model.name), model.license.as_ref(), model.description.as_ref()];
    let text: Vec<&str> = text.into_iter().flatten().map(String::as_str).collect();
    let text = text.join(" ").to_lowercase();
    words.iter().all(|word| text.contains(&word.to_lowercase()))
}

async fn show(app: &App, args: ModelArgs) -> Result<(), Failure> {
    let ModelArgs { model: name, hive: OfHive { alias }, output } = args;
    hive::ensure(app, alias.clone()).await?;
    let queen = app.queen().await?;
    let model = queen.model(&name, alias.as_deref()).await?.ok_or_else(|| unknown(&name))?;
    let workers = queen.workers().await?.workers;
    let worker = workers.into_iter().find(|worker| worker.model == model.name);
    let settings = settings(app, &model.name);
    let shown = Shown { model, worker, settings };
    print(app, output.json, &shown, describe)
}

/// A model with what is known of it elsewhere.
#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    model: Model,
    /// Where it is loaded.
    worker: Option<Worker>,
    /// What the configuration sets for it, as `./rbee config` has it.
    settings: BTreeMap<String, String>,
}

fn settings(app: &App, name: &str) -> BTreeMap<String, String> {
    let prefix = format!("model.\"{name}\".");
    let of_model = |value: &ConfigValue| {
        Some((value.key.strip_prefix(&prefix)?.to_owned(), value.value.clone()))
    };
    app.config.values().filter_map(of_model).collect()
}

fn describe(Shown { model, worker, settings }: &Shown) -> String {
    let mut facts = Table::facts();
    facts.fact("name", &model.name);
    for (name, value) in [
        ("description", model.description.clone()),
        ("licence", model.license.clone()),
        ("size", Some(size(model)).filter(|size| !size.is_empty())),
        ("memory", model.memory_bytes.map(|memory| format!("about {}", bytes(memory)))),
        ("here", Some(if model.local { "yes" } else { "no" }.to_owned())),
        ("path", model.path.clone()),
        ("sha256", model.sha256.clone()),
        ("recommended", Some(recommended(&model.sampling)).filter(|text| !text.is_empty())),
    ] {
        if let Some(value) = value {
            facts.fact(name, &value);
        }
    }
    match worker {
        Some(worker) => facts.fact("loaded", &format!("yes, {}", until(worker))),
        None => facts.fact("loaded", "no"),
    }
    for (key, value) in settings {
        facts.fact(key, value);
    }
    facts.text()
}

fn recommended(sampling: &Sampling) -> String {
    let members = sampling.members().map(|(name, value)| format!("{name} {value}"));
    members.collect::<Vec<_>>().join(", ")
}

/// When a model that is loaded is unloaded.
fn until(worker: &Worker) -> String {
    match worker.unloads_in_s {
        _ if worker.active_requests > 0 => "answering".to_owned(),
        Some(seconds) => format!("for {} more", age(seconds)),
        None => "until it is unloaded".to_owned(),
    }
}

async fn ps(app: &App, output: Output) -> Result<(), Failure> {
    let list = match app.running_queen().await? {
        Some(queen) => queen.workers().await?,
        None => {
            app.terminal.say("No queen runs, so no model is loaded");
            WorkerList::default()
        }
    };
    print(app, output.json, &list, |list| {
        let mut table = Table::new(&["NAME", "MEMORY", "DEVICE", "BUSY", "UNTIL"]);
        for worker in &list.workers {
            table.row([
                worker.model.clone(),
                worker.memory_bytes.map(bytes).unwrap_or_default(),
                worker.device.clone(),
                worker.active_requests.to_string(),
                until(worker),
            ]);
        }
        table.text()
    })
}

async fn load(app: &App, args: ModelArgs, keep_alive: Option<KeepAlive>) -> Result<(), Failure> {
    let ModelArgs { model, hive: of, output } = args;
    let request = JobRequest::ModelLoad { hive: hive::known(app, of.alias)?, model, keep_alive };
    let result = Job::start(app, &request).await?.finish().await?;
    print(app, output.json, &result, |_| String::new())
}

async fn unload(app: &App, args: ModelArgs) -> Result<(), Failure> {
    let ModelArgs { model, hive: of, output } = args;
    let alias = hive::known(app, of.alias)?;
    let unloaded = match app.running_queen().await? {
        Some(queen) => queen.unload_model(&model, alias.as_deref()).await?,
        None => ModelUnloaded { name: model, was_loaded: false },
    };
    let what = if unloaded.was_loaded { "Unloaded" } else { "Not loaded:" };
    let human = format!("{what} {}", unloaded.name);
    Narration::new("keeper", "model_unload", human).about(&unloaded.name).emit();
    print(app, output.json, &unloaded, |_| String::new())
}

async fn copy(
    app: &App,
    from: &str,
    to: &str,
    OfHive { alias }: OfHive,
    output: Output,
) -> Result<(), Failure> {
    app.is_ours_to("configure")?;
    hive::ensure(app, alias.clone()).await?;
    let queen = app.queen().await?;
    let from = queen.model(from, alias.as_deref()).await?.ok_or_else(|| unknown(from))?.name;
    if let Some(there) = queen.model(to, alias.as_deref()).await? {
        return Err(Failure::usage(format_args!("there is a model `{}` already", there.name))
            .hint("`./rbee model list` shows the names that are taken"));
    }
    let mut file = config_file(app)?;
    file.copy(&from, to);
    file.save().map_err(Failure::usage)?;
    let human = format!("`{to}` is another name of `{from}`");
    Narration::new("keeper", "model_cp", human).about(to).emit();
    print(app, output.json, &json!({ "name": to, "source": from }), |_| String::new())
}

fn set(app: &App, SetArgs { model, settings, unset, output }: SetArgs) -> Result<(), Failure> {
    app.is_ours_to("configure")?;
    // By whichever of its names the table is there.
    let called = app.config.model_called(&model);
    let name = called.map_or(model.clone(), |(name, _)| name.to_owned());
    let mut file = config_file(app)?;
    for (key, value) in &settings {
        match key.as_str() {
            "chat_template" => file.set(&name, key, &template(value)?),
            "source" => {
                let source = model_name(value.trim_matches(['"', '\'']));
                file.set(&name, key, &source.map_err(Failure::usage)?);
            }
            _ => file.set(&name, key, value),
        }
    }
    for key in &unset {
        if !file.unset(&name, key) {
            return Err(Failure::usage(format_args!("`{key}` is not set for `{name}`"))
                .hint(format!("`./rbee config | grep '{name}'` shows what is")));
        }
    }
    file.save().map_err(|error| {
        Failure::usage(error)
            .hint("nothing was written: the line is one that the file would have had")
    })?;
    let path = app.config.paths.config_file.display();
    let human = format!("wrote `[model.\"{name}\"]` in {path}");
    Narration::new("keeper", "model_set", human).about(&name).emit();
    let set: BTreeMap<_, _> = settings.into_iter().collect();
    print(app, output.json, &json!({ "name": name, "set": set, "unset": unset }), |_| String::new())
}

/// A template's file as it is found from everywhere, or its name as it is.
fn template(value: &str) -> Result<String, Failure> {
    let here = path::absolute(".").unwrap_or_default();
    match ChatTemplate::of(value.trim_matches(['"', '\'']).to_owned(), &here) {
        ChatTemplate::Named(name) => Ok(name),
        ChatTemplate::File(path) if path.is_file() => Ok(path.display().to_string()),
        ChatTemplate::File(path) => {
            Err(Failure::usage(format_args!("there is no file `{}`", path.display()))
                .hint("`chat_template` is a file of Jinja text, or a name such as `chatml`"))
        }
    }
}

fn config_file(app: &App) -> Result<ConfigFile, Failure> {
    ConfigFile::open(&app.config).map_err(Failure::usage)
}

fn unknown(name: &str) -> Failure {
    Failure::usage(format_args!("no model is called `{name}`"))
        .hint("`./rbee model list` shows the names")
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
    let mut table = Table::new(&["NAME", "SIZE", "MEMORY", "HERE", "LICENCE", "DESCRIPTION"]);
    for model in &list.models {
        table.row(row(model));
    }
    table.text()
}

fn row(model: &Model) -> [String; 6] {
    [
        model.name.clone(),
        size(model),
        model.memory_bytes.map(bytes).unwrap_or_default(),
        if model.local { "yes" } else { "no" }.to_owned(),
        model.license.clone().unwrap_or_default(),
        model.description.clone().unwrap_or_default(),
    ]
}

/// A size that is only roughly known is marked.
fn size(model: &Model) -> String {
    match (model.size_bytes, model.is_approximate) {
        (0, _) => String::new(),
        (size, true) => format!("~{}", bytes(size)),
        (size, false) => bytes(size),
    }
}
