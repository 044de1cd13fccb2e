mod host; // folders, disk, ports, devices
mod tools; // what a build needs
mod engines; // what computes tokens beside llama.cpp
mod hub; // where models come from

use rbee_config::{Error as ConfigError, for_here};
use serde::Serialize;

use crate::{
    app::App,
    cli::DoctorArgs,
    commands::print,
    failure::{Failure, Kind},
    render::Table,
    terminal::Terminal,
};

#[derive(Debug, Serialize)]
struct Report {
    checks: Vec<Check>,
}

/// One thing that rbee needs, and whether it is there.
#[derive(Debug, Serialize)]
struct Check {
    what: String,
    verdict: Verdict,
    /// What was found, or what was not.
    found: String,
    /// What to do about it.
    remedy: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Ok,
    /// rbee works without it, for now or in part.
    Warn,
    Fail,
}

impl Check {
    fn ok(what: impl Into<String>, found: impl Into<String>) -> Self {
        Self { what: what.into(), verdict: Verdict::Ok, found: found.into(), remedy: None }
    }

    fn warn(what: impl Into<String>, found: impl Into<String>) -> Self {
        Self { verdict: Verdict::Warn, ..Self::ok(what, found) }
    }

    fn fail(what: impl Into<String>, found: impl Into<String>) -> Self {
        Self { verdict: Verdict::Fail, ..Self::ok(what, found) }
    }

    fn remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..self }
    }
}

pub(crate) async fn run(app: &App, args: &DoctorArgs) -> Result<(), Failure> {
    let mut checks =
        vec![Check::ok("configuration", app.config.paths.config_file.display().to_string())];
    checks.extend(app.config.warnings().iter().map(|warning| {
        Check::warn("configuration", warning).remedy("`./rbee config` shows what is known")
    }));
    checks.extend(host::permissions(&app.config));
    checks.extend(tools::checks(app.config.build_root()).await);
    checks.extend(host::room_for(&app.config));
    checks.push(host::sockets(&app.config));
    checks.extend(host::ports(app).await);
    checks.push(hub::check(&app.config).await);
    checks.extend(host::devices().await);
    checks.extend(engines::checks(&app.config).await);
    let report = Report { checks };
    print(app, args.output.json, &report, table)?;
    verdict(&report)
}

/// Without a configuration there is one finding: everything else depends on what it says.
pub(crate) fn without_config(
    terminal: &Terminal,
    args: &DoctorArgs,
    error: &ConfigError,
) -> Result<(), Failure> {
    let check = match error {
        // It says what mends it.
        ConfigError::Foreign { .. } | ConfigError::Writable { .. } => {
            Check::fail("permissions", rbee_api::causes(error))
        }
        _ => Check::fail("configuration", rbee_api::causes(error))
            .remedy("mend it and run this again"),
    };
    let report = Report { checks: vec![check] };
    let text = if args.output.json {
        serde_json::to_string_pretty(&report).expect("every value is plain data") + "\n"
    } else {
        table(&report)
    };
    terminal.out(&for_here(&text))?;
    verdict(&report)
}

fn verdict(report: &Report) -> Result<(), Failure> {
    let failed = report.checks.iter().any(|check| check.verdict == Verdict::Fail);
    if failed { Err(Failure::said(Kind::Failed)) } else { Ok(()) }
}

fn table(report: &Report) -> String {
    let mut table = Table::new(&["", "WHAT", "FOUND"]);
    for check in &report.checks {
        let mark = match check.verdict {
            Verdict::Ok => "ok",
            Verdict::Warn => "warn",
            Verdict::Fail => "fail",
        };
        table.row([mark.to_owned(), check.what.clone(), check.found.clone()]);
        if let Some(remedy) = &check.remedy {
            table.row([String::new(), String::new(), format!("-> {remedy}")]);
        }
    }
    table.text()
}
