use rbee_config::ConfigValue;
use serde::Serialize;

use crate::{app::App, cli::ConfigArgs, commands::print, failure::Failure, render::Table};

#[derive(Serialize)]
struct Row<'a> {
    key: &'a str,
    value: &'a str,
    origin: String,
}

pub(crate) fn run(app: &App, args: &ConfigArgs) -> Result<(), Failure> {
    let rows: Vec<_> = app.config.values().map(row).collect();
    print(app, args.output.json, &rows, |rows| {
        let mut table = Table::new(&["KEY", "VALUE", "ORIGIN"]);
        for row in rows {
            table.row([row.key.to_owned(), row.value.to_owned(), row.origin.clone()]);
        }
        table.text()
    })
}

fn row(value: &ConfigValue) -> Row<'_> {
    Row { key: &value.key, value: &value.value, origin: value.origin.to_string() }
}
